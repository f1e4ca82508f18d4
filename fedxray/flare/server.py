"""What the server's process runs: the rounds, the aggregation, the scalars that arrive live, and models to evaluate."""

import re
import threading
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path

from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.abstract.model_locator import ModelLocator
from nvflare.app_common.workflows.model_controller import ModelController

from fedxray.core.files import read_json, write_json
from fedxray.core.parameters import load_model, save_model
from fedxray.data.labels import SHARED
from fedxray.experiment.settings import Settings
from fedxray.federation.checkpoint import Checkpoint
from fedxray.federation.records import epochs_of, sites_of
from fedxray.federation.rounds import ServerRounds, Update
from fedxray.flare.job import FAILURE, LIVE, ROUNDS, Policy, key_of
from fedxray.flare.own import card_of, local_settings, own_data
from fedxray.flare.site import WHY
from fedxray.report.tensorboard import SCALARS, EventFile
from fedxray.runs import place_of
from fedxray.training.metrics import choose_threshold
from fedxray.training.models import set_parameters
from fedxray.training.trainer import predict

LATE_S = 5.0  # how long the last metrics that a site streams may come after its result


def _leave_reason(folder: Path, reason: str) -> None:
    """Keep the first reason for which the job fails: what follows are its consequences."""
    if not (folder / FAILURE).exists():
        (folder / FAILURE).write_text(reason)


class SiteController(ModelController):
    """Sends tasks to named sites and waits for their answers; a site that fails says why."""

    def __init__(self, sites: list, policy: Policy):
        super().__init__(persistor_id="", ignore_result_error=False, task_check_period=0.05)
        self.sites = sites
        self.policy = policy
        self.reasons = {}

    @property
    def folder(self) -> Path:
        """The job's own folder, which the workflow downloads at the end."""
        return Path(self.get_run_dir())

    def ask(self, task_name: str, task: FLModel) -> tuple[dict[str, FLModel], dict[str, str]]:
        """Send `task` to every site; returns the answers and, of each site without one, why.

        Raises RuntimeError, naming them, if fewer answered than the policy needs.
        """
        self.reasons, timeout = {}, self.policy.round_timeout_s
        here = {client.name for client in self.engine.get_clients()}
        targets = [site for site in self.sites if site in here]
        results = self.send_model_and_wait(task_name=task_name, targets=targets, data=task, timeout=timeout)
        answers = {result.meta["client_name"]: result for result in results}
        late = f"no answer in {timeout} s"
        absent = {
            site: self.reasons.get(site, late if site in here else "not connected when the job began")
            for site in sorted(set(self.sites) - set(answers))
        }
        if len(answers) < self.policy.needed(self.sites):
            raise RuntimeError("; ".join(f"no result from {site}: {why}" for site, why in absent.items()))
        return answers, absent

    def panic(self, reason: str) -> None:
        """End the job as failed, and leave the first reason where the workflow finds it."""
        _leave_reason(self.folder, re.sub(r"^Exception in model controller run: (\w+: )?", "", reason))
        super().panic(reason)

    def _accept_train_result(self, client_name, result, fl_ctx, is_unknown_task=False) -> bool:
        """NVFlare's hook for each answer: a failed one ends the job, or counts as none if the policy allows it."""
        code = result.get_return_code()
        if is_unknown_task or not code or code == ReturnCode.OK:
            return super()._accept_train_result(client_name, result, fl_ctx, is_unknown_task)
        self.reasons[client_name] = result.get_header(WHY) or code
        if self.policy.needed(self.sites) == len(self.sites):
            self.panic(f"{client_name}: {self.reasons[client_name]}")
        return False


class Scalars:
    """Event files below the server's TensorBoard folder, for a run: in the folder `live`, one for each series."""

    def __init__(self, own: dict, live: str):
        """`own` are the server's `local_settings`; `live` must not lead out of its `tensorboard`."""
        self.root = Path(own["tensorboard"]) if "tensorboard" in own else None
        self.folder = self.root and (self.root / live).resolve()
        if self.root and not self.folder.is_relative_to(self.root.resolve()):
            raise ValueError(f"live: {live} leads out of {self.root}")
        self.files = {}
        self.streamed = Counter()  # {site: epochs}
        self.changed = threading.Condition()  # each message comes in a thread of its own

    def add(self, series: str, row: dict) -> None:
        """Append the metrics of one epoch, of a site or of the global model (""), if there is somewhere to put them."""
        with self.changed:
            if self.folder:
                if series not in self.files:
                    self.files[series] = EventFile(self.folder / series)
                self.files[series].add({tag: float(row[column]) for column, tag in SCALARS.items()}, int(row["epoch"]))
            self.streamed[series] += 1
            self.changed.notify_all()

    def wait(self, sent: dict[str, int]) -> None:
        """Wait for what has been `sent`, {site: epochs}, but only so long: it may have been lost on the way."""
        with self.changed:
            self.changed.wait_for(lambda: all(self.streamed[site] >= epochs for site, epochs in sent.items()), LATE_S)

    def close(self) -> None:
        """Close the files."""
        for file in self.files.values():
            file.close()


