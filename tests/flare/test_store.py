"""The server's store of jobs, by NVFlare's own storage."""

import shutil
import threading

import pytest
from nvflare.apis.impl.job_def_manager import SimpleJobDefManager
from nvflare.apis.storage import StorageException
from nvflare.app_common.storages.filesystem_storage import FilesystemStorage

from fedxray.flare.store import JobManager


class Deleting:
    """A filter of NVFlare's scans that takes every job, and deletes all others as it sees the first."""

    def __init__(self, jobs):
        self.jobs = jobs
        self.seen = []

    def filter_job(self, info):
        self.seen.append(info.job_id)
        for folder in self.jobs.iterdir():
            if folder.name != info.job_id:
                shutil.rmtree(folder)
        return True


@pytest.fixture(params=[JobManager, SimpleJobDefManager])
def manager(request, tmp_path, monkeypatch):
    store = FilesystemStorage()
    manager = request.param(uri_root=str(tmp_path / "jobs"))
    monkeypatch.setattr(manager, "_get_job_store", lambda fl_ctx: store)
    monkeypatch.setattr(manager, "log_debug", lambda *words: None)
    for name in "abc":
        store.create_object(manager.job_uri(name), b"", {"job_id": name, "status": "SUBMITTED"})
    return manager


def test_a_job_that_is_deleted_while_all_are_looked_through_is_passed_over(manager, tmp_path):
    deleting = Deleting(tmp_path / "jobs")
    if type(manager) is JobManager:
        manager._scan(deleting, None)
        assert len(deleting.seen) == 1
        (job,) = manager.get_jobs_to_schedule(None)
        assert job.job_id == deleting.seen[0]
    else:  # the reason for ours; when NVFlare's own passes, ours can go
        with pytest.raises(StorageException):
            manager._scan(deleting, None)


def test_a_job_is_not_deleted_while_a_scan_looks_at_it(manager, tmp_path):
    """NVFlare's scan then marks a folder that is being removed, and the deletion fails: a run's result was lost so."""
    deletions, there = [], []

    class Filter:
        def filter_job(self, info):
            deletions.append(threading.Thread(target=manager.delete, args=(info.job_id, None)))
            deletions[-1].start()
            deletions[-1].join(0.2)
            there.append((tmp_path / "jobs" / info.job_id / "meta").exists())
            return True

    manager._scan(Filter(), None)
    for deletion in deletions:
        deletion.join()
    assert there == [type(manager) is JobManager] * 3  # NVFlare's is the reason for ours
    assert list((tmp_path / "jobs").iterdir()) == []
