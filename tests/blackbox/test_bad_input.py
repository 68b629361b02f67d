"""Bytes that are no protocol, or the wrong one, or too many: one connection pays and nobody else.

Each test ends with two bystanders that were connected all along and still hear each other.
"""

import contextlib
import random
import socket

import pytest

import wire_mqtt as mqtt
import wire_nats as nats
from wire_mqtt import V5, V311

MIB = 1 << 20
PACKET_TOO_LARGE = 0x95
HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLIENT_HELLO = bytes.fromhex("16030100c2010000be0303") + bytes(range(32)) + b"\x20" + bytes(32) + b"\x00\x02\x13\x01"
CONTROL_LINE_MAX = 4096
CONNECT_MAX = 1024 * 1024
UNKNOWN = "Unknown Protocol Operation"


@pytest.fixture
def bystanders(strait):
    with mqtt.connected(strait.mqtt) as client, nats.connected(strait.nats) as other:
        client.subscribe("bystander/mqtt")
        other.subscribe("bystander.nats")
        yield
        client.publish("bystander/nats", b"to nats")
        other.publish("bystander.mqtt", b"to mqtt")
        assert client.message() == ("bystander/mqtt", b"to mqtt")
        assert other.message() == ("bystander.nats", b"to nats")


pytestmark = pytest.mark.usefixtures("bystanders")


# The wrong protocol.


@pytest.mark.parametrize("foreign", [HTTP, CLIENT_HELLO, nats.connect() + b"PING\r\n"], ids=["http", "tls", "nats"])
def test_another_protocol_on_the_mqtt_port_is_closed_without_a_word(strait, foreign):
    with mqtt.Connection(strait.mqtt) as client:
        client.send(foreign)
        client.expect_closed()


@pytest.mark.parametrize("foreign", [HTTP, CLIENT_HELLO, mqtt.connect(V311, "x")], ids=["http", "tls", "mqtt"])
def test_another_protocol_on_the_nats_port_gets_the_error_of_nats(strait, foreign):
    with nats.Connection(strait.nats) as client:
        client.send(foreign)
        client.expect_error(UNKNOWN)


# MQTT.


def utf8_topic(raw):
    return mqtt.publish(raw, b"x", version=V5)


MALFORMED = {
    "a length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "packet type 0": b"\x00\x00",
    "PUBLISH with QoS 3": b"\x36\x06\x00\x01a\x00\x01\x00",
    "PUBLISH with packet id 0": mqtt.publish("a", b"", 1, 0),
    "PUBLISH without a topic": mqtt.publish("", b"x"),
    "PUBLISH to a wildcard": mqtt.publish("a/+", b"x"),
    "PUBLISH shorter than its topic": b"\x30\x04\x00\x09ab",
    "PUBLISH with properties over its end": b"\x30\x05\x00\x01a\x7f\x01",
    "PUBLISH with an unknown property": b"\x30\x06\x00\x01a\x02\x7e\x01",
    "PUBLISH with one property twice": mqtt.publish("a", b"", properties=[("payload_format", 1)] * 2),
    "PUBLISH with a property of CONNECT": mqtt.publish("a", b"", properties=[("receive_maximum", 1)]),
    "a topic that is no UTF-8": utf8_topic(b"a\xff\xfe"),
    "a topic with a surrogate": utf8_topic(b"a\xed\xa0\x80"),
    "a topic with an overlong form": utf8_topic(b"a\xc0\xaf"),
    "a topic with a NUL": utf8_topic(b"a\x00b"),
    "SUBSCRIBE with wrong flags": b"\x80\x07\x00\x01\x00\x00\x01a\x00",
    "SUBSCRIBE without a filter": mqtt.subscribe(1, []),
    "SUBSCRIBE with packet id 0": mqtt.subscribe(0, [("a", 0)]),
    "SUBSCRIBE with QoS 3": mqtt.subscribe(1, [("a", 3)]),
    "SUBSCRIBE with reserved options": mqtt.subscribe(1, [("a", 0xC0)]),
    "SUBSCRIBE cut in its filter": b"\x82\x06\x00\x01\x00\x00\x09a",
    "UNSUBSCRIBE without a filter": mqtt.unsubscribe(1, []),
    "PINGREQ with a body": b"\xc0\x01x",
    "PINGREQ with flags": b"\xc1\x00",
    "PUBACK of one byte": b"\x40\x01\x00",
    "DISCONNECT with flags": b"\xe1\x00",
    "AUTH without a method": b"\xf0\x00",
}


