"""Sites with certificates, for tests of secure aggregation: a root, and who is signed by it."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fedxray.core.files import write_json
from fedxray.federation.secure import Identity


class Authority:
    """A root, which signs certificates."""

    def __init__(self):
        self.key = _key()
        self.root = _certificate("root", self.key, "root", self.key)

    def issue(self, name, days=30):
        """(key, certificate) of `name`; it ends after so many days."""
        key = _key()
        return key, _certificate(name, key, "root", self.key, days)


def identities(authority, sites, **others):
    """{site: its identity}, each with the fingerprints of all; `others` are (key, certificate) in place of new ones."""
    issued = {site: others.get(site) or authority.issue(site) for site in sites}
    pinned = {site: certificate.fingerprint(SHA256()).hex() for site, (_, certificate) in issued.items()}
    return {site: Identity(site, *issued[site], authority.root, pinned) for site in sites}


def write_kit(kit, identity):
    """What `partners.identity_of` reads of a site's startup kit, in the folder `kit`."""
    (kit / "startup").mkdir(parents=True)
    (kit / "local").mkdir()
    key = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (kit / "startup" / "client.key").write_bytes(key)
    for name, certificate in (("client.crt", identity.certificate), ("rootCA.pem", identity.root)):
        (kit / "startup" / name).write_bytes(certificate.public_bytes(Encoding.PEM))
    write_json(kit / "local" / "partners.json", identity.pinned)


def _key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(name, key, issuer, issuer_key, days=30):
    builder = x509.CertificateBuilder(_name(issuer), _name(name), key.public_key(), x509.random_serial_number())
    now = datetime.now(UTC)
    builder = builder.not_valid_before(now - timedelta(days=60)).not_valid_after(now + timedelta(days=days))
    return builder.sign(issuer_key, SHA256())
