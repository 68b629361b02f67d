"""Order and completeness between many connections of both kinds on different cores."""

import threading

import pytest

import wire_mqtt as mqtt
import wire_nats as nats

MANY = 20_000
N_PUBLISHERS = 4
N_SUBSCRIBERS = 4
N_EACH = 1_000


@pytest.mark.parametrize("qos", [0, 1])
def test_twenty_thousand_pipelined_mqtt_messages_arrive_in_order(strait, qos):
    publications = b"".join(mqtt.publish("pipe", b"%d" % n, qos, n % 1000 + 1) for n in range(MANY))
    with mqtt.connected(strait.mqtt) as subscriber, nats.connected(strait.nats) as other:
        subscriber.subscribe(("pipe", qos))
        other.subscribe("pipe")
        with mqtt.connected(strait.mqtt) as publisher:
            sending = in_thread(lambda: publisher.send(publications))
            acknowledging = in_thread(lambda: [publisher.expect("PUBACK").packet_id for _ in range(MANY * qos)])
            reading = in_thread(lambda: [other.message() for _ in range(MANY)])
            heard = []
            while len(heard) < MANY:
                packet = subscriber.expect("PUBLISH")
                heard.append(packet.payload)
                if packet.qos:
                    subscriber.send(mqtt.puback(packet.packet_id))
            assert heard == [b"%d" % n for n in range(MANY)]
            sending()
            assert [payload for _, payload in reading()] == heard
            assert acknowledging() == [n % 1000 + 1 for n in range(MANY * qos)]


# [MQTT-4.6.0-5] [MQTT-4.6.0-6]
# 3.1.1: [MQTT-4.6.0-5] [MQTT-4.6.0-6]
def test_each_subscriber_hears_each_publisher_completely_and_in_order(strait):
    mqtt_subscribers = [mqtt.connected(strait.mqtt, version) for version in (mqtt.V5, mqtt.V311) * (N_SUBSCRIBERS // 2)]
    nats_subscribers = [nats.connected(strait.nats) for _ in range(N_SUBSCRIBERS)]
    for subscriber in mqtt_subscribers:
        subscriber.subscribe("pairs/+/x")
    for subscriber in nats_subscribers:
        subscriber.subscribe("pairs.*.x")
    mqtt_publishers = [mqtt.connected(strait.mqtt) for _ in range(N_PUBLISHERS)]
    nats_publishers = [nats.connected(strait.nats) for _ in range(N_PUBLISHERS)]

    def publish(connection, build):
        for at in range(0, N_EACH, 50):
            connection.send(*(build(n) for n in range(at, at + 50)))

    def mqtt_publication(idx):
        return lambda n: mqtt.publish(f"pairs/m{idx}/x", b"%d" % n)

    def nats_publication(idx):
        return lambda n: nats.pub(f"pairs.n{idx}.x", b"%d" % n)

    def listen(subscriber, separator):
        heard = {}
        for _ in range(2 * N_PUBLISHERS * N_EACH):
            topic, payload = subscriber.message(timeout=30)
            heard.setdefault(topic.split(separator)[1], []).append(int(payload))
        return heard

    listening = [in_thread(listen, s, "/") for s in mqtt_subscribers] + [in_thread(listen, s, ".") for s in nats_subscribers]
    publishing = [in_thread(publish, c, mqtt_publication(idx)) for idx, c in enumerate(mqtt_publishers)]
    publishing += [in_thread(publish, c, nats_publication(idx)) for idx, c in enumerate(nats_publishers)]
    for done in publishing:
        done()
    publishers = [f"{kind}{idx}" for kind in "mn" for idx in range(N_PUBLISHERS)]
    for heard in (done() for done in listening):
        assert heard == {name: list(range(N_EACH)) for name in publishers}
    for connection in mqtt_subscribers + nats_subscribers + mqtt_publishers + nats_publishers:
        connection.close()


# [MQTT-3.10.4-3]
# 3.1.1: [MQTT-3.10.4-3]
def test_what_was_published_before_an_unsubscribe_arrives_before_its_acknowledgement(strait):
    with nats.connected(strait.nats) as publisher:
        for _ in range(50):
            for kind, at in ((nats, strait.nats), (mqtt, strait.mqtt)):
                with kind.connected(at) as subscriber:
                    subscriber.subscribe("drain")
                    publisher.send(*(nats.pub("drain", b"%d" % n) for n in range(100)))
                    assert publisher.ping() == []
                    # Only what the gateway has taken counts, and it has: the publisher has its PONG.
                    heard = subscriber.unsubscribe("1" if kind is nats else "drain")
                    assert [message.payload for message in heard] == [b"%d" % n for n in range(100)]


def in_thread(work, *arguments):
    """Starts `work`; the returned function waits for it and gives its result or raises its error."""
    outcome = {}

    def target():
        try:
            outcome["result"] = work(*arguments)
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=target, daemon=True)
    thread.start()

    def join():
        thread.join(60)
        assert not thread.is_alive(), "still at it after 60 s"
        if "error" in outcome:
            raise outcome["error"]
        return outcome["result"]

    return join
