"""What the server's process runs: the rounds, the aggregation, the scalars that arrive live, and models to evaluate."""

import json
from pathlib import Path

from nvflare.apis.analytix import AnalyticsData
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.abstract.model_locator import ModelLocator
from nvflare.app_common.widgets.streaming import AnalyticsReceiver
from nvflare.app_common.workflows.model_controller import ModelController

from fedxray.data.site import load_site
from fedxray.federation.local import local_settings
from fedxray.federation.rounds import ServerRounds, Update
from fedxray.models import load_model, save_model
from fedxray.tensorboard import SCALARS, EventFile
from fedxray.training import Settings


class FedAvgController(ModelController):
    """FedAvg over named sites, every one of them in every round, with validation on the shared set after each."""

    def __init__(self, settings: dict, sites: list, rounds: int, local_epochs: int, round_timeout_s: int):
        """`settings` are the fields of `fedxray.training.Settings`; `round_timeout_s` bounds one round."""
        super().__init__(persistor_id="", ignore_result_error=False, task_check_period=0.05)
        self.settings = Settings(**settings)
        self.sites = sites
        self.rounds = rounds
        self.local_epochs = local_epochs
        self.round_timeout_s = round_timeout_s

    def run(self) -> None:
        """Run every round; writes `rounds.jsonl` (one line a round) and `model.safetensors` into the job's folder."""
        folder, own = Path(self.get_run_dir()), local_settings(self.engine.get_workspace())
        live = EventFile(Path(own["tensorboard"]))
        server = ServerRounds(self.settings, self.local_epochs, load_site(own["data"]).part("validation"))
        for number in range(self.rounds):
            record = server.aggregate(number, self._train(server.parameters, number))
            live.add({tag: record[column] for column, tag in SCALARS.items()}, record["epoch"])
            save_model(folder / "model.safetensors", server.parameters)
            with (folder / "rounds.jsonl").open("a") as file:
                file.write(json.dumps(record) + "\n")
        live.close()

    def _train(self, parameters: dict, number: int) -> dict[str, Update]:
        """One round: send the model to every site, and return each site's update; raises if one is missing."""
        task = FLModel(params_type=ParamsType.FULL, params=parameters, current_round=number, total_rounds=self.rounds)
        results = self.send_model_and_wait(targets=self.sites, data=task, timeout=self.round_timeout_s)
        answered = {
            result.meta["client_name"]: Update(
                result.params, int(result.meta[MetaKey.NUM_STEPS_CURRENT_ROUND]), result.meta["rows"]
            )
            for result in results
        }
        missing = sorted(set(self.sites) - set(answered))
        if missing:
            raise RuntimeError(f"round {number + 1}: no result from {', '.join(missing)}")
        return answered


class LiveScalars(AnalyticsReceiver):
    """Writes the scalars that the sites stream, as they arrive, where the server's TensorBoard looks."""

    def __init__(self):
        super().__init__(events=["fed.analytix_log_stats"])
        self.files = {}

    def initialize(self, fl_ctx: FLContext) -> None:
        """Called by NVFlare at the start of the run."""
        self.folder = Path(local_settings(fl_ctx.get_engine().get_workspace())["tensorboard"])

    def save(self, fl_ctx: FLContext, shareable: Shareable, record_origin: str) -> None:
        """Append one streamed scalar of the site `record_origin`."""
        scalar = AnalyticsData.from_dxo(from_shareable(shareable))
        if record_origin not in self.files:
            self.files[record_origin] = EventFile(self.folder / record_origin)
        self.files[record_origin].add({scalar.tag: scalar.value}, scalar.step)

    def finalize(self, fl_ctx: FLContext) -> None:
        """Called by NVFlare at the end of the run."""
        for file in self.files.values():
            file.close()


class ChosenModels(ModelLocator):
    """The models of NVFlare's cross-site evaluation: `models` in the server's settings, {name: {path, threshold}}."""

    def get_model_names(self, fl_ctx: FLContext) -> list[str]:
        """The names, in the order given."""
        return list(self._models(fl_ctx))

    def locate_model(self, model_name: str, fl_ctx: FLContext) -> DXO:
        """The parameters of one model, with its threshold."""
        model = self._models(fl_ctx)[model_name]
        return DXO(DataKind.WEIGHTS, data=load_model(model["path"]), meta={"threshold": model["threshold"]})

    def _models(self, fl_ctx: FLContext) -> dict:
        return local_settings(fl_ctx.get_engine().get_workspace())["models"]
