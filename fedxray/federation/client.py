"""What a hospital's process runs: the NVFlare executors that train and evaluate models on the site's own data."""

from nvflare.apis.analytix import AnalyticsDataType
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from fedxray.data.site import load_site
from fedxray.federation.local import local_settings
from fedxray.federation.rounds import SiteRounds
from fedxray.metrics import evaluate
from fedxray.models import set_parameters
from fedxray.tensorboard import SCALARS
from fedxray.training import Settings, predict


class SiteTrainer(Executor):
    """Trains `local_epochs` epochs of the run in each round, and streams their scalars."""

    def __init__(self, settings: dict, local_epochs: int):
        """`settings` are the fields of `fedxray.training.Settings`; a job is configuration, so plain values only."""
        super().__init__()
        self.settings = Settings(**settings)
        self.local_epochs = local_epochs
        self.rounds = None

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Answer one `train` task with the trained model; an exception is logged and fails the round."""
        try:
            return FLModelUtils.to_shareable(self._train(FLModelUtils.from_shareable(shareable), fl_ctx))
        except Exception as error:
            self.log_exception(fl_ctx, f"{type(error).__name__}: {error}")
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)

    def _train(self, task: FLModel, fl_ctx: FLContext) -> FLModel:
        engine = fl_ctx.get_engine()
        sender = engine.get_component("analytics_sender")
        if self.rounds is None:
            data = load_site(local_settings(engine.get_workspace())["data"])
            self.rounds = SiteRounds(self.settings, self.local_epochs, data)
        update = self.rounds.train(task.params, task.current_round)
        for row in update.rows:
            for column, tag in SCALARS.items():
                sender.add(tag, row[column], AnalyticsDataType.SCALAR, global_step=row["epoch"])
        return FLModel(
            params_type=ParamsType.FULL,
            params=update.parameters,
            meta={MetaKey.NUM_STEPS_CURRENT_ROUND: update.images, "rows": update.rows},
        )


class SiteEvaluator(Executor):
    """Answers NVFlare's cross-site evaluation: every metric of a model on the site's own test set."""

    def __init__(self, settings: dict):
        """`settings` are the fields of `fedxray.training.Settings`."""
        super().__init__()
        self.settings = Settings(**settings)
        self.test = None

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Answer one `validate` task; the model comes with the `threshold` that validation chose."""
        try:
            if self.test is None:
                data = load_site(local_settings(fl_ctx.get_engine().get_workspace())["data"])
                self.test = data.part("test")
            sent, model = from_shareable(shareable), self.settings.build()
            set_parameters(model, sent.data)
            images, labels = self.test
            probabilities = predict(model, images, self.settings)
            values = evaluate(labels.astype(float), probabilities, sent.get_meta_prop("threshold"))
            return DXO(DataKind.METRICS, data=values).to_shareable()
        except Exception as error:
            self.log_exception(fl_ctx, f"{type(error).__name__}: {error}")
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)
