"""MQTT 3.1, 3.1.1 and 5.0 on a bare socket: packet builders, a decoder, and a connection.

Nothing here checks what it builds, so tests can say wrong things on purpose.
"""

import socket
import struct
import time
from dataclasses import dataclass, field

V31, V311, V5 = 3, 4, 5
VERSIONS = [V31, V311, V5]

KINDS = [
    "RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
    "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
]  # fmt: skip

# Identifier of each property, and the form of its value.
PROPERTIES = {
    "payload_format": (0x01, "byte"),
    "message_expiry": (0x02, "four"),
    "content_type": (0x03, "text"),
    "response_topic": (0x08, "text"),
    "correlation_data": (0x09, "binary"),
    "subscription_id": (0x0B, "varint"),
    "session_expiry": (0x11, "four"),
    "assigned_client_id": (0x12, "text"),
    "server_keep_alive": (0x13, "two"),
    "authentication_method": (0x15, "text"),
    "authentication_data": (0x16, "binary"),
    "request_problem_information": (0x17, "byte"),
    "will_delay": (0x18, "four"),
    "request_response_information": (0x19, "byte"),
    "response_information": (0x1A, "text"),
    "server_reference": (0x1C, "text"),
    "reason_string": (0x1F, "text"),
    "receive_maximum": (0x21, "two"),
    "topic_alias_maximum": (0x22, "two"),
    "topic_alias": (0x23, "two"),
    "maximum_qos": (0x24, "byte"),
    "retain_available": (0x25, "byte"),
    "user_property": (0x26, "pair"),
    "maximum_packet_size": (0x27, "four"),
    "wildcard_available": (0x28, "byte"),
    "subscription_ids_available": (0x29, "byte"),
    "shared_available": (0x2A, "byte"),
}
PROPERTY_NAMES = {number: (name, form) for name, (number, form) in PROPERTIES.items()}


# Builders.


def packet(kind, flags, body):
    return bytes([KINDS.index(kind) << 4 | flags]) + varint(len(body)) + body


def connect(
    version=V5, client_id="", clean=True, keep_alive=0, properties=(), will=None,
    username=None, password=None, protocol=None, level=None, will_properties=(),
):  # fmt: skip
    """`will` is (topic, payload, qos, retain)."""
    protocol = protocol or ("MQIsdp" if version == V31 else "MQTT")
    flags = 0x02 if clean else 0
    payload = text(client_id)
    if will:
        will_topic, will_payload, qos, retain = will
        flags |= 0x04 | qos << 3 | (0x20 if retain else 0)
        payload += prop_block(version, will_properties) + text(will_topic) + binary(will_payload)
    if username is not None:
        flags |= 0x80
        payload += text(username)
    if password is not None:
        flags |= 0x40
        payload += binary(password)
    head = text(protocol) + bytes([version if level is None else level, flags]) + struct.pack(">H", keep_alive)
    return packet("CONNECT", 0, head + prop_block(version, properties) + payload)


def publish(topic, payload=b"", qos=0, packet_id=None, retain=False, dup=False, version=V5, properties=()):
    body = text(topic)
    if qos:
        body += struct.pack(">H", packet_id)
    flags = (8 if dup else 0) | qos << 1 | (1 if retain else 0)
    return packet("PUBLISH", flags, body + prop_block(version, properties) + payload)


def subscribe(packet_id, filters, version=V5, properties=()):
    """`filters` are pairs of a filter and its options byte, which holds the QoS in its low bits."""
    body = struct.pack(">H", packet_id) + prop_block(version, properties)
    return packet("SUBSCRIBE", 2, body + b"".join(text(name) + bytes([options]) for name, options in filters))


def unsubscribe(packet_id, filters, version=V5):
    body = struct.pack(">H", packet_id) + prop_block(version)
    return packet("UNSUBSCRIBE", 2, body + b"".join(map(text, filters)))


def puback(packet_id):
    return ack("PUBACK", packet_id)


