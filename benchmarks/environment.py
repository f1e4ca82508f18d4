"""The environment .venv-bench, for alternatives that do not fit into the workflow's own, and the versions of all."""

import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import ROOT

FOLDER = ROOT / ".venv-bench"
REQUIREMENTS = ROOT / "benchmarks" / "requirements.txt"
OURS = ("nvflare", "torch", "torchvision", "snakemake", "tensorboard", "pillow")
THEIRS = ("flwr", "ray", "tbparse")


def flower() -> Path:
    """The interpreter of .venv-bench. The environment is made if it does not exist or has other requirements.

    Packages that it lacks, PyTorch above all, come from the workflow's environment, so that the versions are the same.
    """
    interpreter, stamp = FOLDER / "bin" / "python", FOLDER / "made"
    contents = f"{REQUIREMENTS.read_text()}\n{sysconfig.get_path('purelib')}\n"
    if not stamp.exists() or stamp.read_text() != contents:
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", FOLDER], check=True)
        uv = [Path(sys.executable).with_name("uv"), "pip", "sync", "--quiet", "--python", interpreter, REQUIREMENTS]
        subprocess.run(uv, check=True)
        packages = next((FOLDER / "lib").glob("python*")) / "site-packages"
        (packages / "workflow.pth").write_text(sysconfig.get_path("purelib") + "\n")  # searched after its own packages
        stamp.write_text(contents)
    return interpreter


def versions() -> dict[str, str]:
    """The versions of the packages that are measured and, where they are installed, of the alternatives."""
    ours = {name: version(name) for name in OURS}
    if not (FOLDER / "made").exists():
        return ours
    code = "import importlib.metadata as m, sys; print(*(m.version(name) for name in sys.argv[1:]))"
    theirs = subprocess.run([flower(), "-c", code, *THEIRS], capture_output=True, text=True, check=True)
    return ours | dict(zip(THEIRS, theirs.stdout.split(), strict=True))
