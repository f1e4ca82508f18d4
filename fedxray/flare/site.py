"""What a hospital's process runs: the NVFlare executors that train and evaluate models on the site's own data."""

from pathlib import Path

from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from fedxray.core.errors import UserError
from fedxray.data.site import SiteData
from fedxray.experiment.settings import Settings
from fedxray.federation.rounds import SiteRounds
from fedxray.flare.own import OwnFile, card_of
from fedxray.flare.tasks import LIVE, WHY
from fedxray.training.metrics import evaluate
from fedxray.training.models import restore
from fedxray.training.rows import EpochRow
from fedxray.training.trainer import predict


class SiteExecutor(Executor):
    """Answers tasks on the site's own data, which must have the checksums that the job insists on, if it does."""

    def __init__(self, checksums: dict | None = None):
        """`checksums` is {participant: those of its data card}; only plain values, because a job is configuration."""
        super().__init__()
        self.checksums = checksums or {}
        self.loaded = None

    def own_file(self, fl_ctx: FLContext) -> OwnFile:
        """The site's own file, in the kit by which this process was started."""
        return OwnFile(Path(fl_ctx.get_engine().get_workspace().get_root_dir()))

    def data(self, fl_ctx: FLContext) -> SiteData:
        """The site's data, read once; raises UserError if they have other checksums."""
        if self.loaded is None:
            self.loaded = self.own_file(fl_ctx).load(self.checksums.get(fl_ctx.get_identity_name()))
        return self.loaded

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Answer a task; the log here gets an exception, and the server learns that the task failed.

        The server is told what a UserError says, without where files lie; of a bug, whose text could quote data, only
        its kind.
        """
        try:
            return self.answer(shareable, fl_ctx)
        except Exception as error:
            self.log_exception(fl_ctx, f"{type(error).__name__}: {error}")
            why = f"{type(error).__name__}; see the log of the site"
            if isinstance(error, UserError):
                why = self.own_file(fl_ctx).without_places(str(error))
            return make_reply(ReturnCode.EXECUTION_EXCEPTION, {WHY: why})

    def answer(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """The answer to one task."""
        raise NotImplementedError


class SiteTrainer(SiteExecutor):
    """Trains `local_epochs` epochs of the run in each round, and streams each epoch's metrics as it ends."""

    def __init__(self, settings: dict, local_epochs: int, checksums: dict):
        """`settings` are the fields of `fedxray.experiment.settings.Settings`."""
        super().__init__(checksums)
        self.settings = Settings(**settings)
        self.local_epochs = local_epochs
        self.rounds = None

    def answer(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Answer one `train` task with the trained model."""
        task, engine = FLModelUtils.from_shareable(shareable), fl_ctx.get_engine()
        if self.rounds is None:
            data = self.data(fl_ctx)
            self.rounds = SiteRounds(self.settings, self.local_epochs, data.part("train"), data.part("validation"))

        def stream(row: EpochRow) -> None:
            no_answer = 0.0
            engine.send_aux_request(None, LIVE, Shareable({"row": row}), no_answer, fl_ctx, optional=True)

        update = self.rounds.train(task.params, task.current_round, stream)
        trained = FLModel(
            params_type=ParamsType.FULL,
            params=update.parameters,
            meta={MetaKey.NUM_STEPS_CURRENT_ROUND: update.images, "rows": update.rows},
        )
        return FLModelUtils.to_shareable(trained)


class SiteEvaluator(SiteExecutor):
    """Answers NVFlare's cross-site evaluation: every metric of a model on the site's own test set."""

    def answer(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Answer one `validate` task; the model comes with its settings and the `threshold` that validation chose."""
        sent = from_shareable(shareable)
        settings = Settings(**sent.get_meta_prop("settings"))
        images, labels = self.data(fl_ctx).part("test")
        probabilities = predict(restore(settings, sent.data), images, settings.compute)
        values = evaluate(labels.astype(float), probabilities, sent.get_meta_prop("threshold"))
        return DXO(DataKind.METRICS, data=values).to_shareable()


class SiteCard(SiteExecutor):
    """Answers with the site's data card (counts, grey levels, checksums, provenance), and nothing else of its data."""

    def answer(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Answer one `card` task."""
        card = card_of(self.own_file(fl_ctx).data)
        return FLModelUtils.to_shareable(FLModel(metrics={"images": float(card["images"])}, meta={"card": card}))
