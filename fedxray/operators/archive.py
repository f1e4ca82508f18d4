"""What a hospital gets: one archive with its kit, the library, what that needs, and how to use them."""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import fedxray
from fedxray.core.errors import UserError
from fedxray.core.files import atomic, read_json, sha256, write_json, write_text
from fedxray.operators.process import address, owner

CHECKOUT = Path(fedxray.__file__).parents[1]
TEXTS = Path(__file__).parent / "texts"
ABOUT = "archive.json"  # in the archive: for which site it was made, and with which code
KEYS = {"site", "server", "image_size", "fit", "fedxray", "code_sha256"}
OTHER_WAYS = ("*.sh", "readme.txt")  # NVFlare's own ways of starting a kit, which know nothing of fedxray-site
EPOCH = 315532800  # 1980, the first year of a zip: with one time for all files the same content gives the same bytes


def build_library(folder: Path) -> Path:
    """Build the wheel of this checkout into `folder` and return it; raises UserError where there is no checkout."""
    if not (CHECKOUT / "pyproject.toml").exists():
        raise UserError(f"{CHECKOUT}: no checkout of fedxray; provision where you have cloned it (pip install -e .)")
    with tempfile.TemporaryDirectory() as source:
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(CHECKOUT / name, source)
        shutil.copytree(CHECKOUT / "fedxray", Path(source) / "fedxray", ignore=shutil.ignore_patterns("__pycache__"))
        build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", build, str(Path(folder).resolve())],
            cwd=source,
            env=os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    wheels = sorted(Path(folder).glob("fedxray-*.whl"))
    if done.returncode or not wheels:
        raise UserError(f"{CHECKOUT}: the library cannot be built: {done.stdout.strip().splitlines()[-1:]}")
    return wheels[-1]


def code_sha256() -> str:
    """One SHA-256 over the library's Python files, as they are installed here."""
    digest, root = hashlib.sha256(), Path(fedxray.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()} {sha256(path)}\n".encode())
    return digest.hexdigest()


def write_archive(kit: Path, library: Path, images: dict, output: Path) -> None:
    """Write `output`, a .tar.gz of mode 0600 with one folder of the site's name, and its checksum beside it.

    `images` says what the federation's images are: `image_size` (pixels of a side) and `fit`. The same kit and library
    give the same bytes. It holds the kit's private key.
    """
    site, (host, port) = owner(kit)[0], address(kit)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder) / site
        shutil.copytree(kit, folder / "kit", ignore=shutil.ignore_patterns(*OTHER_WAYS))
        shutil.copy(library, folder)
        shutil.copy(CHECKOUT / "requirements-site.txt", folder / "requirements.txt")
        script = (TEXTS / "install.sh").read_text(encoding="utf-8")
        write_text(folder / "install.sh", script.replace("WHEEL", library.name))
        text = (TEXTS / "README.txt").read_text(encoding="utf-8")
        rule = "=" * len(text.splitlines()[0].format(site=site, host=host))
        write_text(folder / "README.txt", text.format(site=site, host=host, port=port, rule=rule))
        about = {"site": site, "server": f"{host}:{port}", **images}
        about |= {"fedxray": fedxray.__version__, "code_sha256": code_sha256()}
        write_json(folder / ABOUT, about)
        with atomic(output) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with (
                os.fdopen(descriptor, "wb") as raw,
                gzip.GzipFile("", "wb", fileobj=raw, mtime=EPOCH) as packed,
                tarfile.open(mode="w", fileobj=packed) as archive,
            ):
                archive.add(folder, site, filter=_anonymous)
    write_text(output.with_name(output.name + ".sha256"), f"{sha256(output)}  {output.name}\n")


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who made the archive, and when."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = EPOCH
    member.mode = 0o700 if member.isdir() or member.name.endswith(".sh") else 0o600
    return member


def read_about(folder: Path) -> dict:
    """Read `archive.json` of an unpacked archive; raises UserError if `folder` is none, or if the file is damaged."""
    try:
        about = read_json(Path(folder) / ABOUT)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder}: no {ABOUT}; go to the folder that the archive made, or name it: --folder"
        ) from error
    except ValueError:
        about = None
    if not isinstance(about, dict) or not set(about) >= KEYS:
        raise UserError(f"{Path(folder) / ABOUT}: damaged; take it from the archive again")
    return about
