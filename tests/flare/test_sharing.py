"""What the federations of one machine share out: GPUs between processes, and ports between runs."""

import socket
import sys

import pytest

from fedxray.flare.one_host import hold_port, share_gpus

NAMES = ["us", "europe", "asia", "server"]


@pytest.mark.parametrize(
    ("visible", "shared"),
    [
        (None, {}),  # nobody has said which: each process sees all of the machine's
        ("", {}),
        ("0", {"us": "0", "europe": "0", "asia": "0", "server": "0"}),
        ("4,6", {"us": "4", "europe": "6", "asia": "4", "server": "6"}),
        ("0,1,2", {"us": "0", "europe": "1", "asia": "2", "server": "0"}),
        ("0, 1, 2, 3, 4", {"us": "0", "europe": "1", "asia": "2", "server": "3"}),
        ("GPU-8f2a,MIG-11b3", {"us": "GPU-8f2a", "europe": "MIG-11b3", "asia": "GPU-8f2a", "server": "MIG-11b3"}),
    ],
)
def test_gpus_are_shared_out_in_turn(visible, shared):
    assert share_gpus(NAMES, visible) == shared


@pytest.mark.skipif(sys.platform != "linux", reason="one port is asked for by an option of Linux")
def test_a_port_that_is_held_is_drawn_by_no_other_run_and_a_server_can_listen_on_it():
    with hold_port() as held:
        port = held.getsockname()[1]
        with socket.socket() as other:  # as hold_port draws, from a range of this port alone
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            ip_local_port_range = 51
            other.setsockopt(socket.IPPROTO_IP, ip_local_port_range, (port | port << 16).to_bytes(4, sys.byteorder))
            with pytest.raises(OSError, match="in use"):
                other.bind(("localhost", 0))
        with socket.socket() as server:  # as gRPC listens
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("", port))
            server.listen()
            for _ in range(10):
                socket.create_connection(("localhost", port), timeout=5).close()
