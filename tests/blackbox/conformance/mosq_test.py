"""Stands before the helpers of mosquitto's own tests, which are `mosq_test_original` here.

They compare packets byte for byte, which is more than the specifications ask for. Here packets are compared by
what they say, and a server may, where mosquitto does not:

- give a Reason String, and in CONNACK a Maximum Packet Size, and list properties in another order (2.2.2.2)
- say that a message has no subscribers (0x10), or that a PUBREL's identifier is unknown (0x92), instead of success
- say why before it closes a connection (4.13, and 3.2 for CONNACK)
- send acknowledgements before or after messages that go the same way (4.6 orders each among themselves)
"""

import atexit
import os
import socket

import mosq_test_original
from mosq_test_original import *  # noqa: F403

CONNACK, PUBLISH, DISCONNECT = 0x20, 0x30, 0xE0
ACKNOWLEDGEMENTS = range(0x40, 0x80)
# What may come before or after a message: acknowledgements, SUBACK and UNSUBACK.
ANSWERS = {0x40, 0x50, 0x60, 0x70, 0x90, 0xB0}
REASON_STRING, MAXIMUM_PACKET_SIZE = 0x1F, 0x27
VALUE_BYTES = {
    1: {0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A},
    2: {0x13, 0x21, 0x22, 0x23},
    4: {0x02, 0x11, 0x18, 0x27},
}
SUCCESSES = {0x00, 0x10, 0x92}
FAILURE = 0x80
# By socket: packets that came before those that a test asks for first.
early = {}


class Socket(socket.socket):
    """Where a test reads by itself it wants to see whether the connection is closed."""

    def recv(self, size):
        return b"" if self.read(1, socket.MSG_PEEK) == bytes([DISCONNECT]) else self.read(size)

    def read(self, *arguments):
        return super().recv(*arguments)


def expect_packet(sock, name, expected):
    if not expected:
        expect_end(sock, name)
    for one in split(expected):
        expect_one(sock, name, one)
    return True


def expect_one(sock, name, expected):
    if took_early(sock, [expected]):
        return
    while not same(received := packet(sock), expected):
        kinds = {kind(received), kind(expected)}
        # A message before PINGRESP, say, is one that should not have come.
        if PUBLISH not in kinds or not kinds & ANSWERS:
            differs(name, received, expected)
        early.setdefault(sock, []).append(received)


def expect_end(sock, name):
    """The connection is closed, at most after one word of why."""
    received = packet(sock)
    if (kind(received) == CONNACK and received[3]) or (kind(received) == DISCONNECT and received[2] >= FAILURE):
        received = packet(sock)
    if received:
        differs(name, received, b"")


def receive_unordered(sock, one, other, name):
    expected = [one, other]
    while expected:
        if not took_early(sock, expected):
            received = packet(sock)
            if not take(expected, received):
                differs(name, received, expected[0])


def took_early(sock, expected):
    """Whether one of those came early; it is then expected no more."""
    for received in early.get(sock, []):
        if take(expected, received):
            early[sock].remove(received)
            return True
    return False


def take(expected, received):
    for one in expected:
        if same(received, one):
            expected.remove(one)
            return True
    return False


def differs(name, received, expected):
    mosq_test_original.packet_matches(name, received, expected)
    raise mosq_test_original.TestError


def same(received, expected):
    return received == expected or meaning(received) == meaning(expected)


def meaning(packet):
    """What a packet says, for those in which servers may differ; of others the packet itself."""
    body = packet[1 + n_length_bytes(packet) :]
    if kind(packet) == CONNACK and len(body) > 2:
        return CONNACK, body[:2], properties(body[2:], but=MAXIMUM_PACKET_SIZE)
    if kind(packet) == DISCONNECT and body:
        return DISCONNECT, body[0], properties(body[1:])
    if kind(packet) in ACKNOWLEDGEMENTS:
        code = body[2] if len(body) > 2 else 0
        return packet[0], body[:2], 0 if code in SUCCESSES else code, properties(body[3:])
    return packet


def properties(field, but=None):
    """Those of a field shorter than 128 bytes, sorted, without those that a server may add."""
    found, rest = [], field[1:]
    while rest:
        size = next((n for n, identifiers in VALUE_BYTES.items() if rest[0] in identifiers), None)
        size = size or 2 + int.from_bytes(rest[1:3], "big")
        if rest[0] not in (REASON_STRING, but):
            found.append(rest[: 1 + size])
        rest = rest[1 + size :]
    return sorted(found)


def kind(packet):
    return packet[0] & 0xF0 if packet else None


def n_length_bytes(packet):
    return next((n for n in range(1, 5) if len(packet) > n and packet[n] < 0x80), 0)


def length(packet):
    return sum((byte & 0x7F) << (7 * i) for i, byte in enumerate(packet[1 : 1 + n_length_bytes(packet)]))


def split(packets):
    while packets:
        size = 1 + n_length_bytes(packets) + length(packets)
        yield packets[:size]
        packets = packets[size:]


def packet(sock):
    """The next one, or what there was of it before the end; nothing where the connection is closed."""
    received = b""
    try:
        received = at_most(sock, 2)
        while len(received) > 1 and received[-1] >= 0x80:
            received += at_most(sock, 1)
        return received + at_most(sock, length(received))
    except ConnectionResetError:
        return received


def at_most(sock, size):
    received = b""
    while len(received) < size and (more := sock.read(size - len(received))):
        received += more
    return received


def fail_for_what_nobody_asked_for():
    left = [one for packets in early.values() for one in packets if kind(one) == PUBLISH]
    if left:
        print(f"messages that no test asked for: {left}", flush=True)
        os._exit(1)


atexit.register(fail_for_what_nobody_asked_for)
socket.socket = Socket
mosq_test_original.expect_packet = expect_packet
mosq_test_original.receive_unordered = receive_unordered
