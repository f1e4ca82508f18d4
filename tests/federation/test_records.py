"""What is said of a run's rounds, and its settings by name."""

import math

from helpers.data import make_settings
from helpers.federation import rounds_of

from fedxray.experiment.privacy import privacy_of
from fedxray.federation.records import epoch_line, point_of, round_line
from fedxray.training.mechanism import mechanism_of

ROW = {"epoch": 2, "train_loss": 0.25, "validation_auroc": 0.8, "seconds": 1.0}
ROUND = {"round": 2, "train_loss": 0.25, "validation": {"validation_auroc": 0.8}, "seconds": 1.0, "absent": {}}


def test_a_loss_that_nobody_knows_is_a_dash():
    assert epoch_line(ROW, 4) == "epoch 2/4  loss 0.2500  validation AUROC 0.8000  1.0 s"
    assert epoch_line(ROW | {"train_loss": math.nan}, 4) == "epoch 2/4  loss -  validation AUROC 0.8000  1.0 s"
    assert round_line(ROUND, 4) == "round 2/4  loss 0.2500  validation AUROC 0.8000  1.0 s"
    assert round_line(ROUND | {"train_loss": None}, 4) == "round 2/4  loss -  validation AUROC 0.8000  1.0 s"
    assert round_line(ROUND | {"train_loss": math.nan}, 4) == "round 2/4  loss -  validation AUROC 0.8000  1.0 s"


def test_the_settings_of_a_private_run_name_the_place_of_its_noise_and_its_epsilon():
    values = {"dp": "sum", "epsilon": 3.0, "delta": 1e-4, "clip": 1.0, "lr": 1.0, "steps": 10, "patients_per_step": 32}
    values |= {"colluders": 0, "noise": "seeded"}
    noise = mechanism_of(privacy_of(values), 500, 500, 3, "patient")
    about = make_settings(), rounds_of(4)
    plain, private = point_of("federated", "pooled", *about), point_of("federated", "pooled", *about, noise=noise)
    assert {name: private[name] for name in private.keys() - plain.keys()} == {"dp": "sum", "epsilon": noise.epsilon}
    assert 2.9 < private["epsilon"] <= 3.0
