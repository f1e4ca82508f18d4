"""A network of machines on this one: a namespace for each, linked by a bridge. Each sees its own files alone."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from fedxray.flare import kits
from fedxray.flare.own import OwnFile

HOST = "fedxray-server"
PORT = 8002
SUBNET = "10.77.0"
RUN = "import sys; from fedxray.operators.process import run_kit; run_kit(sys.argv[1])"


def why_not():
    """Why namespaces cannot be made here, or "" if they can."""
    if os.geteuid():
        return "namespaces need root"
    if not shutil.which("ip") or not shutil.which("unshare"):
        return "no ip (iproute2) or unshare (util-linux)"
    probe = f"fxprobe{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "del", probe], capture_output=True)
    return done.stderr.strip()


class Network:
    """Machines by name, each with its own address and a link that can be cut."""

    def __init__(self, names):
        self.prefix = f"fx{os.getpid()}"
        self.names = list(names)
        self.switch = f"{self.prefix}-switch"
        self.processes = []

    def __enter__(self):
        _ip("netns", "add", self.switch)
        _ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", self.switch, "link", "set", "br0", "up")
        for number, name in enumerate(self.names, 1):
            space = self.space(name)
            _ip("netns", "add", space)
            _ip("-n", self.switch, "link", "add", f"port{number}", "type", "veth", "peer", "eth0", "netns", space)
            _ip("-n", self.switch, "link", "set", f"port{number}", "master", "br0", "up")
            _ip("-n", space, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            for link in ("eth0", "lo"):
                _ip("-n", space, "link", "set", link, "up")
            etc = Path("/etc/netns") / space
            etc.mkdir(parents=True)
            (etc / "hosts").write_text(f"127.0.0.1 localhost\n{self.address('server')} {HOST}\n")
        return self

    def __exit__(self, *error):
        for name in self.names:
            self._kill_all(name)
        for process in self.processes:
            self.kill(process)
        for name in self.names:
            shutil.rmtree(Path("/etc/netns") / self.space(name), ignore_errors=True)
            _ip("netns", "del", self.space(name))
        _ip("netns", "del", self.switch)
        with contextlib.suppress(OSError):
            Path("/etc/netns").rmdir()

    def space(self, name):
        return f"{self.prefix}-{name}"

    def address(self, name):
        return f"{SUBNET}.{self.names.index(name) + 1}"

    def link(self, name, state):
        """Set the cable of a machine `up` or `down`, at the switch: the machine sees silence and no error."""
        _ip("-n", self.switch, "link", "set", f"port{self.names.index(name) + 1}", state)

    @contextlib.contextmanager
    def slow(self, name, rate):
        """Let the cable of a machine carry no more than `rate` (as tc writes it), each way, while the context lasts."""
        ends = (self.switch, f"port{self.names.index(name) + 1}"), (self.space(name), "eth0")
        limit = ["root", "tbf", "rate", rate, "burst", "32kbit", "latency", "400ms"]
        for space, device in ends:
            subprocess.run(["tc", "-n", space, "qdisc", "add", "dev", device, *limit], check=True)
        try:
            yield
        finally:
            for space, device in ends:
                subprocess.run(["tc", "-n", space, "qdisc", "del", "dev", device, "root"], check=True)

    def start(self, name, argv, hidden, **options):
        """Start a process on machine `name`, which sees empty folders in place of those in `hidden`."""
        masks = "".join(f"mount -t tmpfs -o size=4k,mode=0 none '{folder}' && " for folder in hidden)
        command = ["ip", "netns", "exec", self.space(name), "unshare", "-m", "sh", "-c", f'{masks}exec "$@"', "sh"]
        process = subprocess.Popen([*command, *map(str, argv)], start_new_session=True, **options)
        self.processes.append(process)
        return process

    def pids(self, name):
        """The processes of a machine."""
        done = subprocess.run(["ip", "netns", "pids", self.space(name)], capture_output=True, text=True)
        return [int(pid) for pid in done.stdout.split()]

    def kill(self, process, name=None):
        """Send SIGKILL to a process and its group; with `name`, first to all processes of a machine."""
        if name:
            self._kill_all(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()

    def _kill_all(self, name):
        for pid in self.pids(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)


class Machines:
    """A federation on a `Network`: kits of its own project, and each machine's process."""

    def __init__(self, network, folder, data):
        self.network = network
        self.folder = folder
        self.data = data  # {name: directory of its data}, with the shared validation set as `server`
        self.kits = make_kits(folder / "pki", [name for name in data if name != "server"])
        for name, directory in data.items():
            kit = self.kit(name)
            (kit / "transfer").mkdir(exist_ok=True)
            OwnFile(kit).write(data=directory, **({"tensorboard": kit / "tensorboard"} if name == "server" else {}))
        self.running = {}

    def kit(self, name):
        return self.kits / {"server": HOST, "workflow": kits.ADMIN}.get(name, name)

    def hidden(self, name):
        """What the machine `name` must not see: every other one's data and kit."""
        folders = [directory for owner, directory in self.data.items() if owner != name]
        return folders + [self.kit(other) for other in (*self.data, "workflow") if other != name]

    def start(self, name, kit=None):
        """Start the NVFlare process of a machine, as its operator's command does: its jobs are forks."""
        argv = [sys.executable, "-c", RUN, kit or self.kit(name)]
        with open(self.folder / f"{name}.log", "ab") as log:
            self.running[name] = self.network.start(name, argv, self.hidden(name), stdout=log, stderr=log)

    def kill(self, name):
        """End everything on a machine at once, as a power cut does."""
        self.network.kill(self.running.pop(name), name)

    def log(self, name):
        return (self.kit(name) / "out.txt").read_text(errors="replace")

    def run(self, argv, **options):
        """Start a script of the workflow on the machine that has only the admin's kit."""
        return self.network.start("workflow", [sys.executable, *argv], self.hidden("workflow"), **options)


