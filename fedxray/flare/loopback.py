"""How processes of one machine reach each other, whatever the names and proxies that the machine is set up with."""

import os
from pathlib import Path

from nvflare.fuel.f3.comm_config import CommConfigurator
from nvflare.fuel.f3.drivers.net_utils import MAX_FRAME_SIZE

from fedxray.core.files import read_json

ADDRESS = "127.0.0.1"  # `localhost` may be ::1 alone, where nobody listens, or be no name at all
NAMES = ("localhost", ADDRESS, "::1")
OPTIONS = [(f"grpc.max_{way}_message_length", MAX_FRAME_SIZE) for way in ("send", "receive")]  # NVFlare's own of gRPC
# In a kit's comm_config.json: where the processes of a participant find each other.
INTERNAL = {"internal": {"scheme": "tcp", "resources": {"host": ADDRESS}}}


def grpc_of(name: str) -> dict:
    """In comm_config.json: that a server which is reached by its address has to have the certificate of `name`."""
    return {"grpc": {"options": [*OPTIONS, ("grpc.ssl_target_name_override", name)]}}


def use_grpc_of(kit: Path) -> None:
    """Let this process use gRPC as comm_config.json of the admin's kit says, which NVFlare reads for all others."""
    path = kit / "local" / "comm_config.json"
    grpc = read_json(path).get("grpc") if path.exists() else None
    CommConfigurator._configuration, CommConfigurator._config_loaded = {"grpc": grpc} if grpc else None, True


def past_proxies() -> dict[str, str]:
    """The variable of the environment by which gRPC reaches this machine itself past any proxy.

    It also has the servers that the user's own variables except, because it takes the place of these for gRPC.
    """
    names = next(filter(None, map(os.environ.get, ("no_grpc_proxy", "no_proxy", "NO_PROXY"))), "")
    excepted = [name.strip() for name in names.split(",") if name.strip()]
    return {"no_grpc_proxy": ",".join(dict.fromkeys([*excepted, *NAMES]))}
