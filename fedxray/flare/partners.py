"""Who a site's partners are in secure aggregation, and which of them it has answered with: two files in its kit."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fedxray.core.errors import UserError
from fedxray.core.files import held, read_json, write_json
from fedxray.federation.checkpoint import private
from fedxray.federation.secure import Identity

PARTNERS = "partners.json"  # in a site's `local`, by `kits.provision`: {site: SHA-256 of its certificate}
SUMMED = (
    "summed"  # a folder of a site's kit; by digest of what a job trains: {round (from 0): whose answers were summed}
)
ANSWERED = "answered.json"  # in a site's kit: {digest of what a job trains: that of the partners}


def identity_of(kit: Path, name: str) -> Identity:
    """Who the site `name` is, and whom it knows. Raises UserError if its kit has no list of partners, or no RSA key."""
    startup, pinned = kit / "startup", partners_of(kit)
    key = load_pem_private_key((startup / "client.key").read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise UserError(f"{startup / 'client.key'}: no RSA key; ask the organiser for a new kit")
    certificate, root = (
        x509.load_pem_x509_certificate((startup / file).read_bytes()) for file in ("client.crt", "rootCA.pem")
    )
    return Identity(name, key, certificate, root, pinned)


def partners_of(kit: Path) -> dict[str, str]:
    """{site: SHA-256 of its certificate} of the partners that a kit knows, its own site among them.

    Raises UserError if the kit has no list of them.
    """
    path = kit / "local" / PARTNERS
    wanted = "secure aggregation needs it; ask the organiser for it (fedxray-server provision)"
    if not path.exists():
        raise UserError(f"{path}: missing, and {wanted}")
    try:
        return {site: str(digest) for site, digest in read_json(path).items()}
    except (AttributeError, ValueError):
        raise UserError(f"{path}: damaged, and {wanted}") from None


def agree(kit: Path, content: Sequence[dict], partners: Mapping[str, str], survives: bool = False) -> None:
    """Note that a job that trains `content` is answered with `partners`, {site: fingerprint}, and never with others.

    Equal training gives equal answers, so the sums of two sets of partners would show by what they differ. So would a
    sum of all and one without an absent site: a job that `survives` absent sites is never answered without that, nor
    the other way round. Raises UserError if there was another set.
    """
    path = kit / ANSWERED
    what, whom = _digest(content), _digest([dict(partners), "drop"] if survives else dict(partners))
    with held(kit):
        answered = read_json(path) if path.exists() else {}
        if answered.get(what, whom) != whom:
            raise UserError(
                f"{path}: this site has answered the same training with other partners, or another federation.absent, "
                "and both sums together would show single answers; take another seed"
            )
        if what not in answered:
            write_json(path, answered | {what: whom})
            path.chmod(0o600)


def agree_round(kit: Path, content: Sequence[dict], number: int, survivors: Sequence[str]) -> None:
    """Note that in round `number` (from 0) of such a job the sum is that of the `survivors`, and never of others.

    Raises UserError if it was the sum of others, in an earlier job of the same content.
    """
    path = kit / SUMMED / f"{_digest(content)}.json"
    with held(kit):
        summed = read_json(path) if path.exists() else {}
        if summed.setdefault(str(number), list(survivors)) != list(survivors):
            raise UserError(
                f"{path}: this site was in a sum of round {number + 1} of the same training when others were absent, "
                "and both sums together would show single answers; take another seed"
            )
        private(path.parent)
        write_json(path, summed)
        path.chmod(0o600)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
