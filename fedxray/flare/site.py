"""What a hospital's process runs: the NVFlare executors that train and evaluate models on the site's own data."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from fedxray.analysis.gate import Scored, measure
from fedxray.core.errors import UserError
from fedxray.core.parameters import Parameters, save_model
from fedxray.data.site import SiteData
from fedxray.experiment.method import PLAIN, Method
from fedxray.experiment.settings import Settings
from fedxray.federation.policy import Schedule
from fedxray.federation.pooled import Pooled
from fedxray.federation.recovery import Member
from fedxray.federation.rounds import SiteRounds, Update, sealed
from fedxray.federation.secure import Identity, Party, Signer, adverts_of, digest_of
from fedxray.flare.budget import Budget, Spending, check_noise
from fedxray.flare.kept import Kept
from fedxray.flare.own import OwnFile, card_of
from fedxray.flare.packing import pack_in_pieces
from fedxray.flare.partners import agree, agree_round, identity_of
from fedxray.flare.tasks import (
    ADVERTISE,
    ADVERTS,
    GATE,
    INITIAL,
    KEYS,
    LAST,
    LIVE,
    PERSONAL,
    SAID,
    SHARE,
    STEPS,
    VOUCH,
    WHY,
)
from fedxray.training.exported import write_config
from fedxray.training.mechanism import Mechanism
from fedxray.training.metrics import evaluate
from fedxray.training.models import restore
from fedxray.training.rows import EpochRow, Segment
from fedxray.training.trainer import Report, predict, silent, threshold_of

# Settings that say where and how a run computes. Runs that differ in these alone give equal answers, but for bits.
WHERE = ("device", "mixed_precision", "threads", "compile")


class SiteExecutor(Executor):
    """Answers tasks on the site's own data, which must have the checksums that the job insists on, if it does."""

    def __init__(self, checksums: dict | None = None):
        """`checksums` is {participant: those of its data card}; only plain values, because a job is configuration."""
        super().__init__()
        pack_in_pieces()
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
            return self.answer(task_name, shareable, fl_ctx)
        except Exception as error:
            self.log_exception(fl_ctx, f"{type(error).__name__}: {error}")
            why = f"{type(error).__name__}; see the log of the site"
            if isinstance(error, UserError):
                why = self.own_file(fl_ctx).without_places(str(error))
            return make_reply(ReturnCode.EXECUTION_EXCEPTION, {WHY: why})

    def check_noise(
        self, noise: Mechanism, method: Method, schedule: Schedule, sites: Sequence[str], fl_ctx: FLContext
    ) -> None:
        """Raise UserError if a job's noise does not protect the patients of this site as the job says."""
        known = card_of(self.own_file(fl_ctx).data)["provenance"].get("patients_known", True)
        check_noise(noise, method, schedule, sites, self.data(fl_ctx), known)

    def answer(self, task_name: str, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """The answer to one task."""
        raise NotImplementedError

    def keep(
        self, key: str, parameters: Parameters, settings: Settings, fl_ctx: FLContext, mode: str, method: str = ""
    ) -> None:
        """Keep a model that the site made in the job `key`, as a directory with which the hospital can predict."""
        kept, own_file = Kept(self.own_file(fl_ctx).kit, key), self.own_file(fl_ctx)
        kept.write(parameters, settings)
        network, data = restore(settings, parameters), self.data(fl_ctx)
        threshold = threshold_of(network, data.own_validation(), settings.compute)
        origin = {"experiment": f"job {key[:12]}", "cohort": "", "mode": mode, "run": key}
        origin |= {"method": method, "site": fl_ctx.get_identity_name()}
        made = card_of(own_file.data)["provenance"]
        note = "Synthetic phantom data" * bool(made.get("synthetic"))
        fit = made.get("fit", "stretch")
        write_config(kept.folder, settings, threshold=threshold, origin=origin, fit=fit, note=note)
        kept.restrict()


class SiteTrainer(SiteExecutor):
    """Trains the site's part of each round, and streams each epoch's metrics as it ends.

    What the site's half of the algorithm keeps between rounds is in the kit before an answer leaves, and so is what the
    answer spends of its patients' privacy (`budget.py`). A job that the operator does not allow is not begun.
    """

    def __init__(
        self,
        settings: dict,
        method: dict,
        schedule: dict,
        noise: dict,
        checksums: dict,
        key: str,
        sites: list,
        own: bool,
    ):
        """Takes the fields of `Settings`, `Method`, `Schedule` and, or nothing, of `Mechanism`.

        The rest is as `job.write_training` writes it.
        """
        super().__init__(checksums)
        self.settings, self.method, self.schedule = Settings(**settings), Method(**method), Schedule(**schedule)
        self.noise = Mechanism(**noise) if noise else None
        self.key, self.sites, self.own = key, sites, own
        self.party: Party | None = None  # of a secure aggregation, from the task `keys` on
        self.member: Member | None = None  # of one that survives absent sites, in the round that began last
        self.next: Member | None = None  # and in the one after it
        self.admitted = False  # whether the site has looked at the job, and takes it
        self.rounds = None
        self.held = None  # the round after which `rounds` has its state

    def answer(self, task_name: str, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Answer one task: `train` with what the algorithm sends, `personal` with the rows of the site's own model.

        Of a secure aggregation, `keys` is answered with this site's signed key, and `train` with the masked words of
        what the algorithm sends; then nothing leaves that was measured of the site's model in a round.
        """
        self._admit(fl_ctx)
        if task_name == KEYS:
            return self._advert(fl_ctx)
        task, kept = FLModelUtils.from_shareable(shareable), Kept(self.own_file(fl_ctx).kit, self.key)
        _number(task.current_round, self.schedule.rounds - (task_name != PERSONAL))
        if task_name in STEPS:
            return self._step(task_name, task.current_round, task.meta.get(SAID), fl_ctx)
        secure = self.method.secure_aggregation and task_name != PERSONAL
        if secure:  # before it trains
            self._meet(task, fl_ctx)
        last = _number(task.meta[LAST].get(fl_ctx.get_identity_name(), 0), self.schedule.rounds)
        if self.rounds is None:
            data = self.data(fl_ctx)
            self.rounds = SiteRounds(self.settings, self.method, self.schedule, data, self.own, self.noise)
        keeps = self.rounds.algorithm.keeps
        if keeps and self.held != last:
            self.rounds.state = kept.states.after(last)
        self.held = None  # until the round has ended
        if task_name == PERSONAL:
            self._charge(fl_ctx, self.schedule.tail_segments(self.rounds.trainer.batches))
            personal, self.held = self.rounds.personal(task.params), last
            self.keep(self.key, personal.parameters, self.settings, fl_ctx, "personal", self.method.slug)
            return FLModelUtils.to_shareable(
                FLModel(metrics={"rows": float(len(personal.rows))}, meta={"rows": personal.rows})
            )
        self._charge(fl_ctx, self.schedule.round_segments(task.current_round, self.rounds.trainer.batches))
        report, done = silent if secure else self._stream(fl_ctx), task.current_round + 1
        sent = digest_of(task.params) if secure else ""
        update = self.rounds.train(task.params, task.current_round, report)
        if keeps:
            kept.states.save(done, self.rounds.state, last)
        self.held = done
        if secure:
            return self._masked(update, task.current_round, sent)
        meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: update.images, "train_loss": update.train_loss, "rows": update.rows}
        return FLModelUtils.to_shareable(FLModel(params_type=ParamsType.FULL, params=update.parameters, meta=meta))

    def _admit(self, fl_ctx: FLContext) -> None:
        """Look at the job, once. Raises UserError if its noise is not what it says, or if the operator allows none."""
        if self.admitted:
            return
        if self.noise:
            self.check_noise(self.noise, self.method, self.schedule, self.sites, fl_ctx)
        budget = Budget(self.own_file(fl_ctx).kit)
        budget.check(Spending.of(self.key, self.noise), self.method.secure_aggregation)
        self.admitted = True

    def _charge(self, fl_ctx: FLContext, segments: list[Segment]) -> None:
        """Enter steps in the site's ledger before they are trained. Raises UserError if that exceeds the budget."""
        assert self.rounds is not None
        if segments:
            steps = sum(segment.last - segment.first for segment in segments)
            rest = max(0, self.schedule.total(self.rounds.trainer.batches) - segments[-1].last)
            budget, spending = Budget(self.own_file(fl_ctx).kit), Spending.of(self.key, self.noise)
            budget.charge(spending, self.method.secure_aggregation, steps, rest)

    def _advert(self, fl_ctx: FLContext) -> Shareable:
        """Begin a secure aggregation, and answer this site's signed key."""
        if self.party is None:
            identity, job = self._identity(fl_ctx)
            party = Party(identity, job, self.sites)
            self._agree(party, fl_ctx)
            self.party = party
        meta = {ADVERTS: self.party.advert()._asdict()}
        return FLModelUtils.to_shareable(FLModel(metrics={"keys": 1.0}, meta=meta))

    def _identity(self, fl_ctx: FLContext) -> tuple[Identity, str]:
        """Who this site is, and which job this is, of secure aggregation."""
        if not self.method.secure_aggregation:
            raise UserError("secure aggregation: this job has none; is the server's fedxray another version?")
        # NVFlare's number of the job is in it, so that a job of the same content that runs again has other keys.
        job = f"{self.key}/{fl_ctx.get_job_id()}"
        return identity_of(self.own_file(fl_ctx).kit, fl_ctx.get_identity_name()), job

    @property
    def _content(self) -> list[dict]:
        """What the job trains: of equal content are equal answers."""
        settings = {name: value for name, value in self.settings.content.items() if name not in WHERE}
        parts = (self.schedule, *filter(None, [self.noise]))
        return [settings, {"method": self.method.slug, **self.method.numbers}, *map(asdict, parts)]

    def _agree(self, signer: Signer, fl_ctx: FLContext) -> None:
        """Note with whom, and by which protocol, this site answers the training. Raises UserError if it had others."""
        pinned, survives = signer.identity.pinned, isinstance(signer, Member)
        partners = {site: pinned[site] for site in signer.partners}
        agree(self.own_file(fl_ctx).kit, self._content, partners, survives)

    def _step(self, task_name: str, number: int, said: Any, fl_ctx: FLContext) -> Shareable:
        """Answer a step of round `number` (from 0) of a secure aggregation that survives absent sites.

        Raises UserError if the noise of a sum would lack that of the absent ones.
        """
        if self.noise and self.noise.place == "sum":
            raise UserError(
                "privacy: this site refuses noise in a sum that may lack sites; set federation.absent: fail"
            )
        if task_name == ADVERTISE:
            if self.member and number <= self.member.number:
                raise UserError(
                    f"secure aggregation: round {number + 1} has begun already in this job; run the job again"
                )
            self.member, self.next = self._member(number, fl_ctx), None
            answer = self.member.advert()._asdict()
        elif task_name == SHARE:
            answer = self._of_round(number).share(adverts_of(said))
        elif task_name == VOUCH:
            signature, self.next = self._of_round(number).vouch(said), self._member(number + 1, fl_ctx)
            answer = {"signature": signature, "advert": self.next.advert()._asdict()}
        else:
            member = self._of_round(number)
            revealed = member.reveal(said["signatures"])
            agree_round(self.own_file(fl_ctx).kit, self._content, number, member.survivors)
            answer = {"revealed": revealed, "shared": self._of_round(number + 1).share(adverts_of(said["adverts"]))}
        return FLModelUtils.to_shareable(FLModel(metrics={"steps": 1.0}, meta={SAID: answer}))

    def _member(self, number: int, fl_ctx: FLContext) -> Member:
        """A new part in round `number` (from 0)."""
        identity, job = self._identity(fl_ctx)
        member = Member(identity, job, number, self.sites)
        self._agree(member, fl_ctx)
        return member

    def _of_round(self, number: int) -> Member:
        """This site's part in round `number` (from 0). Raises UserError if it has none."""
        for member in (self.member, self.next):
            if member and member.number == number:
                return member
        raise UserError(f"secure aggregation: this site has no keys of round {number + 1}; run the job again")

    def _meet(self, task: FLModel, fl_ctx: FLContext) -> None:
        """Check the partners' keys, or shares. Raises UserError if they are not theirs, or if this process has none."""
        if self.member:
            self.member = self._of_round(task.current_round)
            self.member.receive(task.meta.get(SAID))
        elif self.party:
            self.party.meet(adverts_of(task.meta.get(ADVERTS)))
        else:
            raise UserError(
                "secure aggregation: no keys, because this process is not the job's first; run the job again"
            )

    def _masked(self, update: Update, number: int, sent: str) -> Shareable:
        """The answer to a round of secure aggregation; `sent` is the digest of what this site was sent in it."""
        words = sealed(update, len(self.sites))
        if self.member:
            self._of_round(number).mask(words, sent)
        else:
            assert self.party is not None
            self.party.mask(words, number, sent)
        return FLModelUtils.to_shareable(FLModel(params_type=ParamsType.FULL, params=words))

    def _stream(self, fl_ctx: FLContext) -> Report:
        """What sends the metrics of an epoch to the server, and waits for no answer."""
        engine, no_answer = fl_ctx.get_engine(), 0.0

        def stream(row: EpochRow) -> None:
            engine.send_aux_request(None, LIVE, Shareable({"row": row}), no_answer, fl_ctx, optional=True)

        return stream


class SiteAlone(SiteExecutor):
    """Trains one model on the site's own data without a federation, and keeps it: its curve alone leaves the site."""

    def __init__(self, settings: dict, schedule: dict, noise: dict, checksums: dict, key: str):
        """Takes the fields of `Settings` and `Schedule`, and the rest as `job.write_alone` writes it."""
        super().__init__(checksums)
        self.settings, self.schedule, self.key = Settings(**settings), Schedule(**schedule), key
        self.noise = Mechanism(**noise) if noise else None

    def answer(self, task_name: str, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Answer one `alone` task with the record of the training (`RoundRecord`)."""
        data, site = self.data(fl_ctx), fl_ctx.get_identity_name()  # or they are not those that the job insists on
        if self.noise:
            self.check_noise(self.noise, PLAIN, self.schedule, [site], fl_ctx)
        steps = self.schedule.total(-(-len(data.part("train")[1]) // self.settings.batch_size))
        # Nothing that a mask would hide leaves; its curve does.
        Budget(self.own_file(fl_ctx).kit).charge(Spending.of(self.key, self.noise), True, steps, 0)
        initial = self._initial(FLModelUtils.from_shareable(shareable).params, fl_ctx)
        pooled = Pooled(site, [self.own_file(fl_ctx).data], own=True, noise=self.noise, initial=initial)
        trained = pooled.train(self.settings, PLAIN, self.schedule)
        self.keep(self.key, trained.parameters, self.settings, fl_ctx, "alone")
        (record,) = trained.rounds
        return FLModelUtils.to_shareable(FLModel(metrics={"rounds": 1.0}, meta={"record": record}))

    def _initial(self, sent: Parameters | None, fl_ctx: FLContext) -> Path | None:
        """The model to begin with that the server has sent, if any, as a file in the job's own folder."""
        if not sent:
            return None
        path = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())) / INITIAL
        save_model(path, sent)
        return path


class SiteEvaluator(SiteExecutor):
    """Answers NVFlare's cross-site evaluation: every metric of a model on the site's own test set."""

    def answer(self, task_name: str, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Answer one `validate` task with metrics, and the threshold that they are at.

        The model comes with its settings and the threshold that the server chose; of the site's own model the site
        chooses it. One that another site keeps has no metrics here. If it comes with the model that it may replace, the
        answer is what the gate between them needs of this site (`Measured`), and no metric.
        """
        sent, name = from_shareable(shareable), fl_ctx.get_identity_name()
        job, mine = sent.get_meta_prop("job"), sent.get_meta_prop("site") == name
        if job and not mine:
            return DXO(DataKind.METRICS, data={}).to_shareable()
        parameters, settings = sent.data, Settings(**sent.get_meta_prop("settings"))
        if job:
            parameters, settings = Kept(self.own_file(fl_ctx).kit, job).read()
        data, network = self.data(fl_ctx), restore(settings, parameters)
        if gate := sent.get_meta_prop(GATE):
            networks = network, restore(Settings(**gate["settings"]), gate["parameters"])
            scores = [predict(one, data.part("test")[0], settings.compute) for one in networks]
            measured = measure(name, Scored.of_site(data, *scores), gate["seed"], gate["replicates"])
            return DXO(DataKind.METRICS, data={GATE: measured.sent}).to_shareable()
        threshold = sent.get_meta_prop("threshold")
        if mine:
            threshold = threshold_of(network, data.own_validation(), settings.compute)
        images, labels = data.part("test")
        values = evaluate(labels.astype(float), predict(network, images, settings.compute), threshold)
        return DXO(DataKind.METRICS, data={**values, "threshold": threshold}).to_shareable()


class SiteCard(SiteExecutor):
    """Answers with the site's data card (counts, grey levels, checksums, provenance), and nothing else of its data."""

    def answer(self, task_name: str, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Answer one `card` task."""
        card = card_of(self.own_file(fl_ctx).data)
        return FLModelUtils.to_shareable(FLModel(metrics={"images": float(card["images"])}, meta={"card": card}))


def _number(sent: object, most: int) -> int:
    """The number of a round that a server has sent, from 0 to `most`. Raises UserError if it is no such number.

    False is refused too: it would be round 0 under another name.
    """
    if type(sent) is not int or not 0 <= sent <= most:
        raise UserError(f"this site refuses round {sent!r}, of a job of rounds 0 to {most}")
    return sent
