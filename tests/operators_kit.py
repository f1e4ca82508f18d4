"""What the tests of the operators' commands share: provisioning, and what a hospital does with its archive."""

import socket
import tarfile

import yaml

from fedxray.operators.server import provision_federation


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def ask(folder, **values):
    """Write federation.yml and provision; returns what was said."""
    path, said = folder / "federation.yml", []
    before = yaml.safe_load(path.read_text()) if path.exists() else {}
    first = {"host": "localhost", "port": free_port(), "sites": ["us"], "image_size": 16, "valid_days": 100}
    renew = values.pop("renew", ())
    path.write_text(yaml.safe_dump(first | before | values))
    provision_federation(folder, renew, said.append)
    return said


def unpack(organiser, site, folder):
    """What a hospital does with its archive; returns the unpacked folder."""
    with tarfile.open(organiser / "archives" / f"{site}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / site
