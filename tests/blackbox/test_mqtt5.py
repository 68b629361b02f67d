"""What MQTT 5.0 adds to a connection: topic aliases both ways, reason strings, response information."""

import pytest

import wire_mqtt as mqtt
from wire_mqtt import V5

TOPIC = "alias/a-topic-that-is-worth-a-number"


def test_an_alias_stands_for_the_topic_it_was_given_with(strait):
    # [MQTT-3.3.2-12] [MQTT-3.2.2-17]
    with mqtt.Connection(strait.mqtt) as client, mqtt.connected(strait.mqtt) as subscriber:
        allowed = client.connect().prop("topic_alias_maximum")
        assert allowed >= 10
        subscriber.subscribe(("in/#", 1))
        for alias in (1, allowed):
            client.publish(f"in/{alias}", b"1", properties=[("topic_alias", alias), ("content_type", "t")])
            client.publish("", b"2", properties=[("topic_alias", alias)])
            client.publish("", b"3", qos=1, packet_id=1, properties=[("topic_alias", alias)])
            client.expect("PUBACK")
        client.publish("in/other", b"4", properties=[("topic_alias", 1)])
        client.publish("", b"5", properties=[("topic_alias", 1)])
        found = [subscriber.expect("PUBLISH") for _ in range(8)]
        expected = [(f"in/{alias}", payload) for alias in (1, allowed) for payload in (b"1", b"2", b"3")]
        expected += [("in/other", b"4"), ("in/other", b"5")]
        assert sorted((p.topic, p.payload) for p in found) == sorted(expected)
        # [MQTT-3.3.2-7]: the publisher's alias is nobody else's.
        assert all(p.prop("topic_alias") is None for p in found)
        assert found[0].prop("content_type") == "t"


# [MQTT-3.2.2-17] [MQTT-3.2.2-18]
@pytest.mark.parametrize(
    ("topic", "alias", "reason"), [("", 1, 0x82), ("a", 0, 0x94), ("a", 65_535, 0x94), ("", None, 0x82)]
)
def test_an_alias_that_can_stand_for_nothing_ends_the_connection(strait, topic, alias, reason):
    # [MQTT-3.3.2-8] [MQTT-3.3.2-9]
    with mqtt.connected(strait.mqtt) as client:
        client.publish(topic, b"x", properties=[("topic_alias", alias)] if alias is not None else [])
        client.expect_closed(reason)


def test_an_alias_ends_with_its_connection(strait):
    # [MQTT-3.3.2-7]
    with mqtt.connected(strait.mqtt, client_id="alias-ends") as client:
        client.publish("ends", b"x", properties=[("topic_alias", 1)])
        client.ping()
    with mqtt.connected(strait.mqtt, client_id="alias-ends") as client:
        client.publish("", b"x", properties=[("topic_alias", 1)])
        client.expect_closed(0x82)


def test_topics_with_aliases_have_a_bound_in_bytes(start_strait):
    strait = start_strait(1, env={"STRAIT__MQTT__TOPIC_ALIAS_BYTES_MAX": "100"})
    with mqtt.connected(strait.mqtt) as client:
        client.publish("x" * 60, b"", properties=[("topic_alias", 1)])
        client.publish("y" * 60, b"", properties=[("topic_alias", 1)])
        client.publish("z" * 60, b"", properties=[("topic_alias", 2)])
        client.expect_closed(0x97)


@pytest.mark.parametrize("maximum", [None, 0, 1, 3])
def test_the_gateway_gives_no_more_aliases_than_the_client_takes(strait, maximum):
    # [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11]
    with mqtt.Connection(strait.mqtt) as client, mqtt.connected(strait.mqtt) as publisher:
        client.connect(properties=[] if maximum is None else [("topic_alias_maximum", maximum)])
        client.subscribe(f"{TOPIC}/{maximum}/+")
        topics = [f"{TOPIC}/{maximum}/{n}" for n in range(5)]
        for _ in range(3):
            for topic in topics:
                publisher.publish(topic, topic.encode())
        publisher.ping()
        known = {}
        n_left_out = 0
        for _ in range(15):
            found = client.expect("PUBLISH")
            alias = found.prop("topic_alias")
            if alias is not None:
                assert 1 <= alias <= maximum
                if found.topic:
                    known[alias] = found.topic
                else:
                    n_left_out += 1
            assert found.payload.decode() == (found.topic or known[alias])
        # From the second time on.
        assert n_left_out == 2 * (maximum or 0)


# [MQTT-3.2.2-19] [MQTT-3.9.2-1] [MQTT-3.14.2-2]
def test_a_closing_gateway_says_why_in_words_where_they_are_wanted(strait):
    # [MQTT-3.1.2-29] [MQTT-3.14.2-3]
    for wanted, room, has_words in [(None, None, True), (1, None, True), (0, None, False), (1, 40, False)]:
        properties = [("request_problem_information", wanted)] if wanted is not None else []
        properties += [("maximum_packet_size", room)] if room else []
        with mqtt.Connection(strait.mqtt) as client:
            client.send(mqtt.connect(V5, "words", properties=properties))
            client.receive()
            client.send(mqtt.PINGREQ[:1] + b"\x01\x00")
            (farewell,) = client.until_closed()
            assert farewell.kind == "DISCONNECT" and farewell.reason in (0x81, 0x82)
            text = farewell.prop("reason_string")
            assert bool(text) == has_words and len(text or "") <= 200


