import os
import signal
import time
import zipfile
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import active_children

import pytest
from helpers.log import heard

import fedxray.core.workers
from fedxray.core.errors import UserError
from fedxray.core.workers import apart, in_chunks, workers
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
        contents = list(pool.map(read, [tmp_path / "a.zip"] * 200, names))
    assert contents == [reader.read(name) for name in names]


def scale(chunk, factor, offset):
    return [factor * number + offset for number in chunk]


@pytest.mark.parametrize("processes", [1, 3])
def test_chunks_come_in_order_and_a_line_at_each_fifth(processes):
    with heard() as lines:
        chunks = list(in_chunks(scale, range(1000), processes, "scale", 2, 1))
    assert [number for chunk in chunks for number in chunk] == list(range(1, 2001, 2))
    assert max(map(len, chunks)) <= 128
    assert [line for line in lines if not line.startswith("scale: ")] == []
    assert len(lines) == 5
    assert lines[-1] == "scale: 1000/1000 images"


def test_no_images_are_no_chunks():
    assert list(in_chunks(scale, (), 2, "scale", 2, 1)) == []


def _hang():
    time.sleep(60)


def test_what_is_done_apart_comes_back_or_is_said_to_have_failed(monkeypatch, capfd):
    assert apart(divmod, 17, 5) == (3, 2)
    for work in (os.abort, partial(os._exit, 0), partial(int, "secret")):
        with pytest.raises(ChildProcessError, match="no result"):
            apart(work)
    monkeypatch.setattr(fedxray.core.workers, "HANGS_S", 0.2)
    with pytest.raises(ChildProcessError):
        apart(_hang)
    assert capfd.readouterr() == ("", "")
    assert not active_children()


def end(chunk):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_the_system_ends_is_told():
    with pytest.raises(UserError, match="draw: the system ended a process that worked on the images; give it more mem"):
        list(in_chunks(end, range(10), 2, "draw"))