def ack(kind, packet_id):
    return packet(kind, 2 if kind == "PUBREL" else 0, struct.pack(">H", packet_id))


def disconnect(version=V5, reason=0, properties=()):
    if version != V5 or not (reason or properties):
        return packet("DISCONNECT", 0, b"")
    return packet("DISCONNECT", 0, bytes([reason]) + (prop_block(V5, properties) if properties else b""))


PINGREQ = b"\xc0\x00"


def varint(n):
    out = bytearray()
    while True:
        n, low = divmod(n, 128)
        out.append(low | (0x80 if n else 0))
        if not n:
            return bytes(out)


def text(value):
    return binary(value.encode() if isinstance(value, str) else value)


def binary(value):
    return struct.pack(">H", len(value)) + value


def prop_block(version, properties=()):
    if version != V5:
        return b""
    body = b"".join(prop(name, value) for name, value in properties)
    return varint(len(body)) + body


def prop(name, value):
    number, form = PROPERTIES[name]
    encode = {
        "byte": lambda: bytes([value]),
        "two": lambda: struct.pack(">H", value),
        "four": lambda: struct.pack(">I", value),
        "varint": lambda: varint(value),
        "text": lambda: text(value),
        "binary": lambda: binary(value),
        "pair": lambda: text(value[0]) + text(value[1]),
    }
    return bytes([number]) + encode[form]()


# Decoder.


