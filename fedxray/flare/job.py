"""The NVFlare jobs: each some files of configuration, and no code; that of an evaluation brings its models along."""

import hashlib
import json
import shutil
import uuid
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fedxray import __version__
from fedxray.core.files import write_json
from fedxray.experiment.settings import Settings

ROUNDS = "fedxray.rounds"  # the command by which the workflow asks a running job for the records of its rounds
LIVE = "fedxray.live"  # the message by which a site tells a running job the metrics of an epoch
FAILURE = "failure.txt"  # in the job's folder: why it failed
POLL_S = 0.05  # between a site's requests for a task; NVFlare waits 2 s, in each round
OUTAGE_S = 600  # how long a participant may be unreachable before NVFlare takes it for dead


@dataclass(frozen=True)
class Policy:
    """What becomes of a round in which a site does not answer."""

    round_timeout_s: int = 3600
    absent: str = "fail"  # fail: the job fails and names the site | drop: the round does without it, and says so
    min_sites: int = 0  # of drop: how many sites must answer; 0: all

    def needed(self, sites: list[str]) -> int:
        """How many of `sites` must answer."""
        return self.min_sites if self.absent == "drop" and self.min_sites else len(sites)


def add_waits(parser: ArgumentParser) -> None:
    """Let a script take how long to wait for sites on its command line."""
    parser.add_argument("--start-timeout-s", type=int, default=120, help="for all sites to register")
    parser.add_argument("--round-timeout-s", type=int, default=3600, help="for all sites to finish a round")


def add_policy(parser: ArgumentParser) -> None:
    """The same with what becomes of a round without a site."""
    add_waits(parser)
    parser.add_argument("--absent", choices=["fail", "drop"], default="fail", help="of a round without a site")
    parser.add_argument("--min-sites", type=int, default=0, help="of drop: how many must answer; 0: all")


def policy_of(options: Namespace) -> Policy:
    """The policy of `add_policy`."""
    return Policy(options.round_timeout_s, options.absent, options.min_sites)


def key_of(settings: Settings, sites: list[str], rounds: int, local_epochs: int, registered: dict) -> str:
    """What a training job computes, as 64 hexadecimal digits: equal for jobs whose results are the same bytes."""
    content = [__version__, asdict(settings), sorted(sites), rounds, local_epochs, registered]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_training(
    folder: Path,
    settings: Settings,
    sites: list[str],
    rounds: int,
    local_epochs: int,
    policy: Policy,
    registered: dict,
    live: str,
) -> Path:
    """Write the job that trains by federated averaging into `folder` and return it.

    `registered` is {participant: checksums of its data card}, of sites and `shared`; a participant that is not there
    trains on what it has. `live` is the folder of this run below the server's TensorBoard folder.
    """
    trainer = {"settings": asdict(settings), "local_epochs": local_epochs, "registered": registered}
    controller = {**trainer, "sites": sites, "rounds": rounds, "live": live, **asdict(policy)}
    name = key_of(settings, sites, rounds, local_epochs, registered)
    return _write(
        folder,
        f"train-{name}",
        sites,
        policy.needed(sites),
        workflow={"id": "fedavg", "path": "fedxray.flare.server.FedAvgController", "args": controller},
        executor={"tasks": ["train"], "executor": {"path": "fedxray.flare.site.SiteTrainer", "args": trainer}},
    )


def write_evaluation(
    folder: Path, models: list[tuple[Path, Settings]], sites: list[str], timeout_s: int, registered: dict
) -> Path:
    """Write the job of NVFlare's own cross-site evaluation of `models` into `folder`; return it.

    Only the server gets the files of the models; each site is sent their parameters, and the threshold that the server
    chooses on its validation set. Models are called by their number in NVFlare's results.
    """
    (folder / "server" / "models").mkdir(parents=True)
    for number, (path, _) in enumerate(models):
        shutil.copyfile(path, folder / "server" / "models" / f"{number}.safetensors")
    evaluation = {
        "model_locator_id": "models",
        "submit_model_task_name": "",  # the sites' own models are not asked for
        "validation_timeout": timeout_s,
        "participating_clients": sites,
        "task_check_period": POLL_S,
    }
    chosen = {"settings": [asdict(settings) for _, settings in models], "registered": registered}
    digest = hashlib.sha256(json.dumps([__version__, chosen, sorted(sites)], sort_keys=True).encode())
    for path, _ in models:
        digest.update(path.read_bytes())
    path = "nvflare.app_common.workflows.cross_site_model_eval.CrossSiteModelEval"
    evaluator = {"path": "fedxray.flare.site.SiteEvaluator", "args": {"registered": registered}}
    return _write(
        folder,
        f"evaluate-{digest.hexdigest()}",
        sites,
        len(sites),
        workflow={"id": "cross_site", "path": path, "args": evaluation},
        server=[
            {"id": "models", "path": "fedxray.flare.server.ChosenModels", "args": chosen},
            {
                "id": "results",
                "path": "nvflare.app_common.widgets.validation_json_generator.ValidationJsonGenerator",
                "args": {},
            },
        ],
        executor={"tasks": ["validate"], "executor": evaluator},
    )


def write_registration(folder: Path, sites: list[str], timeout_s: int) -> Path:
    """Write the job that asks the server and each site for its data card; return `folder`."""
    args = {"sites": sites, "timeout_s": timeout_s}
    return _write(
        folder,
        f"register-{uuid.uuid4().hex}",  # asked anew each time
        sites,
        len(sites),
        workflow={"id": "register", "path": "fedxray.flare.server.CardCollector", "args": args},
        executor={"tasks": ["card"], "executor": {"path": "fedxray.flare.site.SiteCard", "args": {}}},
    )


def _write(
    folder: Path, name: str, sites: list[str], needed: int, workflow: dict, executor: dict, server: Sequence[dict] = ()
) -> Path:
    """The files, in one app for the server and one for the sites; with fewer than `needed` the job does not start.

    `server` are further components of the server.
    """
    filters = {"task_data_filters": [], "task_result_filters": []}
    meta = {"name": name, "min_clients": needed, "mandatory_clients": sites if needed == len(sites) else []}
    write_json(folder / "meta.json", meta | {"resource_spec": {}, "deploy_map": {"server": ["server"], "site": sites}})
    write_json(
        folder / "server" / "config" / "config_fed_server.json",
        {
            "format_version": 2,
            "server": {"heart_beat_timeout": OUTAGE_S, "task_request_interval": POLL_S},
            "workflows": [workflow],
            "components": list(server),
        }
        | filters,
    )
    write_json(
        folder / "site" / "config" / "config_fed_client.json",
        {
            "format_version": 2,
            "max_runner_sync_timeout": OUTAGE_S,
            "executors": [executor],
            "components": [],
        }
        | filters,
    )
    return folder
