"""MQTT as it stands on the wire: the answers to CONNECT, acknowledgements, windows, refusals.

Input that breaks the rules of encoding is in test_bad_input.
"""

import selectors
import time

import pytest

import wire_mqtt as mqtt
import wire_nats as nats
from wire_mqtt import V31, V311, V5, VERSIONS

BAD_PROTOCOL_VERSION, BAD_CLIENT_ID = 0x84, 0x85
PROTOCOL_ERROR, MALFORMED = 0x82, 0x81


@pytest.fixture(params=VERSIONS, ids=["3.1", "3.1.1", "5.0"])
def version(request):
    return request.param


def first_answer(strait, packet, version=V5):
    """What the gateway says to `packet` before it closes the connection."""
    with mqtt.Connection(strait.mqtt, version) as client:
        client.send(packet)
        return client.until_closed()


# CONNECT.


# [MQTT-3.1.2-2]
# 3.1.1: [MQTT-3.1.2-2]
def test_an_unknown_protocol_level_is_refused(strait):
    for level in (0, 1, 2, 6, 127):
        (connack,) = first_answer(strait, mqtt.connect(V311, "x", level=level))
        assert (connack.kind, connack.reason in (BAD_PROTOCOL_VERSION, 1)) == ("CONNACK", True), (level, connack)


# [MQTT-3.1.2-1]
# 3.1.1: [MQTT-3.1.2-1]
def test_an_unknown_protocol_name_is_refused(strait):
    answers = first_answer(strait, mqtt.connect(V311, "x", protocol="MQTX"))
    assert all(p.kind == "CONNACK" and p.reason in (BAD_PROTOCOL_VERSION, 1) for p in answers), answers


# [MQTT-3.1.3-8]
# 3.1.1: [MQTT-3.1.3-6] [MQTT-3.1.3-8] [MQTT-3.1.3-9] [MQTT-3.1.4-1] [MQTT-3.1.4-5] [MQTT-3.2.2-4]
# 3.1.1: [MQTT-3.2.2-5] [MQTT-3.2.2-6]
def test_an_empty_client_id_needs_a_clean_session(strait):
    for version in (V31, V311):
        (connack,) = first_answer(strait, mqtt.connect(version, "", clean=False), version)
        assert (connack.kind, connack.reason) == ("CONNACK", 2)
    with mqtt.connected(strait.mqtt, V311, client_id="") as client:
        client.ping()


# [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
def test_a_client_without_an_id_is_given_one_of_its_own(strait):
    with mqtt.connected(strait.mqtt) as one, mqtt.Connection(strait.mqtt) as other:
        given = other.connect().prop("assigned_client_id")
        assert given
        with mqtt.Connection(strait.mqtt) as third:
            assert third.connect().prop("assigned_client_id") not in (None, given)
        one.ping()
        other.ping()
    with mqtt.Connection(strait.mqtt) as named:
        assert named.connect(client_id="named").prop("assigned_client_id") is None


def test_connack_announces_what_is_not_offered(strait):
    with mqtt.Connection(strait.mqtt) as client:
        connack = client.connect(client_id="limits", properties=[("session_expiry", 3600)])
        offered = {name: connack.prop(name) for name in ("maximum_qos", "shared_available", "session_expiry")}
        # Absent: QoS 2, shared subscriptions, and the session expiry that the client asked for.
        assert offered == {"maximum_qos": None, "shared_available": None, "session_expiry": None}
        assert connack.prop("retain_available") is None and connack.prop("subscription_ids_available") is None
        client.send(mqtt.disconnect(properties=[("session_expiry", 0)]))


# [MQTT-3.1.0-2]
# 3.1.1: [MQTT-3.1.0-2]
def test_a_second_connect_closes_the_connection(strait, version):
    with mqtt.connected(strait.mqtt, version, client_id="again") as client:
        client.send(mqtt.connect(version, "again"))
        client.expect_closed(PROTOCOL_ERROR)


# [MQTT-3.1.0-1] [MQTT-3.14.0-1]
# 3.1.1: [MQTT-3.1.0-1]
def test_the_first_packet_must_be_connect(strait):
    for packet in (mqtt.PINGREQ, mqtt.publish("a", b"x"), mqtt.subscribe(1, [("a", 0)]), mqtt.disconnect(), b"\xf0\x00"):
        assert first_answer(strait, packet) == []


