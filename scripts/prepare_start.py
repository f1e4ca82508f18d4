"""Write the model that every run begins with, in the form of the experiment's own model."""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import sha256
from fedxray.core.parameters import save_model
from fedxray.training.start import make_start


def main(options):
    """Write the file."""
    parameters = make_start(options.initial, options.model, options.image_size, options.norms, options.standardise)
    save_model(options.output, parameters)
    print(f"{options.initial}: SHA-256 {sha256(options.output)}")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--initial", required=True, help="model.initial of config.yaml")
    arguments.add_argument("--model", required=True, help="name of the model")
    arguments.add_argument("--image-size", type=int, required=True, help="pixels of a side")
    arguments.add_argument("--norms", required=True, help="what becomes of BatchNorm: group, batch or frozen")
    arguments.add_argument("--standardise", required=True, help="how greys are standardised: image or imagenet")
    arguments.add_argument("--output", type=Path, required=True, help="initial.safetensors, to write")
    cli.run(main, arguments)
