"""Secure aggregation that survives absent sites: who answers is summed, and of who does not nothing is learned.

It is the protocol of Bonawitz et al. 2017 (doi:10.1145/3133956.3133982, figure 4) with all that it has against a
malicious server. In each round every site draws two key pairs (X25519), one for masks and one for what it tells its
partners, and the seed of a mask of its own. It shares the private key of its masks and the seed among all partners
(Shamir 1979), so that a `quorum` of them together knows both, and fewer know nothing. Its answer is masked by the
streams of all its pairs, and by its own. After the answers the sites sign whose answers are summed. With a quorum of
these signatures each gives its shares: of a site that has answered those of the seed, of an absent one those of the
key, and never both of one. So the sum of those who answered loses its masks, and no smaller sum does.

`Member` is a site's part, whose steps are those of `STEPS` in this order, and `unmask` the server's.
"""

import json
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedxray.core.errors import UserError
from fedxray.core.parameters import Parameters
from fedxray.experiment.method import quorum
from fedxray.federation.secure import Advert, Identity, Signer, blend

LABEL = "fedxray secure aggregation with recovery 2"
PRIME = 2**256 + 297  # the smallest prime above all secrets
SIZE = 33  # bytes of a share, a number below PRIME
STEPS = ("advert", "share", "receive", "mask", "vouch", "reveal")


def scope_of(job: str, number: int) -> list:
    """What all that is signed and derived in round `number` (from 0) of a job is bound to."""
    return [LABEL, job, number]