def test_packets_that_only_servers_send_close_the_connection(strait, version):
    two, three = b"\x00\x01", b"\x00\x01\x00"
    packets = {
        "CONNACK": b"\x00\x00" + (b"\x00" if version == V5 else b""),
        "SUBACK": (three if version == V5 else two) + b"\x00",
        "UNSUBACK": three + b"\x00" if version == V5 else two,
        "PINGRESP": b"",
    }
    for kind, body in packets.items():
        with mqtt.connected(strait.mqtt, version, client_id="server-only") as client:
            client.send(mqtt.packet(kind, 0, body))
            client.expect_closed(PROTOCOL_ERROR, MALFORMED)


# [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.0-2]
# 3.1.1: [MQTT-3.1.4-4] [MQTT-3.2.0-1]
def test_what_is_sent_before_connack_and_before_leaving_is_published(strait, version):
    with nats.connected(strait.nats) as subscriber:
        subscriber.subscribe("hasty")
        with mqtt.Connection(strait.mqtt, version) as client:
            client.send(
                mqtt.connect(version, "hasty"),
                mqtt.publish("hasty", b"0", version=version),
                mqtt.publish("hasty", b"1", qos=1, packet_id=1, version=version),
                mqtt.disconnect(version),
            )
        # Closed at once, with the answers unread.
        assert [subscriber.message() for _ in range(2)] == [("hasty", b"0"), ("hasty", b"1")]


# Keep-alive.


# [MQTT-3.1.2-22]
# 3.1.1: [MQTT-3.1.2-24]
def test_silence_for_one_and_a_half_keep_alives_ends_a_connection(strait, version):
    with mqtt.connected(strait.mqtt, version, client_id="silent", keep_alive=1) as client:
        since = time.monotonic()
        client.expect_closed(0x8D, timeout=8)
        assert 1.4 <= time.monotonic() - since <= 6.5


# [MQTT-3.2.2-22]
def test_a_ping_keeps_a_connection_alive(strait):
    with mqtt.connected(strait.mqtt, keep_alive=1) as client, mqtt.connected(strait.mqtt, keep_alive=0) as forever:
        for _ in range(3):
            # The time between two pings is what this is about.
            time.sleep(0.9)
            assert client.ping() == []
        assert forever.ping() == []


# [MQTT-3.12.4-1]
# 3.1.1: [MQTT-3.12.4-1]
def test_a_pingreq_is_answered(strait, version):
    with mqtt.connected(strait.mqtt, version, client_id="ping") as client:
        client.send(mqtt.PINGREQ * 100)
        for _ in range(100):
            client.expect("PINGRESP")


# Publishing.


# [MQTT-2.2.1-5] [MQTT-3.3.4-1]
# 3.1.1: [MQTT-2.3.1-6] [MQTT-3.3.4-1]
def test_pubacks_come_in_the_order_of_their_publications(strait, version):
    with mqtt.connected(strait.mqtt, version, client_id="acks") as client, nats.connected(strait.nats) as subscriber:
        subscriber.subscribe("acks.*")
        ids = [n * 7919 % 65521 + 1 for n in range(1000)]
        client.send(*(mqtt.publish(f"acks/{n % 5}", b"x", 1, packet_id, version=version) for n, packet_id in enumerate(ids)))
        assert [client.expect("PUBACK").packet_id for _ in ids] == ids
        assert [subscriber.message()[0] for _ in ids] == [f"acks.{n % 5}" for n in range(1000)]


# [MQTT-3.3.1-2] [MQTT-3.3.1-3] [MQTT-4.3.2-4] [MQTT-4.3.2-5]
# 3.1.1: [MQTT-3.3.1-2] [MQTT-3.3.1-3] [MQTT-4.3.2-2]
def test_a_repeated_publication_is_acknowledged_again(strait, version):
    with mqtt.connected(strait.mqtt, version, client_id="dup") as client:
        for dup in (False, True):
            client.publish("dup", b"x", qos=1, packet_id=9, dup=dup)
            assert client.expect("PUBACK").packet_id == 9