class FedAvgController(SiteController):
    """FedAvg over named sites, with validation on the shared set after each round, and a checkpoint to resume from."""

    def __init__(
        self,
        settings: dict,
        sites: list,
        rounds: int,
        local_epochs: int,
        round_timeout_s: int = 3600,
        absent: str = "fail",
        min_sites: int = 0,
        registered: dict | None = None,
        live: str = "",
    ):
        """`settings` are the fields of `fedxray.experiment.settings.Settings`; see `Policy` and `job.write_training` too."""
        super().__init__(sites, Policy(round_timeout_s, absent, min_sites))
        self.settings = Settings(**settings)
        self.rounds = rounds
        self.local_epochs = local_epochs
        self.registered = registered or {}
        self.live = live
        self.records = []

    def run(self) -> None:
        """Run every round that no earlier job of the same content has run; writes `model.safetensors` and records.

        `rounds.json` has the record of each round, `resumed`, how many of them were of an earlier job, `changed`,
        whether the model differs from the initial one, `place`, where the server is, and `streamed`, of how many epochs
        each site's metrics arrived live. These are for looking on: what a run records comes with its results.
        """
        workspace = self.engine.get_workspace()
        self.engine.register_app_command(ROUNDS, self._tell)
        server = ServerRounds(
            self.settings,
            self.local_epochs,
            own_data(workspace, self.registered.get(SHARED)).part("validation"),
        )
        key = key_of(self.settings, self.sites, self.rounds, self.local_epochs, self.registered)
        checkpoint = Checkpoint(Path(workspace.get_root_dir()) / "checkpoints" / f"{key}.safetensors")
        if checkpoint.exists():
            server.parameters, self.records = checkpoint.load()
            self.info(f"resuming after round {len(self.records)}")
        resumed = len(self.records)
        scalars = Scalars(local_settings(workspace), self.live)
        self.engine.register_aux_message_handler(LIVE, partial(self._hear, scalars))
        parameters = server.parameters
        for number in range(resumed, self.rounds):
            updates, absent = self._train(parameters, number)
            record = server.aggregate(number, updates, absent)
            for site, why in absent.items():
                self.warning(f"round {number + 1}: without {site}: {why}")
            scalars.add("", record)
            parameters = server.parameters
            checkpoint.save(parameters, [*self.records, record])
            self.records.append(record)
        scalars.wait(epochs_of(self.records[resumed:]))
        scalars.close()
        save_model(self.folder / "model.safetensors", parameters)
        found = {"resumed": resumed, "changed": server.changed, "place": place_of(self.settings)}
        found["streamed"] = {site: scalars.streamed[site] for site in sites_of(self.records[resumed:])}
        write_json(self.folder / "rounds.json", found | {"rounds": self.records})
        checkpoint.remove()

    def _train(self, parameters: dict, number: int) -> tuple[dict[str, Update], dict[str, str]]:
        """One round: send the model to every site; returns the updates and, of each site without one, why."""
        task = FLModel(params_type=ParamsType.FULL, params=parameters, current_round=number, total_rounds=self.rounds)
        answers, absent = self.ask("train", task)
        updates = {
            site: Update(result.params, int(result.meta[MetaKey.NUM_STEPS_CURRENT_ROUND]), result.meta["rows"])
            for site, result in answers.items()
        }
        return updates, absent

    def _hear(self, scalars: Scalars, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        """Take the metrics of an epoch that a site streams."""
        site = fl_ctx.get_peer_context().get_identity_name()
        if site in self.sites:
            scalars.add(site, request["row"])
        return make_reply(ReturnCode.OK)

    def _tell(self, topic: str, data: dict, fl_ctx: FLContext) -> dict:
        """Answer the workflow's command: the records from number `data["first"]` on."""
        return {"rounds": self.records[data["first"] :]}


class CardCollector(SiteController):
    """Asks each site for its data card, and writes these and the server's own: `cards.json`."""

    def __init__(self, sites: list, timeout_s: int):
        super().__init__(sites, Policy(timeout_s))

    def run(self) -> None:
        """Ask all sites once."""
        answers, _ = self.ask("card", FLModel(metrics={"images": 0.0}))
        cards = {site: answers[site].meta["card"] for site in self.sites}
        cards[SHARED] = card_of(local_settings(self.engine.get_workspace())["data"])
        write_json(self.folder / "cards.json", cards)


class ChosenModels(ModelLocator):
    """The models of NVFlare's cross-site evaluation, with the threshold that each has on the server's validation set.

    They come with the job, as `models/<number>.safetensors` of the server's app; thresholds go to `thresholds.json`.
    """

    def __init__(self, settings: list, registered: dict | None = None):
        """`settings` are the fields of `fedxray.experiment.settings.Settings`, of each model."""
        super().__init__()
        self.settings = [Settings(**fields) for fields in settings]
        self.registered = registered or {}

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Called by NVFlare for everything that happens: keeps why a site has no metrics."""
        if event_type == EventType.BEFORE_PROCESS_SUBMISSION:
            result, site = fl_ctx.get_prop(FLContextKey.TASK_RESULT), fl_ctx.get_peer_context().get_identity_name()
            if result is not None and result.get_header(WHY):
                folder = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
                _leave_reason(Path(folder), f"{site}: {result.get_header(WHY)}")

    def get_model_names(self, fl_ctx: FLContext) -> list[str]:
        """Their numbers."""
        return [str(number) for number in range(len(self.settings))]

    def locate_model(self, model_name: str, fl_ctx: FLContext) -> DXO:
        """The parameters of one model, with its threshold and settings."""
        settings, workspace, job = (
            self.settings[int(model_name)],
            fl_ctx.get_engine().get_workspace(),
            fl_ctx.get_job_id(),
        )
        parameters = load_model(Path(workspace.get_app_dir(job)) / "models" / f"{model_name}.safetensors")
        images, labels = own_data(workspace, self.registered.get(SHARED)).part("validation")
        model = settings.build()
        set_parameters(model, parameters)
        threshold = choose_threshold(labels.astype(float), predict(model, images, settings))
        path = Path(workspace.get_run_dir(job)) / "thresholds.json"
        write_json(path, (read_json(path) if path.exists() else {}) | {model_name: threshold})
        return DXO(DataKind.WEIGHTS, data=parameters, meta={"threshold": threshold, "settings": asdict(settings)})
