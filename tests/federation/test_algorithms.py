"""Each algorithm on quadratics, whose answers have closed forms, and against NVFlare's own implementations.

A site's loss is h / 2 (w - a)² in each coordinate, so that K steps of plain gradient descent of rate s from x end at
a + (1 - s h)^K (x - a).
"""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.federation import make_method
from nvflare.app_opt.pt.fedopt import PTFedOptModelShareableGenerator
from nvflare.app_opt.pt.fedproxloss import PTFedProxLoss
from nvflare.app_opt.pt.scaffold import PTScaffoldHelper
from torch import nn

from fedxray.federation.algorithms import algorithm_of
from fedxray.federation.means import weighted
from fedxray.training.trainer import get_moments, set_moments

RATE = 0.1
IMAGES = {"a": 30, "b": 10, "c": 20}
SHARES = {site: images / 60 for site, images in IMAGES.items()}
CURVATURES = {"a": [1.0, 3.0], "b": [2.0, 0.5], "c": [4.0, 1.0]}
CENTRES = {"a": [0.0, 1.0], "b": [5.0, -2.0], "c": [-1.0, 3.0]}
START = np.array([2.0, 2.0])


class Point(nn.Module):
    """A model of two parameters, of which one stands for a normalisation."""

    def __init__(self, values):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(np.asarray(values[:1], float)))
        self.norm = nn.Parameter(torch.tensor(np.asarray(values[1:], float)))


class Site:
    """What a site's half of an algorithm trains with: a quadratic."""

    def __init__(self, site, steps, momentum=0.0, rate=RATE):
        self.rate = rate
        self.h, self.a = (torch.tensor(values[site]) for values in (CURVATURES, CENTRES))
        self.steps, self.momentum, self.norms = steps, momentum, frozenset(["norm"])

    def loss(self, model):
        return (self.h / 2 * (torch.cat([model.w, model.norm]) - self.a) ** 2).sum()

    def fit(self, model, moments=None, correct=None, quiet=False):
        network = Point(vector(model))
        optimizer = torch.optim.SGD(network.parameters(), lr=self.rate, momentum=self.momentum)
        if moments:
            set_moments(network, optimizer, moments)
        hook = correct(network) if correct else lambda: None
        for _ in range(self.steps):
            optimizer.zero_grad()
            self.loss(network).backward()
            hook()
            optimizer.step()
        return arrays(network), lambda: get_moments(network, optimizer)


def arrays(network):
    return {name: value.detach().numpy().copy() for name, value in network.named_parameters()}


def vector(model):
    return np.concatenate([model["w"], model["norm"]])


def run(method, steps, rounds, start=START, rate=RATE):
    """(the model after each round, the sites' halves): `steps` is {site: those of a round}, or those of all sites."""
    steps = steps if isinstance(steps, dict) else dict.fromkeys(IMAGES, steps)
    sites = {site: (algorithm_of(method), Site(site, steps[site], rate=rate)) for site in IMAGES}
    server, model, path = algorithm_of(method), arrays(Point(start)), []
    for _ in range(rounds):
        sent = server.send(model)
        answers = {site: half.train(quadratic, sent) for site, (half, quadratic) in sites.items()}
        model = server.update(model, weighted(answers, IMAGES), 1.0)
        path.append(vector(model))
    return path, {site: half for site, (half, _) in sites.items()}


def after(site, x, steps, pull=0.0, centre=None):
    """Where a site ends after `steps` from x, drawn to `centre` with strength `pull`."""
    h, a = np.array(CURVATURES[site]), np.array(CENTRES[site])
    end = (h * a + pull * (x if centre is None else centre)) / (h + pull)
    return end + (1 - RATE * (h + pull)) ** steps * (x - end)


def of_all(value):
    """The mean of a function of the sites, weighted by images."""
    return sum(SHARES[site] * value(site) for site in IMAGES)


OPTIMUM = of_all(lambda site: np.multiply(CURVATURES[site], CENTRES[site])) / of_all(
    lambda site: np.array(CURVATURES[site])
)


def fixed_point(step):
    """Where a round, a linear map x -> step(x), leaves x as it is: what many rounds come to."""
    zero, slope = step(np.zeros(2)), step(np.ones(2)) - step(np.zeros(2))
    return zero / (1 - slope)


