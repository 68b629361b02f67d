"""Retained messages across versions and cores: set, replayed, cleared, and many of them."""

import json
import time

import pytest

import wire_mqtt as mqtt
import wire_nats as nats
from clients import MosquittoSub, Paho, mosquitto_pub
from gateway import wait_until
from wire_mqtt import V5, V311

MANY = 20_000
RETAIN = b"NATS/1.0\r\nMqtt-Retain: 1\r\n\r\n"


@pytest.fixture(params=[V311, V5], ids=["3.1.1", "5.0"])
def version(request):
    return request.param


def retained(strait, *filters, version=V5):
    """What a new client is sent of them, up to the answer to a ping that follows."""
    with mqtt.connected(strait.mqtt, version) as client:
        client.subscribe(*filters)
        return [(p.topic, p.payload, p.retain) for p in client.ping()]


# [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7]
# 3.1.1: [MQTT-3.1.2-7] [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
@pytest.mark.parametrize("qos", [0, 1])
def test_a_retained_message_comes_to_later_subscribers_on_every_core(strait, version, qos):
    topic = f"ret/{version}/{qos}"
    with mqtt.connected(strait.mqtt, version) as publisher:
        publisher.publish(topic, b"old", qos=qos, packet_id=1, retain=True)
        publisher.publish(topic, b"new", qos=qos, packet_id=2, retain=True)
        publisher.ping()
        for filters in ([topic], ["ret/+/" + str(qos)], ["#"], [f"ret/{version}/#"]):
            for _ in range(4):
                assert (topic, b"new", True) in retained(strait, *filters, version=version)
        publisher.publish(topic, b"", qos=qos, packet_id=3, retain=True)
        publisher.ping()
    assert retained(strait, topic) == []


# [MQTT-3.3.1-12] [MQTT-3.3.1-13]
# 3.1.1: [MQTT-3.3.1-8] [MQTT-3.3.1-9]
def test_a_live_message_comes_without_the_flag(strait, version):
    with mqtt.connected(strait.mqtt, version) as subscriber, mqtt.connected(strait.mqtt, version) as publisher:
        subscriber.subscribe("flag/a")
        publisher.publish("flag/a", b"x", retain=True)
        found = subscriber.expect("PUBLISH")
        assert (found.payload, found.retain) == (b"x", False)
        publisher.publish("flag/a", b"", retain=True)
        assert subscriber.expect("PUBLISH").payload == b""


def test_a_subscriber_of_all_is_sent_all_of_many_once(strait):
    with mqtt.connected(strait.mqtt) as publisher:
        for n in range(MANY):
            publisher.send(mqtt.publish(f"many/{n % 100}/{n}", b"%d" % n, n % 2, n + 1, retain=True))
        assert len(publisher.ping()) == MANY // 2
    with mqtt.Connection(strait.mqtt) as subscriber, mqtt.connected(strait.mqtt) as bystander:
        subscriber.connect(properties=[("receive_maximum", 20)])
        subscriber.send(mqtt.subscribe(1, [("many/#", 1)]))
        found = []
        while len(found) < MANY:
            packet = subscriber.receive()
            if packet.kind == "PUBLISH":
                assert packet.retain
                found.append(packet.payload)
                subscriber.send(mqtt.puback(packet.packet_id) if packet.qos else b"")
            if len(found) % 1000 == 0:
                # Others are served meanwhile.
                since = time.monotonic()
                bystander.ping()
                assert time.monotonic() - since < 1
        assert sorted(found, key=int) == [b"%d" % n for n in range(MANY)]
    with mqtt.connected(strait.mqtt) as publisher:
        for n in range(MANY):
            publisher.publish(f"many/{n % 100}/{n}", b"", retain=True)
        publisher.ping()
    assert retained(strait, "many/#") == []


def test_message_expiry_is_counted_down_and_then_the_message_is_gone(strait):
    with mqtt.connected(strait.mqtt) as publisher:
        publisher.publish("exp/a", b"x", retain=True, properties=[("message_expiry", 3)])
        publisher.ping()

    def left():
        with mqtt.connected(strait.mqtt) as client:
            client.subscribe("exp/a")
            return [p.prop("message_expiry") for p in client.ping()]

    assert left() == [3]
    wait_until(lambda: left() in ([2], [1]), "it is not counted down")
    wait_until(lambda: left() == [], "it does not expire")


# [MQTT-3.2.2-13] [MQTT-3.2.2-14]
def test_limits_refuse_and_are_announced(start_strait):
    # Without its own statistics, which are retained and count.
    strait = start_strait(2, env={"STRAIT__MQTT__RETAINED_MESSAGES_MAX": "1", "STRAIT__SYS__INTERVAL_SECS": "0"})
    with mqtt.connected(strait.mqtt) as client:
        client.publish("l/a", b"x", qos=1, packet_id=1, retain=True)
        assert client.expect("PUBACK").reason in (0, 0x10)
        client.publish("l/b", b"x", qos=1, packet_id=2, retain=True)
        assert client.expect("PUBACK").reason == 0x97
    assert retained(strait, "l/#") == [("l/a", b"x", True)]
    strait = start_strait(1, env={"STRAIT__MQTT__RETAINED_MESSAGES_MAX": "0"})
    with mqtt.Connection(strait.mqtt) as client:
        assert client.connect().prop("retain_available") == 0
        client.publish("l/a", b"x", retain=True)
        client.expect_closed(0x9A)
    assert "mqtt.retained_messages_max is 0" in strait.log()


