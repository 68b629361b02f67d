"""The servers that are compared: where each is found, how it is configured and started, and that it ends.

Every one runs by its path, on loopback, on ports that were free, in a folder of its own that goes with it, and on
one core. Not what is measured (scenarios) nor how (generator).
"""

import ctypes
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[1]
FETCHED = ROOT / ".test"
DEBIAN = FETCHED / "debian/usr"
RUMQTTD_VERSION = "0.20.0"

START_S = 15
STOP_S = 10
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)

# Connection limits and queues are opened wide: a bound that drops messages would make a server look cheap.
STRAIT_CONFIG = """\
cores = 1
log = "warn"
[mqtt]
listen = "127.0.0.1:{mqtt}"
[nats]
listen = "127.0.0.1:{nats}"
"""
NATS_CONFIG = """\
listen: "127.0.0.1:{nats}"
server_name: compare
max_connections: 200000
max_pending: 268435456
"""
# nats-server keeps MQTT sessions in JetStream, so its MQTT listener cannot do without.
NATS_MQTT_CONFIG = """\
jetstream {{ store_dir: "{folder}/jetstream" }}
mqtt {{ listen: "127.0.0.1:{mqtt}" }}
"""
# Since 2.0 mosquitto drops QoS 0 messages of a client with 1,000 in its queue; 0 lifts each limit.
MOSQUITTO_CONFIG = """\
listener {mqtt} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_queued_bytes 0
max_inflight_messages 0
log_type error
log_type warning
"""
RUMQTTD_CONFIG = """\
id = 0
[router]
id = 0
max_connections = 100010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v4.1]
name = "v4-1"
listen = "127.0.0.1:{mqtt}"
next_connection_delay_ms = 0
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 200
dynamic_filters = true
"""


class Absent(Exception):
    """The server is not on this machine; the text says why and what would bring it."""


class StartFailed(Exception):
    """The server ended, or does not accept; the text holds the end of its log."""


