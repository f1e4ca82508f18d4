"""What the server's process runs: the rounds of a federation, the scalars that arrive live, and models to evaluate."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.abstract.model_locator import ModelLocator
from nvflare.app_common.workflows.model_controller import ModelController

from fedxray.core.events import SCALARS, EventFile
from fedxray.core.files import read_json, write_json, write_text
from fedxray.core.parameters import Parameters, load_model, save_model
from fedxray.data.labels import SHARED
from fedxray.experiment.experiment import POOLED
from fedxray.experiment.method import Method
from fedxray.experiment.settings import Settings
from fedxray.federation.checkpoint import Checkpoint
from fedxray.federation.policy import Policy, Schedule
from fedxray.federation.records import RoundRecord, epochs_of, global_row, last_rounds, point_of, sites_of
from fedxray.federation.recovery import scope_of, unmask
from fedxray.federation.rounds import ServerRounds, Update
from fedxray.federation.secure import adverts_of, digest_of, fingerprints_of
from fedxray.flare.admission import strangers
from fedxray.flare.job import Participants, poll_s
from fedxray.flare.own import OwnFile, card_of
from fedxray.flare.packing import pack_in_pieces
from fedxray.flare.tasks import (
    ADVERTISE,
    ADVERTS,
    ALONE,
    CARD,
    CARDS,
    FAILURE,
    GATE,
    INITIAL,
    KEYS,
    LAST,
    LIVE,
    MODEL,
    PERSONAL,
    PREDECESSOR,
    RECORDS,
    REVEAL,
    ROUNDS,
    SAID,
    SHARE,
    THRESHOLDS,
    TRAIN,
    VOUCH,
    WHY,
)
from fedxray.training.mechanism import Mechanism
from fedxray.training.models import build, get_parameters, restore
from fedxray.training.place import place_of
from fedxray.training.rows import EpochRow
from fedxray.training.trainer import threshold_of

LATE_S = 5.0  # how long the last metrics that a site streams may come after its result


def _leave_reason(folder: Path, reason: str) -> None:
    """Keep the first reason for which the job fails: those that follow are its consequences."""
    if not (folder / FAILURE).exists():
        (folder / FAILURE).write_text(reason, encoding="utf-8")


class SiteController(ModelController):
    """Sends tasks to named sites and waits for their answers; a site that fails says why."""

    def __init__(self, participants: Participants):
        super().__init__(persistor_id="", ignore_result_error=False, task_check_period=0.05)
        pack_in_pieces()
        self.participants = participants
        self.reasons = {}  # {site: why there is no answer} to the task that was sent last
        self.asked = time.monotonic()  # when that was

    @property
    def folder(self) -> Path:
        """The job's own folder, which the workflow downloads at the end."""
        return Path(self.get_run_dir())

    @property
    def initial(self) -> Path | None:
        """The file of the model to begin with, if the job has brought one."""
        path = Path(self.engine.get_workspace().get_app_dir(self.fl_ctx.get_job_id())) / INITIAL
        return path if path.exists() else None

    @property
    def own_file(self) -> OwnFile:
        """The server's own file, in the kit by which it was started."""
        return OwnFile(Path(self.engine.get_workspace().get_root_dir()))

    @property
    def connected(self) -> set[str]:
        """The sites that NVFlare takes for alive."""
        return {client.name for client in self.engine.get_clients()}

    def ask(
        self, task_name: str, task: FLModel, absent: Mapping[str, str] | None = None
    ) -> tuple[dict[str, FLModel], dict[str, str]]:
        """Send `task` to every site; returns the answers and, of each site without one, why.

        Sites that are `absent` already, {site: why}, are not asked, nor are `strangers`, which could not read the task.
        Raises RuntimeError, naming all without an answer, if fewer answered than the policy needs.
        """
        self.reasons = strangers(self.own_file.kit) | dict(absent or {})
        timeout = self.participants.policy.round_timeout_s
        self.asked = time.monotonic()
        connected = self.connected
        targets = [site for site in self.participants.sites if site in connected and site not in self.reasons]
        results = self.send_model_and_wait(task_name=task_name, targets=targets, data=task, timeout=timeout)
        answers = {result.meta["client_name"]: result for result in results}
        late = f"no answer in {timeout} s"
        absent = {
            site: self.reasons.get(site, late if site in connected else "not connected when the job began")
            for site in sorted(set(self.participants.sites) - set(answers))
        }
        if self.abort_signal.triggered:  # the server's process has heard it, and tells its own log alone of whom
            raise RuntimeError(
                "a site's process has ended; `Failing job` in out.txt of the server's kit names the site; run it again"
            )
        if len(answers) < self.participants.needed:
            raise RuntimeError("; ".join(f"no result from {site}: {why}" for site, why in absent.items()))
        return answers, absent

    def panic(self, reason: str) -> None:
        """End the job as failed, and leave the first reason where the workflow finds it."""
        _leave_reason(self.folder, re.sub(r"^Exception in model controller run: (\w+: )?", "", reason))
        super().panic(reason)

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """A site whose process of this job is gone cannot come back to it, which ends a job that needs each site.

        A site that asks for a task is told when to ask again.
        """
        super().handle_event(event_type, fl_ctx)
        if event_type == EventType.BEFORE_PROCESS_TASK_REQUEST:
            fl_ctx.get_prop(FLContextKey.RUNNER).config.task_request_interval = poll_s(time.monotonic() - self.asked)
        if event_type == EventType.CLIENT_DISCONNECTED:
            site = fl_ctx.get_prop(FLContextKey.DISCONNECTED_CLIENT_NAME)
            self.reasons[site] = "its process has ended, and a new one cannot take up this job; run it again"
            if self.participants.needed == len(self.participants.sites):
                self.panic(f"no result from {site}: {self.reasons[site]}")

    def _accept_train_result(self, client_name, result, fl_ctx, is_unknown_task=False) -> bool:
        """NVFlare's hook for each answer: a failed one ends the job, or counts as none if the policy allows it."""
        code = result.get_return_code()
        if is_unknown_task or not code or code == ReturnCode.OK:
            return super()._accept_train_result(client_name, result, fl_ctx, is_unknown_task)
        self.reasons[client_name] = result.get_header(WHY) or code
        if self.participants.needed == len(self.participants.sites):
            self.panic(f"{client_name}: {self.reasons[client_name]}")
        return False