def test_mosquitto_and_paho_find_each_others_retained_messages(strait):
    mosquitto_pub(strait, "mqttv5", 1, "both/mosquitto", "from mosquitto", options=["-r"])
    with Paho(strait) as client:
        client.client.publish("both/paho", b"from paho", 1, retain=True).wait_for_publish(10)
        client.subscribe(("both/#", 1))
        assert sorted(client.n_messages(2)) == [("both/mosquitto", b"from mosquitto"), ("both/paho", b"from paho")]
    with MosquittoSub(strait, "mqttv311", 1, "both/#", 2) as subscriber:
        assert sorted(subscriber.messages()) == [(1, "both/mosquitto", "from mosquitto"), (1, "both/paho", "from paho")]


# [MQTT-3.1.2-14] [MQTT-3.1.2-15]
# 3.1.1: [MQTT-3.1.2-16] [MQTT-3.1.2-17]
def test_a_will_is_retained_if_it_asks_for_that(strait, version):
    for retain in (False, True):
        topic = f"ret-will/{version}/{retain}"
        with mqtt.connected(strait.mqtt, version) as watcher:
            watcher.subscribe(topic)
            with mqtt.connected(strait.mqtt, version, client_id=f"dies-{version}", will=(topic, b"gone", 1, retain)):
                pass
            found = watcher.expect("PUBLISH")
            assert (found.payload, found.retain) == (b"gone", False)
        assert retained(strait, topic, version=version) == ([(topic, b"gone", True)] if retain else [])


def listed(reader, filter, between=lambda: None):
    """The subjects of a list and their payloads; `between` is done when the first of it has come."""
    reader.subscribe("inbox")
    reader.publish(f"$STRAIT.RETAINED.LIST.{filter}", b"", reply="inbox")
    found = {}
    while not (message := reader.expect("MSG")).headers.startswith(b"NATS/1.0 204"):
        [subject] = [line[14:] for line in message.headers.decode().split("\r\n") if line.startswith("Nats-Subject: ")]
        assert subject not in found
        found[subject] = message.payload[:1]
        if len(found) == 1:
            between()
    return found


@pytest.mark.parametrize("cores", [1, 2])
def test_a_list_has_all_that_is_retained_all_the_while_though_all_of_it_changes(start_strait, cores):
    strait = start_strait(cores, env={"STRAIT__LIMITS__WRITE_QUEUE_BYTES_MAX": "1048576"})
    n = 2_000
    with nats.connected(strait.nats) as publisher, nats.connected(strait.nats, receive_buffer=1 << 16) as reader:

        def put(value):
            for idx in range(n):
                publisher.send(nats.hpub(f"list.{idx}", RETAIN, value * 5_000))
            publisher.ping()

        put(b"a")
        found = listed(reader, "list.>", between=lambda: put(b"b"))
        assert sorted(found) == sorted(f"list.{idx}" for idx in range(n))
        assert set(found.values()) == {b"a", b"b"}


@pytest.mark.parametrize("cores", [1, 2])
def test_a_list_of_large_messages_does_not_close_who_reads_it(start_strait, cores):
    strait = start_strait(cores)
    n, large = 150, b"x" * 700_000
    with nats.connected(strait.nats) as publisher, nats.connected(strait.nats) as reader:
        for idx in range(n):
            publisher.send(nats.hpub(f"large.{idx}", RETAIN, large))
        publisher.ping()
        assert len(listed(reader, "large.>")) == n
        reader.ping()


def test_what_can_not_be_retained_is_refused_to_a_nats_client_that_asks(start_strait):
    header = b"NATS/1.0\r\nMqtt-QoS: 1\r\nMqtt-Retain: 1\r\n\r\n"
    for env, subject, code in (({}, "a.b/c", 400), ({"STRAIT__MQTT__RETAINED_MESSAGES_MAX": "0"}, "a.b", 507)):
        strait = start_strait(2, env=env)
        with nats.connected(strait.nats) as publisher, nats.connected(strait.nats) as subscriber:
            publisher.subscribe("r")
            subscriber.subscribe("a.>")
            publisher.send(nats.hpub(subject, header, b"x", reply="r"))
            assert json.loads(publisher.expect("MSG").payload)["error"]["code"] == code
            publisher.publish(f"$STRAIT.RETAINED.GET.{subject}", b"", reply="r")
            assert publisher.expect("MSG").headers == b"NATS/1.0 404\r\n\r\n"
            assert [it for it in subscriber.ping() if it.kind == "MSG"] == []
