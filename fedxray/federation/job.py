"""The NVFlare jobs: each three files of configuration, and no code."""

from dataclasses import asdict
from pathlib import Path

from fedxray.files import write_json
from fedxray.training import Settings

POLL_S = 0.05  # between a site's requests for a task; NVFlare waits 2 s, in each round


def write_training(
    folder: Path, settings: Settings, sites: list[str], rounds: int, local_epochs: int, round_timeout_s: int
) -> Path:
    """Write the job that trains by federated averaging into `folder` and return it."""
    trainer = {"settings": asdict(settings), "local_epochs": local_epochs}
    controller = {**trainer, "sites": sites, "rounds": rounds, "round_timeout_s": round_timeout_s}
    return _write(
        folder,
        sites,
        workflow={"id": "fedavg", "path": "fedxray.federation.server.FedAvgController", "args": controller},
        server=[{"id": "live", "path": "fedxray.federation.server.LiveScalars", "args": {}}],
        executor={"tasks": ["train"], "executor": {"path": "fedxray.federation.client.SiteTrainer", "args": trainer}},
        client=[
            {
                "id": "analytics_sender",
                "path": "nvflare.app_common.widgets.streaming.AnalyticsSender",
                "args": {},
            },
            {
                "id": "to_server",
                "path": "nvflare.app_common.widgets.convert_to_fed_event.ConvertToFedEvent",
                "args": {"events_to_convert": ["analytix_log_stats"]},
            },
        ],
    )


def write_evaluation(folder: Path, settings: Settings, sites: list[str], timeout_s: int) -> Path:
    """Write the job of NVFlare's own cross-site evaluation, of models that the server has, into `folder`; return it."""
    evaluation = {
        "model_locator_id": "models",
        "submit_model_task_name": "",  # the sites' own models are not asked for
        "validation_timeout": timeout_s,
        "participating_clients": sites,
        "task_check_period": POLL_S,
    }
    path = "nvflare.app_common.workflows.cross_site_model_eval.CrossSiteModelEval"
    evaluator = {"path": "fedxray.federation.client.SiteEvaluator", "args": {"settings": asdict(settings)}}
    return _write(
        folder,
        sites,
        workflow={"id": "cross_site", "path": path, "args": evaluation},
        server=[
            {"id": "models", "path": "fedxray.federation.server.ChosenModels", "args": {}},
            {
                "id": "results",
                "path": "nvflare.app_common.widgets.validation_json_generator.ValidationJsonGenerator",
                "args": {},
            },
        ],
        executor={"tasks": ["validate"], "executor": evaluator},
        client=[],
    )


def _write(folder: Path, sites: list[str], workflow: dict, server: list, executor: dict, client: list) -> Path:
    """The three files; every site must take part, or the job does not start."""
    filters = {"task_data_filters": [], "task_result_filters": []}
    meta = {"name": "fedxray", "min_clients": len(sites), "mandatory_clients": sites}
    write_json(folder / "meta.json", meta | {"resource_spec": {}, "deploy_map": {"app": ["@ALL"]}})
    write_json(
        folder / "app" / "config" / "config_fed_server.json",
        {
            "format_version": 2,
            "server": {"heart_beat_timeout": 600, "task_request_interval": POLL_S},
            "workflows": [workflow],
            "components": server,
        }
        | filters,
    )
    write_json(
        folder / "app" / "config" / "config_fed_client.json",
        {"format_version": 2, "executors": [executor], "components": client} | filters,
    )
    return folder
