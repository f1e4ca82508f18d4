"""Federations for tests: methods, sites that differ in size, and a plain loop which all engines must equal."""

import math
from fractions import Fraction

import numpy as np
from helpers.data import make_sites

from fedxray.data.site import load_site
from fedxray.experiment.method import Method
from fedxray.federation.algorithms import algorithm_of
from fedxray.federation.means import mean_of
from fedxray.federation.policy import Schedule
from fedxray.training.models import build, get_parameters, norms_of, restore, set_parameters
from fedxray.training.rows import Segment
from fedxray.training.trainer import Trainer, validate

IMAGES = {"us": 24, "europe": 40, "asia": 10}  # 2, 3 and 1 batches of 16


def make_method(**changed):
    """Plain federated averaging with numbers that do something, with what is `changed`."""
    plain = Method(
        "fedavg", "weighted", "fresh", 0, "budget", 0.1, 0.1, 0.5, 0.5, 0.9, 0.99, 0.1, 0.34, 0, "float32", False
    )
    return Method(**vars(plain) | changed)


def unequal_sites(folder):
    """({site: its directory}, that of the shared validation set) of sites that differ in their number of images."""
    folders = {
        site: make_sites(folder / site, images=images, seed=seed)[site]
        for seed, (site, images) in enumerate(IMAGES.items())
    }
    return folders, folder / "us" / "shared"


def rounds_of(rounds, passes=1.0, tail=0):
    return Schedule(rounds, passes, 0, tail)


def same(one, other):
    """Whether two models, or the models of several sites, have the same bits."""
    if one.keys() != other.keys():
        return False
    return all(
        same(one[name], other[name]) if isinstance(one[name], dict) else one[name].tobytes() == other[name].tobytes()
        for name in one
    )


class Hospital:
    """What a site's half of an algorithm trains with."""

    def __init__(self, settings, data):
        self.model = build(settings)
        self.norms = norms_of(self.model)
        self.trainer = Trainer(settings, data.part("train"), data.part("validation"))

    def fit(self, model, moments=None, correct=None, quiet=False):
        set_parameters(self.model, model)
        segments = [Segment(self.first, self.first + self.steps, None)]
        fitted = self.trainer.fit(self.model, segments, self.total, moments=moments, correct=correct)
        return get_parameters(self.model), fitted.moments


def plain_loop(
    folders, shared, settings, method, schedule, absent=lambda number, site: False, further=None, start=None
):
    """(the model, {site: its own, of a personal method}): a loop over rounds (from 0) and sites.

    It begins with the model `start`, or with random weights, and knows schedules of `round` alone. `further` epochs of
    the schedule's last ones are trained at each site, or all.
    """
    further = schedule.tail if further is None else further
    data, passes = {site: load_site(folder) for site, folder in folders.items()}, Fraction(str(schedule.round))
    images = {site: len(part.part("train")[1]) for site, part in data.items()}
    sites = {site: (algorithm_of(method), Hospital(settings, part)) for site, part in data.items()}
    server, model = algorithm_of(method), start or get_parameters(build(settings))
    for _, hospital in sites.values():
        trained = math.ceil(schedule.rounds * passes * hospital.trainer.batches)
        hospital.total = trained + schedule.tail * hospital.trainer.batches

    def loss(answer):
        before = model if method.precision == "float16" else dict.fromkeys(model, np.float32(0))
        network = restore(settings, {name: before[name] + answer[name] for name in model})
        return validate(network, load_site(shared).part("validation"), settings.compute)["validation_loss"]

    def travels(weights):
        """Of the model's weights what arrives of them; the rest as it is."""
        if method.precision == "float32":
            return weights
        return weights | {name: np.float32(np.float16(weights[name])) for name in model if name in weights}

    for number in range(schedule.rounds):
        sent, answers = travels(server.send(model)), {}
        for site, (half, hospital) in sites.items():
            starts = [math.ceil(at * passes * hospital.trainer.batches) for at in (number, number + 1)]
            hospital.first, hospital.steps = starts[0], starts[1] - starts[0]
            if not absent(number, site):
                answers[site] = half.train(hospital, sent)
                if method.precision == "float16":
                    changes = {name: value - sent[name] for name, value in answers[site].items() if name in model}
                    answers[site] = answers[site] | travels(changes)
        mean = mean_of(answers, images, method, loss)
        if method.precision == "float16":
            mean = mean | {name: model[name] + mean[name] for name in model if name in mean}
        model = server.update(model, mean, len(answers) / len(sites))
    own = {}
    for site, (half, hospital) in sites.items() if method.is_personal else ():
        steps = further * hospital.trainer.batches
        hospital.first, hospital.steps = hospital.total - schedule.tail * hospital.trainer.batches, steps
        start, moments = half.personal(hospital, travels(server.send(model)))
        own[site] = hospital.fit(start, moments)[0] if steps else start
    return model, own


# A federation of each algorithm and of each mean; of rounds of part of an epoch; and of every way with moments.
FEDERATIONS = [
    (make_method(), rounds_of(2, 2.0)),
    (make_method(mean="median", moments="kept"), rounds_of(4, 0.5)),
    (make_method(name="fedprox", mean="trimmed"), rounds_of(2)),
    (make_method(name="fedavgm", mean="krum", moments="averaged"), rounds_of(2)),
    (make_method(name="fedadam", mean="multikrum", moments="kept"), rounds_of(4, 0.5)),
    (make_method(name="fedyogi", mean="screened", moments="averaged"), rounds_of(2)),
    (make_method(name="scaffold", moments="kept", finetune=1), rounds_of(4, 0.25, 1)),
    (make_method(name="fednova", moments="averaged"), rounds_of(4, 0.5)),
    (make_method(name="fedbn", mean="median", moments="averaged"), rounds_of(4, 0.5)),
    (make_method(name="ditto", moments="averaged", finetune=1), rounds_of(4, 0.5, 1)),
]


def name_of(federation):
    method, _ = federation
    return method.slug


def models_of(trained):
    """The model of what an engine returns, and the sites' own."""
    return trained.parameters, {site: own.parameters for site, own in trained.personal.items()}
