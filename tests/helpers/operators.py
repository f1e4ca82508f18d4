"""What tests of the operators' commands share: provisioning, and unpacking an archive as a hospital does."""

import contextlib
import functools
import io
import socket
import sys
import tarfile
import tempfile
from pathlib import Path
from unittest import mock

import yaml

from fedxray.operators.archive import build_library
from fedxray.operators.server import provision_federation
from fedxray.operators.site import main


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def fedxray_site(monkeypatch, capsys, *words):
    """Run the command here; returns (0 or what it exits with, lines that it printed)."""
    monkeypatch.setattr(sys, "argv", ["fedxray-site", *map(str, words)])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    return code, capsys.readouterr().out.splitlines()


SCRATCH = tempfile.TemporaryDirectory(prefix="fedxray-")  # removed when the tests end


@functools.cache
def library():
    """The wheel, built once; tests/operators/test_archive.py builds it again."""
    return build_library(Path(SCRATCH.name))


def ask(folder, **values):
    """Write federation.yml and provision; returns the lines that were printed."""
    path, printed = folder / "federation.yml", io.StringIO()
    before = yaml.safe_load(path.read_text()) if path.exists() else {}
    first = {"host": "localhost", "port": free_port(), "sites": ["us"], "valid_days": 100}
    first |= {"image_size": 16, "fit": "stretch"}
    renew = values.pop("renew", ())
    path.write_text(yaml.safe_dump(first | before | values))
    patched = mock.patch("fedxray.operators.server.build_library", return_value=library())
    with patched, contextlib.redirect_stdout(printed):
        provision_federation(folder, renew)
    return printed.getvalue().splitlines()


def unpack(organiser, site, folder):
    """Unpack the archive of a hospital into `folder`; returns the unpacked folder."""
    with tarfile.open(organiser / "archives" / f"{site}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / site
