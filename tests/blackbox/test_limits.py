"""What many bad or unfinished connections together may cost: memory and lines in the log."""

import contextlib
import datetime
import http.client
import re
import socket
import ssl
import time

import pytest

import gateway
import wire_mqtt as mqtt
import wire_nats as nats

MIB = 1 << 20
CONNECT_MAX = 1024 * 1024
# Of each core (src/shard/log.rs).
COMPLAINTS_A_SECOND = 10
HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_announced_bytes_cost_no_memory(start_strait):
    strait = start_strait(2)
    n_each = 500
    half_connect = b"\x10" + mqtt.varint(CONNECT_MAX - 1) + mqtt.text("MQTT") + b"\x05\x02"
    half_pub = nats.connect() + b"PUB big %d\r\n0123456789" % MIB
    with contextlib.ExitStack() as stack:
        before = strait.resident_kib()
        for _ in range(n_each):
            for at, half in ((strait.mqtt, half_connect), (strait.nats, half_pub)):
                client = stack.enter_context(socket.create_connection(at, timeout=10))
                client.sendall(half)
        # 2 MiB a pair are announced, and 70 bytes sent. There is no answer to wait for, so time has to show.
        highest = 0
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            with mqtt.connected(strait.mqtt) as probe:
                probe.ping()
            highest = max(highest, strait.resident_kib())
        grown = highest - before
        assert grown < n_each * 2 * 12, f"{grown} KiB for {2 * n_each} connections with half a packet each"


def test_a_payload_that_has_begun_costs_what_has_come(start_strait):
    """Seven eighths of a mebibyte, forty times, may cost that and half as much again."""
    strait = start_strait(2)
    n_clients, n_sent = 40, MIB * 7 // 8
    with contextlib.ExitStack() as stack:
        before = strait.resident_kib()
        for _ in range(n_clients):
            client = stack.enter_context(nats.connected(strait.nats))
            client.send(b"PUB big %d\r\n" % MIB, b"x" * n_sent)
        with mqtt.connected(strait.mqtt) as probe:
            probe.ping()
        grown = strait.resident_kib() - before
        assert grown < n_clients * n_sent // 1024 * 3 // 2 + 4096, f"{grown} KiB"


def test_many_bad_connections_fill_no_log(start_strait):
    n_cores, n_rounds, n_each = 2, 6, 100
    strait = start_strait(n_cores)
    with nats.connected(strait.nats) as bystander:
        for _ in range(n_rounds):
            with contextlib.ExitStack() as stack:
                bad_mqtt = [stack.enter_context(mqtt.Connection(strait.mqtt)) for _ in range(n_each)]
                bad_nats = [stack.enter_context(nats.Connection(strait.nats)) for _ in range(n_each)]
                for client in bad_mqtt + bad_nats:
                    client.send(HTTP)
                for client in bad_mqtt:
                    client.expect_closed()
                for client in bad_nats:
                    client.expect_error("Unknown Protocol Operation")
        assert bystander.ping() == []

    # Every one of them is a line, or among those that a line says were passed over, a second later at the latest.
    def told():
        lines = [line for line in strait.log().splitlines() if "bad input" in line and " more lines about " not in line]
        passed_over = re.findall(r"(\d+) more lines about refusals", strait.log())
        return lines, sum(map(int, passed_over))

    def n_told():
        lines, n_passed_over = told()
        return len(lines) + n_passed_over

    n_bad = n_rounds * n_each * 2
    gateway.wait_until(lambda: n_told() >= n_bad, told)
    lines, n_passed_over = told()
    assert len(lines) + n_passed_over == n_bad, (len(lines), n_passed_over)
    assert lines and n_passed_over, (len(lines), n_passed_over)
    assert all("it looks like HTTP" in line for line in lines)
    # Each core has seconds of its own, which begin with a line: one more than pass may begin within the same time.
    at = [datetime.datetime.fromisoformat(line.split()[0]) for line in lines]
    n_seconds = int((max(at) - min(at)).total_seconds()) + 2
    assert len(lines) <= n_cores * COMPLAINTS_A_SECOND * n_seconds, f"{len(lines)} lines in {n_seconds} s"