@dataclass(frozen=True)
class Kind:
    """One server to compare."""

    id: str
    name: str
    path: pathlib.Path
    speaks: frozenset
    config: str
    arguments: tuple
    bring: str
    mqtt_config: str = ""
    env: dict = field(default_factory=dict)

    def serves(self, protocols):
        return protocols <= self.speaks

    def version(self):
        """As the program says itself: the first dotted number in its output."""
        if not self.path.exists():
            raise Absent(f"{self.path} is missing: {self.bring}")
        # mosquitto has no flag for its version: its help begins with it.
        flag = "-h" if self.id == "mosquitto" else "--version"
        try:
            said = subprocess.run(
                [self.path, flag], env=self.environment(), capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Absent(f"{self.path} does not run: {error}") from error
        found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
        if not found:
            raise Absent(f"{self.path} {flag} tells no version: {(said.stdout + said.stderr).strip()[:200]}")
        return found[0]

    def environment(self):
        return {**os.environ, **self.env}

    def config_text(self, folder, ports, with_mqtt):
        text = self.config + (self.mqtt_config if with_mqtt else "")
        return text.format(folder=folder, **ports)


def kinds(strait):
    """All servers, Strait first; `strait` is the binary to measure."""
    setup = "scripts/test --setup fetches it"
    libraries = [str(path) for path in sorted((DEBIAN / "lib").glob("*-linux-gnu"))]
    debian_env = {"LD_LIBRARY_PATH": ":".join(libraries)}
    nats = {"speaks": frozenset({"nats", "mqtt"}), "config": NATS_CONFIG, "mqtt_config": NATS_MQTT_CONFIG}
    nats |= {"arguments": ("--config", "{config}"), "bring": setup}
    return [
        Kind(
            id="strait",
            name="Strait",
            path=strait,
            speaks=frozenset({"nats", "mqtt"}),
            config=STRAIT_CONFIG,
            arguments=("--config", "{config}"),
            bring="cargo build --release makes it",
        ),
        Kind(id="nats-debian", name="nats-server", path=DEBIAN / "sbin/nats-server", **nats),
        Kind(id="nats-pypi", name="nats-server", path=FETCHED / "venv/bin/nats-server", **nats),
        Kind(
            id="mosquitto",
            name="mosquitto",
            path=DEBIAN / "sbin/mosquitto",
            speaks=frozenset({"mqtt"}),
            config=MOSQUITTO_CONFIG,
            arguments=("-c", "{config}"),
            bring=setup,
            env=debian_env,
        ),
        Kind(
            id="rumqttd",
            name="rumqttd",
            path=FETCHED / "cargo/bin/rumqttd",
            speaks=frozenset({"mqtt"}),
            config=RUMQTTD_CONFIG,
            arguments=("--config", "{config}", "--quiet"),
            bring=f"cargo install --root .test/cargo rumqttd --version {RUMQTTD_VERSION}",
        ),
    ]


class Running:
    """One server process on one core. Leaving the `with` ends it, however it is left."""

    def __init__(self, kind, core, with_mqtt):
        self.kind = kind
        self.core = core
        self.with_mqtt = with_mqtt
        self.process = None
        self.folder = None

    def __enter__(self):
        try:
            for _ in range(3):
                self.spawn()
                if self.wait_until_it_answers():
                    return self
                # Another process may have taken a port between our asking for it and the server's bind.
                said = self.log_tail()
                self.stop()
                if "in use" not in said:
                    break
            raise StartFailed(f"{self.kind.name} did not start: {said or 'it said nothing'}")
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def spawn(self):
        self.folder = tempfile.TemporaryDirectory(prefix="compare-", ignore_cleanup_errors=True)
        self.ports = free_ports("mqtt", "nats")
        config = pathlib.Path(self.folder.name) / "config"
        # rumqttd tells the format of its configuration by the name.
        config = config.with_suffix(".conf" if self.kind.name == "nats-server" else ".toml")
        self.config = self.kind.config_text(self.folder.name, self.ports, self.with_mqtt)
        config.write_text(self.config)
        arguments = [argument.format(config=config) for argument in self.kind.arguments]
        self.command = [str(self.kind.path), *arguments]
        self.log = open(pathlib.Path(self.folder.name) / "log", "w+b")
        self.process = subprocess.Popen(
            self.command,
            cwd=self.folder.name,
            env=self.kind.environment(),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            # A Ctrl-C at the terminal is for us; we end the server.
            start_new_session=True,
            preexec_fn=lambda: settle(self.core),
        )

    @property
    def pid(self):
        return self.process.pid

    def wait_until_it_answers(self):
        checks = [(self.ports["nats"], nats_answers)] if "nats" in self.kind.speaks else []
        if self.with_mqtt:
            checks.append((self.ports["mqtt"], mqtt_answers))
        deadline = time.monotonic() + START_S
        for port, answers in checks:
            while not answers(port):
                if self.process.poll() is not None:
                    return False
                if time.monotonic() > deadline:
                    raise StartFailed(f"{self.kind.name} does not answer within {START_S} s: {self.log_tail()}")
                time.sleep(0.02)
        return True

    def log_tail(self):
        with open(self.log.name, "rb") as log:
            return " | ".join(log.read().decode(errors="replace").strip().splitlines()[-4:])[-600:]

    def ended(self):
        """How it ended by itself, or None while it runs."""
        code = self.process.poll()
        return None if code is None else f"the server ended with {code}: {self.log_tail()}"

    def cpu_s(self):
        """CPU that it has used since its start, user and system."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
            self.log.close()
        if self.folder is not None:
            self.folder.cleanup()
            self.folder = None


def shown(text):
    """A command or configuration as a report shows it: without where this checkout and its temporary files lie."""
    return re.sub(rf"{re.escape(tempfile.gettempdir())}/compare-[^/\s\"]+", "DIR", text.replace(f"{ROOT}/", ""))


def settle(core):
    """In the child, before the program begins: on its core, and bound to end with us even if we are killed."""
    os.sched_setaffinity(0, {core})
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def free_ports(*names):
    sockets = {name: socket.socket() for name in names}
    for each in sockets.values():
        each.bind(("127.0.0.1", 0))
    ports = {name: each.getsockname()[1] for name, each in sockets.items()}
    for each in sockets.values():
        each.close()
    return ports


def nats_answers(port):
    return answers(port, b"", b"INFO ")


def mqtt_answers(port):
    """A CONNECT of 3.1.1 is accepted, not only its socket: nats-server's MQTT waits for JetStream."""
    name = b"compare-ready"
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(name).to_bytes(2, "big") + name
    return answers(port, b"\x10" + bytes([len(body)]) + body, b"\x20\x02\x00\x00")


def answers(port, says, expected):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.sendall(says)
            got = b""
            while len(got) < len(expected):
                part = client.recv(len(expected) - len(got))
                if not part:
                    return False
                got += part
            return got == expected
    except OSError:
        return False
