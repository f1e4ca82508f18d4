"""The NVFlare job: three files of configuration, and no code."""

from dataclasses import asdict
from pathlib import Path

from fedxray.files import write_json
from fedxray.training import Settings


def write_job(
    folder: Path, settings: Settings, sites: list[str], rounds: int, local_epochs: int, round_timeout_s: int
) -> Path:
    """Write the job into `folder` and return it; every site must take part, or the job does not start."""
    trainer = {"settings": asdict(settings), "local_epochs": local_epochs}
    controller = {**trainer, "sites": sites, "rounds": rounds, "round_timeout_s": round_timeout_s}
    config = folder / "app" / "config"
    write_json(
        folder / "meta.json",
        {
            "name": "fedxray",
            "min_clients": len(sites),
            "mandatory_clients": sites,
            "resource_spec": {},
            "deploy_map": {"app": ["@ALL"]},
        },
    )
    write_json(
        config / "config_fed_server.json",
        {
            "format_version": 2,
            "server": {"heart_beat_timeout": 600, "task_request_interval": 0.05},  # 2 s by default, each round
            "workflows": [
                {"id": "fedavg", "path": "fedxray.federation.server.FedAvgController", "args": controller},
            ],
            "components": [{"id": "live", "path": "fedxray.federation.server.LiveScalars", "args": {}}],
            "task_data_filters": [],
            "task_result_filters": [],
        },
    )
    write_json(
        config / "config_fed_client.json",
        {
            "format_version": 2,
            "executors": [
                {
                    "tasks": ["train"],
                    "executor": {"path": "fedxray.federation.client.SiteTrainer", "args": trainer},
                }
            ],
            "components": [
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
            "task_data_filters": [],
            "task_result_filters": [],
        },
    )
    return folder