class Scalars:
    """The event files of a run that trains: one for each series, in the folder `live` below the TensorBoard folder."""

    def __init__(self, tensorboard: Path | None, live: str, point: Mapping | None = None):
        """`tensorboard` is the server's folder, if it has one; `live` must not lead out of it.

        `point` has the settings of the run for the HParams tab.
        """
        self.folder = (tensorboard / live).resolve() if tensorboard else None
        if tensorboard and self.folder and not self.folder.is_relative_to(tensorboard.resolve()):
            raise ValueError(f"live: {live} leads out of {tensorboard}")
        self.files = {"": EventFile(self.folder, point)} if self.folder and point else {}
        self.streamed = Counter()  # {site: epochs}
        self.changed = threading.Condition()  # each message comes in a thread of its own

    def add(self, series: str, row: Mapping) -> None:
        """Append the metrics of one epoch, of a site or of the global model (""), if there is a folder for them."""
        with self.changed:
            if self.folder:
                if series not in self.files:
                    self.files[series] = EventFile(self.folder / series)
                self.files[series].add({tag: float(row[column]) for column, tag in SCALARS.items()}, int(row["epoch"]))
            self.streamed[series] += 1
            self.changed.notify_all()

    def wait(self, sent: dict[str, int]) -> None:
        """Wait for what has been `sent`, {site: epochs}, but `LATE_S` at most: a message may have been lost."""
        with self.changed:
            self.changed.wait_for(lambda: all(self.streamed[site] >= epochs for site, epochs in sent.items()), LATE_S)

    def close(self) -> None:
        """Say that the run has ended well, and close the files."""
        if "" in self.files:
            self.files[""].end()
        for file in self.files.values():
            file.close()