def end_of(method, steps, rate=RATE):
    """What many rounds of a method that keeps nothing come to."""
    return fixed_point(lambda x: run(method, steps, 1, x, rate)[0][0])


@pytest.mark.parametrize("mu", [0.0, 0.7])
def test_fedavg_and_fedprox_go_where_the_closed_form_goes_and_not_to_the_optimum(mu):
    def step(x):
        return of_all(lambda site: after(site, x, 10, mu))

    path, _ = run(make_method(name="fedprox", mu=mu), 10, 5)
    x = START
    for found in path:
        x = step(x)
        assert np.allclose(found, x, rtol=1e-6)
    end = end_of(make_method(name="fedprox", mu=mu), 10)
    assert np.allclose(end, fixed_point(step), rtol=1e-6)
    assert np.abs(end - OPTIMUM).max() > 0.1


def test_the_stronger_fedprox_pulls_the_nearer_it_comes_to_the_optimum():
    ends = [end_of(make_method(name="fedprox", mu=mu), 50) for mu in (0, 1, 3, 9)]
    distances = [np.abs(end - OPTIMUM).max() for end in ends]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < distances[0] / 2


def test_scaffold_goes_to_the_optimum_although_sites_differ_in_loss_and_steps():
    method, steps = make_method(name="scaffold"), {"a": 10, "b": 3, "c": 1}
    assert np.abs(end_of(make_method(), steps) - OPTIMUM).max() > 0.3
    path, halves = run(method, steps, 60)
    assert np.abs(path[-1] - OPTIMUM).max() < 0.01
    model = arrays(Point(OPTIMUM))
    for site, half in halves.items():  # each c_i comes to the site's gradient there, where nothing moves any more
        gradient = np.multiply(CURVATURES[site], OPTIMUM - np.array(CENTRES[site]))
        assert np.allclose([half.state["control/w"][0], half.state["control/norm"][0]], gradient, atol=0.05)
        half.state = {"control/w": gradient[:1], "control/norm": gradient[1:]}
        answer = half.train(Site(site, steps[site]), model | {"control/w": np.zeros(1), "control/norm": np.zeros(1)})
        assert np.allclose([answer["w"][0], answer["norm"][0]], OPTIMUM, rtol=1e-12)
        assert np.allclose([answer["change/w"], answer["change/norm"]], 0, atol=1e-12)


def test_scaffold_is_that_of_nvflare():
    """NVFlare's helper corrects the weights after each step, and has the paper's option II for c_i."""
    path, halves = run(make_method(name="scaffold"), 4, 6)
    helpers = {site: PTScaffoldHelper() for site in IMAGES}
    networks = {site: Point(START) for site in IMAGES}
    for site in IMAGES:
        helpers[site].init(networks[site])
    x, control = arrays(Point(START)), {name: np.zeros(1) for name in ("w", "norm")}
    for found in path:
        ends, changes = {}, {}
        for site, helper in helpers.items():
            network, quadratic = networks[site], Site(site, 4)
            network.load_state_dict({name: torch.tensor(value) for name, value in x.items()})
            start, optimizer = copy.deepcopy(network), torch.optim.SGD(network.parameters(), lr=RATE)
            helper.load_global_controls(control)
            controls = helper.get_params()
            for _ in range(4):
                optimizer.zero_grad()
                quadratic.loss(network).backward()
                optimizer.step()
                helper.model_update(network, RATE, *controls)
            helper.terms_update(network, RATE, *controls, start)
            ends[site], changes[site] = arrays(network), helper.get_delta_controls()
        x = weighted(ends, IMAGES)
        control = {name: value + weighted(changes, IMAGES)[name] for name, value in control.items()}
        assert np.allclose(found, vector(x), rtol=1e-5)
    for site, half in halves.items():
        theirs = helpers[site].c_local.state_dict()
        assert all(np.allclose(half.state[f"control/{name}"], theirs[name], rtol=1e-4) for name in theirs)


def test_scaffold_moves_its_control_by_the_share_of_sites_that_answered():
    server = algorithm_of(make_method(name="scaffold"))
    model = arrays(Point(START))
    change = {f"change/{name}": np.array([3.0]) for name in model}
    for share, expected in ((1.0, 3.0), (0.5, 4.5)):
        server.update(model, model | change, share)
        assert server.send(model)["control/w"] == expected


