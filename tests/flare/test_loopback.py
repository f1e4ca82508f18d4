"""How gRPC reaches this machine itself: at its address, past proxies, only where the certificate is the server's."""

from concurrent import futures

import grpc
import pytest

from fedxray.core.files import read_json, write_json
from fedxray.flare.kits import provision, render_project
from fedxray.flare.loopback import ADDRESS, grpc_of, past_proxies

PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "no_proxy", "NO_PROXY", "no_grpc_proxy")


@pytest.fixture(scope="module")
def kits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kits")
    render_project("config/project.yml", ["us"], folder / "project.yml")
    provision(folder / "project.yml", folder)
    return folder / "kits"


def reaches(kits, name, monkeypatch):
    """Whether a client of the kit `us` takes a server that shows the certificate of `name`."""
    startup = kits / name / "startup"
    kind = "server" if name == "localhost" else "client"
    pair = [(startup / f"{kind}.{part}").read_bytes() for part in ("key", "crt")]
    root = (kits / "us" / "startup" / "rootCA.pem").read_bytes()
    own = [(kits / "us" / "startup" / f"client.{part}").read_bytes() for part in ("key", "crt")]
    options = read_json(kits / "us" / "local" / "comm_config.json")["grpc"]["options"]
    for proxy in PROXIES[:4]:
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # where nobody is
    monkeypatch.setenv("no_grpc_proxy", past_proxies()["no_grpc_proxy"])
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_secure_port(f"{ADDRESS}:0", grpc.ssl_server_credentials([pair], root, True))
    server.start()
    try:
        with grpc.secure_channel(f"{ADDRESS}:{port}", grpc.ssl_channel_credentials(root, *own), options) as channel:
            grpc.channel_ready_future(channel).result(3)
        return True
    except grpc.FutureTimeoutError:
        return False
    finally:
        server.stop(None)


def test_the_servers_certificate_is_taken_at_its_address_and_no_other_is(kits, monkeypatch):
    """The other one is of the same root."""
    path = kits / "us" / "local" / "comm_config.json"
    write_json(path, read_json(path) | grpc_of("localhost"))
    assert reaches(kits, "localhost", monkeypatch)
    assert not reaches(kits, "us", monkeypatch)


@pytest.mark.parametrize(
    ("environment", "excepted"),
    [
        ({}, []),
        ({"no_proxy": "fl.example.org, .local"}, ["fl.example.org", ".local"]),
        ({"NO_PROXY": "fl.example.org"}, ["fl.example.org"]),
        ({"no_proxy": "a.org", "no_grpc_proxy": "b.org,localhost"}, ["b.org"]),  # as gRPC itself does
    ],
)
def test_the_servers_that_the_user_excepts_from_the_proxy_stay_excepted(environment, excepted, monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    names = past_proxies()["no_grpc_proxy"].split(",")
    assert names[: len(excepted)] == excepted
    assert sorted(names[len(excepted) :]) == sorted(["localhost", "127.0.0.1", "::1"])
    monkeypatch.setenv("no_grpc_proxy", past_proxies()["no_grpc_proxy"])
    assert past_proxies()["no_grpc_proxy"].split(",") == names  # a second time adds nothing
