"""The client script of the NVFlare alternative: a training loop with the client API, as in NVFlare's hello-pt."""

import argparse
from pathlib import Path

import nvflare.client as flare
import torch

from benchmarks.alternatives import plain
from fedxray.data.site import load_site
from fedxray.training.models import build


def main() -> None:
    """Answer each round with a trained model; with `--idle` send back the model that arrived."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sites' directories")
    parser.add_argument(
        "--settings", type=Path, required=True, help="a file of the settings (experiment.settings.Settings) as JSON"
    )
    parser.add_argument("--idle", action="store_true", help="train nothing, so that only the cost of NVFlare is left")
    options = parser.parse_args()
    settings = plain.read_settings(options.settings.read_text())
    torch.set_num_threads(settings.threads)

    flare.init()
    data, model = load_site(options.data / flare.get_site_name()), build(settings)
    train, validation = plain.tensors(data.part("train")), plain.tensors(data.part("validation"))
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        metrics = {}
        model.load_state_dict({name: torch.as_tensor(value) for name, value in received.params.items()})
        if not options.idle:
            plain.train_epoch(
                model, plain.make_optimizer(model, settings), train, settings, int(received.current_round)
            )
            metrics = plain.evaluate(model, validation)
        flare.send(
            flare.FLModel(
                params=model.cpu().state_dict(), metrics=metrics, meta={"NUM_STEPS_CURRENT_ROUND": len(train[1])}
            )
        )


if __name__ == "__main__":
    main()