# [MQTT-3.1.2-29] [MQTT-3.2.2-19] [MQTT-3.9.2-1] [MQTT-3.14.2-3]
def test_a_refused_connect_and_filter_are_explained(strait):
    with mqtt.Connection(strait.mqtt) as client:
        client.send(mqtt.connect(V5, "auth", properties=[("authentication_method", "SCRAM")]))
        (connack,) = client.until_closed()
        # [MQTT-4.12.0-1]
        assert (connack.kind, connack.reason, bool(connack.prop("reason_string"))) == ("CONNACK", 0x8C, True)
    for wanted in (0, 1):
        with mqtt.Connection(strait.mqtt) as client:
            client.connect(properties=[("request_problem_information", wanted)])
            client.send(mqtt.subscribe(1, [("a", 0), ("b/#/c", 0)]))
            suback = client.expect("SUBACK")
            assert suback.reasons == [0, 0x8F]
            assert (suback.prop("reason_string") is not None) == bool(wanted)


# [MQTT-4.12.0-6] [MQTT-4.12.1-2]
def test_an_auth_without_a_method_agreed_on_ends_the_connection(strait):
    # [MQTT-4.12.0-7]
    for body in (b"", b"\x19\x06\x15\x00\x03abc", b"\x18\x06\x15\x00\x03abc"):
        with mqtt.connected(strait.mqtt) as client:
            client.send(mqtt.packet("AUTH", 0, body))
            client.expect_closed(0x82, 0x8C)


def test_response_information_comes_to_those_who_ask_and_is_ones_own(strait):
    # [MQTT-3.1.2-28]
    given = {}
    for name in ("resp-a", "resp/b+#"):
        for asked in (None, 0, 1):
            with mqtt.Connection(strait.mqtt) as client:
                properties = [("request_response_information", asked)] if asked is not None else []
                information = client.connect(client_id=name, properties=properties).prop("response_information")
                assert (information is not None) == bool(asked)
                if information:
                    given[name] = information
                    client.subscribe(f"{information}/+")
                    client.publish(f"{information}/1", b"x")
                    assert client.message() == (f"{information}/1", b"x")
    assert len(set(given.values())) == 2


@pytest.mark.parametrize(
    "packet",
    [
        mqtt.publish("a", b"x", properties=[("session_expiry", 1)]),
        mqtt.publish("a", b"x", properties=[("receive_maximum", 1)]),
        mqtt.publish("a", b"x", properties=[("reason_string", "x")]),
        mqtt.publish("a", b"x", properties=[("will_delay", 1)]),
        mqtt.subscribe(1, [("a", 0)], properties=[("content_type", "x")]),
        mqtt.subscribe(1, [("a", 0)], properties=[("topic_alias", 1)]),
        mqtt.packet("DISCONNECT", 0, b"\x00" + mqtt.prop_block(V5, [("receive_maximum", 1)])),
        mqtt.packet("PUBACK", 0, b"\x00\x01\x00" + mqtt.prop_block(V5, [("session_expiry", 1)])),
    ],
)
def test_a_property_in_a_packet_that_it_does_not_belong_to_ends_the_connection(strait, packet):
    # Section 2.2.2.2: a Malformed Packet.
    with mqtt.connected(strait.mqtt) as client:
        client.send(packet)
        client.expect_closed(0x81, 0x82)


# [MQTT-3.3.2-13] [MQTT-3.3.2-19]
@pytest.mark.parametrize(
    "packet",
    [
        mqtt.publish("a", b"x", properties=[("content_type", "x")] * 2),
        mqtt.publish("a", b"x", properties=[("message_expiry", 1)] * 2),
        mqtt.subscribe(1, [("a", 0)], properties=[("subscription_id", 1)] * 2),
        mqtt.subscribe(1, [("a", 0)], properties=[("subscription_id", 0)]),
        mqtt.publish("a", b"x", properties=[("payload_format", 2)]),
        mqtt.publish("a", b"x", properties=[("response_topic", "a/+")]),
        mqtt.publish("a", b"x", properties=[("subscription_id", 1)]),
    ],
)
def test_a_property_twice_or_out_of_its_range_ends_the_connection(strait, packet):
    # [MQTT-3.3.4-6] [MQTT-3.3.2-14]
    with mqtt.connected(strait.mqtt) as client:
        client.send(packet)
        client.expect_closed(0x82)


def test_user_properties_keep_their_order_and_repeats(strait):
    # [MQTT-3.3.2-17] [MQTT-3.3.2-18]
    pairs = [("user_property", (name, str(n))) for n, name in enumerate("bacabcab")]
    with mqtt.connected(strait.mqtt) as client, mqtt.connected(strait.mqtt) as publisher:
        client.subscribe("order/props", properties=[("subscription_id", 9)])
        publisher.publish("order/props", b"x", properties=pairs)
        found = client.expect("PUBLISH").properties
        assert [it for it in found if it[0] == "user_property"] == pairs
