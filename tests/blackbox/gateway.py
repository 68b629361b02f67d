"""A gateway process under test: started on free ports, watched, and ended by its pid.

Not a client of it: wire_mqtt, wire_nats and clients speak the protocols.
"""

import contextlib
import http.client
import os
import pathlib
import random
import resource
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / "target/release/strait"
START_S = 20
STOP_S = 20
PORT_IN_USE = 71
LISTENING = "0A"
# Those that the acceptance checks ask for.
FIXED_PORTS = {20243}
PAGE_KIB = resource.getpagesize() // 1024

# Every gateway of the running test, so that a failure can show its log.
running = []


class Strait:
    """One process. `mqtt`, `nats` and `admin` are its addresses, (host, port)."""

    def __init__(self, cores=1, env=None, mqtt_port=None, nats_port=None):
        self.cores = cores
        self.env = env or {}
        for _ in range(5):
            self.mqtt = ("127.0.0.1", mqtt_port or free_port())
            self.nats = ("127.0.0.1", nats_port or free_port())
            self.admin = ("127.0.0.1", free_port())
            self.log_file = tempfile.TemporaryFile()
            self.process = self.spawn()
            running.append(self)
            if self.wait_until_it_accepts():
                return
            running.remove(self)
            # Another process took a port between our asking for it and the gateway's bind.
            if self.process.returncode != PORT_IN_USE or mqtt_port or nats_port:
                break
        raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.log_tail()}")

    def command(self):
        listeners = ["--mqtt", address(self.mqtt), "--nats", address(self.nats), "--admin", address(self.admin)]
        return [BINARY, *listeners, "--cores", str(self.cores)]

    def spawn(self):
        return subprocess.Popen(
            self.command(),
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=self.log_file,
            stderr=self.log_file,
        )

    def wait_until_it_accepts(self):
        deadline = time.monotonic() + START_S
        while not (self.listens_at(self.mqtt) and self.listens_at(self.nats) and self.is_ready()):
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < deadline, f"it accepts at no port within {START_S} s:\n{self.log_tail()}"
            time.sleep(0.01)
        for at in (self.mqtt, self.nats):
            socket.create_connection(at, timeout=START_S).close()
        return True

    def is_ready(self):
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection(*self.admin, timeout=START_S)
            with contextlib.closing(connection):
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
        return False

    def listens_at(self, at):
        """Whether this very process does: something else may answer at the same port."""
        try:
            folder = f"/proc/{self.process.pid}/fd"
            files = {os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}
        except OSError:
            # Descriptors come and go while we look, and so may the process.
            return False
        local = f"0100007F:{at[1]:04X}"
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table]
        return any(row[1] == local and row[3] == LISTENING and f"socket:[{row[9]}]" in files for row in rows)

    def stop(self, with_signal=signal.SIGTERM):
        """Ends the process and asserts that it went well."""
        running.remove(self)
        self.assert_healthy()
        self.process.send_signal(with_signal)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the gateway did not stop within {STOP_S} s:\n{self.log_tail()}") from None
        assert code == 0, f"the gateway ended with {code}:\n{self.log_tail()}"
        self.assert_no_panic()

    def kill(self):
        """Ends the process in any state, for a fixture whose test has failed already."""
        if self in running:
            running.remove(self)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def assert_healthy(self):
        code = self.process.poll()
        assert code is None, f"the gateway ended by itself with {code}:\n{self.log_tail()}"
        self.assert_no_panic()

    def assert_no_panic(self):
        assert "panicked" not in self.log(), f"something panicked:\n{self.log_tail()}"

    def log(self):
        size = os.fstat(self.log_file.fileno()).st_size
        return os.pread(self.log_file.fileno(), size, 0).decode(errors="replace")

    def log_tail(self, n_lines=30):
        return "\n".join(self.log().splitlines()[-n_lines:]) or "(nothing logged)"

    @property
    def nats_url(self):
        return f"nats://{address(self.nats)}"

    def resident_kib(self):
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * PAGE_KIB

    def n_open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            # The second field is the command in brackets; utime and stime are the 14th and 15th.
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def address(at):
    return f"{at[0]}:{at[1]}"


def candidate_ports():
    """Those below what the kernel gives to outgoing connections: no client takes one between our look and the bind."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as ephemeral:
        end = int(ephemeral.read().split()[0])
    ports = set(range(10_000, end)) or set(range(10_000, 65_536))
    ports -= FIXED_PORTS
    return random.sample(sorted(ports), len(ports))


unused_ports = candidate_ports()


def free_port():
    """Never one twice: a gateway's listeners need one each."""
    while True:
        port = unused_ports.pop()
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(condition, what, timeout=15):
    """For state that can only be looked at: asks again until it holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what() if callable(what) else what}"
        time.sleep(0.02)
