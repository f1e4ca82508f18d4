"""The NVFlare alternative: its own FedAvg recipe for PyTorch in its own simulator, and a client script.

python -m benchmarks.alternatives.nvflare_job --sites DIR ... --shared DIR --settings JSON --rounds N --output FILE
"""

import argparse
import re
import tempfile
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import torch
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv

from benchmarks.alternatives.plain import arguments, read_settings
from fedxray.core.parameters import save_model
from fedxray.training.models import build, get_parameters

STARTED = re.compile(r"^(\S+ \S+) [^\n]*\n-+\n +Round (\d+) started", re.MULTILINE)


def main(options: argparse.Namespace) -> None:
    """Train in the simulator, write the model that its persistor saved, and print the seconds of each round."""
    settings = read_settings(options.settings)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = build(settings)
        torch.save(model.state_dict(), folder / "initial.pt")
        (folder / "settings.json").write_text(options.settings)
        data = options.sites[0].resolve().parent
        recipe = FedAvgRecipe(
            name="bench",
            model=model,
            initial_ckpt=str(folder / "initial.pt"),
            min_clients=len(options.sites),
            num_rounds=options.rounds,
            train_script=str(Path(__file__).with_name("nvflare_client.py")),
            train_args=f"--data {data} --settings {folder / 'settings.json'}" + (" --idle" if options.idle else ""),
            key_metric="auroc",
        )
        environment = SimEnv(clients=[site.name for site in options.sites], workspace_root=str(folder / "simulation"))
        recipe.run(environment)
        results = folder / "simulation" / "bench" / "server" / "simulate_job"
        saved = torch.load(results / "app_server" / "FL_global_model.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(saved.get("model", saved))
        print("seconds of rounds:", *rounds((results.parent / "log.txt").read_text()), flush=True)
    save_model(options.output, get_parameters(model))


def rounds(log: str) -> list[float]:
    """The seconds from the start of each round to the start of the next, from the server's log."""
    starts = {int(number): datetime.strptime(time, "%Y-%m-%d %H:%M:%S,%f") for time, number in STARTED.findall(log)}
    times = [starts[number] for number in sorted(starts)]
    return [(after - before).total_seconds() for before, after in pairwise(times)]


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--idle", action="store_true", help="train nothing, so that only the cost of NVFlare is left")
    main(parser.parse_args())
