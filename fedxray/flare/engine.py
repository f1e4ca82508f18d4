"""What the two engines of NVIDIA FLARE share: each training, evaluation and collection of cards is one NVFlare job."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fedxray.analysis.gate import Measured
from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.core.parameters import load_model
from fedxray.experiment.method import Method
from fedxray.experiment.settings import Settings
from fedxray.federation.engine import Evaluated, Model, Own, Trained
from fedxray.federation.policy import Policy, Schedule
from fedxray.federation.records import epochs_of, sites_of
from fedxray.flare.job import Gate, Participants, key_of, write_card_collection, write_evaluation, write_training
from fedxray.flare.session import AdminSession
from fedxray.flare.tasks import CARDS, GATE, MODEL, RECORDS, THRESHOLDS
from fedxray.training.mechanism import Mechanism

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FlareEngine(ABC):
    """An engine (`fedxray.federation.engine.Federation`) whose sites and server are NVFlare's processes."""

    policy: Policy
    start_timeout_s: int  # for all sites to register
    noise: Mechanism | None = None  # of private training
    initial: Path | None = None  # the file of the model of the first round; None: random weights

    name: ClassVar[str] = "nvflare"
    loses_messages: ClassVar[bool]  # whether a message that a site streams may get lost; its results never do

    @property
    @abstractmethod
    def participants(self) -> Participants:
        """Who takes part."""

    @property
    @abstractmethod
    def live_below(self) -> str:
        """The folder, below the server's TensorBoard folder, in which scalars arrive while a run trains."""

    @abstractmethod
    def open(self, scratch: Path, threads: int) -> AbstractContextManager[AdminSession]:
        """A session with the server, which is up as long as the context lasts; `threads` are those of one trainer."""

    def train(self, settings: Settings, method: Method, schedule: Schedule, scratch: Path) -> Trained:
        """Train one model. Raises UserError, with why, if the job did not do all that it should have.

        If the method is personal, each site keeps its own model, and only the rows of it come here.
        """
        scratch = scratch.resolve()  # NVFlare changes its directory
        parts = self.participants, settings, method, schedule, self.noise
        job = write_training(scratch / "job", *parts, self.live_below, self.initial)
        with self._ran(job, self.participants, settings.threads, scratch, schedule.rounds) as (_, folder):
            result, parameters = read_json(folder / RECORDS), load_model(folder / MODEL)
            checks = self._check(result, method, schedule)
        key, records = key_of(*parts), result["rounds"]
        personal = {site: Own(None, rows, key) for site, rows in result["personal"].items()}
        place = result["device"], result["machine"]
        privacy = self.noise.about if self.noise else {}
        return Trained(parameters, records, *place, None, personal, result["partners"], checks, privacy)

    def evaluate(self, models: Mapping[str, Model], scratch: Path) -> Evaluated:
        """Evaluate each model on each site's test set, by NVFlare's cross-site evaluation.

        The server chooses each model's threshold on its validation set, but a site that of its own model. Each site
        evaluates each model on its own test set, and only metrics leave it; a model that stays at its site is evaluated
        there alone. Raises UserError as `train` does.
        """
        participants, scratch = self.participants.all_needed(), scratch.resolve()
        job = write_evaluation(scratch / "job", participants, list(models.values()))
        sites = {name: [model.site] if model.job else participants.sites for name, model in models.items()}
        threads = next(iter(models.values())).settings.threads
        metrics, numbered = self._evaluated(job, participants, threads, scratch, sites)
        own = {
            name: metrics[name][model.site]["threshold"]
            for name, model in models.items()
            if model.site in metrics[name]
        }
        return Evaluated(metrics, {name: own.get(name, numbered.get(str(at))) for at, name in enumerate(models)})

    def compare(
        self, candidate: Model, predecessor: Model, seed: int, replicates: int, scratch: Path
    ) -> dict[str, Measured]:
        """What the gate between two models needs of each site, by name: each compares them on its own test set.

        Only these numbers leave it. `seed` and `replicates` are those of the gate's rules. Raises UserError as
        `evaluate` does, and for a site whose fedxray knows no gate.
        """
        participants, scratch = self.participants.all_needed(), scratch.resolve()
        gate, of_both = Gate(predecessor, seed, replicates), "the gate"
        job = write_evaluation(scratch / "job", participants, [candidate], gate)
        sites = {of_both: participants.sites}
        answers, _ = self._evaluated(job, participants, candidate.settings.threads, scratch, sites)
        return {site: _measured(site, answer) for site, answer in answers[of_both].items()}

    def _evaluated(
        self, job: Path, participants: Participants, threads: int, scratch: Path, sites: Mapping[str, list[str]]
    ) -> tuple[dict[str, dict[str, dict]], dict[str, float]]:
        """({model: {site: its answer}}, {number of a model: threshold}) of a cross-site evaluation.

        `sites` are those that evaluate each model, in the order of the job. Raises UserError if one has no answer; the
        server forgets the job then too, or the next of the same content would be that one.
        """
        with self._ran(job, participants, threads, scratch) as (session, folder):
            results = read_json(folder / "cross_site_val" / "cross_val_results.json")
            # NVFlare calls the models by their numbers.
            answers = {
                name: {site: results.get(site, {}).get(f"SRV_{number}") for site in sites[name]}
                for number, name in enumerate(sites)
            }
            missing = [(name, site) for name, found in answers.items() for site in found if not found[site]]
            reasons = [f"{name} from {session.reason(folder, [site])}" for name, site in missing[:1]]
            thresholds = {} if reasons else read_json(folder / THRESHOLDS)  # of models that stay at sites there is none
        if reasons:
            raise UserError(f"cross-site evaluation: no metrics of {reasons[0]}")
        return answers, thresholds

    def cards(self, scratch: Path) -> dict[str, dict]:
        """The data cards of every site and of the shared validation set (`shared`), by name."""
        participants, scratch = self.participants.all_needed(), scratch.resolve()
        job = write_card_collection(scratch / "job", participants)
        with self._ran(job, participants, 1, scratch) as (_, folder):
            return read_json(folder / CARDS)

    @contextmanager
    def _ran(
        self, job: Path, participants: Participants, threads: int, scratch: Path, rounds: int = 0
    ) -> Iterator[tuple[AdminSession, Path]]:
        """Run `job`, and yield the session and the folder of what the job left.

        The server forgets the job when the context ends, also if the job did not do what it should have (UserError), or
        the next of the same content would be that one; of another error, such as a full disk, the job stays there.
        """
        with self.open(scratch, threads) as session:
            sites = participants.sites
            registered = session.wait_for(sites, participants.needed, self.start_timeout_s)
            missing = [site for site in sites if site not in registered]
            without = f"; without {', '.join(missing)}" if missing else ""
            log.info(f"{len(registered)} sites registered: {', '.join(registered)}{without}")
            job_id, folder = session.run(job, rounds, scratch / "result")
            try:
                yield session, folder
            except UserError:
                session.forget(job_id)
                raise
            session.forget(job_id)

    def _check(self, result: dict, method: Method, schedule: Schedule) -> dict:
        """What the job should have done, each shown in its `result`; raises UserError for what it did not."""
        records, sites, needed = result["rounds"], sorted(self.participants.sites), self.participants.needed
        everyone = all(sorted([*record["sites"], *record["absent"]]) == sites for record in records)
        recorded = all(  # of a secure aggregation no site's rows leave it
            len(rows) == (0 if method.secure_aggregation else schedule.measured(record["round"] - 1))
            for record in records
            for rows in record["sites"].values()
        )
        streamed = result["streamed"] == epochs_of(records[result["resumed"] :])
        checks = {
            "completed": True,  # or `AdminSession.run` raised
            "rounds": [record["round"] for record in records] == list(range(1, schedule.rounds + 1)),
            "sites_in_every_round": everyone and all(len(record["sites"]) >= needed for record in records),
            "model_changed": result["changed"],
            "epochs_recorded": recorded,
            "epochs_streamed": streamed or self.loses_messages,
        }
        if method.secure_aggregation:
            masked = set(result["partners"])  # of whom keys were seen in this job
            checks["answers_masked"] = bool(masked) and masked >= set(sites_of(records[result["resumed"] :]))
        if method.is_personal:
            own, absent = result["personal"], result["without_own_model"]
            checks["own_model_at_every_site"] = sorted([*own, *absent]) == sites and len(own) >= needed
            whole = 1 + schedule.tail
            least = 1 if method.finetune_stop == "validation" else whole  # rows end with the epoch that is kept
            checks["own_epochs_recorded"] = all(least <= len(rows) <= whole for rows in own.values())
        if failed := [name for name, passed in checks.items() if not passed]:
            raise UserError(f"federated job completed, but failed its checks: {', '.join(failed)}")
        absences = {record["round"]: record["absent"] for record in records if record["absent"]}
        notes = {"streamed_epochs": result["streamed"], "absent": absences, "resumed_after_round": result["resumed"]}
        notes["without_own_model"] = result["without_own_model"]
        return checks | {name: note for name, note in notes.items() if note}


def _measured(site: str, answer: Mapping) -> Measured:
    """What a site has answered for a gate. Raises UserError if it is no such thing: an older one sends metrics."""
    try:
        return Measured.read(answer[GATE])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{site}: its fedxray is older than the one here, and knows no gate; send it the new archive "
            "(fedxray-server provision)"
        ) from error
