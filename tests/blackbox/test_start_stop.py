"""How the process begins and ends: ports in use, signals, what clients are told, a restart."""

import os
import signal
import socket
import subprocess

import pytest

import gateway
import wire_mqtt as mqtt
import wire_nats as nats

SERVER_SHUTTING_DOWN = 0x8B


@pytest.mark.parametrize("taken", ["mqtt", "nats"])
@pytest.mark.parametrize("n_cores", [1, 4])
def test_a_port_in_use_is_named_and_ends_the_start(taken, n_cores):
    with socket.create_server(("127.0.0.1", 0)) as other:
        at = gateway.address(other.getsockname())
        ports = {"mqtt": "127.0.0.1:0", "nats": "127.0.0.1:0", taken: at}
        command = [gateway.BINARY, "--mqtt", ports["mqtt"], "--nats", ports["nats"], "--admin", "off"]
        command += ["--cores", str(n_cores)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == gateway.PORT_IN_USE, done.stderr
    assert at in done.stderr


def test_signals_that_mean_something_to_other_servers_change_nothing(start_strait):
    strait = start_strait(2)
    with mqtt.connected(strait.mqtt) as subscriber, nats.connected(strait.nats) as publisher:
        subscriber.subscribe("still")
        for number, said in ((signal.SIGHUP, "HUP changes nothing"), (signal.SIGUSR1, "USR1 changes nothing")):
            strait.process.send_signal(number)
            gateway.wait_until(lambda: said in strait.log(), said)
        publisher.publish("still", b"here")
        assert subscriber.message() == ("still", b"here")
    strait.stop()


class Unread(gateway.Strait):
    """One whose standard output nobody reads any more."""

    def spawn(self):
        reader, writer = os.pipe()
        os.close(reader)
        try:
            return subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=writer, stderr=self.log_file)
        finally:
            os.close(writer)


def test_nobody_needs_to_read_what_it_prints():
    strait = Unread(1)
    try:
        strait.stop()
    finally:
        strait.kill()


def test_two_gateways_do_not_share_a_port(start_strait):
    first = start_strait(2)
    command = [gateway.BINARY, "--mqtt", gateway.address(first.mqtt), "--nats", "127.0.0.1:0", "--admin", "off"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == gateway.PORT_IN_USE, done.stderr
    assert gateway.address(first.mqtt) in done.stderr


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("n_cores", [1, 2, 4])
def test_a_signal_stops_it_in_order(start_strait, n_cores, with_signal):
    strait = start_strait(n_cores)
    old = [mqtt.connected(strait.mqtt, mqtt.V311) for _ in range(4)]
    new = [mqtt.connected(strait.mqtt) for _ in range(4)]
    others = [nats.connected(strait.nats) for _ in range(4)]
    new[0].subscribe("last")
    for client in others:
        client.publish("last", b"words")
    # Gone halfway through a packet: that must not hold up the stop.
    with socket.create_connection(strait.mqtt) as half:
        half.sendall(b"\x10\x20\x00")
        strait.stop(with_signal)
    for client in old:
        client.expect_closed()
    assert [p.kind for p in new[0].until_closed()][-1] == "DISCONNECT"
    for client in new[1:]:
        client.expect_closed(SERVER_SHUTTING_DOWN)
    for client in others:
        assert [op for op in client.until_closed() if op.kind != "INFO"] == []


def test_what_waits_in_sessions_at_a_stop_is_told_as_lost(start_strait):
    strait = start_strait(2)
    kept = [("session_expiry", 1_000)]
    for name in ("away", "gone"):
        with mqtt.connected(strait.mqtt, client_id=name, properties=kept) as client:
            assert client.subscribe(("kept", 1)) == [1]
    with mqtt.connected(strait.mqtt) as publisher:
        for packet_id in (1, 2, 3):
            publisher.publish("kept", b"x", qos=1, packet_id=packet_id)
            assert publisher.expect("PUBACK").reason == 0
    strait.stop()
    (line,) = [line for line in strait.log().splitlines() if "what waited in sessions is lost" in line]
    assert "sessions=2 messages=6" in line


def test_a_restart_on_the_same_ports_works_at_once(start_strait):
    strait = start_strait(2)
    ports = {"mqtt_port": strait.mqtt[1], "nats_port": strait.nats[1]}
    for _ in range(3):
        clients = [mqtt.connected(strait.mqtt), nats.connected(strait.nats)]
        strait.stop()
        strait = start_strait(2, **ports)
        with mqtt.connected(strait.mqtt) as subscriber, nats.connected(strait.nats) as publisher:
            subscriber.subscribe("again")
            publisher.publish("again", b"x")
            assert subscriber.message() == ("again", b"x")
        for client in clients:
            client.close()
