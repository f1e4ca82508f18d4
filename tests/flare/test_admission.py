"""Who the server lets in, piece by piece; tests/operators/test_server.py does it with real kits and processes."""

import json
from types import SimpleNamespace

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, RunProcessKey
from nvflare.fuel.f3.cellnet.defs import IdentityChallengeKey
from nvflare.private.fed.authenticator import MISSING_CLIENT_FQCN

from fedxray import __version__
from fedxray.core.files import read_json, write_json
from fedxray.flare.admission import Admission, strangers
from fedxray.flare.certificates import certificate_of, fingerprint
from fedxray.flare.kits import provision, render_project
from fedxray.flare.tasks import PROTOCOL


@pytest.fixture(scope="module")
def kits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kits")
    render_project("config/project.yml", ["us", "europe"], folder / "project.yml")
    provision(folder / "project.yml", folder)
    return folder / "kits"


class Server:
    """As much of NVFlare's server as the component touches; it admits every certificate of the root."""

    def __init__(self, kit):
        self.shutdown, self.sessions, self.asked = True, {}, []  # shutdown: no watch of its own
        self.client_manager = SimpleNamespace(authenticated_client=self.register, get_clients=lambda: self.sessions)
        self.kit, self.told = kit, []
        self.engine = SimpleNamespace(run_processes={}, notify_dead_job=lambda *of: self.told.append(of))

    def register(self, request, context, client_type):
        self.asked.append(request.name)
        return SimpleNamespace(token="uuid", name=request.name, get_site_config=lambda: request.config)

    def _resolve_client_fqcn_for_auth(self, name, token):
        return self.sessions[token].name if token in self.sessions else None

    def logout_client(self, token):
        del self.sessions[token]


class Context:
    def __init__(self, server):
        self.server, self.props = server, {}

    def get_prop(self, key):
        return self.server if key == FLContextKey.SITE_OBJ else None

    def set_prop(self, key, value, sticky):
        self.props[key] = value

    def get_engine(self):
        workspace = SimpleNamespace(
            get_site_config_dir=lambda: str(self.server.kit / "local"), get_root_dir=lambda: str(self.server.kit)
        )
        return SimpleNamespace(get_workspace=lambda: workspace)


class Request:
    def __init__(self, name, kit, config=None):
        self.name, self.config = name, config
        self.payload = {IdentityChallengeKey.CERT: (kit / "startup" / "client.crt").read_bytes()} if kit else {}

    def get_header(self, key):
        return self.name


def run_with(*sites):
    """A job's process as NVFlare's engine knows it."""
    return {RunProcessKey.PARTICIPANTS: {f"token of {site}": SimpleNamespace(name=site) for site in sites}}


@pytest.fixture
def door(kits, tmp_path):
    """(server, component, context) with a list of the admitted of its own."""
    kit = tmp_path / "server"
    write_json(kit / "local" / "admitted.json", read_json(kits / "localhost" / "local" / "admitted.json"))
    server, component = Server(kit), Admission()
    context = Context(server)
    component.handle_event(EventType.SYSTEM_BOOTSTRAP, context)
    return server, component, context


def test_the_jobs_of_a_site_hear_that_it_has_joined_anew(door, kits):
    server, _, context = door
    server.engine.run_processes |= {"both": run_with("us", "europe"), "other": run_with("europe"), "starts": {}}
    server.client_manager.authenticated_client(Request("us", kits / "us"), context, "regular")
    assert [told[:2] for told in server.told] == [("both", "us")]


def test_a_certificate_of_the_list_gets_a_token_that_names_it(kits, door):
    server, _, context = door
    config = {"versions": {"torch": "2.15.0"}}
    client = server.client_manager.authenticated_client(Request("us", kits / "us", config), context, "regular")
    assert client.token == f"uuid.{fingerprint(certificate_of(kits / 'us'))}"
    assert read_json(server.kit / "registered.json") == {"us": {"torch": "2.15.0"}}
    assert not context.props


def test_a_site_is_a_stranger_if_it_said_another_protocol_or_a_version_without_one(tmp_path):
    assert strangers(tmp_path) == {}
    said = {"us": {"fedxray": "9.9", "protocol": PROTOCOL}, "europe": {"fedxray": "0.0.1", "protocol": "0"}}
    write_json(tmp_path / "registered.json", said | {"asia": {"torch": "2.15.0"}})
    found = strangers(tmp_path)
    assert set(found) == {"europe", "asia"}
    here = f"and the server has fedxray {__version__} of protocol {PROTOCOL}; update the older one, and start it again"
    assert found["europe"] == f"it has fedxray 0.0.1 of protocol 0, {here}"
    assert found["asia"] == f"it has fedxray ? of protocol none, {here}"


@pytest.mark.parametrize(("name", "whose"), [("us", "europe"), ("asia", "us"), ("us", None)])
def test_another_certificate_another_name_and_none_are_refused_before_nvflare_is_asked(kits, door, name, whose):
    server, _, context = door
    request = Request(name, kits / whose if whose else None)
    assert server.client_manager.authenticated_client(request, context, "regular") is None
    assert context.props[FLContextKey.UNAUTHENTICATED] == f"{name} is not admitted with this certificate"
    assert server.asked == []  # or NVFlare would end the session of the true one


def test_who_leaves_the_list_is_dropped_and_its_token_opens_no_door(kits, door):
    server, component, context = door
    client = server.client_manager.authenticated_client(Request("us", kits / "us"), context, "regular")
    server.sessions[client.token] = client
    resolve = server._resolve_client_fqcn_for_auth
    assert resolve("us", client.token) == "us"
    write_json(server.kit / "local" / "admitted.json", {"europe": "0" * 64})

    class Once:
        """One turn of the watch."""

        def __init__(self):
            self.turns = iter([False, True])

        def __bool__(self):
            return next(self.turns)

    server.shutdown = Once()
    component._watch()
    assert server.sessions == {}
    assert resolve("us", client.token) == MISSING_CLIENT_FQCN
    assert resolve("a job's own process", "job-id") is None  # NVFlare's own, as before
    write_json(server.kit / "local" / "admitted.json", {"us": client.token.split(".")[1]})
    component._read()
    assert resolve("us", client.token) is None  # a lost session comes back by its heartbeat


def test_a_broken_list_leaves_the_last_good_one_and_none_admits_nobody(kits, door, tmp_path):
    server, component, context = door
    path = server.kit / "local" / "admitted.json"
    admitted = component._read()
    path.write_text("{")
    assert component._read() == admitted == json.loads((kits / "localhost" / "local" / "admitted.json").read_text())
    fresh = Server(tmp_path / "empty")
    (tmp_path / "empty" / "local").mkdir(parents=True)
    Admission().handle_event(EventType.SYSTEM_BOOTSTRAP, Context(fresh))
    assert fresh.client_manager.authenticated_client(Request("us", kits / "us"), context, "regular") is None