# [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.7-1] [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.1-1]
@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_packet_ends_an_mqtt_5_connection_with_a_reason(strait, case):
    with mqtt.connected(strait.mqtt) as client:
        client.send(MALFORMED[case], mqtt.PINGREQ)
        # Malformed packet, protocol error, or one that names the field.
        client.expect_closed(0x81, 0x82, 0x90, 0x8F)


# 3.1.1: [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT-4.8.0-1]
@pytest.mark.parametrize("case", [case for case in MALFORMED if "propert" not in case and "AUTH" not in case])
def test_a_malformed_packet_ends_a_3_1_1_connection(strait, case):
    with mqtt.connected(strait.mqtt, V311) as client:
        # Without the empty property block that only 5.0 has, most of them say the same.
        client.send({
            "PUBLISH with packet id 0": mqtt.publish("a", b"", 1, 0, version=V311),
            "SUBSCRIBE without a filter": mqtt.subscribe(1, [], V311),
            "SUBSCRIBE with packet id 0": mqtt.subscribe(0, [("a", 0)], V311),
            "SUBSCRIBE with QoS 3": mqtt.subscribe(1, [("a", 3)], V311),
            "SUBSCRIBE with reserved options": mqtt.subscribe(1, [("a", 0xC0)], V311),
            "UNSUBSCRIBE without a filter": mqtt.unsubscribe(1, [], V311),
        }.get(case, MALFORMED[case]), mqtt.PINGREQ)  # fmt: skip
        client.expect_closed()


BAD_CONNECTS = {
    # The level is the ninth byte, behind the length and the name.
    "reserved connect flag": mqtt.connect(V311, "x").replace(b"\x04\x02\x00", b"\x04\x03\x00"),
    "will QoS without a will": mqtt.connect(V311, "x").replace(b"\x04\x02\x00", b"\x04\x0a\x00"),
    "password flag and no password": mqtt.connect(V311, "x").replace(b"\x04\x02\x00", b"\x04\x42\x00"),
    "flags in the fixed header": b"\x11" + mqtt.connect(V311, "x")[1:],
    "bytes after its end": mqtt.packet("CONNECT", 0, mqtt.connect(V311, "x")[2:] + b"more"),
    "client id that is no UTF-8": mqtt.connect(V311, b"\xff\xff"),
    "receive maximum 0": mqtt.connect(V5, "x", properties=[("receive_maximum", 0)]),
    "maximum packet size 0": mqtt.connect(V5, "x", properties=[("maximum_packet_size", 0)]),
    "property twice": mqtt.connect(V5, "x", properties=[("session_expiry", 1)] * 2),
    "authentication data without a method": mqtt.connect(V5, "x", properties=[("authentication_data", b"x")]),
}


# [MQTT-3.1.2-3] [MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] [MQTT-3.1.2-16]
# [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.3-4] [MQTT-3.1.3-11]
# [MQTT-3.1.3-12] [MQTT-3.1.4-1] [MQTT-3.1.4-2] [MQTT-3.1.4-6] [MQTT-3.2.2-7] [MQTT-3.14.0-1] [MQTT-4.13.2-1]
# 3.1.1: [MQTT-3.1.2-3] [MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-14] [MQTT-3.1.2-15]
# 3.1.1: [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.2-20] [MQTT-3.1.2-21] [MQTT-3.1.2-22] [MQTT-3.1.3-1]
# 3.1.1: [MQTT-3.1.3-3] [MQTT-3.1.3-4] [MQTT-3.1.3-10] [MQTT-3.1.3-11] [MQTT-3.1.4-1] [MQTT-3.1.4-5]
# 3.1.1: [MQTT-3.2.2-4] [MQTT-3.2.2-5] [MQTT-3.2.2-6]
@pytest.mark.parametrize("case", BAD_CONNECTS)
def test_a_bad_connect_is_refused_or_closed(strait, case):
    with mqtt.Connection(strait.mqtt, BAD_CONNECTS[case][8]) as client:
        client.send(BAD_CONNECTS[case])
        answers = client.until_closed()
        assert all(p.kind == "CONNACK" and p.reason != 0 for p in answers), answers


@pytest.mark.parametrize("n_bytes", [1, 2, 5, 9, 12])
def test_a_connection_that_ends_inside_a_packet_is_closed(strait, n_bytes):
    with mqtt.Connection(strait.mqtt) as client:
        client.send(mqtt.connect(V5, "truncated")[:n_bytes])
        client.socket.shutdown(socket.SHUT_WR)
        client.expect_closed()