def test_a_topic_alias_stands_for_its_topic_within_what_connack_allows(strait):
    with mqtt.Connection(strait.mqtt) as client:
        allowed = client.connect(client_id="alias").prop("topic_alias_maximum", 0)
        client.subscribe("alias")
        if allowed:
            client.publish("alias", b"1", properties=[("topic_alias", allowed)])
            client.publish("", b"2", properties=[("topic_alias", allowed)])
            assert [client.message(), client.message()] == [("alias", b"1"), ("alias", b"2")]
        client.publish("alias", b"3", properties=[("topic_alias", allowed + 1)])
        client.expect_closed(0x94)


# [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-20]
def test_the_properties_of_a_publication_reach_mqtt_5_subscribers_and_no_others(strait):
    properties = [
        ("payload_format", 1),
        ("content_type", "text/plain"),
        ("response_topic", "props/reply"),
        ("correlation_data", b"\x00\x01"),
        ("user_property", ("a", "1")),
        ("user_property", ("b", "2")),
        ("user_property", ("a", "3")),
    ]
    with mqtt.connected(strait.mqtt, V311) as old, mqtt.connected(strait.mqtt) as new, mqtt.connected(strait.mqtt) as publisher:
        old.subscribe("props")
        new.subscribe("props")
        publisher.publish("props", b"x", properties=properties)
        assert sorted(new.expect("PUBLISH").properties, key=str) == sorted(properties, key=str)
        assert old.message() == ("props", b"x")


# Subscribing.


# [MQTT-2.2.1-6] [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1]
# 3.1.1: [MQTT-2.3.1-7] [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-4] [MQTT-3.8.4-5] [MQTT-3.9.3-1]
# 3.1.1: [MQTT-3.9.3-2]
def test_suback_answers_each_filter(strait, version):
    with mqtt.connected(strait.mqtt, version, client_id="suback") as client:
        codes = client.subscribe(("a/+", 0), ("b/#", 1), ("c", 2), ("$share/g/", 0), ("$share/g/d", 1))
        assert codes == [0, 1, 2, 0x8F if version == V5 else 0x80, 1]


# [MQTT-3.3.4-3] [MQTT-3.3.4-5]
def test_every_matching_subscriptions_identifier_comes_back(strait):
    with mqtt.connected(strait.mqtt, client_id="ids") as client, mqtt.connected(strait.mqtt) as publisher:
        client.subscribe("ids/a", properties=[("subscription_id", 268_435_455)])
        client.subscribe("ids/+", properties=[("subscription_id", 1)])
        client.subscribe("ids/#", "ids/b")
        publisher.publish("ids/a", b"x", properties=[("content_type", "t")])
        publisher.ping()
        copies = [client.expect("PUBLISH") for _ in range(3)]
        assert sorted(copy.prop("subscription_id", 0) for copy in copies) == [0, 1, 268_435_455]
        assert all(copy.prop("content_type") == "t" for copy in copies)
        # The same filter again has the identifier that it is given now, or none.
        client.subscribe("ids/a", properties=[("subscription_id", 7)])
        client.subscribe("ids/+")
        client.unsubscribe("ids/#")
        publisher.publish("ids/a", b"y")
        publisher.ping()
        copies = [client.expect("PUBLISH") for _ in range(2)]
        assert sorted(copy.prop("subscription_id", 0) for copy in copies) == [0, 7]


# [MQTT-2.2.1-6] [MQTT-3.10.4-1] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1]
# 3.1.1: [MQTT-3.10.4-1] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6]
def test_unsuback_answers_each_filter(strait):
    with mqtt.connected(strait.mqtt) as client:
        client.subscribe("a", "b")
        client.send(mqtt.unsubscribe(7, ["a", "never", "b"]))
        unsuback = client.expect("UNSUBACK")
        assert (unsuback.packet_id, unsuback.reasons) == (7, [0, 0x11, 0])


# [MQTT-3.8.3-3]
def test_no_local_keeps_ones_own_messages_away(strait):
    with mqtt.connected(strait.mqtt) as client, mqtt.connected(strait.mqtt) as other:
        client.subscribe(("own/#", 4))
        client.publish("own/1", b"own")
        client.ping()
        other.publish("own/2", b"other")
        assert client.message() == ("own/2", b"other")