def test_fedprox_is_that_of_nvflare():
    theirs, start = Point(START), Point(START)
    optimizer, quadratic = torch.optim.SGD(theirs.parameters(), lr=RATE), Site("b", 7)
    for _ in range(7):
        optimizer.zero_grad()
        (quadratic.loss(theirs) + PTFedProxLoss(0.7)(theirs, start)).backward()
        optimizer.step()
    answer = algorithm_of(make_method(name="fedprox", mu=0.7)).train(quadratic, arrays(start))
    assert np.allclose(vector(answer), vector(arrays(theirs)), rtol=1e-12)


def test_fednova_is_its_equation_and_sites_of_more_steps_do_not_pull_more():
    steps = {"a": 40, "b": 5, "c": 1}
    mean_steps = of_all(steps.get)

    def nova(x):
        return x - mean_steps * of_all(lambda site: (x - after(site, x, steps[site])) / steps[site])

    path, _ = run(make_method(name="fednova"), steps, 1)
    assert np.allclose(path[0], nova(START), rtol=1e-6)
    equal, _ = run(make_method(name="fednova"), 4, 5)
    assert np.allclose(equal, run(make_method(), 4, 5)[0], rtol=1e-6)


def test_with_small_steps_fednova_goes_to_the_optimum_and_federated_averaging_to_the_site_of_most_steps():
    steps, small = {"a": 1, "b": 5, "c": 20}, 1e-4
    nova, average = (end_of(make_method(name=name), steps, small) for name in ("fednova", "fedavg"))
    pulled = of_all(lambda site: steps[site] * np.multiply(CURVATURES[site], CENTRES[site]))
    assert np.allclose(nova, OPTIMUM, atol=0.01)
    assert np.allclose(average, pulled / of_all(lambda site: steps[site] * np.array(CURVATURES[site])), atol=0.01)
    assert np.abs(average - OPTIMUM).max() > 0.5


def scripted(method, targets):
    """The server's models if the mean of the answers is each of `targets` in turn."""
    server, model, path = algorithm_of(method), {"w": START.copy()}, []
    for target in targets:
        model = server.update(model, {"w": target}, 1.0)
        path.append(model["w"])
    return path


@pytest.fixture
def targets():
    return list(np.random.default_rng(0).normal(size=(8, 2)))


