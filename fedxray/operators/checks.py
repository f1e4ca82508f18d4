"""Whether a hospital is ready to join: data, network, certificates, partners, versions and machine, a line for each."""

import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import psutil
from cryptography import x509
from packaging.requirements import Requirement
from packaging.version import Version

from fedxray import __version__
from fedxray.core.errors import UserError
from fedxray.data.labels import SPLITS
from fedxray.data.site import load_site
from fedxray.flare.budget import Budget, statement
from fedxray.flare.certificates import WARN_DAYS, certificate_of, fingerprint
from fedxray.flare.own import OwnFile
from fedxray.flare.partners import PARTNERS, partners_of
from fedxray.operators.archive import code_sha256, read_about
from fedxray.operators.process import address, owner

TIMEOUT_S = 10.0


class Check(NamedTuple):
    """One line: what was checked, whether it is in order, and details or what to do."""

    name: str
    passed: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok    ' if self.passed else 'FAILED'}  {self.name:<12} {self.text}"


def check_site(folder: Path, timeout_s: float = TIMEOUT_S) -> Iterator[Check]:
    """Yield each check of the unpacked archive `folder`, as it is done; raises UserError if that is no such folder."""
    about, kit = read_about(folder), Path(folder) / "kit"
    owner(kit)
    steps: list[tuple[str, Callable[[], str]]] = [
        ("data", lambda: _data(kit, about)),
        ("certificate", lambda: check_certificate(kit)),
        ("key", lambda: _key(kit)),
        ("privacy", lambda: _privacy(kit)),
        ("partners", lambda: _partners(kit)),
        ("server", lambda: check_server(kit, timeout_s)),
        ("versions", lambda: _versions(Path(folder), about)),
        ("machine", _machine),
    ]
    for name, step in steps:
        try:
            yield Check(name, True, step())
        except UserError as error:
            yield Check(name, False, str(error))


def _data(kit: Path, about: dict) -> str:
    """The site's directory loads, is this site's, of the federation's size, and has all that training reads."""
    own_file = OwnFile(kit)
    if not own_file.exists():
        raise UserError(f"{own_file.path}: missing; run fedxray-site prepare")
    folder = own_file.data
    data = load_site(folder)
    if data.name != about["site"]:
        raise UserError(f"{folder}: data of {data.name}, but this is the archive of {about['site']}; prepare them here")
    if data.images.shape[1] != about["image_size"]:
        raise UserError(
            f"{folder}: images of {data.images.shape[1]} pixels, but the federation has {about['image_size']}; "
            "run fedxray-site prepare again"
        )
    counts = data.table["split"].value_counts()
    if missing := [split for split in SPLITS if split not in counts]:
        raise UserError(f"{folder}: no {missing[0]} images; run fedxray-site prepare again")
    return f"{folder}: " + ", ".join(f"{counts[split]} {split}" for split in SPLITS) + " images, checksums agree"


def check_certificate(kit: Path) -> str:
    """How long the kit's certificate lasts; raises UserError if it is not of the federation's root, or not valid."""
    certificate, now = certificate_of(kit), datetime.now(UTC)
    root = x509.load_pem_x509_certificate((kit / "startup" / "rootCA.pem").read_bytes())
    try:
        certificate.verify_directly_issued_by(root)
    except Exception as error:
        raise UserError(f"{kit}: certificate and root do not belong together; unpack the archive again") from error
    for one, whose in ((certificate, "its"), (root, "the federation's root")):
        start, end = one.not_valid_before_utc, one.not_valid_after_utc
        if now > end:
            raise UserError(f"{kit}: {whose} certificate ended {end:%Y-%m-%d}; ask the organiser for a new archive")
        if now < start:
            raise UserError(f"{kit}: {whose} certificate starts {start:%Y-%m-%d %H:%M} UTC; set this machine's clock")
    days = (certificate.not_valid_after_utc - now).days
    hint = "; ask the organiser for a new archive before that" if days < WARN_DAYS else ""
    return f"valid for {days} days, until {certificate.not_valid_after_utc:%Y-%m-%d}{hint}"


