"""Certificates of the startup kits: how long new ones last, what is in a kit's certificate, and which end soon."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from nvflare.lighter.impl.cert import CertBuilder

WARN_DAYS = 30  # a certificate that ends sooner than this is warned of


class Certificates(CertBuilder):
    """NVFlare's builder of certificates, without its fixed 360 days; a root that is there stays as it is."""

    def __init__(self, valid_days: int, root_valid_days: int):
        """A participant's new certificate lasts `valid_days`, and a new root `root_valid_days`."""
        super().__init__(root_valid_days)
        self.valid_days = valid_days

    def _validate_existing_root_validity(self) -> None:
        """Accept it: `root_valid_days` is only for a new root, and NVFlare would compare it with an old one."""

    def _generate_cert(self, *arguments, ca: bool = False, not_valid_after: datetime | None = None, **options):
        if not ca:  # the root's end is the latest there can be
            end = datetime.now(UTC) + timedelta(days=self.valid_days)
            not_valid_after = min(end, self.root_cert.not_valid_after_utc)
        return super()._generate_cert(*arguments, ca=ca, not_valid_after=not_valid_after, **options)


def certificate_of(kit: Path) -> x509.Certificate:
    """The certificate of a startup kit, a server's or a client's."""
    path = next((Path(kit) / "startup").glob("*[rt].crt"))
    return x509.load_pem_x509_certificate(path.read_bytes())


def fingerprint(certificate: x509.Certificate) -> str:
    """The SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` has it, in 64 hexadecimal digits."""
    return certificate.fingerprint(SHA256()).hex()


def expiring(certificates: dict[str, dict], days: int = WARN_DAYS, now: datetime | None = None) -> dict[str, int]:
    """{name: whole days left} of each certificate that ends within `days`, soonest first; below 0 if it has ended.

    `certificates` is {name: {"not_after": ISO 8601}}, such as `kits.json`.
    """
    now = now or datetime.now(UTC)
    left = {name: (datetime.fromisoformat(facts["not_after"]) - now).days for name, facts in certificates.items()}
    return dict(sorted(((name, number) for name, number in left.items() if number < days), key=lambda item: item[1]))
