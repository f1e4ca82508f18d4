"""The server's store of jobs."""

import threading
from contextlib import suppress
from pathlib import PurePath

from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.job_def_manager import JobInfo, SimpleJobDefManager
from nvflare.apis.storage import StorageException


class JobManager(SimpleJobDefManager):
    """NVFlare's manager of jobs, which deletes no job while it scans all of them, once a second.

    A scan of NVFlare's own marks a job whose deletion has begun, so that its folder is not empty at the end of that,
    and the deletion fails. Or it raises, and so ends the thread that schedules: the server then accepts jobs and never
    starts one.
    """

    def __init__(self, uri_root: str = "jobs", job_store_id: str = "job_store"):
        super().__init__(uri_root, job_store_id)
        self.turn = threading.Lock()

    def delete(self, jid: str, fl_ctx: FLContext) -> None:
        """Delete a job."""
        with self.turn:
            super().delete(jid, fl_ctx)

    def _scan(self, job_filter, fl_ctx: FLContext, skip_tag: str | None = None) -> None:
        """Give each job to `job_filter` until the filter has enough."""
        store = self._get_job_store(fl_ctx)
        with self.turn:
            for uri in store.list_objects(self.uri_root, without_tag=skip_tag):
                name = PurePath(uri).name
                with suppress(StorageException, FileNotFoundError):  # the job was deleted by another way since then
                    meta = store.get_meta(self.job_uri(name))
                    if meta and not job_filter.filter_job(JobInfo(meta, name, self.job_uri(name))):
                        return