# [MQTT-3.2.2-15]
def test_a_packet_over_the_limit_ends_an_mqtt_connection(strait):
    with mqtt.Connection(strait.mqtt) as client:
        limit = client.connect().prop("maximum_packet_size")
        client.send(b"\x30" + mqtt.varint(limit), b"\x00\x01a")
        client.expect_closed(PACKET_TOO_LARGE)
    with mqtt.connected(strait.mqtt, V311) as client:
        client.send(b"\x30" + mqtt.varint(limit), b"\x00\x01a")
        client.expect_closed()
    with mqtt.Connection(strait.mqtt, V311) as client:
        client.send(b"\x10" + mqtt.varint(CONNECT_MAX + 1000), mqtt.text("MQTT"))
        assert all(p.kind == "CONNACK" and p.reason != 0 for p in client.until_closed())


@pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5.0"])
def test_a_packet_within_the_announced_size_is_taken_and_one_beyond_it_is_not(strait, version):
    """[MQTT-3.2.2-15]"""
    with mqtt.Connection(strait.mqtt, V5) as client:
        limit = client.connect().prop("maximum_packet_size")
    for topic in ("t", "t" * 65_535):
        # The first byte, three of length, the topic, a packet identifier, and in MQTT 5 the length of no properties.
        n_payload = limit - 4 - 2 - len(topic) - 2 - (1 if version == V5 else 0)
        with mqtt.connected(strait.mqtt, version) as client:
            client.publish(topic, b"x" * n_payload, qos=1, packet_id=1)
            client.expect("PUBACK")
            # All of it is read, or the connection would be reset before the answer is.
            with contextlib.suppress(ConnectionError):
                client.publish(topic, b"x" * (n_payload + 1), qos=1, packet_id=2)
            client.expect_closed(PACKET_TOO_LARGE)


def test_a_connect_whose_fields_are_as_long_as_they_may_be_is_taken(strait):
    """[MQTT-3.1.4-2]"""
    longest = "x" * 65_535
    with mqtt.Connection(strait.mqtt, V5) as client:
        will = (longest, longest.encode(), 1, False)
        client.connect(client_id=longest, will=will, username=longest, password=longest.encode())


# NATS. What a single wrong operation is answered, the recordings of test_acceptance hold.


def test_a_control_line_over_the_limit_ends_a_nats_connection(strait):
    with nats.connected(strait.nats) as client:
        client.send(b"SUB " + b"s" * (CONTROL_LINE_MAX + 10))
        found = client.until_closed()
        assert len(found) == 1 and found[0].text.lower().startswith("'maximum control line exceeded"), found


def test_a_payload_over_the_limit_ends_a_nats_connection_before_it_is_sent(strait):
    with nats.connected(strait.nats) as client:
        client.send(b"PUB a %d\r\n" % (MIB + 1))
        client.expect_error("Maximum Payload Violation")


def test_a_nats_connection_may_end_anywhere(strait):
    stream = nats.connect() + b"SUB a 1\r\n" + nats.pub("a", b"hello") + nats.hpub("a", b"NATS/1.0\r\n\r\n", b"hello")
    for end in range(0, len(stream), 7):
        with nats.Connection(strait.nats) as client:
            client.send(stream[:end])
            client.socket.shutdown(socket.SHUT_WR)
            client.until_closed()


# Chance.


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes_harm_nobody(strait, seed):
    chance = random.Random(seed)
    beginnings = {
        strait.mqtt: [b"", mqtt.connect(V5, "random"), mqtt.connect(V311, "random"), b"\x10"],
        strait.nats: [b"", nats.connect(), b"PUB a 10\r\n", b"CONNECT "],
    }
    for _ in range(60):
        for at, choices in beginnings.items():
            with socket.create_connection(at, timeout=10) as client:
                # It may be closed, or reset, while we still talk.
                with contextlib.suppress(ConnectionError):
                    client.sendall(chance.choice(choices) + chance.randbytes(chance.randrange(1, 3000)))
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65536):
                        pass


# [MQTT-4.2-1]
# 3.1.1: [MQTT-4.2.0-1] [MQTT-7.1.1-1]
def test_any_flipped_bit_harms_nobody(strait):
    chance = random.Random(11)
    stream = mqtt.connect(V5, "flip") + mqtt.subscribe(1, [("flip/+", 1)]) + mqtt.publish("flip/a", b"x" * 20, 1, 2)
    for _ in range(150):
        flipped = bytearray(stream)
        for _ in range(chance.randrange(1, 4)):
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        with socket.create_connection(strait.mqtt, timeout=10) as client, contextlib.suppress(ConnectionError):
            client.sendall(flipped)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
