"""Sessions that outlive their connections, QoS 2 across them, and wills."""

import random
import time

import pytest

import wire_mqtt as mqtt
import wire_nats as nats
from wire_mqtt import V311, V5

KEPT = [("session_expiry", 600)]


@pytest.fixture(params=[V311, V5], ids=["3.1.1", "5.0"])
def version(request):
    return request.param


def back(strait, client_id, version=V5, present=True, properties=KEPT, **fields):
    """A client that comes for its session."""
    client = mqtt.Connection(strait.mqtt, version)
    connack = client.connect(client_id=client_id, clean=False, properties=properties, **fields)
    assert connack.session_present == present
    return client


def forget(strait, client_id, version=V5):
    mqtt.connected(strait.mqtt, version, client_id=client_id, clean=True).close()


# [MQTT-3.1.2-4] [MQTT-3.1.2-6] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
# [MQTT-3.1.2-5] [MQTT-3.1.4-4]
# 3.1.1: [MQTT-3.1.2-4] [MQTT-3.1.2-6] [MQTT-3.1.4-3] [MQTT-3.2.2-1] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
def test_a_session_stays_until_a_clean_start(strait, version):
    name = f"stays-{version}"
    forget(strait, name, version)
    with back(strait, name, version, present=False) as client:
        client.subscribe(("stays/a", 1))
        # Gone before the message comes, which would else be sent to it.
        client.send(mqtt.disconnect(version))
        client.until_closed()
    with mqtt.connected(strait.mqtt) as publisher:
        publisher.publish("stays/a", b"1", qos=1, packet_id=1)
        assert publisher.expect("PUBACK").reason == 0
    with back(strait, name, version) as client:
        got = client.expect("PUBLISH")
        assert (got.topic, got.payload, got.qos, got.dup) == ("stays/a", b"1", 1, False)
    # It was not acknowledged: it comes again, under its identifier.
    with back(strait, name, version) as client:
        again = client.expect("PUBLISH")
        assert (again.packet_id, again.dup) == (got.packet_id, True)
        client.send(mqtt.puback(again.packet_id))
        client.ping()
    forget(strait, name, version)
    with back(strait, name, version, present=False) as client:
        assert client.ping() == []
    forget(strait, name, version)


# [MQTT-4.3.3-8] [MQTT-4.3.3-10]
# [MQTT-3.3.4-1]
# 3.1.1: [MQTT-3.3.4-1]
def test_qos_2_is_exactly_once_across_connections(strait, version):
    name = f"twice-{version}"
    forget(strait, name, version)
    with nats.connected(strait.nats) as subscriber:
        subscriber.subscribe("twice")
        with back(strait, name, version, present=False) as client:
            client.publish("twice", b"once", qos=2, packet_id=5)
            assert client.expect("PUBREC").packet_id == 5
        with back(strait, name, version) as client:
            client.publish("twice", b"once", qos=2, packet_id=5, dup=True)
            assert client.expect("PUBREC").packet_id == 5
            for _ in range(2):
                client.send(mqtt.ack("PUBREL", 5))
                assert client.expect("PUBCOMP").packet_id == 5
            client.publish("twice", b"another", qos=2, packet_id=5)
            client.expect("PUBREC")
        assert [subscriber.message()[-1] for _ in range(2)] == [b"once", b"another"]
        assert subscriber.ping() == []
    forget(strait, name, version)


# [MQTT-2.2.1-5] [MQTT-4.3.3-4] [MQTT-4.3.3-11] [MQTT-4.3.3-12]
# 3.1.1: [MQTT-2.3.1-6] [MQTT-4.3.3-1]
def test_a_subscriber_of_qos_2_releases_what_it_has(strait, version):
    name = f"release-{version}"
    forget(strait, name, version)
    with mqtt.connected(strait.mqtt) as publisher, back(strait, name, version, present=False) as client:
        assert client.subscribe(("release", 2)) == [2]
        for n in (1, 2):
            publisher.publish("release", b"%d" % n, qos=2, packet_id=n)
        first, second = client.expect("PUBLISH"), client.expect("PUBLISH")
        assert (first.qos, first.payload, second.payload) == (2, b"1", b"2")
        client.send(mqtt.ack("PUBREC", first.packet_id))
        assert client.expect("PUBREL").packet_id == first.packet_id
    with back(strait, name, version) as client:
        assert client.expect("PUBREL").packet_id == first.packet_id
        again = client.expect("PUBLISH")
        assert (again.packet_id, again.payload, again.dup) == (second.packet_id, b"2", True)
        client.send(mqtt.ack("PUBCOMP", first.packet_id), mqtt.ack("PUBREC", second.packet_id))
        assert client.expect("PUBREL").packet_id == second.packet_id
        client.send(mqtt.ack("PUBCOMP", second.packet_id))
        assert client.ping() == []
    forget(strait, name, version)


