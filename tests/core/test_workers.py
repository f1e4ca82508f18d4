import os
import signal
import zipfile
from concurrent.futures.process import BrokenProcessPool

import pytest

from fedxray.core.workers import workers
from fedxray.data.source import open_reader


def test_a_worker_leaves_ctrl_c_to_its_parent_and_ends_at_sigterm():
    with workers(1) as pool:
        worker = pool.submit(os.getpid).result()
        os.kill(worker, signal.SIGINT)
        assert pool.submit(os.getpid).result() == worker != os.getpid()
        os.kill(worker, signal.SIGTERM)
        with pytest.raises(BrokenProcessPool):
            pool.submit(os.getpid).result()


def read(path, name):
    return open_reader(path).read(name)


def test_workers_read_an_archive_that_their_parent_has_open(tmp_path):
    names = [f"{number}" for number in range(200)]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, name * 5000)
    reader = open_reader(tmp_path / "a.zip")
    with workers(3) as pool:
        found = list(pool.map(read, [tmp_path / "a.zip"] * 200, names))
    assert found == [reader.read(name) for name in names]
