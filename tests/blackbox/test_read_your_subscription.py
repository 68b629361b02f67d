"""A subscription holds everywhere once it is acknowledged, and is gone everywhere once that is.

Subscribers and publishers are spread over the cores, so most rounds cross from one to another.
"""

import random

import pytest

import wire_mqtt as mqtt
import wire_nats as nats

N_CONNECTIONS = 6
N_ROUNDS = 300


class MqttPeer:
    def __init__(self, strait):
        self.connection = mqtt.connected(strait.mqtt, random.choice(mqtt.VERSIONS))

    def subscribe(self, name):
        self.connection.subscribe(name.replace(".", "/").replace("*", "+"))

    def unsubscribe(self, name):
        return self.connection.unsubscribe(name.replace(".", "/").replace("*", "+"))

    def publish(self, name, payload):
        self.connection.publish(name.replace(".", "/"), payload)

    def payload(self):
        return self.connection.message()[1]


class NatsPeer:
    def __init__(self, strait):
        self.connection = nats.connected(strait.nats)
        self.sids = {}

    def subscribe(self, name):
        self.sids[name] = f"s{len(self.sids)}"
        self.connection.subscribe(name, self.sids[name])

    def unsubscribe(self, name):
        return self.connection.unsubscribe(self.sids[name])

    def publish(self, name, payload):
        self.connection.publish(name, payload)

    def payload(self):
        return self.connection.message()[1]


@pytest.fixture
def peers(strait):
    random.seed(7)
    found = [kind(strait) for _ in range(N_CONNECTIONS) for kind in (MqttPeer, NatsPeer)]
    yield found
    for peer in found:
        peer.connection.close()


def test_whoever_publishes_after_the_acknowledgement_reaches_the_subscriber(peers):
    for n in range(N_ROUNDS):
        subscriber, publisher = random.sample(peers, 2)
        exact, wild = f"ryw.{n}.x", f"ryw.{n}.*"
        subscriber.subscribe(wild if n % 2 else exact)
        publisher.publish(exact, b"%d" % n)
        assert subscriber.payload() == b"%d" % n, f"round {n}"


# [MQTT-3.10.4-2]
def test_nothing_arrives_after_an_acknowledged_unsubscribe(peers):
    for idx, peer in enumerate(peers):
        peer.subscribe(f"sentinel.{idx}")
    for n in range(N_ROUNDS):
        subscriber, publisher = random.sample(peers, 2)
        exact, wild = f"gone.{n}.x", f"gone.{n}.*"
        name = wild if n % 2 else exact
        subscriber.subscribe(name)
        publisher.publish(exact, b"early")
        assert subscriber.payload() == b"early"
        assert subscriber.unsubscribe(name) == []
        publisher.publish(exact, b"late")
        # One publisher's messages keep their order, so the late one would come first.
        publisher.publish(f"sentinel.{peers.index(subscriber)}", b"%d" % n)
        assert subscriber.payload() == b"%d" % n, f"round {n}"


def test_a_neighbours_older_subscription_hastens_nothing(peers):
    """The filter is known already where the subscriber is: that must not shorten its wait."""
    for n in range(N_ROUNDS):
        first, second, publisher = random.sample(peers, 3)
        first.subscribe(f"shared.{n}")
        second.subscribe(f"shared.{n}")
        publisher.publish(f"shared.{n}", b"%d" % n)
        assert first.payload() == b"%d" % n, f"round {n}"
        assert second.payload() == b"%d" % n, f"round {n}"
        assert first.unsubscribe(f"shared.{n}") == []
        publisher.publish(f"shared.{n}", b"again")
        assert second.payload() == b"again", f"round {n}"
        assert second.unsubscribe(f"shared.{n}") == []


def test_a_pipelined_subscribe_and_publish_reaches_oneself(strait):
    """Whatever follows a subscription in the stream comes after it."""
    with mqtt.connected(strait.mqtt) as client, nats.connected(strait.nats) as other:
        for n in range(N_ROUNDS):
            client.send(mqtt.subscribe(n + 1, [(f"self/{n}", 0)]), mqtt.publish(f"self/{n}", b"m"))
            kinds = {client.receive().kind, client.receive().kind}
            assert kinds == {"SUBACK", "PUBLISH"}, f"round {n}"
            other.send(b"SUB self2.%d %d\r\n" % (n, n), nats.pub(f"self2.{n}", b"n"))
            assert other.message() == (f"self2.{n}", b"n"), f"round {n}"
