"""paho-mqtt on both ends and against nats-py: filters, unsubscribing, size, order."""

import paho.mqtt.client as paho
import pytest

from clients import NatsThread, Paho

VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5.0": paho.MQTTv5}
MIB = 1 << 20
MANY = 2_000


@pytest.fixture(params=VERSIONS.values(), ids=VERSIONS.keys())
def version(request):
    return request.param


# [MQTT-3.3.2-3]
# 3.1.1: [MQTT-3.3.2-3]
def test_wildcards_match_as_the_specification_says(strait, version):
    with Paho(strait, version, "wild-sub") as subscriber, Paho(strait, version, "wild-pub") as publisher:
        assert subscriber.subscribe("w/+/c", ("w/deep/#", 1)) == [0, 1]
        topics = ["w/b/c", "w/b/d", "w/deep", "w/deep/x/y", "w//c", "w/c", "w/b/c/d", "w/last/c"]
        for topic in topics:
            publisher.publish(topic, topic.encode(), 1)
        heard = ["w/b/c", "w/deep", "w/deep/x/y", "w//c", "w/last/c"]
        # Order is promised within one quality of service, and these came with two.
        assert sorted(subscriber.n_messages(len(heard))) == sorted((topic, topic.encode()) for topic in heard)


# [MQTT-3.10.4-2]
# 3.1.1: [MQTT-3.10.4-2]
def test_nothing_arrives_after_an_unsuback(strait, version):
    with Paho(strait, version, "unsub-sub") as subscriber, Paho(strait, version, "unsub-pub") as publisher:
        subscriber.subscribe("unsub/a", "unsub/b")
        subscriber.unsubscribe("unsub/a")
        publisher.publish("unsub/a", b"no")
        publisher.publish("unsub/b", b"yes")
        assert subscriber.message() == ("unsub/b", b"yes")


# [MQTT-3.8.4-3]
# 3.1.1: [MQTT-3.8.4-3]
def test_a_second_subscription_to_the_same_filter_replaces_the_first(strait, version):
    with Paho(strait, version, "twice-sub") as subscriber, Paho(strait, version, "twice-pub") as publisher:
        subscriber.subscribe(("twice", 0))
        subscriber.subscribe(("twice", 1))
        subscriber.subscribe("end")
        publisher.publish("twice", b"x", 1)
        publisher.publish("twice", b"y", 1)
        assert subscriber.n_messages(2) == [("twice", b"x"), ("twice", b"y")]


def test_both_worlds_hear_a_message_in_both_directions(strait, version):
    with Paho(strait, version, "both") as client, NatsThread(strait) as nats:
        client.subscribe("both/from_nats/+")
        subscription = nats.subscribe("both.from_mqtt.>")
        nats.publish("both.from_nats.1", b"down")
        client.publish("both/from_mqtt/1/2", b"up", 1)
        assert client.message() == ("both/from_nats/1", b"down")
        assert nats.message(subscription) == ("both.from_mqtt.1.2", b"up")


def test_a_multi_level_wildcard_matches_its_parent_in_mqtt_and_not_in_nats(strait):
    with Paho(strait) as client, NatsThread(strait) as nats:
        client.subscribe("parent/#")
        subscription = nats.subscribe("parent.>")
        nats.publish("parent", b"1")
        nats.publish("parent.child", b"2")
        assert client.n_messages(2) == [("parent", b"1"), ("parent/child", b"2")]
        assert nats.message(subscription) == ("parent.child", b"2")
        client.publish("parent", b"3")
        client.publish("parent/child", b"4")
        assert client.n_messages(2) == [("parent", b"3"), ("parent/child", b"4")]
        assert nats.message(subscription) == ("parent.child", b"4")


@pytest.mark.parametrize("size", [MIB - 100, MIB])
def test_a_payload_of_a_mebibyte_crosses_both_ways(strait, size):
    payload = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with Paho(strait) as client, Paho(strait) as other, NatsThread(strait) as nats:
        client.subscribe(("big/#", 1))
        subscription = nats.subscribe("big.>")
        other.publish("big/mqtt", payload, 1)
        assert client.message() == ("big/mqtt", payload)
        assert nats.message(subscription) == ("big.mqtt", payload)
        nats.publish("big.nats", payload)
        assert client.message() == ("big/nats", payload)


@pytest.mark.parametrize("qos", [0, 1])
def test_two_thousand_messages_arrive_in_order(strait, qos):
    with Paho(strait) as subscriber, Paho(strait) as publisher, NatsThread(strait) as nats:
        subscriber.subscribe((f"many/{qos}", qos))
        subscription = nats.subscribe(f"many.{qos}")
        for n in range(MANY):
            last = publisher.client.publish(f"many/{qos}", str(n), qos)
        last.wait_for_publish(60)
        wanted = [str(n).encode() for n in range(MANY)]
        assert [payload for _, payload in subscriber.n_messages(MANY)] == wanted
        assert [payload for _, payload in nats.n_messages(subscription, MANY)] == wanted
