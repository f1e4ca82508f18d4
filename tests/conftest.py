"""Which tests are `unit`, and what runs first; fixtures: the real images, a small zip, the folders of three sites."""

import signal
import zipfile
from pathlib import Path

import pytest
from helpers.data import make_sites

TESTS = Path(__file__).parent
REAL = TESTS.parents[1] / "shared" / "data"
# Every test of these folders starts Snakemake or a whole federation. Elsewhere a test or file is marked `slow`.
SLOW = ("workflow",)
UNIT_S = 120  # a unit test that takes longer is not one: mark it slow
# Files that take minutes, the longest first, so that no worker begins one when the others are done.
FIRST = (
    "workflow/test_slurm.py",
    "workflow/test_graph.py",
    "flare/test_secure_cuts.py",
    "flare/test_remote_losses.py",
    "flare/test_secure_remote.py",
    "flare/test_one_host.py",
    "flare/test_secure.py",
    "flare/test_remote_cuts.py",
    "workflow/test_sweep.py",
    "workflow/test_plan.py",
    "flare/test_remote.py",
    "operators/test_server.py",
    "training/test_trainer.py",
    "data/test_drawing.py",
)
assert all((TESTS / name).is_file() for name in FIRST)

# A shell that starts the tests in the background lets them ignore SIGINT, and so would all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Mark `unit` every test that is not slow, and sort them by `FIRST`."""
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in SLOW:
            item.add_marker(pytest.mark.slow)
        if not item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.unit)
            item.add_marker(pytest.mark.timeout(UNIT_S))
    items.sort(key=_turn)


def _turn(item):
    file = item.path.relative_to(TESTS).as_posix()
    return FIRST.index(file) if file in FIRST else len(FIRST)


@pytest.fixture
def real_zip():
    path = REAL / "chest-xray-pneumonia-224.zip"
    if not path.exists():
        pytest.skip(f"{path.name} (real radiographs) is not on this machine")
    return path


@pytest.fixture
def make_zip(tmp_path):
    def make(members, name="images.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, data in members.items():
                archive.writestr(member, data)
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def site_folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites")
    return make_sites(folder)