def test_a_client_of_tls_is_told_apart_in_the_log(start_strait):
    strait = start_strait(1)
    context = ssl.create_default_context()
    for at in (strait.mqtt, strait.nats):
        with socket.create_connection(at, timeout=10) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain, server_hostname="localhost")
    gateway.wait_until(lambda: strait.log().count("bad input") >= 2, strait.log)
    lines = [line for line in strait.log().splitlines() if "bad input" in line]
    assert len(lines) == 2 and all("it looks like TLS, which is not served yet" in line for line in lines), lines


@pytest.mark.parametrize("n_cores", [1, 2, 4])
def test_a_thousand_subjects_without_a_topic_are_one_line_in_the_log(start_strait, n_cores):
    strait = start_strait(n_cores)
    with contextlib.ExitStack() as stack:
        for nth in range(4):
            reader = stack.enter_context(mqtt.connected(strait.mqtt, client_id=f"reader-{nth}"))
            assert reader.subscribe(("log/#", 0)) == [0]
        publisher = stack.enter_context(nats.connected(strait.nats, name="careless"))
        publisher.send(nats.pub("log.first+", b"x") + nats.pub("log.a#b", b"x") * 999)
        assert publisher.ping() == []
        # Those on other cores went without it as well, which they may tell a little later.
        with mqtt.connected(strait.mqtt) as other:
            other.ping()
        gateway.wait_until(lambda: "no topic" in strait.log(), strait.log)
        lines = [line for line in strait.log().splitlines() if "no topic" in line]
        assert len(lines) == 1, lines
        for part in ("WARN", "careless", "127.0.0.1:", "subject=log.first+"):
            assert part in lines[0], lines[0]
        assert "n_passed_over" not in lines[0], lines[0]
        counted = r'strait_deliveries_dropped_total{reason="no_topic_for_subject"} 4000'
        gateway.wait_until(lambda: counted in metrics(strait), lambda: metrics(strait))


