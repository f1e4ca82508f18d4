"""A Slurm cluster of one node, this machine, in its own folder: for tests, and to try profiles/slurm.

    python tests/helpers/cluster.py install                       # once, as root on Debian: apt-get
    eval "$(python tests/helpers/cluster.py start /tmp/cluster)"  # from here on this shell has its commands
    python tests/helpers/cluster.py stop /tmp/cluster             # also ends every job

It runs as the user who starts it, keeps no accounting, and has four CPUs and four GPUs, whatever the machine has. Its
GPUs are only numbers that a job gets in CUDA_VISIBLE_DEVICES.
"""

import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

PACKAGES = ["slurmctld", "slurmd", "slurm-client", "munge"]
DAEMONS = ["munged", "slurmctld", "slurmd"]
SEARCH = os.environ["PATH"] + ":/usr/sbin:/sbin"
CPUS, GPUS = 4, 4
CONFIG = """\
ClusterName=fedxray
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# Without control groups, which a container may not have
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
KillWait=10
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus}
PartitionName=work Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs of Slurm that this machine lacks."""
    return [name for name in [*DAEMONS, "sbatch", "srun", "squeue"] if not shutil.which(name, path=SEARCH)]


def install() -> None:
    """Install Slurm from Debian's packages. Raises CalledProcessError or OSError if that is not possible."""
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet, stdout=subprocess.DEVNULL)
    command = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *PACKAGES]
    subprocess.run(command, check=True, env=quiet, stdout=subprocess.DEVNULL)


def start(folder: Path) -> dict[str, str]:
    """Start a cluster in `folder`, which must not exist; returns the variables by which commands find it.

    Raises RuntimeError, with the end of the daemons' logs, if it does not start.
    """
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)  # munge refuses a folder that others can write to
    key, config = folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    config.write_text(
        CONFIG.format(
            folder=folder,
            host=socket.gethostname().split(".")[0],
            user=psutil.Process().username(),
            ports=_free_ports(2),
            cpus=CPUS,
            gpus=GPUS,
            memory=psutil.virtual_memory().total // 2**20,
        )
    )
    for number in range(GPUS):
        (folder / f"gpu{number}").symlink_to("/dev/null")
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
    # The executor's jobs call srun without SLURM_CONF, so srun must know it by itself.
    srun = folder / "bin" / "srun"
    program = shutil.which("srun", path=SEARCH)
    srun.write_text(f'#!/bin/sh\nexport SLURM_CONF=${{SLURM_CONF:-{config}}}\nexec {program} "$@"\n')
    srun.chmod(0o755)
    variables = {"SLURM_CONF": str(config), "PATH": f"{srun.parent}:{SEARCH}"}
    munge = ["munged", f"--key-file={key}", f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid"]
    munge += [f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed", "--force"]
    for command in (munge, ["slurmctld"], ["slurmd"]):
        subprocess.run(command, check=True, env=os.environ | variables, capture_output=True)
    deadline = time.monotonic() + 30
    while "idle" not in _output(["sinfo", "--noheader", "--format=%T"], variables):
        if time.monotonic() > deadline:
            stop(folder)
            logs = [(folder / f"{name}.log").read_text()[-1000:] for name in DAEMONS[1:]]
            raise RuntimeError("\n".join(["Slurm did not start:", *logs]))
        time.sleep(0.2)
    return variables


def stop(folder: Path) -> None:
    """End the jobs of the cluster in `folder`, and then its daemons."""
    variables = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": SEARCH}
    _output(["scancel", "--user", psutil.Process().username()], variables)
    deadline = time.monotonic() + 30
    while _output(["squeue", "--noheader"], variables) and time.monotonic() < deadline:
        time.sleep(0.5)
    for name in reversed(DAEMONS):
        path = folder / f"{name}.pid"
        if path.exists():
            number = int(path.read_text())
            if psutil.pid_exists(number) and psutil.Process(number).name() == name:
                os.kill(number, signal.SIGTERM)
                psutil.wait_procs([psutil.Process(number)] if psutil.pid_exists(number) else [], timeout=10)


def _output(command: list[str], variables: dict[str, str]) -> str:
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True).stdout


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["install"]:
            install()
        case ["start", where]:
            for name, value in start(Path(where).resolve()).items():
                print(f"export {name}={shlex.quote(value)}")
        case ["stop", where]:
            stop(Path(where).resolve())
        case _:
            sys.exit(__doc__)