class Member(Signer):
    """A site's part in one round, whose secrets are nowhere but in this object.

    Each step is done once, and after one that has failed no other: what is refused once stays refused in this round.
    """

    bound = "this round"
    keys = 2

    def __init__(self, identity: Identity, job: str, number: int, partners: Sequence[str]):
        """Raises UserError as `Signer` does."""
        super().__init__(identity, scope_of(job, number), partners)
        self.number, self.least, self.done = number, quorum(len(self.partners)), 0
        self.masking, self.telling = X25519PrivateKey.generate(), X25519PrivateKey.generate()
        self.seed = secrets.token_bytes(32)
        self.adverts: dict[str, Advert] = {}  # of the sites that have keys in this round
        self.certificates: dict[str, x509.Certificate] = {}  # theirs
        self.held: dict[str, tuple[bytes, bytes]] = {}  # {site: this site's shares of its key and of its seed}
        self.survivors: list[str] = []

    def advert(self) -> Advert:
        """This site's public keys, signed over job, round, site and partners with their fingerprints."""
        with self._step("advert"):
            return self.advertise(self.masking, self.telling)

    def share(self, adverts: Mapping[str, Advert]) -> dict[str, str]:
        """Shares of this site's secrets, {partner: encrypted for it, as hexadecimal digits}, for all who have keys.

        Raises UserError if they are too few, or if an advert is not that of a partner for this round.
        """
        with self._step("share"):
            self._enough(adverts, self.partners, "have keys")
            own = adverts[self.identity.name].public
            if own != "".join(key.public_key().public_bytes_raw().hex() for key in (self.masking, self.telling)):
                raise UserError(
                    "secure aggregation: the server has put another key in place of this site's; ask its operator"
                )
            self.certificates = {site: self.check(site, adverts[site]) for site in sorted(adverts)}
            self.adverts = dict(adverts)
            both = self.masking.private_bytes_raw(), self.seed
            among = [split(secret, self.least, len(self.partners)) for secret in both]
            shares = dict(zip(self.partners, zip(*among, strict=True), strict=True))
            self.held[self.identity.name] = shares[self.identity.name]
            name, sealed = self.identity.name, {}
            for site in sorted(adverts):
                if site != name:
                    sealed[site] = self._cipher(site, name, site).encrypt(bytes(12), b"".join(shares[site]), None).hex()
            return sealed

    def receive(self, shared: Mapping[str, Mapping[str, str]]) -> None:
        """Take the partners' shares: what each has answered to `share`, this site too. These are whom it masks with.

        Raises UserError if they are too few, or if one's shares are not for this site and round.
        """
        with self._step("receive"):
            self._enough(shared, self.adverts, "have shared their secrets")
            name = self.identity.name
            for site in sorted(set(shared) - {name}):
                try:
                    # The nonce is the same for all, and each key encrypts one message.
                    plain = self._cipher(site, site, name).decrypt(bytes(12), bytes.fromhex(shared[site][name]), None)
                except (InvalidTag, KeyError, TypeError, ValueError):
                    raise UserError(
                        f"secure aggregation: the shares of {site} are not for this site and round; nothing was sent"
                    ) from None
                self.held[site] = plain[:SIZE], plain[SIZE:]

    def mask(self, encoded: Parameters, sent: str) -> None:
        """Mask what `fixed.encode` made for this round, in place. Raises UserError unless it follows `receive`.

        `sent` is the digest of what this site was sent in the round (`secure.digest_of`), which all must have been.
        """
        with self._step("mask"):
            name, scope = self.identity.name, [*self.scope, sent]
            blend(encoded, self.seed, [*scope, [name]], adds=True)
            for site in sorted(set(self.held) - {name}):
                blend(encoded, *_pair(self.masking, self.adverts[site], scope, name), adds=name < site)

    def vouch(self, survivors: Sequence[str]) -> str:
        """The signature that these sites, and no others, are those whose answers are summed in this round.

        Raises UserError if they are too few, without this site, or of others than it has masked with.
        """
        with self._step("vouch"):
            self._enough(survivors, self.held, "have answered")
            self.survivors = sorted(survivors)
            return self.sign(*self._said())

    def reveal(self, signatures: Mapping[str, str]) -> dict[str, str]:
        """This site's shares, {of whom: hexadecimal digits}: of a survivor the seed's, of an absent site the key's.

        Raises UserError if the signatures of the survivors are too few, or one is not of this round and these.
        """
        with self._step("reveal"):
            self._enough(signatures, self.survivors, "have signed who has answered")
            for site in sorted(signatures):
                if not self.has_signed(self.certificates[site], signatures[site], *self._said()):
                    raise UserError(
                        f"secure aggregation: {site} has not signed that {', '.join(self.survivors)} have answered "
                        "this round, so the server may have told it others; nothing was sent"
                    )
            return {site: self.held[site][site in self.survivors].hex() for site in sorted(self.held)}

    @contextmanager
    def _step(self, step: str) -> Iterator[None]:
        """Do a step. Raises UserError if it is not its turn, because it was done or another one has failed."""
        if self.done != STEPS.index(step):
            raise UserError(
                f"secure aggregation: the step {step} of round {self.number + 1} came twice, or out of turn; run the "
                "job again"
            )
        self.done = len(STEPS)
        yield
        self.done = STEPS.index(step) + 1

    def _said(self) -> tuple[str, list[str], str]:
        """What the survivors sign: who they are, and the keys that all of them have seen."""
        keys = json.dumps([[site, self.adverts[site].public] for site in sorted(self.adverts)])
        return "survivors", self.survivors, sha256(keys.encode()).hexdigest()

    def _enough(self, sites: Collection[str], among: Collection[str], what: str) -> None:
        """Raise UserError unless `sites` are a quorum or more of those `among` whom they must be, with this one."""
        enough = len(set(sites)) == len(sites) >= self.least and self.identity.name in sites
        if not enough or not set(sites) <= set(among):
            raise UserError(
                f"secure aggregation: {', '.join(sorted(sites)) or 'nobody'} {what}; at least {self.least} of "
                f"{', '.join(sorted(among))} must, this site among them; nothing was sent"
            )

    def _cipher(self, partner: str, sender: str, receiver: str) -> AESGCM:
        """What encrypts the one message from `sender` to `receiver` in this round; this site and `partner` know it."""
        public = X25519PublicKey.from_public_bytes(bytes.fromhex(self.adverts[partner].public)[32:])
        info = json.dumps([*self.scope, "shares", sender, receiver]).encode()
        return AESGCM(HKDF(SHA256(), length=32, salt=None, info=info).derive(self.telling.exchange(public)))


