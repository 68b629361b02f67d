"""The NATS client protocol on a bare socket: a decoder and a connection.

Nothing here checks what it sends, so tests can say wrong things on purpose.
"""

import json
import socket
import time
from dataclasses import dataclass

OPTIONS = {
    "verbose": False, "pedantic": False, "headers": True, "no_responders": True,
    "protocol": 1, "lang": "raw", "version": "1",
}  # fmt: skip


@dataclass
class Op:
    """INFO, MSG (HMSG as well), PING, PONG, +OK or -ERR."""

    kind: str
    text: str = ""
    subject: str = ""
    sid: str = ""
    reply: str | None = None
    headers: bytes = b""
    payload: bytes = b""


def connect(**options):
    return b"CONNECT " + json.dumps({**OPTIONS, **options}).encode() + b"\r\n"


def pub(subject, payload=b"", reply=None):
    words = [b"PUB", raw(subject)] + ([raw(reply)] if reply else []) + [b"%d" % len(payload)]
    return b" ".join(words) + b"\r\n" + payload + b"\r\n"


def hpub(subject, headers, payload=b"", reply=None):
    sizes = [b"%d" % len(headers), b"%d" % (len(headers) + len(payload))]
    words = [b"HPUB", raw(subject)] + ([raw(reply)] if reply else []) + sizes
    return b" ".join(words) + b"\r\n" + headers + payload + b"\r\n"


def raw(value):
    return value.encode() if isinstance(value, str) else value


def decode(data):
    """The first operation of `data` and its length; None if it isn't whole."""
    end = data.find(b"\r\n")
    if end < 0:
        return None
    line = bytes(data[:end])
    kind, _, rest = line.partition(b" ")
    if kind not in (b"MSG", b"HMSG"):
        return Op(kind.decode(), rest.decode(errors="replace")), end + 2
    words = rest.split(b" ")
    total = int(words.pop())
    head = int(words.pop()) if kind == b"HMSG" else 0
    if len(data) < end + 2 + total + 2:
        return None
    content = bytes(data[end + 2 : end + 2 + total])
    assert data[end + 2 + total : end + 4 + total] == b"\r\n", f"no CR LF after the payload of {line!r}"
    op = Op("MSG", subject=words[0].decode(), sid=words[1].decode(), headers=content[:head], payload=content[head:])
    op.reply = words[2].decode() if len(words) > 2 else None
    return op, end + 4 + total


class Closed(Exception):
    """The gateway closed the connection."""


class Connection:
    """A blocking connection; every wait ends after `timeout` seconds with an AssertionError."""

    def __init__(self, at, timeout=10, receive_buffer=None):
        self.timeout = timeout
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(at)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = bytearray()
        self.info = json.loads(self.receive().text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, *data):
        self.socket.sendall(b"".join(data))

    def receive(self, timeout=None):
        """The next operation, PINGs answered on the way. Raises Closed at the end of the stream."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while True:
            found = decode(self.pending)
            if found:
                del self.pending[: found[1]]
                if found[0].kind == "PING":
                    self.send(b"PONG\r\n")
                    continue
                return found[0]
            left = deadline - time.monotonic()
            assert left > 0, f"nothing within {timeout or self.timeout} s; pending {bytes(self.pending[:64])!r}"
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(1 << 18)
            except TimeoutError:
                continue
            except ConnectionError:
                more = b""
            if not more:
                raise Closed(f"with {bytes(self.pending[:64])!r} pending")
            self.pending += more

    def expect(self, kind, timeout=None):
        found = self.receive(timeout)
        # After the first PONG a server may tell once more about itself.
        if found.kind == "INFO" and kind != "INFO":
            found = self.receive(timeout)
        assert found.kind == kind, f"expected {kind}, got {found}"
        return found

    def until_closed(self, timeout=None):
        """Everything up to the end of the stream, which must come."""
        found = []
        try:
            while True:
                found.append(self.receive(timeout))
        except Closed:
            return [op for op in found if op.kind != "INFO"]

    def expect_error(self, text):
        """`-ERR 'text'` and then the end of the stream; with None only the end."""
        found = self.until_closed()
        wanted = [Op("-ERR", f"'{text}'")] if text else []
        assert found == wanted, f"expected {wanted} and the end, got {found}"

    def connect(self, **options):
        self.send(connect(**options))
        assert self.ping() == []

    def subscribe(self, subject, sid="1", queue=None):
        """Returns once the gateway has taken it."""
        words = [b"SUB", raw(subject)] + ([raw(queue)] if queue else []) + [raw(sid)]
        self.send(b" ".join(words) + b"\r\n")
        assert self.ping() == []

    def unsubscribe(self, sid="1"):
        """Returns what was delivered before the gateway had taken it."""
        self.send(b"UNSUB " + raw(sid) + b"\r\n")
        return self.ping()

    def publish(self, subject, payload=b"", reply=None):
        self.send(pub(subject, payload, reply))

    def message(self, timeout=None):
        found = self.expect("MSG", timeout)
        return found.subject, found.payload

    def ping(self):
        """A round trip; returns the operations that came before the PONG."""
        self.send(b"PING\r\n")
        before = []
        while (found := self.receive()).kind != "PONG":
            if found.kind != "INFO":
                before.append(found)
        return before


def connected(at, receive_buffer=None, **options):
    """A connection whose CONNECT has been taken."""
    connection = Connection(at, receive_buffer=receive_buffer)
    connection.connect(**options)
    return connection