class FederationController(SiteController):
    """The rounds over named sites, with validation on the shared set, and a checkpoint to resume from."""

    def __init__(
        self,
        settings: dict,
        method: dict,
        schedule: dict,
        sites: list,
        policy: dict,
        checksums: dict,
        key: str,
        live: str,
        noise: dict,
    ):
        """Takes what `job.write_training` writes: fields of `Settings`, `Method`, `Schedule`, `Policy` as dicts.

        `noise` has those of `Mechanism`, or nothing.
        """
        super().__init__(Participants(sites, checksums, Policy(**policy)))
        self.settings, self.method, self.schedule = Settings(**settings), Method(**method), Schedule(**schedule)
        self.key, self.live, self.noise = key, live, Mechanism(**noise) if noise else None
        self.records = []
        self.adverts: dict[str, dict[str, str]] = {}  # of a secure aggregation: each site's signed key, the last one
        # For the next round, if absent sites are survived: keys, shares, and {site: why} of the sites that have none.
        self.ready: tuple[dict[str, Any], dict[str, Any], dict[str, str]] = {}, {}, dict.fromkeys(sites, "not ready")

    def run(self) -> None:
        """Run every round that no earlier job of the same content has run; writes the model and `rounds.json`.

        `rounds.json` has the record of each round (`rounds`), how many of them an earlier job has run (`resumed`),
        whether the model differs from the initial one (`changed`), where the server is (`device`, `machine`), and of
        how many epochs each site's metrics arrived live (`streamed`). What arrives live is only for watching: the rows
        that a run records come with the sites' results. Of a personal method it has the rows of each site's own model
        (`personal`), and which sites have none and why (`without_own_model`). Of a secure aggregation it has the
        fingerprints of the sites' certificates (`partners`), and nothing of a single site: this process gets their
        masked answers alone.
        """
        self.engine.register_app_command(ROUNDS, self._tell)
        validation = self.own_file.load(self.participants.checksums.get(SHARED)).part("validation")
        server = ServerRounds(self.settings, self.method, self.schedule, validation, self.noise, self.initial)
        checkpoint = Checkpoint(self.own_file.kit / "checkpoints" / f"{self.key}.safetensors")
        if checkpoint.exists():
            server.parameters, server.state, self.records = checkpoint.load()
            self.info(f"resuming after round {len(self.records)}")
        resumed = len(self.records)
        first, *others = self.participants.sites
        run = ("federated", POOLED) if others else ("alone", first)
        point = point_of(*run, self.settings, self.schedule, self.method, self.noise)
        scalars = Scalars(self.own_file.tensorboard, self.live, point)
        self.engine.register_aux_message_handler(LIVE, partial(self._hear, scalars))
        survives = self.method.secure_aggregation and self.participants.policy.absent == "drop"
        if self.method.secure_aggregation and not survives:
            answers, _ = self.ask(KEYS, FLModel(metrics={"sites": float(len(self.participants.sites))}))
            self.adverts = {site: answers[site].meta[ADVERTS] for site in sorted(answers)}
        elif survives and resumed == self.schedule.rounds:  # so that no round has the sites' keys
            self.adverts, _ = self._step(ADVERTISE, resumed, None, {})
        for number in range(resumed, self.schedule.rounds):
            record = self._surviving_round(server, number) if survives else self._round(server, number)
            for site, why in record["absent"].items():
                self.warning(f"round {number + 1}: without {site}: {why}")
            if row := global_row(record):
                scalars.add("", row)
            checkpoint.save(server.parameters, server.state, [*self.records, record])
            self.records.append(record)
        own, without = self._personal(server.send()) if self.method.is_personal else ({}, {})
        scalars.wait(epochs_of(self.records[resumed:]))
        scalars.close()
        save_model(self.folder / MODEL, server.parameters)
        device, machine = place_of(self.settings)
        streamed = {site: scalars.streamed[site] for site in sites_of(self.records[resumed:])}
        about = {"resumed": resumed, "changed": server.changed, "device": device, "machine": machine}
        about |= {
            "partners": fingerprints_of(adverts_of(self.adverts)),
            "streamed": streamed,
            "personal": own,
            "without_own_model": without,
        }
        # Not `write_json`: a row may have NaN, which only Python reads.
        write_text(self.folder / RECORDS, json.dumps(about | {"rounds": self.records}))
        checkpoint.remove()

    def _round(self, server: ServerRounds, number: int) -> RoundRecord:
        """Run one round: send the same to every site, and make the next model of the answers; returns its record."""
        keys = {ADVERTS: self.adverts} if self.adverts else {}
        answers, absent = self.ask(TRAIN, self._task(server.send(), number, keys))
        if self.method.secure_aggregation:
            return server.aggregate_sealed(number, {site: result.params for site, result in answers.items()})
        updates = {}
        for site, result in answers.items():
            images, loss, rows = (result.meta[name] for name in (MetaKey.NUM_STEPS_CURRENT_ROUND, "train_loss", "rows"))
            updates[site] = Update(result.params, int(images), float(loss), rows)
        return server.aggregate(number, updates, absent)

    def _surviving_round(self, server: ServerRounds, number: int) -> RoundRecord:
        """Run one round of a secure aggregation that survives absent sites (`recovery.Member` has the steps).

        Each step is asked of who has answered the one before. A site whose masked answer has come is in the sum, also
        if it is gone afterwards. The steps after training get ready for the next round as well. If a site misses one of
        them, and is there when that round begins, all get ready again, with it.
        """
        adverts, shared, absent = self.ready
        if set(absent) & self.connected:
            adverts, absent = self._step(ADVERTISE, number, None, {})
            shared, absent = self._step(SHARE, number, adverts, absent)
        self.adverts |= adverts
        sent = server.send()
        answers, absent = self.ask(TRAIN, self._task(sent, number, {SAID: shared}), absent)
        says, gone = self._step(VOUCH, number, sorted(answers), absent)
        signatures, following = ({site: said[name] for site, said in says.items()} for name in ("signature", "advert"))
        says, gone = self._step(REVEAL, number, {"signatures": signatures, "adverts": following}, gone)
        revealed, shares = ({site: said[name] for site, said in says.items()} for name in ("revealed", "shared"))
        self.ready = following, shares, gone
        scope = scope_of(f"{self.key}/{self.fl_ctx.get_job_id()}", number)
        known = digest_of(sent), self.participants.sites, adverts_of(adverts), sorted(answers), revealed
        words = {site: result.params for site, result in answers.items()}
        return server.aggregate_sealed(number, words, absent, lambda sums: unmask(sums, scope, *known))

    def _step(
        self, task_name: str, number: int, said: object, absent: Mapping[str, str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Ask all sites but the `absent` for one step of round `number`; returns what each says, and who is absent."""
        task = FLModel(metrics={"sites": float(len(self.participants.sites))}, current_round=number, meta={SAID: said})
        answers, absent = self.ask(task_name, task, absent)
        return {site: answers[site].meta[SAID] for site in sorted(answers)}, absent

    def _personal(self, sent: Parameters) -> tuple[dict[str, list[EpochRow]], dict[str, str]]:
        """Let every site make its own model; returns the rows of each and, of each site that has none, why."""
        answers, absent = self.ask(PERSONAL, self._task(sent, self.schedule.rounds))
        return {site: answers[site].meta["rows"] for site in sorted(answers)}, absent

    def _task(self, sent: Parameters, number: int, beside: Mapping[str, object] | None = None) -> FLModel:
        """What every site is sent in round `number` (from 0), or after the last; `beside` is of secure aggregation."""
        meta = {LAST: last_rounds(self.records), **(beside or {})}
        total = self.schedule.rounds
        return FLModel(ParamsType.FULL, sent, current_round=number, total_rounds=total, meta=meta)

    def _hear(self, scalars: Scalars, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        """Take the metrics of an epoch that a site streams."""
        site = fl_ctx.get_peer_context().get_identity_name()
        if site in self.participants.sites:
            scalars.add(site, request["row"])
        return make_reply(ReturnCode.OK)

    def _tell(self, topic: str, data: dict, fl_ctx: FLContext) -> dict:
        """Answer the workflow's command: the records from number `data["first"]` on."""
        return {"rounds": self.records[data["first"] :]}


class CardCollector(SiteController):
    """Asks each site for its data card, and writes these and the server's own: `cards.json`."""

    def __init__(self, sites: list, timeout_s: int):
        super().__init__(Participants(sites, {}, Policy(timeout_s, "fail", 0)))

    def run(self) -> None:
        """Ask all sites once."""
        answers, _ = self.ask(CARD, FLModel(metrics={"images": 0.0}))
        cards = {site: answers[site].meta["card"] for site in self.participants.sites}
        write_json(self.folder / CARDS, cards | {SHARED: card_of(self.own_file.data)})


class AloneController(SiteController):
    """Lets one site train alone, and writes what it measured. The model stays at the site."""

    def __init__(self, settings: dict, schedule: dict, sites: list, timeout_s: int, live: str):
        """Takes the fields of `Settings` and `Schedule`, and the rest as `job.write_alone` writes it."""
        super().__init__(Participants(sites, {}, Policy(timeout_s, "fail", 0)))
        self.settings, self.schedule, self.live = Settings(**settings), Schedule(**schedule), live

    def run(self) -> None:
        """Ask the site once, and write `rounds.json`: the record (`rounds`), and how many `parameters` the model has.

        `device` and `machine` are the server's, as of a federation.
        """
        (site,) = self.participants.sites
        point = point_of("alone", site, self.settings, self.schedule)
        scalars = Scalars(self.own_file.tensorboard, self.live, point)
        task = FLModel(metrics={"sites": 1.0})
        if self.initial:
            task = FLModel(ParamsType.FULL, load_model(self.initial))
        answers, _ = self.ask(ALONE, task)
        record = answers[site].meta["record"]
        for row in record["sites"][site]:
            scalars.add("", row)
        scalars.close()
        device, machine = place_of(self.settings)
        size = sum(array.size for array in get_parameters(build(self.settings)).values())
        about = {"rounds": [record], "parameters": size, "device": device, "machine": machine}
        write_text(self.folder / RECORDS, json.dumps(about))  # a row may have NaN


class ChosenModels(ModelLocator):
    """The models of NVFlare's cross-site evaluation, with the threshold that each has on the server's validation set.

    The models come with the job, as `models/<number>.safetensors` of the server's app; the thresholds go to
    `thresholds.json`.
    """

    def __init__(self, models: list, checksums: dict, gate: dict | None = None):
        """Of each model there are `settings` (the fields of `Settings`), and the `site` and `job` of `engine.Model`.

        `gate` has the `settings` of the model that this one may replace, `seed` and `replicates`.
        """
        super().__init__()
        pack_in_pieces()
        self.models, self.checksums, self.gate = models, checksums, gate

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """End the job if a site is one of the `strangers`, and keep why a site has no metrics.

        NVFlare calls this for everything that happens.
        """
        if event_type == EventType.START_RUN:
            workspace, job = fl_ctx.get_engine().get_workspace(), fl_ctx.get_job_id()
            unknown = strangers(Path(workspace.get_root_dir()))
            clients = {client.name for client in fl_ctx.get_engine().get_clients()}
            if faults := [f"no result from {site}: {unknown[site]}" for site in sorted(clients & unknown.keys())]:
                _leave_reason(Path(workspace.get_run_dir(job)), "; ".join(faults))
                self.system_panic("; ".join(faults), fl_ctx)
        if event_type == EventType.BEFORE_PROCESS_SUBMISSION:
            result, site = fl_ctx.get_prop(FLContextKey.TASK_RESULT), fl_ctx.get_peer_context().get_identity_name()
            if result is not None and result.get_header(WHY):
                folder = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
                _leave_reason(Path(folder), f"{site}: {result.get_header(WHY)}")

    def get_model_names(self, fl_ctx: FLContext) -> list[str]:
        """Their numbers."""
        return [str(number) for number in range(len(self.models))]

    def locate_model(self, model_name: str, fl_ctx: FLContext) -> DXO:
        """The parameters of one model, with its threshold, its settings and whose it is; of one that stays, no more."""
        about, workspace = self.models[int(model_name)], fl_ctx.get_engine().get_workspace()
        if about["job"]:
            return DXO(DataKind.WEIGHTS, data={}, meta=about)
        settings = Settings(**about["settings"])
        job, own_file = fl_ctx.get_job_id(), OwnFile(Path(workspace.get_root_dir()))
        app = Path(workspace.get_app_dir(job))
        parameters = load_model(app / "models" / f"{model_name}.safetensors")
        validation = own_file.load(self.checksums.get(SHARED)).part("validation")
        threshold = threshold_of(restore(settings, parameters), validation, settings.compute)
        path = Path(workspace.get_run_dir(job)) / THRESHOLDS
        write_json(path, (read_json(path) if path.exists() else {}) | {model_name: threshold})
        gate = {GATE: self.gate | {"parameters": load_model(app / PREDECESSOR)}} if self.gate else {}
        return DXO(DataKind.WEIGHTS, data=parameters, meta=about | {"threshold": threshold} | gate)