# [MQTT-3.1.2-23]
# [MQTT-4.1.0-1] [MQTT-4.1.0-2]
# 3.1.1: [MQTT-4.1.0-1] [MQTT-4.1.0-2]
def test_a_session_ends_in_its_time(strait):
    with back(strait, "short", properties=[("session_expiry", 1)], present=False):
        pass
    deadline = time.monotonic() + 10
    while True:
        # Looking takes the session up again, for a second more than it takes to look.
        time.sleep(1.5)
        client = mqtt.Connection(strait.mqtt)
        present = client.connect(client_id="short", clean=False, properties=[("session_expiry", 1)]).session_present
        client.close()
        if not present:
            return
        assert time.monotonic() < deadline, "it never ends"


# [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3]
# [MQTT-3.1.2-7]
# 3.1.1: [MQTT-3.1.2-8]
def test_a_will_speaks_for_a_client_that_is_lost(strait, version):
    with nats.connected(strait.nats) as subscriber:
        subscriber.subscribe(f"will.{version}.*")
        for name, leaves in (("quiet", True), ("lost", False)):
            will = (f"will/{version}/{name}", b"gone", 1, False)
            with mqtt.connected(strait.mqtt, version, client_id=name, will=will) as client:
                if leaves:
                    client.send(mqtt.disconnect(version))
                    client.expect_closed()
        assert subscriber.message()[0] == f"will.{version}.lost"


# [MQTT-3.1.3-9]
def test_a_client_that_is_back_in_time_takes_its_will_away(strait):
    with nats.connected(strait.nats) as subscriber:
        subscriber.subscribe("delayed")
        fields = {"will": ("delayed", b"gone", 0, False), "will_properties": [("will_delay", 1)]}
        back(strait, "delayed", present=False, **fields).close()
        with back(strait, "delayed"):
            assert subscriber.ping() == []
        back(strait, "delayed", **fields).close()
        assert subscriber.message()[-1] == b"gone"
    forget(strait, "delayed")


# [MQTT-3.1.4-3]
@pytest.mark.timeout(300)
def test_ten_thousand_take_overs_leave_one_connection_each_and_lose_nothing(start_strait):
    strait = start_strait(4)
    names = [f"over-{n}" for n in range(20)]
    chance = random.Random(1)
    live = {name: back(strait, name, present=False) for name in names}
    for name, client in live.items():
        client.subscribe((f"over/{name}", 1))
    gone = []
    with mqtt.connected(strait.mqtt) as publisher:
        wanted = {name: [] for name in names}
        heard = {name: [] for name in names}

        def listen(name, packets):
            for packet in packets:
                if packet.kind == "PUBLISH":
                    live[name].send(mqtt.puback(packet.packet_id))
                    if not (packet.dup and packet.payload in heard[name]):
                        heard[name].append(packet.payload)

        for n in range(10_000):
            name = chance.choice(names)
            gone.append(live[name])
            live[name] = back(strait, name)
            if n % 10 == 0:
                payload = b"%d" % n
                wanted[name].append(payload)
                publisher.publish(f"over/{name}", payload, qos=1, packet_id=1)
                publisher.expect("PUBACK")
            if len(gone) > 50:
                end_taken_over(gone)
        for name in names:
            listen(name, live[name].ping())
            listen(name, live[name].ping())
            assert heard[name] == wanted[name]
    end_taken_over(gone)
    for name in names:
        live[name].close()
        forget(strait, name)


def end_taken_over(clients):
    """Each was told that another has its name, and closed: of all with that name one is left."""
    for client in clients:
        last = client.until_closed()[-1]
        assert (last.kind, last.reason) == ("DISCONNECT", 0x8E)
        client.close()
    clients.clear()


# [MQTT-3.1.2-10] [MQTT-3.14.4-3]
# 3.1.1: [MQTT-3.14.4-3]
def test_a_client_that_leaves_in_order_and_is_back_at_once_has_no_will(strait, version):
    names = [f"prompt-{version}-{n}" for n in range(200)]
    with mqtt.connected(strait.mqtt) as heir:
        heir.subscribe("prompt/will")
        before = [
            mqtt.connected(strait.mqtt, version, client_id=name, will=("prompt/will", b"lost", 0, False)) for name in names
        ]
        after = []
        for name, client in zip(names, before, strict=True):
            client.send(mqtt.disconnect(version))
            after.append(mqtt.Connection(strait.mqtt, version))
            after[-1].send(mqtt.connect(version, client_id=name))
        assert all(client.expect("CONNACK").reason == 0 for client in after)
        assert heir.ping() == []
        for client in before + after:
            client.close()
