"""What one run trains with. Imports no PyTorch: it costs seconds in each process that only passes settings on."""

import json
from dataclasses import dataclass

from fedxray.core.errors import UserError


@dataclass(frozen=True)
class Settings:
    """What one run trains with: the values of the config, the point and the seed."""

    model: str
    image_size: int
    seed: int
    epochs: int  # passes over the data in the whole run; in a federation rounds x local_epochs
    lr: float
    optimizer: str = "adamw"  # adamw | sgd
    weight_decay: float = 0.01
    momentum: float = 0.9  # of sgd
    schedule: str = "cosine"  # cosine | constant
    batch_size: int = 16
    shift: float = 0.05  # augmentation: up to this share of the image's side
    rotate: float = 5.0  # degrees
    scale: float = 0.05
    contrast: float = 0.1
    flip: bool = False
    class_weights: bool = False
    device: str = "auto"  # auto | cpu | cuda
    mixed_precision: bool = True  # on CUDA only
    compile: bool = False  # by torch.compile
    threads: int = 1

    def build(self) -> "torch.nn.Module":  # noqa: F821
        """The initial model: the same for every mode and site of one seed."""
        from fedxray.training.models import build_model  # PyTorch, which who only passes settings on need not wait for

        return build_model(self.model, self.image_size, self.seed)


def parse_settings(text: str) -> Settings:
    """The training settings from the JSON that a rule passes; raises UserError for what is not such."""
    try:
        return Settings(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"--settings: {error}; it takes the fields of fedxray.experiment.settings.Settings as JSON"
        ) from error
