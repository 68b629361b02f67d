"""How the gateway leaves: lame-duck mode, and a drain that loses nothing which was taken."""

import json
import signal
import socket
import time

import pytest

import gateway
import wire_mqtt as mqtt
import wire_nats as nats
from clients import Paho

SERVER_SHUTTING_DOWN = 0x8B


def lame_duck(grace, duration, **more):
    return {
        "STRAIT__LIMITS__LAME_DUCK_GRACE_SECS": str(grace),
        "STRAIT__LIMITS__LAME_DUCK_DURATION_SECS": str(duration),
        **more,
    }


def told_of_lame_duck(client):
    """What the INFO of lame-duck mode says; the one after the first PONG may come before it."""
    while not (info := json.loads(client.expect("INFO").text)).get("ldm"):
        pass
    return info


def refused(at):
    try:
        socket.create_connection(at, timeout=5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        # It was still queued when its listener closed; the next one tells.
        pass
    return False


def ended(strait, timeout):
    gateway.running.remove(strait)
    code = strait.process.wait(timeout)
    strait.assert_no_panic()
    return code


@pytest.mark.parametrize("n_cores", [1, 2, 4])
def test_a_lame_duck_tells_its_clients_and_closes_them_one_by_one(start_strait, n_cores):
    env = lame_duck(1, 3, STRAIT__NATS__ADVERTISE="a.example:4222", STRAIT__NATS__CONNECT_URLS="a.example:4222,b.example:4222")
    strait = start_strait(n_cores, env=env)
    told = [nats.connected(strait.nats) for _ in range(6)]
    old = nats.connected(strait.nats, protocol=0)
    device = mqtt.connected(strait.mqtt)
    assert told[0].info["connect_urls"] == ["a.example:4222", "b.example:4222"]
    assert (told[0].info["host"], told[0].info["port"]) == ("a.example", 4222)
    strait.process.send_signal(signal.SIGUSR2)
    began = time.monotonic()
    for client in told:
        info = told_of_lame_duck(client)
        assert info["connect_urls"] == ["b.example:4222"]
    gateway.wait_until(lambda: refused(strait.nats) and refused(strait.mqtt), "new connections are still taken")
    # Until the grace is over they are served.
    told[0].subscribe("lame")
    old.publish("lame", b"duck")
    assert told[0].message() == ("lame", b"duck")
    for client in [*told, old]:
        assert client.until_closed() == []
    device.expect_closed(SERVER_SHUTTING_DOWN)
    assert ended(strait, 20) == 0
    assert 1 <= time.monotonic() - began <= 12


@pytest.mark.parametrize("second", [signal.SIGUSR2, signal.SIGTERM])
def test_a_second_signal_ends_lame_duck_mode_early(start_strait, second):
    strait = start_strait(2, env=lame_duck(600, 600))
    client = nats.connected(strait.nats)
    strait.process.send_signal(signal.SIGUSR2)
    told_of_lame_duck(client)
    strait.process.send_signal(second)
    assert client.until_closed() == []
    assert ended(strait, 20) == 0


def test_a_lame_duck_without_clients_ends_at_once(start_strait):
    strait = start_strait(4, env=lame_duck(600, 600))
    strait.process.send_signal(signal.SIGUSR2)
    assert ended(strait, 20) == 0


N_MESSAGES = 20_000


@pytest.mark.parametrize("n_cores", [1, 2, 4])
def test_what_was_taken_before_a_drain_reaches_nats_and_mqtt_subscribers_on_every_core(start_strait, n_cores):
    strait = start_strait(n_cores)
    subscribers = [nats.connected(strait.nats) for _ in range(4)]
    devices = [mqtt.connected(strait.mqtt) for _ in range(4)]
    publisher = nats.connected(strait.nats)
    for idx, client in enumerate(subscribers):
        client.subscribe("drain.>", sid=str(idx))
    for client in devices:
        client.subscribe("drain/#")
    publisher.send(*(nats.pub("drain.a", b"%06d" % n + b"." * 100) for n in range(N_MESSAGES)))
    # The PONG says that all of it was taken; nobody has read any of it.
    publisher.ping()
    strait.process.send_signal(signal.SIGTERM)
    for client in subscribers:
        heard = [int(op.payload[:6]) for op in client.until_closed()]
        assert heard == list(range(N_MESSAGES))
    for client in devices:
        heard = [int(packet.payload[:6]) for packet in client.until_closed() if packet.kind == "PUBLISH"]
        assert heard == list(range(N_MESSAGES))
    assert publisher.until_closed() == []
    assert ended(strait, 20) == 0


@pytest.mark.parametrize("n_cores", [1, 2, 4])
def test_what_waited_for_windows_comes_before_a_drain_closes(start_strait, n_cores):
    strait = start_strait(n_cores)
    topic, n_sent = "windows/a", 500
    with mqtt.connected(strait.mqtt, properties=[("receive_maximum", 3)]) as device, Paho(strait) as other:
        assert device.subscribe((topic, 1)) == [1]
        assert other.subscribe((topic, 2)) == [2]
        with mqtt.connected(strait.mqtt) as publisher:
            for n in range(n_sent):
                publisher.publish(topic, b"%d" % n, qos=2, packet_id=n + 1)
                publisher.expect("PUBREC")
            # It has taken three and acknowledged none of them.
            strait.process.send_signal(signal.SIGTERM)
            publisher.expect_closed(SERVER_SHUTTING_DOWN)
        # One that comes too late is not answered, and holds up nothing.
        device.publish(topic, b"late", qos=1, packet_id=1)
        heard = []
        while (packet := device.receive()).kind == "PUBLISH":
            heard.append(int(packet.payload))
            device.send(mqtt.puback(packet.packet_id))
        assert (packet.kind, packet.reason) == ("DISCONNECT", SERVER_SHUTTING_DOWN)
        assert heard == list(range(n_sent))
        assert [int(payload) for _, payload in other.n_messages(n_sent)] == heard
        assert ended(strait, 20) == 0
    assert "what waited in sessions is lost" not in strait.log()


def test_a_drain_does_not_wait_longer_than_it_may_for_a_client_that_does_not_read(start_strait):
    strait = start_strait(2, env={"STRAIT__LIMITS__DRAIN_TIMEOUT_SECS": "2"})
    with nats.connected(strait.nats, receive_buffer=16 * 1024) as idle, nats.connected(strait.nats) as publisher:
        idle.subscribe("much")
        publisher.send(*(nats.pub("much", b"x" * 65_536) for _ in range(300)))
        publisher.ping()
        began = time.monotonic()
        strait.process.send_signal(signal.SIGTERM)
        assert ended(strait, 20) == 0
        assert time.monotonic() - began < 8