def make_kits(folder, sites):
    """Make startup kits of a new project, whose server is `HOST`; returns the folder of kits."""
    folder.mkdir(parents=True)
    kits.render_project("config/project.yml", sites, folder / "project.yml", host=HOST, port=PORT)
    kits.provision(folder / "project.yml", folder)
    kits.place_store(folder / "kits" / HOST)
    return folder / "kits"


def wait_until(condition, timeout_s, what):
    """Wait for `condition()`; raises AssertionError naming `what`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not in {timeout_s} s"
        time.sleep(0.2)


def _ip(*words):
    subprocess.run(["ip", *words], check=True)


CAPTURE = """
import socket, struct, sys
sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
sniffer.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
with open(sys.argv[1], "wb", buffering=0) as file:
    while True:
        frame, (_, _, kind, _, _) = sniffer.recvfrom(1 << 17)
        if kind != 4:  # PACKET_OUTGOING: each frame once, where it comes in
            file.write(struct.pack("!I", len(frame)) + frame)
"""


class Capture:
    """Everything that crosses the switch while the context lasts, or comes to a machine, also from itself."""

    def __init__(self, network, path, machine=None):
        self.network = network
        self.path = path
        self.space = network.space(machine) if machine else network.switch

    def __enter__(self):
        argv = ["ip", "netns", "exec", self.space, sys.executable, "-c", CAPTURE, str(self.path)]
        self.process = subprocess.Popen(argv, start_new_session=True)
        wait_until(self.path.exists, 10, "capture")
        return self

    def __exit__(self, *error):
        time.sleep(0.5)
        self.network.kill(self.process)

    def streams(self):
        """{(source, port, destination, port): bytes} of the TCP connections that began, and other protocols."""
        data, segments, begun, other, position = self.path.read_bytes(), {}, {}, set(), 0
        while position + 4 <= len(data):
            (size,) = struct.unpack_from("!I", data, position)
            frame, position = data[position + 4 : position + 4 + size], position + 4 + size
            if frame[12:14] != b"\x08\x00":
                continue  # not IPv4
            packet = frame[14 : 14 + struct.unpack_from("!H", frame, 16)[0]]
            if packet[9] != 6:
                other.add(packet[9])
                continue
            ends = packet[12:16], packet[16:20]
            tcp = packet[4 * (packet[0] & 15) :]
            source, destination, number = struct.unpack_from("!HHI", tcp)
            key = (socket.inet_ntoa(ends[0]), source, socket.inet_ntoa(ends[1]), destination)
            if tcp[13] & 2:  # SYN
                begun[key] = (number + 1) % 2**32
            elif key in begun:
                segments.setdefault(key, {})[(number - begun[key]) % 2**32] = tcp[4 * (tcp[12] >> 4) :]
        return {key: _assemble(segments.get(key, {})) for key in begun}, other


def _assemble(segments):
    """The bytes of a stream up to the first gap."""
    stream = b""
    for number in sorted(segments):
        if number > len(stream):
            break
        stream += segments[number][len(stream) - number :]
    return stream


def is_tls(stream):
    """Whether a stream is TLS records and nothing else, the first of them a handshake."""
    position, kinds = 0, []
    while position + 5 <= len(stream):
        kind, version, size = struct.unpack_from("!BHH", stream, position)
        if kind not in (20, 21, 22, 23) or version not in (0x0301, 0x0303) or size > 2**14 + 256:
            return False
        kinds.append(kind)
        position += 5 + size
    return kinds[:1] == [22]
