"""What the gateway says of itself: statistics under $SYS/broker, and who comes and goes."""

import json
import time

import nats as nats_py
import pytest

import gateway
import wire_mqtt as mqtt
import wire_nats as nats
from clients import NatsThread, Paho
from gateway import wait_until


@pytest.fixture(params=[1, 2, 4], ids=["1core", "2cores", "4cores"])
def talkative(request, start_strait):
    return start_strait(request.param, env={"STRAIT__SYS__INTERVAL_SECS": "1"})


def statistics(strait):
    with mqtt.connected(strait.mqtt) as client:
        client.subscribe("$SYS/broker/#")
        return {p.topic.removeprefix("$SYS/broker/"): p.payload.decode() for p in client.ping() if p.kind == "PUBLISH"}


def test_statistics_come_at_once_and_are_the_sum_of_all_cores(talkative):
    subscribers = [mqtt.connected(talkative.mqtt) for _ in range(8)]
    for client in subscribers:
        client.subscribe("stats/a")
    with mqtt.connected(talkative.mqtt) as publisher, nats.connected(talkative.nats):
        for _ in range(10):
            publisher.publish("stats/a", b"12345")
        publisher.ping()
        wanted = {"publish/messages/received": "10", "publish/messages/sent": "80", "publish/bytes/received": "50"}

        def differs():
            found = statistics(talkative)
            return {name: found.get(name) for name in wanted if found.get(name) != wanted[name]}

        # What they are themselves is not counted as anybody's, but its deliveries are.
        # Each core hears of the others' counts once an interval.
        def is_whole():
            found = statistics(talkative)
            sent, there = (int(found.get(name, 0)) for name in ("publish/messages/sent", "clients/nats/connected"))
            received = found.get("publish/messages/received"), found.get("publish/bytes/received")
            connected = int(found.get("clients/connected", 0))
            return sent >= 80 and there >= 1 and connected >= 10 and received == ("10", "50")

        wait_until(is_whole, differs)
        found = statistics(talkative)
        assert found["version"].startswith("strait version ")
        assert found["uptime"].endswith(" seconds")
        assert int(found["clients/nats/connected"]) >= 1
        assert int(found["clients/connected"]) >= 10
        assert int(found["clients/maximum"]) >= int(found["clients/connected"])
        assert {"load/messages/received/1min", "subscriptions/count", "retained messages/count"} <= found.keys()
    for client in subscribers:
        client.close()


def test_clients_in_all_are_those_connected_and_sessions_of_those_away(talkative):
    def counts():
        found = statistics(talkative)
        return [int(found.get(f"clients/{name}", -1)) for name in ("connected", "disconnected", "total")]

    for n in range(5):
        with mqtt.connected(talkative.mqtt, client_id=f"away-{n}", clean=False, properties=[("session_expiry", 60)]):
            pass
    # Who looks is there as well, for a moment.
    wait_until(lambda: counts() in ([0, 5, 5], [1, 5, 6]), counts)
    # Queued messages are kept by each session, in no store of all: mosquitto's counts of one have no like here.
    assert not [name for name in statistics(talkative) if name.startswith("store/")]


# [MQTT-4.7.2-1]
def test_statistics_are_not_for_a_wildcard_and_readable_by_both_worlds(talkative):
    with mqtt.connected(talkative.mqtt) as client, nats.connected(talkative.nats) as everything:
        client.subscribe("#", "+/broker/#")
        everything.subscribe(">")
        with nats.connected(talkative.nats) as reader:
            reader.subscribe("/24SYS.broker.uptime")
            assert reader.message()[0] == "/24SYS.broker.uptime"
            assert reader.message()[0] == "/24SYS.broker.uptime"
        client.publish("end", b"")
        assert client.message()[0] == "end"
        assert everything.message()[0] == "end"


# 3.1.1: [MQTT-3.3.5-2]
def test_nobody_else_may_speak_for_the_gateway(talkative):
    with mqtt.connected(talkative.mqtt) as client:
        client.publish("$SYS/broker/version", b"forged", qos=1, packet_id=1, retain=True)
        assert client.expect("PUBACK").reason == 0x87
    for subject in (b"/24SYS.broker.version", b"$STRAIT.CLIENT.x.CONNECTED"):
        with nats.connected(talkative.nats) as client:
            client.send(b"PUB " + subject + b" 1\r\nx\r\n")
            assert client.expect("-ERR").text.startswith("'Permissions Violation for Publish to")


def test_no_statistics_come_where_they_are_turned_off(start_strait):
    strait = start_strait(2, env={"STRAIT__SYS__INTERVAL_SECS": "0"})
    with mqtt.connected(strait.mqtt) as client:
        client.subscribe("$SYS/#")
        # Nothing tells that nothing comes: some time must pass.
        time.sleep(1.2)
        assert client.ping() == []


