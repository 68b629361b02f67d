"""Shared subscriptions: paho, mosquitto_sub and nats-py in one group, on 1, 2 and 4 shards."""

import threading
import time

import pytest

import wire_mqtt as mqtt
from clients import MosquittoSub, NatsThread, Paho, mosquitto_pub, paho
from wire_mqtt import V5, V311

MANY = 300
VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5.0": paho.MQTTv5}
KEPT = [("session_expiry", 600)]


@pytest.fixture(params=[V311, V5], ids=["3.1.1", "5.0"])
def version(request):
    return request.param


def drained(clients, n):
    """What each of some paho clients has heard, when all have heard `n`."""
    heard = [[] for _ in clients]
    until = time.monotonic() + 30
    while sum(map(len, heard)) < n and time.monotonic() < until:
        for client, mine in zip(clients, heard):
            while not client.messages.empty():
                message = client.messages.get()
                mine.append((message.topic, message.payload))
        time.sleep(0.01)
    return heard


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_message_comes_to_one_member_and_all_have_about_as_many(strait, qos):
    members = [Paho(strait, version, f"spread-{qos}-{name}") for name, version in VERSIONS.items()]
    topic = f"spread/{qos}/x"
    try:
        for member in members:
            assert member.subscribe((f"$share/workers/spread/{qos}/+", qos)) == [qos]
        with Paho(strait, paho.MQTTv5, f"spread-pub-{qos}") as publisher:
            for n in range(MANY):
                publisher.publish(topic, b"%d" % n, qos)
        heard = drained(members, MANY)
        assert sorted(int(payload) for mine in heard for _, payload in mine) == list(range(MANY))
        # A third each, and five standard deviations.
        assert all(abs(len(mine) - MANY / 3) < 60 for mine in heard), [len(mine) for mine in heard]
    finally:
        for member in members:
            member.__exit__()