def _key(kit: Path) -> str:
    """The private key is the certificate's, and nobody else can read it."""
    path = kit / "startup" / "client.key"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(kit / "startup" / "client.crt", path)
    except (ssl.SSLError, OSError) as error:
        raise UserError(f"{path}: missing, or not the key of the certificate; unpack the archive again") from error
    if path.stat().st_mode & 0o077:
        raise UserError(f"{path}: others can read it; chmod -R go-rwx {kit}")
    return "belongs to the certificate, and its owner alone can read it"


def _privacy(kit: Path) -> str:
    """What the site's operator allows jobs to spend."""
    *_, allowed, masks = statement(Budget(kit).limits, Budget(kit).spent)
    return f"{allowed}; {masks}"


def _partners(kit: Path) -> str:
    """Whose keys the site takes in secure aggregation: the SHA-256 of each certificate, to compare by telephone."""
    partners, own = partners_of(kit), owner(kit)[0]
    if partners.get(own) != fingerprint(certificate_of(kit)):
        raise UserError(f"{kit / 'local' / PARTNERS}: not of this site's certificate; unpack the newest archive again")
    return "; ".join(f"{site} {fingerprint}" for site, fingerprint in sorted(partners.items()))


def check_server(kit: Path, timeout_s: float = TIMEOUT_S) -> str:
    """That the server is reached, is the federation's, and trusts this certificate; raises UserError if not."""
    host, port = address(kit)
    startup, target = kit / "startup", f"{host}:{port}"
    context = ssl.create_default_context(cafile=startup / "rootCA.pem")
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(startup / "client.crt", startup / "client.key")
        with socket.create_connection((host, port), timeout=timeout_s) as plain:
            try:
                with context.wrap_socket(plain, server_hostname=host) as secure:
                    secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")  # gRPC is HTTP/2
                    if not secure.recv(1):  # a refused certificate shows only here, in TLS 1.3
                        raise UserError(f"{target}: the server hung up; ask the organiser whether it takes this site")
            except ssl.SSLCertVerificationError as error:
                raise UserError(
                    f"{target}: what answers there is not the federation's server ({error.verify_message}); ask your "
                    "network's people about a proxy that opens TLS, and the organiser"
                ) from error
            except ssl.SSLError as error:
                raise UserError(
                    f"{target}: TLS fails ({error.reason}); ask the organiser whether this kit is valid"
                ) from error
    except socket.gaierror as error:
        raise UserError(f"{target}: no such host name here; ask your network's people for its DNS entry") from error
    except OSError as error:
        raise UserError(
            f"{target}: not reached ({error}); let this machine out to that TCP port, or ask if the server is up"
        ) from error
    return f"{target} answers, is the federation's server, and trusts the certificate; start tells if it admits you"


def _versions(folder: Path, about: dict) -> str:
    """The installed library is the archive's to the byte, and what it needs is as pinned."""
    if code_sha256() != about["code_sha256"]:
        raise UserError(f"fedxray {__version__} is not the archive's {about['fedxray']}; run sh install.sh again")
    needed = {Requirement(line).name for line in metadata.requires("fedxray") or [] if "extra ==" not in line}
    lines = [line for line in (folder / "requirements.txt").read_text().splitlines() if line and line[0] not in "#-"]
    shown = []
    for pin in map(Requirement, lines):
        if pin.name in needed and (pin.marker is None or pin.marker.evaluate()):
            pinned, installed = str(pin.specifier).removeprefix("=="), metadata.version(pin.name)
            if Version(installed).public != Version(pinned).public:
                raise UserError(f"{pin.name} {installed}, but {pinned} is pinned; run sh install.sh again")
            shown.append(f"{pin.name} {installed}")
    return f"fedxray {__version__}, Python {sys.version.split()[0]}, {', '.join(shown)}"


def _machine() -> str:
    """PyTorch loads; the text names cores, memory and GPU."""
    try:
        import torch
        import torchvision  # noqa: F401  a torch of another build shows here
    except Exception as error:
        raise UserError(f"PyTorch does not load ({error}); run sh install.sh again") from error
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU that PyTorch can use"
    return f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB of memory, {gpu}"
