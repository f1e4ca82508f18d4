"""The checks before joining: each in order, and each of the ways in which it fails, with what to do."""

import contextlib
import re
import shutil
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from helpers.operators import ask, free_port

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_json
from fedxray.flare.certificates import certificate_of
from fedxray.flare.own import OwnFile
from fedxray.operators.checks import check_site
from fedxray.operators.site import start


def run(folder, *names):
    """{name: (passed, text)} of the checks of these names, or all."""
    found = {check.name: (check.passed, check.text) for check in check_site(folder, timeout_s=2)}
    return {name: found[name] for name in names or found}


def failing(folder):
    """{name: text} of the checks that fail, but for the server, which no test here has up."""
    return {name: text for name, (passed, text) in run(folder).items() if not passed and name != "server"}


def test_all_is_in_order(hospital):
    found = run(hospital)
    assert list(found) == ["data", "certificate", "key", "privacy", "partners", "server", "versions", "machine"]
    assert failing(hospital) == {}
    assert "24 train, 24 validation, 24 test images" in found["data"][1]
    assert "valid for 99 days" in found["certificate"][1]
    assert "budget: none, so every job is answered, with noise or without" in found["privacy"][1]
    assert "torch" in found["versions"][1]
    assert "cores" in found["machine"][1]


def test_wrong_data_are_told(hospital, data):
    images = np.load(hospital / "data" / "images.npy")
    images[0, 0, 0] ^= 1
    np.save(hospital / "data" / "images.npy", images)
    assert "changed since its data card" in failing(hospital)["data"]
    OwnFile(hospital / "kit").write(data=data["europe"])
    assert "data of europe, but this is the archive of us" in failing(hospital)["data"]
    OwnFile(hospital / "kit").write(data=hospital / "nowhere")
    assert "missing" in failing(hospital)["data"]
    OwnFile(hospital / "kit").write(data=data["us"])
    write_json(hospital / "archive.json", read_json(hospital / "archive.json") | {"image_size": 64})
    assert "images of 16 pixels, but the federation has 64" in failing(hospital)["data"]


def sign(organiser, hospital, start, end):
    """Give the hospital's kit a certificate of the federation's root, valid from `start` to `end` (days from now)."""
    state = read_json(next((organiser / "state").rglob("cert.json")))
    root = serialization.load_pem_private_key(state["root_pri_key"].encode(), None)
    own, now = certificate_of(hospital / "kit"), datetime.now(UTC)
    builder = x509.CertificateBuilder(own.issuer, own.subject, own.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now + timedelta(days=start)).not_valid_after(now + timedelta(days=end))
    made = builder.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (hospital / "kit" / "startup" / "client.crt").write_bytes(made)


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [(-20, -0.1, "certificate ended .*ask the organiser for a new archive"), (0.5, 9, "set this machine's clock")],
)
def test_a_certificate_out_of_its_time_is_told(organiser, hospital, start, end, said):
    sign(organiser, hospital, start, end)
    found = failing(hospital)
    assert list(found) == ["certificate", "partners"]
    assert re.search(said, found["certificate"])


def test_a_site_whose_certificate_has_ended_does_not_start(organiser, hospital, monkeypatch):
    sign(organiser, hospital, -9, -1)
    monkeypatch.setattr("fedxray.operators.site.run_kit", lambda *_: pytest.fail("it was started"))
    with pytest.raises(UserError, match="its certificate ended"):
        start(SimpleNamespace(folder=hospital))
    OwnFile(hospital / "kit").path.unlink()
    with pytest.raises(UserError, match="run fedxray-site prepare first"):
        start(SimpleNamespace(folder=hospital))


def test_a_certificate_that_ends_soon_passes_with_a_word(organiser, hospital):
    sign(organiser, hospital, -1, 10.5)
    passed, text = run(hospital, "certificate")["certificate"]
    assert passed
    assert "valid for 10 days" in text
    assert "before that" in text


def test_a_kit_that_was_mixed_up_or_left_open_is_told(organiser, hospital):
    key = hospital / "kit" / "startup" / "client.key"
    key.chmod(0o640)
    assert "others can read it" in failing(hospital)["key"]
    shutil.copy(organiser / "kits" / "europe" / "startup" / "client.key", key)
    assert "not the key of the certificate" in failing(hospital)["key"]


def test_the_partners_are_shown_as_the_organiser_has_them_and_an_old_list_is_told(organiser, hospital):
    kits, path = read_json(organiser / "kits.json"), hospital / "kit" / "local" / "partners.json"
    shown = "; ".join(f"{site} {kits[site]['certificate_sha256']}" for site in ("europe", "us"))
    assert run(hospital, "partners")["partners"] == (True, shown)
    write_json(path, read_json(path) | {"us": "0" * 64})
    assert "not of this site's certificate; unpack the newest archive again" in failing(hospital)["partners"]
    path.write_text('{"us": ')
    assert "damaged, and secure aggregation needs it; ask the organiser" in failing(hospital)["partners"]
    path.unlink()
    assert "missing, and secure aggregation needs it; ask the organiser" in failing(hospital)["partners"]


def test_other_versions_than_the_archives_are_told(hospital):
    pins = hospital / "requirements.txt"
    text = pins.read_text()
    pins.write_text(text.replace("nvflare==2.9.0", "nvflare==2.8.1"))
    assert "nvflare 2.9.0, but 2.8.1 is pinned; run sh install.sh again" in failing(hospital)["versions"]
    pins.write_text(text)
    write_json(hospital / "archive.json", read_json(hospital / "archive.json") | {"code_sha256": "0" * 64})
    assert "is not the archive's" in failing(hospital)["versions"]


def point(hospital, target):
    """Let the hospital's kit look for its server at `target`."""
    path = hospital / "kit" / "startup" / "fed_client.json"
    config = read_json(path)
    config["servers"][0]["service"]["target"] = target
    write_json(path, config)


@contextlib.contextmanager
def listening(context=None):
    """A server that takes one connection after the other, in TLS with `context`; yields its port."""
    server = socket.create_server(("localhost", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection = server.accept()[0]
                with contextlib.suppress(OSError), connection:
                    if context is None:
                        connection.sendall(b"220 mail\r\n" * 9)
                        connection.recv(99)
                    else:
                        with context.wrap_socket(connection, server_side=True) as secure:
                            secure.recv(99)
                            secure.sendall(b"\0" * 9)

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


def tls(kits, trusted):
    """TLS as the server of the folder `kits`, which takes clients of the root of `trusted`."""
    startup = kits / "kits" / "localhost" / "startup"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(startup / "server.crt", startup / "server.key")
    context.load_verify_locations(trusted / "kits" / "localhost" / "startup" / "rootCA.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_the_server_is_reached_is_ours_and_takes_us(organiser, hospital, tmp_path_factory):
    stranger = tmp_path_factory.mktemp("stranger")
    ask(stranger)

    def said():
        return run(hospital, "server")["server"]

    for context, passed, text in (
        (tls(organiser, organiser), True, "trusts the certificate"),
        (tls(stranger, stranger), False, "what answers there is not the federation's server"),
        (tls(organiser, stranger), False, "ask the organiser whether"),
        (None, False, "TLS fails"),
    ):
        with listening(context) as port:
            point(hospital, f"localhost:{port}")
            found = said()
            assert found[0] == passed, found
            assert text in found[1]
    point(hospital, f"localhost:{free_port()}")
    assert "not reached" in said()[1]
    point(hospital, "no-such-host.invalid:8002")
    assert "no such host name" in said()[1]
