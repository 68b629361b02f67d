"""Subscribers that don't read, and a process without free descriptors: others go on."""

import contextlib
import resource
import socket
import time

import pytest

import gateway
import wire_mqtt as mqtt
import wire_nats as nats

SMALL_QUEUE = {"STRAIT__LIMITS__WRITE_QUEUE_BYTES_MAX": str(1 << 20)}
SMALL_BUFFER = 16 * 1024
SIZE = 16 * 1024
# 48 MiB: far more than the queue and what the kernel keeps for a connection.
N_MESSAGES = 3_000
BATCH = 16


def body(n):
    return b"%08d" % n + b"." * (SIZE - 8)


def flood(publish, subscriber, topic):
    """Sends all messages, never more ahead of `subscriber` than a batch, so that it can't become slow itself."""
    for first in range(0, N_MESSAGES, BATCH):
        batch = range(first, min(first + BATCH, N_MESSAGES))
        publish([body(n) for n in batch])
        for n in batch:
            assert subscriber.message(timeout=30) == (topic, body(n))


@pytest.mark.parametrize("n_cores", [1, 2, 4])
def test_a_nats_subscriber_that_stops_reading_is_closed_and_others_lose_nothing(start_strait, n_cores):
    strait = start_strait(n_cores, env=SMALL_QUEUE)
    with (
        nats.connected(strait.nats, receive_buffer=SMALL_BUFFER) as slow,
        nats.connected(strait.nats) as quick,
        nats.connected(strait.nats) as publisher,
    ):
        slow.subscribe("flood")
        quick.subscribe("flood")
        flood(lambda bodies: publisher.send(*(nats.pub("flood", b) for b in bodies)), quick, "flood")
        heard = slow.until_closed(timeout=30)
        assert all(op.kind == "MSG" for op in heard), "it was told something"
        numbers = [int(op.payload[:8]) for op in heard]
        assert numbers == list(range(len(numbers))), "gaps before its end"
        assert len(numbers) < N_MESSAGES
        assert publisher.ping() == []
    assert "slow consumer" in strait.log().lower()


@pytest.mark.parametrize("n_cores", [1, 2, 4])
def test_an_mqtt_subscriber_that_stops_reading_loses_messages_and_stays(start_strait, n_cores):
    strait = start_strait(n_cores, env=SMALL_QUEUE)
    with (
        mqtt.connected(strait.mqtt, receive_buffer=SMALL_BUFFER) as slow,
        mqtt.connected(strait.mqtt) as quick,
        mqtt.connected(strait.mqtt) as publisher,
    ):
        slow.subscribe("flood")
        quick.subscribe("flood")
        flood(lambda bodies: publisher.send(*(mqtt.publish("flood", b) for b in bodies)), quick, "flood")
        # The quick one has it all, so all has been sent; a last round trip also tells where the rest begins.
        heard = [int(packet.payload[:8]) for packet in slow.ping()]
        for n in range(100):
            publisher.publish("flood", b"%08d" % (N_MESSAGES + n))
        while not heard or heard[-1] < N_MESSAGES + 99:
            heard.append(int(slow.message()[1][:8]))
        assert heard == sorted(set(heard)), "out of order, or twice"
        assert len(heard) < N_MESSAGES, "nothing was lost, so nothing was bounded"
        assert heard[-100:] == list(range(N_MESSAGES, N_MESSAGES + 100)), "what was sent after it read again is missing"


def test_a_slow_subscriber_of_one_world_harms_none_of_the_other(start_strait):
    strait = start_strait(2, env=SMALL_QUEUE)
    with (
        nats.connected(strait.nats, receive_buffer=SMALL_BUFFER) as slow,
        mqtt.connected(strait.mqtt) as quick,
        nats.connected(strait.nats) as publisher,
    ):
        slow.subscribe("flood")
        quick.subscribe("flood")
        flood(lambda bodies: publisher.send(*(nats.pub("flood", b) for b in bodies)), quick, "flood")


@pytest.mark.parametrize("n_cores", [1, 4])
def test_without_free_descriptors_connections_go_on_and_the_cpu_rests(start_strait, n_cores):
    strait = start_strait(n_cores)
    with mqtt.connected(strait.mqtt) as client, nats.connected(strait.nats) as other:
        client.subscribe("emfile/mqtt")
        other.subscribe("emfile.nats")
        limit = strait.n_open_files() + 20
        resource.prlimit(strait.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        with contextlib.ExitStack() as stack:
            for idx in range(100):
                more = stack.enter_context(socket.create_connection((strait.mqtt, strait.nats)[idx % 2], timeout=10))
                # Some of these are closed at once.
                with contextlib.suppress(ConnectionError):
                    more.sendall(b"\x10")
            before, until = strait.cpu_seconds(), time.monotonic() + 2
            n_rounds = 0
            while time.monotonic() < until:
                client.publish("emfile/nats", b"up")
                assert other.message() == ("emfile.nats", b"up")
                other.publish("emfile.mqtt", b"down")
                assert client.message() == ("emfile/mqtt", b"down")
                n_rounds += 1
                # What is measured is an idle process: a few messages and then rest.
                time.sleep(0.05)
            spent = strait.cpu_seconds() - before
            assert n_rounds >= 5
            assert spent < 0.6, f"{spent:.2f} s of CPU in 2 s with nothing to do"
        for at, new in ((strait.mqtt, mqtt.connected), (strait.nats, nats.connected)):
            gateway.wait_until(lambda at=at, new=new: accepts(at, new), f"no new connection at {gateway.address(at)}")


def accepts(at, new):
    """Whether a client gets through its CONNECT."""
    try:
        new(at).close()
        return True
    except (OSError, mqtt.Closed, nats.Closed):
        return False
