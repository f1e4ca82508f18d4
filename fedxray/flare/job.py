"""The NVFlare jobs: each is some files of configuration, and no code. An evaluation also brings its models along."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from fedxray import __version__
from fedxray.core.files import write_json
from fedxray.experiment.method import PLAIN, Method
from fedxray.experiment.settings import Settings
from fedxray.federation.engine import Model
from fedxray.federation.policy import Policy, Schedule
from fedxray.flare.tasks import ALONE, CARD, INITIAL, KEYS, PERSONAL, PREDECESSOR, STEPS, TRAIN, VALIDATE
from fedxray.training.mechanism import Mechanism

# Seconds between a site's requests for a task, at first and at most. NVFlare's own 2 s a run would pay in each round.
POLL_S, LONGEST_POLL_S = 0.05, 1.0
OUTAGE_S = 600  # how long a participant may be unreachable before NVFlare takes it for dead


class Participants(NamedTuple):
    """Who takes part in a job, with which data, and what becomes of a round in which one does not answer."""

    sites: list[str]
    checksums: dict[str, dict]  # of the data cards of sites and `shared`; one that is not named may have any data
    policy: Policy
    own: bool = False  # sites validate on their own patients alone

    @property
    def needed(self) -> int:
        """How many sites must answer."""
        return self.policy.needed(self.sites)

    def all_needed(self) -> "Participants":
        """The same participants, of whom each must answer."""
        return self._replace(policy=replace(self.policy, absent="fail", min_sites=0))


class Gate(NamedTuple):
    """What an evaluation asks instead of metrics: how a model does beside the one that it may replace."""

    predecessor: Model
    seed: int  # of the bootstrap over patients
    replicates: int


def key_of(
    participants: Participants,
    settings: Settings,
    method: Method,
    schedule: Schedule,
    noise: Mechanism | None = None,
) -> str:
    """What a training job computes, as 64 hexadecimal digits: equal for jobs whose results are the same bytes.

    Of jobs with secret noise it is equal for those that ask for the same.
    """
    sites, checksums, _, own = participants
    content = [__version__, settings.content, *map(asdict, (method, schedule)), sorted(sites), checksums, own]
    content += [asdict(noise)] if noise else []
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_training(
    folder: Path,
    participants: Participants,
    settings: Settings,
    method: Method,
    schedule: Schedule,
    noise: Mechanism | None,
    live: str,
    initial: Path | None = None,
) -> Path:
    """Write the job that trains one model into `folder`, and return it.

    With `noise` its steps are private. `live` is the folder of this run below the server's TensorBoard folder. The file
    `initial`, if any, is the model of the first round, and goes to the server, which sends it.
    """
    sites, checksums, policy, own = participants
    key = key_of(participants, settings, method, schedule, noise)
    parts = {"settings": settings, "method": method, "schedule": schedule}
    values = {name: asdict(part) for name, part in parts.items()} | {"checksums": checksums, "key": key}
    values["noise"] = asdict(noise) if noise else {}
    controller = {**values, "sites": sites, "policy": asdict(policy), "live": live}
    trainer = {"path": "fedxray.flare.site.SiteTrainer", "args": {**values, "sites": sites, "own": own}}
    return _write(
        folder,
        f"train-{key}",
        participants,
        brought={INITIAL: initial} if initial else {},
        workflow={"id": "rounds", "path": "fedxray.flare.server.FederationController", "args": controller},
        executor={"tasks": [KEYS, *STEPS, TRAIN, PERSONAL], "executor": trainer},
    )


def write_alone(
    folder: Path,
    participants: Participants,
    settings: Settings,
    schedule: Schedule,
    noise: Mechanism | None,
    live: str,
    initial: Path | None = None,
) -> Path:
    """Write the job by which the one site of `participants` trains alone and keeps the model, and return its `folder`.

    `noise`, `live` and `initial` are as of `write_training`.
    """
    sites, checksums, policy, _ = participants
    key = key_of(participants, settings, PLAIN, schedule, noise)
    about = {"settings": asdict(settings), "schedule": asdict(schedule)}
    controller = {**about, "sites": sites, "timeout_s": policy.round_timeout_s, "live": live}
    trainer = {**about, "checksums": checksums, "key": key}
    trainer["noise"] = asdict(noise) if noise else {}
    return _write(
        folder,
        f"alone-{key}",
        participants,
        brought={INITIAL: initial} if initial else {},
        workflow={"id": "alone", "path": "fedxray.flare.server.AloneController", "args": controller},
        executor={"tasks": [ALONE], "executor": {"path": "fedxray.flare.site.SiteAlone", "args": trainer}},
    )


def write_evaluation(
    folder: Path, participants: Participants, models: Sequence[Model], gate: Gate | None = None
) -> Path:
    """Write the job of NVFlare's own cross-site evaluation of `models` into `folder`, and return it.

    Only the server gets the files of the models. Each site is sent their parameters, and the threshold that the server
    chooses on its validation set; of a model that stays at its site nobody is sent any. NVFlare's results call a model
    by its number. With a `gate` each site is also sent the predecessor, and answers what the gate needs.
    """
    sites, checksums, policy, _ = participants
    files = {f"models/{number}.safetensors": model.path for number, model in enumerate(models) if not model.job}
    about = [{"settings": asdict(model.settings), "site": model.site, "job": model.job} for model in models]
    locator: dict = {"models": about, "checksums": checksums}
    if gate:
        files[PREDECESSOR] = gate.predecessor.path
        draw = {"seed": gate.seed, "replicates": gate.replicates}
        locator["gate"] = {"settings": asdict(gate.predecessor.settings), **draw}
    path = "nvflare.app_common.workflows.cross_site_model_eval.CrossSiteModelEval"
    evaluation = {
        "model_locator_id": "models",
        "submit_model_task_name": "",  # the sites' own models are not asked for
        "validation_timeout": policy.round_timeout_s,
        "participating_clients": sites,
        "task_check_period": POLL_S,
    }
    results = "nvflare.app_common.widgets.validation_json_generator.ValidationJsonGenerator"
    evaluator = {"path": "fedxray.flare.site.SiteEvaluator", "args": {"checksums": checksums}}
    return _write(
        folder,
        f"evaluate-{_digest([locator, sorted(sites)], files.values())}",
        participants,
        brought=files,
        workflow={"id": "cross_site", "path": path, "args": evaluation},
        server=[
            {"id": "models", "path": "fedxray.flare.server.ChosenModels", "args": locator},
            {"id": "results", "path": results, "args": {}},
        ],
        executor={"tasks": [VALIDATE], "executor": evaluator},
    )


def poll_s(waited_s: float) -> float:
    """Seconds after which a site asks again for a task, if all have waited `waited_s` for the answers to the last one.

    A fiftieth, so that a round takes 1 % longer on average and not more, and who waits for others costs little.
    """
    return min(max(POLL_S, waited_s / 50), LONGEST_POLL_S)


def write_card_collection(folder: Path, participants: Participants) -> Path:
    """Write the job that asks the server and each site for its data card into `folder`, and return it."""
    args = {"sites": participants.sites, "timeout_s": participants.policy.round_timeout_s}
    return _write(
        folder,
        f"cards-{uuid.uuid4().hex}",  # a new job each time, because the data may have changed
        participants,
        workflow={"id": "cards", "path": "fedxray.flare.server.CardCollector", "args": args},
        executor={"tasks": [CARD], "executor": {"path": "fedxray.flare.site.SiteCard", "args": {}}},
    )


def _digest(content: list, paths: Iterable[Path]) -> str:
    """The SHA-256 of `content` and of the files `paths`, as 64 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps([__version__, *content], sort_keys=True).encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write(
    folder: Path,
    name: str,
    participants: Participants,
    workflow: dict,
    executor: dict,
    server: Sequence[dict] = (),
    brought: Mapping[str, Path] = MappingProxyType({}),
) -> Path:
    """Write a job's files anew: an app for the server, with its further components `server`, and one for the sites.

    The server's app has a copy of each file that is `brought`, by its path there.
    """
    shutil.rmtree(folder, ignore_errors=True)  # a file that another job brought is none of this one
    for place, path in brought.items():
        (folder / "server" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / "server" / place)
    sites, needed = participants.sites, participants.needed
    filters = {"task_data_filters": [], "task_result_filters": []}
    # With fewer sites than needed the job does not start.
    meta = {"name": name, "min_clients": needed, "mandatory_clients": sites if needed == len(sites) else []}
    write_json(folder / "meta.json", meta | {"resource_spec": {}, "deploy_map": {"server": ["server"], "site": sites}})
    write_json(
        folder / "server" / "config" / "config_fed_server.json",
        {
            "format_version": 2,
            "server": {"heart_beat_timeout": OUTAGE_S, "task_request_interval": POLL_S},
            "workflows": [workflow],
            "components": list(server),
            **filters,
        },
    )
    write_json(
        folder / "site" / "config" / "config_fed_client.json",
        {
            "format_version": 2,
            "max_runner_sync_timeout": OUTAGE_S,
            "executors": [executor],
            "components": [],
            **filters,
        },
    )
    return folder
