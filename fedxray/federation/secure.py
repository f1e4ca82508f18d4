"""Secure aggregation by pairwise masks, all or nothing: the server learns the sum of the sites' answers, or nothing.

It is the protocol of Bonawitz et al. 2017 (doi:10.1145/3133956.3133982) without its recovery of absent sites, which
`recovery.py` has. In each job every site draws a key pair (X25519), and signs its public key with the key of its
certificate. Two sites agree on a secret, and HKDF makes of it a key for each round, whose AES-CTR stream one of them
adds to its answer in fixed point (`fixed.py`) and the other one subtracts. In the sum of all answers the masks are
gone, and in no smaller sum. The stream depends on what the sites were sent, so that masks do not cancel out if a server
sends them different models, by which it could choose whose part the sum shows (Pasquini et al. 2022, arXiv:2111.07380).

A site answers only if the other sites' keys are signed for the same job and partners, by certificates that its own root
certificate has signed, and that are pinned by their fingerprints in its kit. So neither a server nor the holder of the
root's key can invent a partner.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fedxray.core.errors import UserError
from fedxray.core.parameters import Parameters
from fedxray.experiment.method import LEAST_SECURE
from fedxray.federation.fixed import BLOCK

LABEL = "fedxray secure aggregation 2"
PSS = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)


class Identity(NamedTuple):
    """Who a site is, and whom it knows: from its startup kit."""

    name: str
    key: rsa.RSAPrivateKey  # of its certificate
    certificate: x509.Certificate
    root: x509.Certificate  # the federation's
    pinned: Mapping[str, str]  # {site: the fingerprint (SHA-256) of its certificate}, its own too


class Advert(NamedTuple):
    """A site's signed public key, as it travels."""

    site: str
    public: str  # 64 hexadecimal digits
    certificate: str  # PEM
    signature: str  # hexadecimal digits


class Signer:
    """A site among the partners of a job: what it signs for them, and what it takes as signed by one of them.

    All that is signed is bound to `scope`, and to who is meant by each partner's name.
    """

    bound = "this job"  # what `scope` says, in words
    keys = 1  # public keys in an advert

    def __init__(self, identity: Identity, scope: list, partners: Sequence[str]):
        """`partners` are the names of all sites of the job, this one too.

        Raises UserError if there are fewer than three, or if one is not pinned.
        """
        self.identity, self.scope, self.partners = identity, scope, sorted(partners)
        if len(set(partners)) < LEAST_SECURE or identity.name not in partners:
            raise UserError(
                f"secure aggregation: the job names {len(set(partners))} partners ({', '.join(self.partners)}); this "
                f"site takes part with at least {LEAST_SECURE}, itself among them"
            )
        for site in self.partners:
            if site not in identity.pinned:
                raise UserError(
                    f"secure aggregation: {site} is no partner that this site knows; if it should be, ask the "
                    "organiser for the new local/partners.json"
                )

    def sign(self, *said: object) -> str:
        """This site's signature of what is `said`, in hexadecimal digits."""
        return self.identity.key.sign(self._signed(*said), PSS, SHA256()).hex()

    def has_signed(self, certificate: x509.Certificate, signature: str, *said: object) -> bool:
        """Whether who has the `certificate` has signed what is `said`, for these partners."""
        key = certificate.public_key()
        try:
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(bytes.fromhex(signature), self._signed(*said), PSS, SHA256())
                return True
        except (InvalidSignature, ValueError, TypeError):
            pass
        return False

    def advertise(self, *keys: X25519PrivateKey) -> Advert:
        """The signed advert of this site's public keys."""
        name, public = self.identity.name, "".join(key.public_key().public_bytes_raw().hex() for key in keys)
        certificate = self.identity.certificate.public_bytes(Encoding.PEM).decode()
        return Advert(name, public, certificate, self.sign(name, public))

    def check(self, site: str, advert: Advert) -> x509.Certificate:
        """The certificate of the partner `site`. Raises UserError if an advert is not that partner's for this scope."""
        try:
            certificate = x509.load_pem_x509_certificate(advert.certificate.encode())
            size = len(bytes.fromhex(advert.public))
        except (ValueError, AttributeError, TypeError):
            certificate, size = None, 0
        why = ""
        if certificate is None or size != 32 * self.keys:
            why = "is no key with a certificate"
        elif not _is_issued(certificate, self.identity.root):
            why = "has a certificate that this federation's root has not signed"
        elif advert.site != site or _name_of(certificate) != site:
            why = f"is that of {_name_of(certificate) or 'nobody'}"
        elif certificate.fingerprint(SHA256()).hex() != self.identity.pinned[site]:
            why = "has another certificate than local/partners.json"
        elif not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
            why = "has a certificate that has ended"
        elif not self.has_signed(certificate, advert.signature, site, advert.public):
            why = f"is not signed for {self.bound} and these partners"
        if why or certificate is None:
            raise UserError(f"secure aggregation: the key of {site} {why}; nothing was sent")
        return certificate

    def _signed(self, *said: object) -> bytes:
        """What a site signs of what is `said`: who is meant by each partner's name is part of it."""
        partners = [[name, self.identity.pinned[name]] for name in self.partners]
        return json.dumps([*self.scope, *said, partners]).encode()


