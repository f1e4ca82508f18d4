"""A kit's process in the foreground: comes back, gives up when refused, ends when asked, and is never there twice."""

import shutil
import threading
import time

import pytest
from helpers.log import heard

from fedxray.core.errors import UserError
from fedxray.flare import guard
from fedxray.operators import process
from fedxray.operators.process import address, kind_of, owner, run_kit

SITE = """
import os, pathlib, sys
kit = pathlib.Path(sys.argv[sys.argv.index("-m") + 1])
count = kit / "count"
tries = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(tries))
print(" ".join(sys.argv[1:]))
print("2026 - FederatedClient - INFO - Successfully registered client:us for project fedxray", flush=True)
exec((kit / "then.py").read_text())
"""


@pytest.fixture
def kit(organiser, tmp_path, monkeypatch):
    """A site's kit whose process is `SITE`, then what is in `then.py`."""
    kit = shutil.copytree(organiser / "kits" / "us", tmp_path / "kit")
    (tmp_path / "stand_in.py").write_text(SITE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:.")
    monkeypatch.setenv("FEDXRAY_FORKS", "0")  # a stand-in needs nothing of what a guard imports for its forks
    monkeypatch.setitem(guard.MAIN, "client", ("stand_in", "fed_client.json"))
    monkeypatch.setattr(process, "RESTART_S", 0.1)
    monkeypatch.setattr(process, "POLL_S", 0.05)
    return kit


@pytest.mark.slow
def test_a_site_comes_back_until_the_server_refuses_it_which_ends_it_even_if_it_would_stay(kit):
    (kit / "then.py").write_text("""
if tries > 2:
    print("FedAdminAgent - ERROR - registration rejected: us is not admitted with this certificate", flush=True)
import time; time.sleep(0.3 if tries < 3 else 600); sys.exit(7)
""")
    refused = pytest.raises(UserError, match="refused: us is not admitted with this certificate; ask the organiser")
    with heard() as said, refused:
        run_kit(kit)
    refusal = "us: the server refused: us is not admitted with this certificate"
    assert [line for line in said if "again" not in line] == ["us: joined the federation"] * 3 + [refusal]
    assert next(line for line in said if "again" in line).startswith("us: ended (7); starting again")
    assert (kit / "count").read_text() == "3"
    assert "uid=us" in (kit / "out.txt").read_text()
    assert "org=us" in (kit / "out.txt").read_text()


def test_a_site_that_the_organiser_shuts_down_stays_down(kit):
    (kit / "then.py").write_text("(kit / 'shutdown.fl').touch()")
    with heard() as said:
        run_kit(kit)
    assert said[-1] == "us: shut down by the organiser"


def test_a_kit_runs_once_at_a_time(kit):
    (kit / "then.py").write_text("import time; time.sleep(1.5); (kit / 'shutdown.fl').touch()")
    first = threading.Thread(target=run_kit, args=(kit,))
    first.start()
    while not (kit / "count").exists():
        time.sleep(0.05)
    with pytest.raises(UserError, match="is running already"):
        run_kit(kit)
    first.join(20)
    assert (kit / "count").read_text() == "1"


def test_a_kit_says_whose_it_is_and_where_the_server_is(organiser, tmp_path):
    kits = organiser / "kits"
    assert owner(kits / "us") == ("us", "us")
    assert (kind_of(kits / "us"), kind_of(kits / "localhost")) == ("client", "server")
    assert address(kits / "us") == address(kits / "localhost") == ("localhost", address(kits / "us")[1])
    with pytest.raises(UserError, match="no startup kit"):
        owner(tmp_path)