def metrics(strait):
    with contextlib.closing(http.client.HTTPConnection(*strait.admin, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


@pytest.mark.parametrize("n_cores", [1, 2, 4])
def test_a_hundred_thousand_subscriptions_of_one_connection_take_less_than_a_second(start_strait, n_cores):
    strait = start_strait(n_cores)
    n_subscriptions = 100_000
    with nats.connected(strait.nats) as client:
        client.send(b"SUB warm.up 1\r\n")
        client.ping()
        before = strait.cpu_seconds()
        client.send(b"".join(b"SUB device.%d.state %d\r\n" % (n, n + 2) for n in range(n_subscriptions)))
        assert client.ping() == []
        spent = strait.cpu_seconds() - before
        # All cores' time: it takes less by the clock, and others may use the machine.
        assert spent < 1.0, f"{spent:.2f} s of CPU"
        with nats.connected(strait.nats) as other:
            other.publish("device.77777.state", b"x")
            found = client.expect("MSG")
            assert (found.subject, found.sid) == ("device.77777.state", "77779")


def test_a_client_beyond_a_limit_is_told_which_and_counted(start_strait):
    env = {
        "STRAIT__MQTT__CLIENT_ID_BYTES_MAX": "8",
        "STRAIT__MQTT__TOPIC_BYTES_MAX": "10",
        "STRAIT__MQTT__USER_PROPERTIES_MAX": "2",
        "STRAIT__MQTT__FILTERS_MAX": "2",
        "STRAIT__NATS__HEADER_BYTES_MAX": "100",
    }
    strait = start_strait(2, env=env)
    with mqtt.connected(strait.mqtt, client_id="by") as bystander:
        with mqtt.Connection(strait.mqtt) as client:
            client.send(mqtt.connect(client_id="123456789"))
            assert client.expect("CONNACK").reason == 0x85
        with mqtt.connected(strait.mqtt) as client:
            assert client.subscribe("a", "b", "c") == [0, 0, 0x97]
            client.publish("a" * 11)
            client.expect_closed(0x90)
        with mqtt.connected(strait.mqtt) as client:
            client.publish("a", properties=[("user_property", ("n", "v"))] * 3)
            client.expect_closed(0x97)
        with nats.connected(strait.nats) as client:
            client.send(nats.hpub("a", b"NATS/1.0\r\nA: " + b"b" * 100 + b"\r\n\r\n"))
            client.expect_error("Maximum Payload Violation")
        bystander.ping()
    for key in ("mqtt.client_id", "mqtt.topic", "nats.header"):
        gateway.wait_until(lambda key=key: limits_reached(strait)[f"{key}_bytes_max"] == 1, lambda: metrics(strait))
    for key in ("mqtt.user_properties_max", "mqtt.filters_max"):
        assert limits_reached(strait)[key] == 1
    assert "mqtt.topic_bytes_max is 10" in strait.log()


def limits_reached(strait):
    found = re.findall(r'^strait_limits_reached_total\{limit="(.*)"\} (\d+)', metrics(strait), re.MULTILINE)
    return {name: int(n) for name, n in found}


def n_refused(strait, reason):
    line = rf'^strait_connections_refused_total{{reason="{reason}"}} (\d+)'
    return int(re.search(line, metrics(strait), re.MULTILINE)[1])


@pytest.mark.parametrize(
    ("key", "value", "reason", "code"),
    [
        ("LIMITS__CONNECTIONS_MAX", 3, "limit", 0x97),
        ("MQTT__MAX_CONNECTIONS", 3, "listener_limit", 0x97),
        ("LIMITS__CONNECTIONS_PER_ADDRESS_MAX", 3, "address_limit", 0x97),
        ("LIMITS__CONNECTION_RATE_PER_ADDRESS_MAX", 1, "address_rate", 0x9F),
    ],
)
def test_a_connection_too_many_is_told_so_counted_and_named_in_the_log(start_strait, key, value, reason, code):
    strait = start_strait(2, env={f"STRAIT__{key}": str(value)})
    name = key.lower().replace("__", ".")
    with contextlib.ExitStack() as stack:

        def answer(version):
            client = stack.enter_context(mqtt.Connection(strait.mqtt, version))
            client.send(mqtt.connect(version, client_id=f"c{len(answers)}"))
            connack = client.expect("CONNACK")
            answers.append(connack.reason)
            if version == mqtt.V5 and connack.reason != 0:
                assert f"{name} is {value}" in connack.prop("reason_string")
            return answers[-1]

        for version, refusal in ((mqtt.V5, code), (mqtt.V311, 3)):
            answers = []
            gateway.wait_until(lambda version=version: answer(version) != 0, lambda: answers)
            assert answers[-1] == refusal
        if reason != "address_rate":
            # Who says nothing is closed.
            with mqtt.Connection(strait.mqtt) as silent:
                silent.expect_closed()
    assert n_refused(strait, reason) >= 2
    words = ("CONNECT refused", "turned away")
    lines = [line for line in strait.log().splitlines() if any(word in line for word in words)]
    assert lines and all(f"{name} is {value}" in line for line in lines), lines
    # No more than one for each, by their clients' names.
    assert len(lines) <= n_refused(strait, reason) and any('id="c' in line for line in lines), lines
    gateway.wait_until(lambda: is_let_in(strait), strait.log)


def is_let_in(strait):
    with mqtt.Connection(strait.mqtt) as client:
        client.send(mqtt.connect(client_id="again"))
        return client.expect("CONNACK").reason == 0


def test_listeners_keep_their_pace_and_turn_nobody_away(start_strait):
    strait = start_strait(1, env={"STRAIT__LIMITS__CONNECTION_RATE_PER_CORE_MAX": "20"})
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(mqtt.connected(strait.mqtt)) for _ in range(30)]
        assert len(clients) == 30
    assert int(re.search(r"^strait_accepts_delayed_total\{\} (\d+)", metrics(strait), re.MULTILINE)[1]) > 0


def test_idle_connections_do_not_crowd_out_clients(start_strait):
    env = {"STRAIT__LIMITS__CONNECTIONS_MAX": "40", "STRAIT__LIMITS__UNCONNECTED_PERCENT_MAX": "50"}
    strait = start_strait(1, env=env)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(mqtt.connected(strait.mqtt))
        idle = [stack.enter_context(socket.create_connection(strait.mqtt, timeout=10)) for _ in range(20)]

        def oldest_gives_way():
            with socket.create_connection(strait.nats, timeout=10) as one_more:
                one_more.recv(1)
            return limits_reached(strait)["limits.unconnected_percent_max"] > 0

        gateway.wait_until(oldest_gives_way, lambda: metrics(strait))
        assert idle[0].recv(1) == b""
        client.ping()
    assert "limits.unconnected_percent_max is 50" in strait.log()


def test_a_listener_has_its_own_limit(start_strait):
    strait = start_strait(2, env={"STRAIT__NATS__MAX_CONNECTIONS": "2"})
    with contextlib.ExitStack() as stack:
        clients = []

        def is_full():
            clients.append(stack.enter_context(nats.Connection(strait.nats)))
            return n_refused(strait, "listener_limit") > 0

        gateway.wait_until(is_full, lambda: metrics(strait))
        clients.pop().expect_error("maximum connections exceeded")
        with mqtt.connected(strait.mqtt) as client:
            client.ping()
    assert "NATS connections are turned away: nats.max_connections is 2" in strait.log()


def test_a_client_hears_which_listener_with_a_name_is_full(start_strait):
    port = gateway.free_port()
    env = {"STRAIT__MQTT__LISTENERS__EDGE__BIND": str(port), "STRAIT__MQTT__LISTENERS__EDGE__MAX_CONNECTIONS": "1"}
    strait = start_strait(1, env=env)
    at = (strait.mqtt[0], port)
    with mqtt.connected(at), mqtt.Connection(at, mqtt.V5) as other:
        other.send(mqtt.connect(mqtt.V5, client_id="other"))
        connack = other.expect("CONNACK")
    assert connack.reason == 0x97
    assert "mqtt.listeners.edge.max_connections is 1" in connack.prop("reason_string")
    assert "mqtt.listeners.edge.max_connections is 1" in strait.log()


def test_clients_that_publish_too_fast_wait_and_lose_nothing(start_strait):
    n_messages = 150
    env = {f"STRAIT__{protocol}__PUBLISH_RATE_MAX": "100" for protocol in ("MQTT", "NATS")}
    strait = start_strait(2, env=env)
    with mqtt.connected(strait.mqtt) as device, nats.connected(strait.nats) as service:
        assert device.subscribe(("from/nats", 0)) == [0]
        service.subscribe("from.mqtt")
        assert service.ping() == []
        device.send(*(mqtt.publish("from/mqtt", b"%d" % n, qos=1, packet_id=n + 1) for n in range(n_messages)))
        service.send(*(nats.pub("from.nats", b"%d" % n) for n in range(n_messages)))
        came = [service.message()[1] for _ in range(n_messages)]
        assert came == [b"%d" % n for n in range(n_messages)]
        found = [device.receive() for _ in range(2 * n_messages)]
        acknowledged = [packet.packet_id for packet in found if packet.kind == "PUBACK"]
        assert acknowledged == list(range(1, n_messages + 1))
        came = [packet.payload for packet in found if packet.kind == "PUBLISH"]
        assert came == [b"%d" % n for n in range(n_messages)]
    for key in ("mqtt.publish_rate_max", "nats.publish_rate_max"):
        assert limits_reached(strait)[key] > 0
        assert f"{key} is 100" in strait.log()


def test_what_a_client_sent_too_fast_is_taken_before_it_comes_back(start_strait):
    """A client whose pings are not answered while it waits closes its connection, and opens another."""
    n_messages = 3_000
    strait = start_strait(2, env={"STRAIT__MQTT__PUBLISH_RATE_MAX": "100"})
    payloads = [b"%d " % n + b"x" * 100 for n in range(n_messages)]
    with nats.connected(strait.nats) as service, mqtt.Connection(strait.mqtt) as back:
        service.subscribe("late")
        assert service.ping() == []
        with mqtt.connected(strait.mqtt, client_id="device") as device:
            device.send(*(mqtt.publish("late", payload) for payload in payloads))
            back.send(mqtt.connect(client_id="device"))
        back.expect("CONNACK")
        assert [service.message()[1] for _ in range(n_messages)] == payloads
