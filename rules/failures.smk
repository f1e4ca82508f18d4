# If jobs failed, the end of the output lists each with its logs, so that nobody must search a sweep's output.

import re


def text_of(path):
    """The text of a log; empty if the file does not exist."""
    return Path(path).read_text(errors="replace") if Path(path).exists() else ""


def last_of(path):
    """The last lines of a log, indented."""
    return [f"      {line}" for line in text_of(path).strip().splitlines()[-3:]]


def list_failed(failed, logs):
    """Print which jobs failed for good, where their logs are, and the last lines of these.

    `failed` are Snakemake's jobs; `logs` are the files of its own messages, in which the executor of a cluster says
    where it puts what a job prints.
    """
    messages = "".join(map(text_of, logs))
    printed = re.findall(r"Job (\S+) has been submitted .*\(log: (.+)\)\.", messages)
    lines = []
    for job in failed:
        output = dict(printed).get(str(job.jobid), "")
        jobs = list(job) if job.is_group() else [job]
        if job.is_group():  # Snakemake counts all jobs of a group as failed
            names = re.findall(r"^Error in rule (\w+)", text_of(output), re.MULTILINE)
            jobs = [one for one in jobs if one.rule.name in names] or jobs
        for one in jobs:
            lines += [f"  {one.rule.name}: {path}" for path in one.log]
            lines += [line for path in one.log for line in last_of(path)]
        if output:
            lines += [f"    the cluster's job printed: {output}", *last_of(output)]
    if lines:
        print("Failed, with the end of each log:", *lines, sep="\n", file=sys.stderr)


onerror:
    list_failed(workflow.scheduler.failed, log)