def unmask(
    sums: Parameters,
    scope: list,
    sent: str,
    partners: Sequence[str],
    adverts: Mapping[str, Advert],
    survivors: Collection[str],
    revealed: Mapping[str, Mapping[str, str]],
) -> None:
    """Take the masks that are left in the sum of what the `survivors` have answered off it, in place.

    `sums` are words of `fixed.encode`, uint64 (2, *shape), by name. `scope` and `adverts` are of the round, `sent` is
    the digest of what all sites were sent in it, and `revealed` is {site: what it has answered to `reveal`}. Raises
    UserError if these shares do not give the secrets.
    """
    least, order, scope = quorum(len(partners)), sorted(partners), [*scope, sent]
    if len(revealed) < least:
        raise UserError(f"secure aggregation: shares of {len(revealed)} sites, and {least} are needed; run it again")
    for site in sorted({whose for shares in revealed.values() for whose in shares}):
        try:
            numbered = {order.index(by) + 1: int(revealed[by][site], 16) for by in sorted(revealed)[:least]}
            secret = join(numbered)
        except (KeyError, OverflowError, TypeError, ValueError):
            raise UserError(_unfit(site)) from None
        if site in survivors:
            blend(sums, secret, [*scope, [site]], adds=False)
            continue
        key = X25519PrivateKey.from_private_bytes(secret)
        if not adverts[site].public.startswith(key.public_key().public_bytes_raw().hex()):
            raise UserError(_unfit(site))
        for other in survivors:
            blend(sums, *_pair(key, adverts[other], scope, site), adds=site < other)


def split(secret: bytes, least: int, sites: int) -> list[bytes]:
    """Shares of a secret of 32 bytes, SIZE bytes each, for so many sites; any `least` of them give it back.

    They are values of a polynomial modulo PRIME whose other coefficients are drawn from the machine's entropy, and
    whose value at 0 is the secret: that of the site of number i, from 1, is its value at i (Shamir 1979,
    doi:10.1145/359168.359176).
    """
    coefficients = [*(secrets.randbelow(PRIME) for _ in range(least - 1)), int.from_bytes(secret)]
    return [_value(coefficients, number).to_bytes(SIZE) for number in range(1, sites + 1)]


def join(shares: Mapping[int, int]) -> bytes:
    """The secret, 32 bytes, of exactly as many shares {number of the site: share} as give it, by Lagrange at 0.

    Raises OverflowError if they are not of one secret; most that are not are not noticed.
    """
    secret = 0
    for number, share in shares.items():
        over, under = 1, 1
        for other in shares:
            if other != number:
                over, under = over * other % PRIME, under * (other - number) % PRIME
        secret += share * over * pow(under, -1, PRIME)
    return (secret % PRIME).to_bytes(32)


def _value(coefficients: Sequence[int], at: int) -> int:
    """The value of a polynomial modulo PRIME, its highest coefficient first."""
    value = 0
    for coefficient in coefficients:
        value = (value * at + coefficient) % PRIME
    return value


def _unfit(site: str) -> str:
    return f"secure aggregation: the shares of the secret of {site} do not fit; run it again, and look at the sites"


def _pair(key: X25519PrivateKey, partner: Advert, scope: list, name: str) -> tuple[bytes, list]:
    """The secret of a partner and the site `name`, which has the `key`, and what the masks of both are bound to."""
    public = X25519PublicKey.from_public_bytes(bytes.fromhex(partner.public)[:32])
    return key.exchange(public), [*scope, sorted([name, partner.site])]
