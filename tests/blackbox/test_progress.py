"""Whatever is ready to run is run: cores wake each other at the start and under back-pressure."""

import threading

import pytest

import wire_nats as nats

N_ROUNDS = 4
N_PUBLISHERS = 4
N_MESSAGES = 4_000_000
N_AT_ONCE = 2_000
N_STARTS = 12


@pytest.mark.timeout(240)
def test_publishers_on_every_core_at_full_speed_come_through(start_strait):
    """The subscriber's core falls behind and slows the others, which must hear when it has caught up. A
    wake-up that is lost leaves all of them standing, until the connections of another round come."""
    strait = start_strait(4)
    payload = b"x" * 16
    some = nats.pub("progress", payload) * N_AT_ONCE
    n_expected = N_PUBLISHERS * N_MESSAGES * len(b"MSG progress 1 16\r\n" + payload + b"\r\n")
    for _ in range(N_ROUNDS):
        with nats.connected(strait.nats) as subscriber:
            subscriber.subscribe("progress")
            subscriber.ping()
            publishers = [nats.connected(strait.nats, verbose=False) for _ in range(N_PUBLISHERS)]
            threads = [threading.Thread(target=publish, args=(publisher, some)) for publisher in publishers]
            for thread in threads:
                thread.start()
            # A PING may come in between.
            assert n_received(subscriber, n_expected) in (n_expected, n_expected + len(b"PING\r\n"))
            for thread in threads:
                thread.join()
            for publisher in publishers:
                publisher.close()


def publish(publisher, some):
    publisher.socket.settimeout(30)
    for _ in range(N_MESSAGES // N_AT_ONCE):
        publisher.socket.sendall(some)


def n_received(subscriber, n_expected):
    subscriber.socket.settimeout(10)
    buffer, n = bytearray(1 << 20), 0
    while n < n_expected:
        n_read = subscriber.socket.recv_into(buffer)
        assert n_read > 0, f"closed after {n} of {n_expected} bytes"
        n += n_read
    return n


def test_more_cores_than_processors_all_begin(start_strait):
    for _ in range(N_STARTS):
        strait = start_strait(4)
        clients = [nats.connected(strait.nats) for _ in range(4)]
        for client in clients:
            client.ping()
            client.close()
        strait.stop()
