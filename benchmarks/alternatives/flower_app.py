"""The Flower alternative: its own FedAvg in its own simulation engine (Ray). It runs in .venv-bench.

python -m benchmarks.alternatives.flower_app --sites DIR ... --shared DIR --settings JSON --rounds N --output FILE
"""

import argparse
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from benchmarks.alternatives import plain
from fedxray.core.parameters import save_model
from fedxray.data.site import load_site
from fedxray.experiment.settings import Settings
from fedxray.training.models import build, get_parameters


def make_client(sites: list[Path], settings: Settings) -> ClientApp:
    """A client app whose nodes train on the site of their partition."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        torch.set_num_threads(settings.threads)
        data, model = load_site(sites[context.node_config["partition-id"]]), build(settings)
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        part, validation = plain.tensors(data.part("train")), plain.tensors(data.part("validation"))
        epoch = message.content["config"]["server-round"] - 1
        loss = plain.train_epoch(model, plain.make_optimizer(model, settings), part, settings, epoch)
        metrics = {"train_loss": loss, "num-examples": len(part[1]), **plain.evaluate(model, validation)}
        content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord(metrics)})
        return Message(content=content, reply_to=message)

    return app


def make_server(settings: Settings, sites: int, rounds: int, output: Path) -> ServerApp:
    """A server app that trains by FedAvg and writes the model."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=sites, min_available_nodes=sites)
        model = build(settings)
        result = strategy.start(grid=grid, initial_arrays=ArrayRecord(model.state_dict()), num_rounds=rounds)
        model.load_state_dict(result.arrays.to_torch_state_dict())
        save_model(output, get_parameters(model))

    return app


def main(options: argparse.Namespace) -> None:
    """Simulate the sites, each on one core."""
    settings = plain.read_settings(options.settings)
    sites = [site.resolve() for site in options.sites]
    run_simulation(
        make_server(settings, len(sites), options.rounds, options.output.resolve()),
        make_client(sites, settings),
        num_supernodes=len(sites),
        backend_config={"client_resources": {"num_cpus": settings.threads, "num_gpus": 0.0}},
    )


if __name__ == "__main__":
    main(plain.arguments(__doc__).parse_args())