class Party(Signer):
    """A site's part in one job: its key pair, which is drawn anew for each job and is nowhere but in this object."""

    def __init__(self, identity: Identity, job: str, partners: Sequence[str]):
        """Raises UserError as `Signer` does."""
        super().__init__(identity, [LABEL, job], partners)
        self.secret = X25519PrivateKey.generate()
        self.adverts: dict[str, Advert] = {}
        self.shared: dict[str, bytes] = {}
        self.answered = -1  # the last round (from 0) that was masked

    def advert(self) -> Advert:
        """This site's public key, signed over job, site and partners with their fingerprints."""
        return self.advertise(self.secret)

    def meet(self, adverts: Mapping[str, Advert]) -> None:
        """Check the partners' adverts, and agree on a secret with each.

        Raises UserError, in one line, if one is missing, of a stranger, signed for another job or set of partners, or
        not the one that the server has passed on before.
        """
        if self.adverts == adverts:
            return
        if self.adverts:
            raise UserError(
                "secure aggregation: the server has changed a partner's key within the job; ask its operator"
            )
        if sorted(adverts) != self.partners:
            raise UserError(
                f"secure aggregation: keys of {', '.join(sorted(adverts)) or 'nobody'}, but the partners are "
                f"{', '.join(self.partners)}; run the job again"
            )
        if adverts[self.identity.name].public != self.secret.public_key().public_bytes_raw().hex():
            raise UserError(
                "secure aggregation: the server has put another key in place of this site's; ask its operator"
            )
        for site in self.partners:
            self.check(site, adverts[site])
        for site in self.partners:
            if site != self.identity.name:
                public = X25519PublicKey.from_public_bytes(bytes.fromhex(adverts[site].public))
                self.shared[site] = self.secret.exchange(public)
        self.adverts = dict(adverts)

    def mask(self, encoded: Parameters, number: int, sent: str) -> None:
        """Mask what `fixed.encode` made for round `number` (from 0), in place. Each round is masked once.

        `sent` is the digest of what this site was sent in the round (`digest_of`), which all sites must have been.
        Two answers under one mask would show their difference. Raises UserError if the round was masked before, or if
        the partners are not known yet.
        """
        if not self.shared:
            raise UserError(
                "secure aggregation: no keys, because this process is not the job's first; run the job again"
            )
        if number <= self.answered:
            raise UserError(
                f"secure aggregation: round {number + 1} was answered already in this job; run the job again"
            )
        self.answered = number
        for site, secret in self.shared.items():
            pair = sorted([self.identity.name, site])
            blend(encoded, secret, [*self.scope, number, sent, pair], adds=self.identity.name == pair[0])


def blend(encoded: Parameters, secret: bytes, info: list, adds: bool) -> None:
    """Add the stream of masks of a `secret` to the words of all arrays, by name, in place; or subtract it.

    It is AES-256-CTR, its key and nonce by HKDF of the secret and of `info`.
    """
    made = HKDF(SHA256(), length=48, salt=None, info=json.dumps(info).encode()).derive(secret)
    stream, combine = (
        Cipher(algorithms.AES(made[:32]), modes.CTR(made[32:])).encryptor(),
        np.add if adds else np.subtract,
    )
    for name in sorted(encoded):
        words = encoded[name].reshape(-1)
        for start in range(0, words.size, BLOCK):
            block = words[start : start + BLOCK]
            combine(block, np.frombuffer(stream.update(bytes(block.nbytes)), "<u8"), out=block)


def digest_of(sent: Parameters) -> str:
    """The SHA-256 of what sites are sent in a round: names, dtypes, shapes and values, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(sent):
        array = np.ascontiguousarray(sent[name])
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.data)
    return digest.hexdigest()


def adverts_of(sent: Mapping[str, Mapping[str, str]]) -> dict[str, Advert]:
    """The adverts of a message. Raises UserError if they are none."""
    try:
        return {site: Advert(**{name: str(advert[name]) for name in Advert._fields}) for site, advert in sent.items()}
    except (AttributeError, KeyError, TypeError):
        raise UserError("secure aggregation: the server has sent no keys; is its fedxray another version?") from None


def fingerprints_of(adverts: Mapping[str, Advert]) -> dict[str, str]:
    """The SHA-256 of each partner's certificate, in hexadecimal digits."""
    certificates = {
        site: x509.load_pem_x509_certificate(advert.certificate.encode()) for site, advert in adverts.items()
    }
    return {site: certificate.fingerprint(SHA256()).hex() for site, certificate in sorted(certificates.items())}


def _is_issued(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _name_of(certificate: x509.Certificate) -> str:
    """The common name of a certificate; empty if it has none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
