"""The same random subscriptions and publications, here and at nats-server and mosquitto: who hears what.

Not their wire forms, which test_acceptance and test_mqtt_wire hold, nor queue groups, which pick by chance.
"""

import random
import socket
import subprocess

import pytest

import clients
import gateway
import wire_mqtt as mqtt
import wire_nats as nats

N_CONNECTIONS = 3
N_STEPS = 60
NATS_SERVERS = {"2.15": gateway.ROOT / ".test/venv/bin/nats-server", "2.9": clients.DEBIAN / "usr/sbin/nats-server"}
MOSQUITTO = clients.DEBIAN / "usr/sbin/mosquitto"


@pytest.fixture(scope="module", params=NATS_SERVERS.values(), ids=NATS_SERVERS.keys())
def nats_server(request):
    yield from serve(lambda port: [request.param, "-a", "127.0.0.1", "-p", str(port)])


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory):
    file = tmp_path_factory.mktemp("mosquitto") / "mosquitto.conf"

    def command(port):
        file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
        return [MOSQUITTO, "-c", file]

    yield from serve(command)


@pytest.mark.parametrize("seed", range(5))
def test_nats_clients_hear_what_they_would_hear_from_nats_server(strait, nats_server, seed):
    assert nats_story(strait.nats, seed) == nats_story(nats_server, seed)


@pytest.mark.parametrize("version", [mqtt.V311, mqtt.V5], ids=["3.1.1", "5.0"])
@pytest.mark.parametrize("seed", range(5))
def test_mqtt_clients_hear_what_they_would_hear_from_mosquitto(strait, mosquitto, seed, version):
    assert mqtt_story(strait.mqtt, seed, version) == mqtt_story(mosquitto, seed, version)


def nats_story(at, seed):
    """What each connection heard in each step."""
    chance = random.Random(seed)
    connections = [nats.connected(at) for _ in range(N_CONNECTIONS)]
    for idx, connection in enumerate(connections):
        connection.subscribe(f"end.{idx}", "end")
    heard = []
    for step in range(N_STEPS):
        talker = chance.choice(connections)
        match chance.randrange(8):
            case 0 | 1 | 2:
                tokens = chance.choices(["a", "b", "*"], k=chance.randrange(1, 4))
                talker.subscribe(".".join(tokens + chance.choice([[], [], [">"]])), f"s{step}")
            case 3:
                limit = chance.choice(["", " 1", " 2", " 5"])
                talker.unsubscribe(f"s{chance.randrange(max(step, 1))}{limit}")
            case _:
                talker.publish(".".join(chance.choices(["a", "b"], k=chance.randrange(1, 5))), b"%d" % step)
        # One publisher's messages keep their order, so this one ends what the step has caused.
        talker.send(*(nats.pub(f"end.{idx}") for idx in range(N_CONNECTIONS)))
        told = [until(c, lambda op: op.sid == "end") for c in connections]
        heard.append([sorted((op.subject, op.sid) for op in ops if not op.subject.startswith("end.")) for ops in told])
        # A wildcard may have matched an end as well: this takes its other copies.
        for connection in connections:
            connection.ping()
    for connection in connections:
        connection.close()
    return heard


def mqtt_story(at, seed, version):
    """Which topics each connection heard in each step; how many copies, brokers may choose."""
    chance = random.Random(seed)
    connections = [mqtt.connected(at, version, client_id=f"story{seed}-{idx}") for idx in range(N_CONNECTIONS)]
    for idx, connection in enumerate(connections):
        connection.subscribe(f"end/{idx}")
    filters, heard = [], []
    for step in range(N_STEPS):
        talker = chance.choice(connections)
        match chance.randrange(8):
            case 0 | 1:
                levels = chance.choices(["a", "b", "", "$x", "+"], k=chance.randrange(1, 4))
                filters.append("/".join(levels + chance.choice([[], [], ["#"]])) or "#")
                talker.subscribe(filters[-1])
            case 2 if filters:
                talker.unsubscribe(chance.choice(filters))
            case _:
                topic = "/".join(chance.choices(["a", "b", "", "$x"], k=chance.randrange(1, 5)))
                talker.publish(topic or "a", b"%d" % step)
        talker.send(*(mqtt.publish(f"end/{idx}", b"end", version=version) for idx in range(N_CONNECTIONS)))
        told = [until(c, ends(f"end/{idx}")) for idx, c in enumerate(connections)]
        heard.append([{p.topic for p in packets if not p.topic.startswith("end/")} for packets in told])
        for connection in connections:
            connection.ping()
    for connection in connections:
        connection.close()
    return heard


def ends(topic):
    return lambda packet: packet.topic == topic


def until(connection, is_end):
    found = []
    while not is_end(one := connection.receive()):
        found.append(one)
    return found


def serve(command):
    """A server of somebody else's on a free port; its address."""
    at = ("127.0.0.1", gateway.free_port())
    process = subprocess.Popen(
        command(at[1]), env=clients.environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        gateway.wait_until(lambda: accepts(at), f"{process.args[0]} accepts at {gateway.address(at)}")
        yield at
    finally:
        process.terminate()
        process.wait(20)


def accepts(at):
    try:
        socket.create_connection(at, timeout=1).close()
        return True
    except OSError:
        return False
