"""Machines in network namespaces, for the tests of federations across machines: one network for each file of tests."""

import pytest
from helpers.data import make_sites
from helpers.network import Machines, Network, why_not
from helpers.remote import SITES


@pytest.fixture(scope="module")
def network(request, tmp_path_factory):
    """The machines of a federation, running: the server, three sites, the workflow's, and one that is a stranger.

    Their patients came in so many waves as the file of tests says by `WAVES`, or in one.
    """
    if reason := why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("machines") / "ein Netz für alle"
    folders = make_sites(folder / "data", waves=getattr(request.module, "WAVES", 1))
    data = folders | {"server": folder / "data" / "shared"}
    with Network(["server", *SITES, "workflow", "stranger"]) as network:
        machines = Machines(network, folder, data)
        for name in data:
            machines.start(name)
        yield machines


@pytest.fixture
def machines(network):
    """The same, all cables whole: one that a test cut, and failed before it mended it, does not fail the next."""
    yield network
    for name in network.data:
        network.network.link(name, "up")
