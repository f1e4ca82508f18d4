"""The server's store of jobs."""

from contextlib import suppress
from pathlib import PurePath

from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.job_def_manager import JobInfo, SimpleJobDefManager
from nvflare.apis.storage import StorageException


class JobManager(SimpleJobDefManager):
    """NVFlare's manager of jobs, which passes over a job that is deleted while it scans all of them, once a second.

    NVFlare's own raises, and so ends the thread that schedules: the server then accepts jobs and never starts one.
    """

    def _scan(self, job_filter, fl_ctx: FLContext, skip_tag: str | None = None) -> None:
        """Give each job to `job_filter` until the filter has enough."""
        store = self._get_job_store(fl_ctx)
        for uri in store.list_objects(self.uri_root, without_tag=skip_tag):
            name = PurePath(uri).name
            with suppress(StorageException, FileNotFoundError):  # the job was deleted since it was listed
                meta = store.get_meta(self.job_uri(name))
                if meta and not job_filter.filter_job(JobInfo(meta, name, self.job_uri(name))):
                    return