def test_a_queue_of_nats_and_a_shared_subscription_are_one_group(strait):
    with Paho(strait, client_id="one-group") as member, NatsThread(strait) as nats:
        member.subscribe("$share/both/one/group")
        subscriptions = [nats.subscribe("one.group", group="both") for _ in range(2)]
        with Paho(strait, client_id="one-group-pub") as publisher:
            for n in range(MANY // 2):
                publisher.publish("one/group", b"%d" % n, 1)
        for n in range(MANY // 2, MANY):
            nats.publish("one.group", b"%d" % n)
        nats.settle()
        [mine] = drained([member], MANY // 6)
        counts = [subscription.pending_msgs for subscription in subscriptions]
        mine += drained([member], MANY - sum(counts) - len(mine))[0]
        theirs = [nats.n_messages(subscription, n) for subscription, n in zip(subscriptions, counts)]
        payloads = [int(payload) for heard in [mine, *theirs] for _, payload in heard]
        assert sorted(payloads) == list(range(MANY))
        assert all(abs(len(heard) - MANY / 3) < 41 for heard in [mine, *theirs])


def test_mosquitto_sub_shares_with_others(strait):
    with Paho(strait, client_id="mosquitto-peer") as member:
        member.subscribe("$share/m/mosquitto/shared")
        with MosquittoSub(strait, "mqttv5", 1, "$share/m/mosquitto/shared", 1) as sub:
            # Sooner or later it is its turn.
            for n in range(40):
                mosquitto_pub(strait, "mqttv311", 1, "mosquitto/shared", str(n))
                if sub.process.poll() is not None:
                    break
            [(qos, topic, payload)] = sub.messages()
        assert (qos, topic) == (1, "mosquitto/shared")
        heard = [int(it) for _, it in drained([member], n)[0]]
        assert sorted([*heard, int(payload)]) == list(range(n + 1))


def codes(version, *wanted):
    return list(wanted) if version == V5 else [0x80 if code >= 0x80 else code for code in wanted]


# [MQTT-4.8.2-1] [MQTT-4.8.2-2]
def test_a_malformed_share_is_refused_for_its_filter_alone(strait, version):
    with mqtt.connected(strait.mqtt, version, client_id="malformed-share") as client:
        wrong = ["$share//a", "$share/g", "$share/g/", "$share/g+/a", "$share/#/a", "$share"]
        answered = client.subscribe(("$share/g/a/#", 2), *[(it, 0) for it in wrong], ("$share/g/+", 1))
        assert answered == codes(version, 2, *[0x8F] * len(wrong), 1)
        client.ping()


# [MQTT-3.8.3-4]
def test_no_local_on_a_shared_subscription_is_a_protocol_error(strait):
    with mqtt.connected(strait.mqtt, client_id="no-local-share") as client:
        client.send(mqtt.subscribe(1, [("$share/g/a", 0x04)]))
        client.expect_closed(0x82)


def test_what_was_retained_before_is_not_sent_to_a_group(strait, version):
    topic = f"shared/retained/{version}"
    with mqtt.connected(strait.mqtt, version) as publisher, mqtt.connected(strait.mqtt, version) as client:
        publisher.publish(topic, b"old", retain=True)
        publisher.ping()
        assert client.subscribe((f"$share/g/{topic}", 0)) == [0]
        assert client.ping() == []
        client.subscribe((topic, 0))
        assert client.message() == (topic, b"old")
        publisher.publish(topic, b"", retain=True)
        publisher.ping()


# Section 4.8.2
@pytest.mark.parametrize("leaves", ["ends its session", "begins anew", "is lost"])
def test_what_a_member_did_not_acknowledge_goes_to_another(strait, version, leaves):
    topic = f"left/{version}/{leaves.replace(' ', '_')}"
    first = mqtt.Connection(strait.mqtt, version)
    stays = leaves == "begins anew"
    first.connect(client_id=f"first-{topic}", clean=not stays, properties=KEPT if stays and version == V5 else [])
    first.subscribe((f"$share/g/{topic}", 1))
    with mqtt.connected(strait.mqtt) as publisher:
        for n in range(1, 6):
            publisher.publish(topic, b"%d" % n, qos=1, packet_id=n)
            assert publisher.expect("PUBACK").reason == 0
        got = [first.expect("PUBLISH") for _ in range(5)]
        first.send(mqtt.puback(got[0].packet_id))
        first.ping()
        with mqtt.connected(strait.mqtt, version, client_id=f"second-{topic}") as second:
            second.subscribe((f"$share/g/{topic}", 1))
            match leaves:
                case "ends its session":
                    first.send(mqtt.disconnect(version))
                case "begins anew":
                    mqtt.connected(strait.mqtt, version, client_id=f"first-{topic}", clean=True).close()
                case "is lost":
                    first.close()
            again = [second.expect("PUBLISH") for _ in range(4)]
            assert [it.payload for it in again] == [b"2", b"3", b"4", b"5"]
            assert not any(it.dup for it in again)
            assert second.ping() == []
    first.close()


def test_members_that_come_and_go_lose_nothing_of_qos_1(strait):
    """Three members that vanish with what they had not acknowledged, beside one that stays."""
    heard, over = set(), threading.Event()

    def come_and_go(nth):
        while not over.is_set():
            with mqtt.connected(strait.mqtt, client_id=f"churn-{nth}", properties=[("receive_maximum", 5)]) as client:
                client.send(mqtt.subscribe(1, [("$share/churn/churned", 1)]))
                n_acknowledged = 0
                while n_acknowledged < 3:
                    try:
                        # A message may come before the SUBACK.
                        it = client.receive(timeout=0.2)
                    except AssertionError:
                        break
                    if it.kind == "PUBLISH":
                        heard.add(it.payload)
                        client.send(mqtt.puback(it.packet_id))
                        n_acknowledged += 1

    with Paho(strait, client_id="churn-stays") as stays, Paho(strait, client_id="churn-pub") as publisher:
        stays.subscribe(("$share/churn/churned", 1))
        threads = [threading.Thread(target=come_and_go, args=(nth,)) for nth in range(3)]
        for thread in threads:
            thread.start()
        for n in range(MANY):
            publisher.publish("churned", b"%d" % n, 1)
        over.set()
        for thread in threads:
            thread.join()
        until = time.monotonic() + 20
        while len(heard) < MANY and time.monotonic() < until:
            heard |= {payload for _, payload in drained([stays], 1)[0]}
        assert heard == {b"%d" % n for n in range(MANY)}


def test_a_take_over_and_a_session_that_waits_keep_their_place(strait, version):
    topic = f"place/{version}"
    name = f"place-{version}"
    mqtt.connected(strait.mqtt, version, client_id=name, clean=True).close()
    first = mqtt.Connection(strait.mqtt, version)
    first.connect(client_id=name, clean=False, properties=KEPT if version == V5 else [])
    first.subscribe((f"$share/g/{topic}", 1))
    second = mqtt.Connection(strait.mqtt, version)
    assert second.connect(client_id=name, clean=False, properties=KEPT if version == V5 else []).session_present
    with mqtt.connected(strait.mqtt) as publisher:
        publisher.publish(topic, b"1", qos=1, packet_id=1)
        got = second.expect("PUBLISH")
        assert got.payload == b"1"
        second.send(mqtt.puback(got.packet_id))
        second.ping()
        second.close()
        first.close()
        # Nobody is there: it waits for whoever comes back.
        publisher.expect("PUBACK")
        publisher.publish(topic, b"2", qos=1, packet_id=2)
        assert publisher.expect("PUBACK").reason == 0
    third = mqtt.Connection(strait.mqtt, version)
    third.connect(client_id=name, clean=False, properties=KEPT if version == V5 else [])
    assert third.expect("PUBLISH").payload == b"2"
    third.close()
    mqtt.connected(strait.mqtt, version, client_id=name, clean=True).close()