# [MQTT-3.3.4-2]
# 3.1.1: [MQTT-3.3.5-1]
def test_a_message_for_several_subscriptions_has_the_highest_granted_quality(strait, version):
    with mqtt.connected(strait.mqtt, version, client_id="over") as client, mqtt.connected(strait.mqtt) as publisher:
        client.subscribe(("over/+", 0), ("over/#", 1))
        publisher.publish("over/x", b"x", qos=1, packet_id=1)
        publisher.expect("PUBACK")
        # A server sends one copy with the highest QoS, or one for each subscription.
        copies = [p for p in client.ping() if p.kind == "PUBLISH"]
        assert sorted(p.qos for p in copies) in ([1], [0, 1])


# Delivering QoS 1.


# [MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3]
def test_no_more_than_receive_maximum_is_under_way(strait):
    with mqtt.Connection(strait.mqtt) as client, mqtt.connected(strait.mqtt) as publisher:
        client.connect(client_id="window", properties=[("receive_maximum", 5)])
        client.subscribe(("window", 1))
        for n in range(20):
            publisher.publish("window", b"%d" % n, qos=1, packet_id=n + 1)
        for _ in range(20):
            publisher.expect("PUBACK")
        # Acknowledged means taken by all cores, so what the window lets through comes before this answer.
        under_way = client.ping()
        assert [p.payload for p in under_way] == [b"%d" % n for n in range(5)]
        for n in range(5, 20):
            client.send(mqtt.puback(under_way.pop(0).packet_id))
            (found,) = client.ping()
            assert (found.kind, found.payload, found.dup) == ("PUBLISH", b"%d" % n, False)
            assert found.packet_id not in {p.packet_id for p in under_way}
            under_way.append(found)


# [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.4.0-1] [MQTT-4.6.0-1]
# 3.1.1: [MQTT-4.4.0-1] [MQTT-4.6.0-1]
def test_nothing_is_sent_again_while_the_connection_lasts(strait, version):
    with mqtt.connected(strait.mqtt, version, client_id="once") as client, mqtt.connected(strait.mqtt) as publisher:
        client.subscribe(("once", 1))
        publisher.publish("once", b"x", qos=1, packet_id=1)
        assert client.expect("PUBLISH").payload == b"x"
        # Nothing tells that nothing comes: some time must pass.
        with pytest.raises(AssertionError, match="no packet within"):
            client.receive(timeout=1.5)
        assert client.ping() == []


# [MQTT-3.1.2-24] [MQTT-3.1.2-25]
def test_a_message_over_the_clients_packet_size_is_left_out(strait):
    with mqtt.Connection(strait.mqtt) as client, mqtt.connected(strait.mqtt) as publisher:
        client.connect(client_id="small", properties=[("maximum_packet_size", 100)])
        client.subscribe(("small", 1))
        publisher.publish("small", b"x" * 200, qos=1, packet_id=1)
        publisher.publish("small", b"y" * 20, qos=1, packet_id=2)
        assert client.message() == ("small", b"y" * 20)


# Take-over.


# [MQTT-3.1.3-2] [MQTT-3.1.4-3]
# 3.1.1: [MQTT-3.1.3-2] [MQTT-3.1.4-2]
@pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5.0"])
def test_a_new_connection_takes_over_the_client_id(strait, version):
    for _ in range(20):
        with (
            mqtt.connected(strait.mqtt, version, client_id="taken") as old,
            mqtt.connected(strait.mqtt, version, client_id="taken") as new,
        ):
            old.expect_closed(0x8E)
            new.ping()


def test_of_many_connections_with_one_id_exactly_one_survives(strait):
    n_clients = 40
    clients = [mqtt.Connection(strait.mqtt) for _ in range(n_clients)]
    for client in clients:
        client.send(mqtt.connect(V5, "contested"))
    alive, wait = set(clients), selectors.DefaultSelector()
    for client in clients:
        wait.register(client.socket, selectors.EVENT_READ, client)
    deadline = time.monotonic() + 20
    while len(alive) > 1:
        ready = wait.select(max(0, deadline - time.monotonic()))
        assert ready, f"{len(alive)} connections of one client id live on"
        for key, _ in ready:
            client = key.data
            try:
                more = client.socket.recv(4096)
            except ConnectionError:
                more = b""
            client.pending += more
            if not more:
                wait.unregister(client.socket)
                alive.discard(client)
                told = [p.kind for p in client.until_closed()]
                assert told == ["CONNACK", "DISCONNECT"], told
    (survivor,) = alive
    assert [p.kind for p in survivor.ping()] in ([], ["CONNACK"])
    for client in clients:
        client.close()
