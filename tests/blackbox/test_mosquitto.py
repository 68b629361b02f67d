"""mosquitto_pub and mosquitto_sub, in each version they speak, with each other and with nats-py."""

import pytest

from clients import MosquittoSub, NatsThread, mosquitto_pub

VERSIONS = ["mqttv31", "mqttv311", "mqttv5"]
PAYLOADS = ["one", "two words", "drei"]


# [MQTT-3.1.3-5]
# 3.1.1: [MQTT-3.1.3-5]
@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("version", VERSIONS)
def test_what_mosquitto_pub_says_mosquitto_sub_hears(strait, version, qos):
    topic = f"mosquitto/{version}/{qos}"
    with MosquittoSub(strait, version, qos, "mosquitto/+/#", len(PAYLOADS)) as subscriber:
        mosquitto_pub(strait, version, qos, topic, *PAYLOADS)
        assert subscriber.messages() == [(qos, topic, payload) for payload in PAYLOADS]


@pytest.mark.parametrize(("publisher", "subscriber"), [("mqttv31", "mqttv5"), ("mqttv5", "mqttv311")])
def test_versions_hear_each_other(strait, publisher, subscriber):
    with MosquittoSub(strait, subscriber, 1, "versions/mixed", len(PAYLOADS)) as sub:
        mosquitto_pub(strait, publisher, 1, "versions/mixed", *PAYLOADS)
        assert sub.messages() == [(1, "versions/mixed", payload) for payload in PAYLOADS]


# [MQTT-3.8.4-8]
# 3.1.1: [MQTT-3.8.4-6]
@pytest.mark.parametrize(("published", "subscribed"), [(0, 1), (1, 0)])
def test_a_message_keeps_the_lower_of_both_qualities(strait, published, subscribed):
    with MosquittoSub(strait, "mqttv5", subscribed, "lower/qos", 1) as sub:
        mosquitto_pub(strait, "mqttv5", published, "lower/qos", "x")
        assert sub.messages() == [(0, "lower/qos", "x")]


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_nats_subscriber_hears_mosquitto_pub(strait, version, qos):
    with NatsThread(strait) as nats:
        subscription = nats.subscribe("plant.*.temp")
        mosquitto_pub(strait, version, qos, "plant/7/temp", *PAYLOADS)
        assert nats.n_messages(subscription, 3) == [("plant.7.temp", p.encode()) for p in PAYLOADS]


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("version", VERSIONS)
def test_mosquitto_sub_hears_a_nats_publisher_at_qos_0(strait, version, qos):
    with NatsThread(strait) as nats, MosquittoSub(strait, version, qos, "plant/#", len(PAYLOADS)) as sub:
        for payload in PAYLOADS:
            nats.publish("plant.7.set", payload.encode())
        assert sub.messages() == [(0, "plant/7/set", payload) for payload in PAYLOADS]