def test_comings_and_goings_of_both_kinds_are_told_in_both_worlds(strait):
    with mqtt.connected(strait.mqtt, client_id="watcher") as watcher, nats.connected(strait.nats) as other:
        watcher.subscribe("$SYS/clients/+/connected", "$SYS/clients/+/disconnected")
        other.subscribe("$STRAIT.CLIENT.*.*")
        since = time.time() * 1000
        with mqtt.connected(strait.mqtt, mqtt.V311, client_id="pres/ence"):
            topic, payload = watcher.message()
            told = json.loads(payload)
            assert topic == "$SYS/clients/pres%2Fence/connected"
            assert (told["client_id"], told["protocol"], told["version"]) == ("pres/ence", "mqtt", "3.1.1")
            assert abs(told["connected_at"] - since) < 60_000 and told["address"].startswith("127.0.0.1:")
            assert other.message() == ("$STRAIT.CLIENT.pres%2Fence.CONNECTED", payload)
        topic, payload = watcher.message()
        gone = json.loads(payload)
        assert topic == "$SYS/clients/pres%2Fence/disconnected"
        assert gone["reason"] == "by_peer" and gone["connected_at"] == told["connected_at"]
        assert other.message() == ("$STRAIT.CLIENT.pres%2Fence.DISCONNECTED", payload)
        with nats.Connection(strait.nats) as client:
            client.send(b'CONNECT {"verbose":false,"name":"service"}\r\nPING\r\n')
            topic, payload = watcher.message()
            told = json.loads(payload)
            assert (told["name"], told["protocol"]) == ("service", "nats")
            assert topic == f"$SYS/clients/{told['client_id']}/connected"
            assert other.message() == (f"$STRAIT.CLIENT.{told['client_id']}.CONNECTED", payload)
        assert watcher.message()[0] == f"$SYS/clients/{told['client_id']}/disconnected"


def test_how_a_client_went_is_told_apart(strait):
    with mqtt.connected(strait.mqtt) as watcher:
        watcher.subscribe("$SYS/clients/goes/disconnected")
        for version, last_words, expected in (
            (mqtt.V311, mqtt.disconnect(mqtt.V311), "normal"),
            (mqtt.V5, mqtt.disconnect(), "normal"),
            (mqtt.V5, mqtt.disconnect(reason=0x04), "disconnect_with_will"),
            (mqtt.V311, b"", "by_peer"),
            (mqtt.V5, b"", "by_peer"),
            (mqtt.V5, b"\x00\x00", "bad_input"),
        ):
            with mqtt.connected(strait.mqtt, version, client_id="goes") as client:
                client.send(last_words)
                if last_words:
                    client.until_closed()
            assert json.loads(watcher.message()[1])["reason"] == expected, (version, last_words)


def test_a_take_over_tells_of_one_going_and_one_coming(strait):
    with mqtt.connected(strait.mqtt) as watcher:
        watcher.subscribe("$SYS/clients/twice/#")
        with mqtt.connected(strait.mqtt, client_id="twice"), mqtt.connected(strait.mqtt, client_id="twice"):
            told = [watcher.message() for _ in range(3)]
        events = [(topic.rsplit("/", 1)[1], json.loads(payload).get("reason")) for topic, payload in told]
        assert events == [("connected", None), ("disconnected", "taken_over"), ("connected", None)]


def test_both_kinds_of_client_are_told_of_in_one_json(start_strait):
    ports = [gateway.free_port() for _ in range(2)]
    env = {"STRAIT__MQTT__LISTENERS__FIELD__BIND": str(ports[0]), "STRAIT__NATS__LISTENERS__PLANT__BIND": str(ports[1])}
    strait = start_strait(1, env=env)
    fields = {"client_id", "name", "user", "protocol", "version", "listener", "address", "connected_at"}
    with Paho(strait, client_id="watcher") as watcher, NatsThread(strait) as service:
        told = service.subscribe("$STRAIT.CLIENT.*.*")
        watcher.subscribe("$SYS/clients/+/+")

        def next_event():
            (subject, payload), (topic, same) = service.message(told), watcher.message()
            assert payload == same
            _, _, client_id, what = subject.split(".")
            assert topic == f"$SYS/clients/{client_id}/{what.lower()}"
            event = json.loads(payload)
            assert event["client_id"] == client_id
            assert event.keys() - {"disconnected_at", "reason"} == fields
            assert ("reason" in event) == ("disconnected_at" in event) == (what == "DISCONNECTED")
            return event

        with Paho(strait, client_id="press-7", username="zoë", port=ports[0]):
            wanted = {"client_id": "press-7", "name": None, "user": "zoë", "protocol": "mqtt", "version": "5.0", "listener": "field"}
            assert next_event().items() >= wanted.items()
        assert next_event().items() >= {**wanted, "reason": "normal"}.items()

        async def come_and_go():
            url = f"nats://127.0.0.1:{ports[1]}"
            client = await nats_py.connect(url, name="svc", user="ann", password="x", allow_reconnect=False)
            await client.close()

        service.call(come_and_go())
        wanted = {"name": "svc", "user": "ann", "protocol": "nats", "version": "1", "listener": "plant"}
        assert next_event().items() >= wanted.items()
        assert next_event().items() >= {**wanted, "reason": "by_peer"}.items()
        with mqtt.connected(strait.mqtt, mqtt.V311, client_id="plain"):
            assert next_event().items() >= {"user": None, "version": "3.1.1", "listener": "default"}.items()