@pytest.mark.parametrize(("rate", "momentum"), [(1.0, 0.0), (0.7, 0.0), (1.0, 0.9), (0.3, 0.5)])
def test_fedavgm_is_that_of_nvflare(targets, rate, momentum):
    """NVFlare's FedOpt gives the change to an optimizer of PyTorch's."""
    network = nn.Module()
    network.register_parameter("w", nn.Parameter(torch.tensor(START)))
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=momentum)
    theirs = SimpleNamespace(model=network, optimizer=optimizer, lr_scheduler=None, device="cpu")
    found = scripted(make_method(name="fedavgm", server_lr=rate, server_momentum=momentum), targets)
    for target, ours in zip(targets, found, strict=True):
        change = target - network.w.detach().numpy()
        state, _ = PTFedOptModelShareableGenerator.server_update(theirs, {"w": change})
        assert np.allclose(ours, state["w"].numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_the_adaptive_servers_are_their_equations(targets, name):
    rate, b1, b2, tau = 0.3, 0.8, 0.95, 0.05
    method = make_method(name=name, server_lr=rate, beta1=b1, beta2=b2, tau=tau)
    x, changes, v = START, [], [tau**2, tau**2]
    for count, (target, ours) in enumerate(zip(targets, scripted(method, targets), strict=True), 1):
        changes.append(target - x)
        ages = [count - 1 - number for number in range(count)]
        m = sum((1 - b1) * b1**age * change for age, change in zip(ages, changes, strict=True))
        if name == "fedadam":
            v = b2**count * tau**2 + sum(
                (1 - b2) * b2**age * change**2 for age, change in zip(ages, changes, strict=True)
            )
        else:  # towards the square by no more than a share of it
            v = [
                old + (1 - b2) * square if square > old else old - (1 - b2) * square
                for old, square in zip(v, changes[-1] ** 2, strict=True)
            ]
        x = x + rate * m / (np.sqrt(v) + tau)
        assert np.allclose(ours, x, rtol=1e-10)


@pytest.mark.parametrize("name", ["fedavgm", "fedadam", "fedyogi"])
def test_a_server_with_an_optimizer_comes_to_rest_where_federated_averaging_does(name):
    end = end_of(make_method(), 5)
    path, _ = run(make_method(name=name), 5, 3, end)
    assert np.allclose(path, end, rtol=1e-9)


def test_ditto_goes_on_with_a_model_that_is_drawn_to_the_servers():
    pull = 0.6
    path, halves = run(make_method(name="ditto", attraction=pull), 3, 5)
    assert np.allclose(path, run(make_method(), 3, 5)[0], rtol=1e-12)
    for site, half in halves.items():
        own = START
        for sent in [START, *path[:-1]]:
            own = after(site, own, 3, pull, sent)
        state = {name: half.state[f"own/model/{name}"] for name in ("w", "norm")}
        assert np.allclose(vector(state), own, rtol=1e-6)
        mine, moments = half.personal(Site(site, 3), {})
        assert np.allclose(vector(mine), own, rtol=1e-6)
        assert not moments


def test_fedbn_keeps_the_norms_at_the_site_and_averages_the_rest():
    path, halves = run(make_method(name="fedbn"), 3, 4)
    plain, _ = run(make_method(), 3, 4)
    assert [x[1] for x in path] == [START[1]] * 4  # the server never sees one
    assert np.allclose([x[0] for x in path], [x[0] for x in plain], rtol=1e-12)  # the coordinates do not meet
    for site, half in halves.items():
        own, _ = half.personal(Site(site, 3), {"w": path[-1][:1], "norm": START[1:]})
        assert np.allclose(vector(own), [path[-1][0], after(site, START, 12)[1]], rtol=1e-6)
        assert set(half.train(Site(site, 3), arrays(Point(START)))) == {"w"}


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "scaffold", "fednova", "fedavgm", "fedbn", "ditto"])
def test_moments_that_are_averaged_travel_and_those_that_are_kept_stay(name):
    for moments in ("fresh", "kept", "averaged"):
        half, server = (algorithm_of(make_method(name=name, moments=moments)) for _ in range(2))
        sent = server.send(arrays(Point(START)))
        answer = half.train(Site("a", 3, momentum=0.9), sent)
        travels = {key for key in answer if key.startswith("optimizer/")}
        stays = {key for key in half.state if key.startswith("optimizer/")}
        everything = {"optimizer/momentum_buffer/w", "optimizer/momentum_buffer/norm"}
        assert travels == (everything if moments == "averaged" else set())
        assert stays == (everything if moments == "kept" else set())
        server.update(arrays(Point(START)), answer, 1.0)
        assert travels == {key for key in server.send(arrays(Point(START))) if key.startswith("optimizer/")}
        assert half.keeps == bool(half.state)


def test_an_optimizer_that_goes_on_is_one_that_never_stopped():
    """One site whose moments are kept or averaged takes the steps of one long run."""
    model = arrays(Point(START))
    whole, _ = Site("a", 12, momentum=0.9).fit(model)
    for moments in ("kept", "averaged"):
        half, server, x = *(algorithm_of(make_method(moments=moments)) for _ in range(2)), model
        for _ in range(4):
            x = server.update(x, half.train(Site("a", 3, momentum=0.9), server.send(x)), 1.0)
        assert vector(x).tobytes() == vector(whole).tobytes()


def test_moments_that_nothing_uses_are_not_copied():
    """Of a large model they are twice its bytes in each round."""
    site, copied = Site("a", 3, momentum=0.9), []
    site.fit, fit = lambda *given: (fit(*given)[0], lambda: copied.append(given) or {}), site.fit
    for moments in ("fresh", "kept", "averaged"):
        algorithm_of(make_method(moments=moments)).train(site, arrays(Point(START)))
    assert len(copied) == 2


def test_a_round_without_a_step_changes_nothing():
    for name in ("fedavg", "fedprox", "scaffold", "fednova"):
        path, _ = run(make_method(name=name), 0, 2)
        assert [x.tolist() for x in path] == [START.tolist()] * 2
    mixed, _ = run(make_method(name="scaffold"), {"a": 2, "b": 0, "c": 2}, 3)
    assert np.isfinite(mixed).all()
