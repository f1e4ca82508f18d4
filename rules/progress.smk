# What is said while the workflow runs, and last of all: what came out, or what failed, so that nobody must search.

import re

from snakemake.logging import logger


def take_the_screen():
    """What shows the progress in place of Snakemake's own handler; None if the user has asked for another output
    (--logger, --quiet, --verbose, --printshellcmds, --debug-dag, --dry-run), or if another workflow uses this one.
    """
    asked = workflow.output_settings
    others = ["dryrun", "quiet", "verbose", "printshellcmds", "debug_dag"]
    own = [one for one in logger.handlers if one.name == "DefaultStreamHandler"]
    ours = workflow.is_main_process and workflow.modifier.is_main_snakefile()
    if not own or not ours or any(getattr(asked, name) for name in others):
        return None
    from fedxray.report.progress import Progress  # a second process of a job needs none

    stages = {
        one.name: Path(one.snakefile).stem for one in workflow.rules if one.output
    }
    screen = Progress(
        own[0].stream, stages, color=not asked.nocolor, idle=where_to_read
    )
    logger.removeHandler(own[0])
    logger.addHandler(screen)
    return screen


def say_last(lines, failed):
    """Say this as the last on the screen, after all that Snakemake says."""
    if SCREEN:
        SCREEN.end(lines, failed)
    else:
        print(*lines, sep="\n", file=sys.stderr)


def asks_for_all():
    """Whether the whole experiment was asked for, and not some of its files."""
    return any(job.rule.name == "all" for job in workflow.dag.targetjobs)


def where_to_read():
    """Where what came out can be read, if all was asked for."""
    if not asks_for_all():
        return []
    curves = f"The curves: tensorboard --logdir {AT.tensorboard}"
    return [f"The report: {AT.page('index')}", curves]


def conclusion():
    """What came out of all that was asked for: the answer, and where to read on."""
    lines = []
    if HERE:
        # These load pandas, which a plan does not need.
        from fedxray.analysis.answer import answers, console
        from fedxray.core.files import read_table

        limits = EVALUATION["margin"], EVALUATION["confidence"]
        updates = read_table(AT.updates) if EXPERIMENT.is_updated else None
        lines += console(answers(read_table(AT.methods), *limits, updates))
    return [*lines, *where_to_read()]


def text_of(path):
    """The text of a log; empty if the file does not exist."""
    return Path(path).read_text(errors="replace") if Path(path).exists() else ""


def last_of(path):
    """The last lines of a log, indented."""
    return [f"      {line}" for line in text_of(path).strip().splitlines()[-3:]]


def listed(what, which, logs):
    """Lines that say what became of jobs, where their logs are, and the last lines of these.

    `what` is Failed or Stopped; `which` are Snakemake's jobs; `logs` are the files of its own messages, in which the executor of a cluster says
    where it puts what a job prints.
    """
    messages = "".join(map(text_of, logs))
    printed = re.findall(r"Job (\S+) has been submitted .*\(log: (.+)\)\.", messages)
    lines = []
    for job in which:
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
    return [f"{what}, with the end of each log:", *lines] if lines else []


SCREEN = take_the_screen()


onsuccess:
    if SCREEN and asks_for_all():
        say_last(conclusion(), failed=False)


onerror:
    failed = workflow.scheduler.failed
    stopped = workflow.scheduler.running - failed  # by Ctrl-C
    lines = [*listed("Stopped", stopped, log), *listed("Failed", failed, log)]
    say_last(lines, failed=True)