@dataclass
class Packet:
    kind: str
    flags: int = 0
    packet_id: int | None = None
    topic: str | None = None
    payload: bytes = b""
    session_present: bool = False
    # CONNACK, DISCONNECT, PUBACK: one code; SUBACK, UNSUBACK: one per filter.
    reason: int = 0
    reasons: list = field(default_factory=list)
    # Pairs in the order of the wire.
    properties: list = field(default_factory=list)

    @property
    def qos(self):
        return self.flags >> 1 & 3

    @property
    def retain(self):
        return bool(self.flags & 1)

    @property
    def dup(self):
        return bool(self.flags & 8)

    def prop(self, name, default=None):
        return dict(self.properties).get(name, default)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        assert self.at + n <= len(self.data), f"a field runs out of its packet: {self.data!r}"
        self.at += n
        return self.data[self.at - n : self.at]

    def byte(self):
        return self.take(1)[0]

    def two(self):
        return int.from_bytes(self.take(2))

    def binary(self):
        return self.take(self.two())

    def text(self):
        return self.binary().decode()

    def varint(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def rest(self):
        return self.take(len(self.data) - self.at)

    def properties(self):
        block = Reader(self.take(self.varint()))
        found = []
        read = {
            "byte": Reader.byte,
            "two": Reader.two,
            "four": lambda r: int.from_bytes(r.take(4)),
            "varint": Reader.varint,
            "text": Reader.text,
            "binary": Reader.binary,
            "pair": lambda r: (r.text(), r.text()),
        }
        while block.at < len(block.data):
            name, form = PROPERTY_NAMES[block.varint()]
            found.append((name, read[form](block)))
        return found


def decode(data, version):
    """The first packet of `data` and its length; None if it isn't whole."""
    length = shift = 0
    for at in range(1, 5):
        if at >= len(data):
            return None
        length |= (data[at] & 0x7F) << shift
        shift += 7
        if data[at] < 0x80:
            break
    else:
        raise AssertionError(f"the length of a packet has five bytes: {bytes(data[:8])!r}")
    end = at + 1 + length
    if len(data) < end:
        return None
    return body(KINDS[data[0] >> 4], data[0] & 15, Reader(bytes(data[at + 1 : end])), version), end


def body(kind, flags, reader, version):
    found = Packet(kind, flags)
    five = version == V5
    if kind == "CONNACK":
        found.session_present = bool(reader.byte() & 1)
        found.reason = reader.byte()
        # A server that refuses the version may answer in the form of an older one.
        if reader.at < len(reader.data):
            found.properties = reader.properties()
    elif kind == "PUBLISH":
        found.topic = reader.text()
        if found.qos:
            found.packet_id = reader.two()
        if five:
            found.properties = reader.properties()
        found.payload = reader.rest()
    elif kind in ("SUBACK", "UNSUBACK"):
        found.packet_id = reader.two()
        if five:
            found.properties = reader.properties()
        found.reasons = list(reader.rest())
    elif kind in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"):
        found.packet_id = reader.two()
        found.reason = reader.byte() if reader.at < len(reader.data) else 0
        if reader.at < len(reader.data):
            found.properties = reader.properties()
    elif kind == "DISCONNECT" and reader.at < len(reader.data):
        found.reason = reader.byte()
        if reader.at < len(reader.data):
            found.properties = reader.properties()
    return found


# Connection.


class Closed(Exception):
    """The gateway closed the connection."""


class Connection:
    """A blocking connection; every wait ends after `timeout` seconds with an AssertionError."""

    def __init__(self, at, version=V5, timeout=10, receive_buffer=None):
        self.version, self.timeout = version, timeout
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(at)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = bytearray()
        self.last_packet_id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, *packets):
        self.socket.sendall(b"".join(packets))

    def receive(self, timeout=None):
        """The next packet. Raises Closed at the end of the stream."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while True:
            found = decode(self.pending, self.version)
            if found:
                del self.pending[: found[1]]
                return found[0]
            left = deadline - time.monotonic()
            assert left > 0, f"no packet within {timeout or self.timeout} s; pending {bytes(self.pending[:64])!r}"
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
        assert found.kind == kind, f"expected {kind}, got {found}"
        return found

    def until_closed(self, timeout=None):
        """Everything up to the end of the stream, which must come."""
        found = []
        try:
            while True:
                found.append(self.receive(timeout))
        except Closed:
            return found

    def expect_closed(self, *reasons, timeout=None):
        """The stream ends: for 5.0 after a DISCONNECT with one of `reasons`, if any are given."""
        found = self.until_closed(timeout)
        if reasons and self.version == V5:
            assert [p.kind for p in found] == ["DISCONNECT"], f"expected one DISCONNECT, got {found}"
            assert found[0].reason in reasons, f"DISCONNECT with 0x{found[0].reason:02x}"
        else:
            assert found == [], f"expected nothing but the end, got {found}"

    def connect(self, **fields):
        """CONNECT, and its accepting CONNACK."""
        fields.setdefault("client_id", "" if self.version != V31 else f"v31-{id(self):x}"[:23])
        self.send(connect(self.version, **fields))
        connack = self.expect("CONNACK")
        assert connack.reason == 0, f"refused with 0x{connack.reason:02x}"
        return connack

    def subscribe(self, *filters, properties=()):
        """Filters are names (QoS 0) or pairs with options; returns the codes of SUBACK."""
        self.last_packet_id += 1
        pairs = [(f, 0) if isinstance(f, str) else f for f in filters]
        self.send(subscribe(self.last_packet_id, pairs, self.version, properties))
        suback = self.expect("SUBACK")
        assert suback.packet_id == self.last_packet_id
        return suback.reasons

    def unsubscribe(self, *filters):
        """Returns what was delivered before the UNSUBACK."""
        self.last_packet_id += 1
        self.send(unsubscribe(self.last_packet_id, filters, self.version))
        before = []
        while (found := self.receive()).kind != "UNSUBACK":
            before.append(found)
        return before

    def publish(self, topic, payload=b"", **fields):
        self.send(publish(topic, payload, version=self.version, **fields))

    def message(self, timeout=None):
        found = self.expect("PUBLISH", timeout)
        return found.topic, found.payload

    def ping(self):
        """A round trip; returns the packets that came before the PINGRESP."""
        self.send(PINGREQ)
        before = []
        while (found := self.receive()).kind != "PINGRESP":
            before.append(found)
        return before


def connected(at, version=V5, receive_buffer=None, **fields):
    """A connection whose CONNECT has been accepted."""
    connection = Connection(at, version, receive_buffer=receive_buffer)
    connection.connect(**fields)
    return connection
