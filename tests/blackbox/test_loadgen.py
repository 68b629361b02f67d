"""The load generator against the gateway, other brokers, and servers that misbehave: counts, words, exit codes.

Not how fast it is: runs are short, and no test looks at a rate.
"""

import html.parser
import json
import signal
import socket
import subprocess
import threading

import pytest

import gateway
from test_beside_others import MOSQUITTO, NATS_SERVERS, serve

LOADGEN = gateway.ROOT / "target/release/loadgen"
RUN_S = 60
OK, FAILED, USAGE, THRESHOLD_MISSED, INTERRUPTED = 0, 1, 64, 99, 130
KEYS = {
    "loadgen", "verb", "command", "scenario", "duration_s", "sent", "expected", "received", "lost", "duplicates",
    "reordered", "rates", "latency_us", "server", "generator", "connections", "intervals", "thresholds",
}  # fmt: skip
QUANTILES = {"min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max", "count"}
INFO = b'INFO {"server_id":"x","version":"2.10.0","max_payload":1048576} \r\n'


@pytest.fixture(scope="module")
def cores():
    return 2


@pytest.fixture(scope="module", params=NATS_SERVERS.values(), ids=NATS_SERVERS.keys())
def nats_server(request):
    yield from serve(lambda port: [request.param, "-a", "127.0.0.1", "-p", str(port)])


@pytest.fixture(scope="module")
def guarded_nats_server():
    binary = NATS_SERVERS["2.15"]
    yield from serve(
        lambda port: [binary, "-a", "127.0.0.1", "-p", str(port), "--user", "ann", "--pass", "right"]
    )


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory):
    yield from serve_mosquitto(tmp_path_factory.mktemp("mosquitto"), "allow_anonymous true\nset_tcp_nodelay true")


@pytest.fixture(scope="module")
def guarded_mosquitto(tmp_path_factory):
    yield from serve_mosquitto(tmp_path_factory.mktemp("guarded"), "allow_anonymous false")


@pytest.fixture(scope="module")
def denying_mosquitto(tmp_path_factory):
    """Takes every message and every subscription, and delivers nothing."""
    folder = tmp_path_factory.mktemp("denying")
    (folder / "acl").write_text("topic write #\n")
    yield from serve_mosquitto(folder, f"allow_anonymous true\nuser root\nacl_file {folder / 'acl'}")


@pytest.fixture(scope="module")
def denying_nats_server(tmp_path_factory):
    file = tmp_path_factory.mktemp("denying") / "nats.conf"
    users = [f'{{user: "no-{what}", password: x, permissions: {{{what}: {{deny: ">"}}}}}}' for what in ("publish", "subscribe")]
    file.write_text(f"authorization: {{users: [{', '.join(users)}]}}\n")
    binary = NATS_SERVERS["2.15"]
    yield from serve(lambda port: [binary, "-a", "127.0.0.1", "-p", str(port), "-c", file])


def serve_mosquitto(folder, options):
    def command(port):
        # Its queue limits would drop what a window of QoS 1 and 2 has under way.
        text = f"listener {port} 127.0.0.1\n{options}\nmax_queued_messages 0\n"
        (folder / "mosquitto.conf").write_text(text)
        return [MOSQUITTO, "-c", folder / "mosquitto.conf"]

    yield from serve(command)


class Result:
    def __init__(self, process, out, err, file):
        self.code, self.out, self.err = process.returncode, out, err
        self.json = json.loads(file.read_text()) if file.exists() else None

    def expect(self, code):
        assert self.code == code, f"exit {self.code}\n{self.out}{self.err}"
        return self


@pytest.fixture
def loadgen(tmp_path):
    """Runs it to its end, with --json unless the verb has none."""

    def run(*flags):
        process, file = start(tmp_path, *flags)
        out, err = process.communicate(timeout=RUN_S)
        return Result(process, out, err, file)

    return run


def start(folder, *flags):
    file = folder / "result.json"
    command = [LOADGEN, *map(str, flags), "--json", file]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    return process, file


def at(strait):
    return ["--nats", gateway.address(strait.nats), "--mqtt", gateway.address(strait.mqtt)]


def short(*flags):
    return [*flags, "--duration", "300ms", "--warmup", "50ms"]


def assert_whole(result):
    """Every message came once and in order."""
    assert result["received"] == result["expected"] > 0
    assert [result[key] for key in ("lost", "duplicates", "reordered")] == [0, 0, 0]


# Through the gateway.


@pytest.mark.parametrize("to", ["nats", "mqtt"])
@pytest.mark.parametrize("sender", ["nats", "mqtt"])
def test_it_measures_every_direction_and_loses_nothing(strait, loadgen, sender, to):
    flags = short("--from", sender, "--to", to, "--publishers", 2, "--subscribers", 3, "--size", 16)
    result = loadgen("pubsub", *at(strait), *flags, "--server-pid", strait.process.pid).expect(OK).json
    assert KEYS <= result.keys()
    assert result["latency_us"].keys() == QUANTILES
    assert_whole(result)
    assert result["expected"] == 3 * result["sent"]
    assert (result["scenario"]["from"], result["scenario"]["to"]) == (sender, to)
    latencies = [result["latency_us"][key] for key in ("min", "p50", "p90", "p99", "p99.9", "p99.99", "max")]
    assert latencies == sorted(latencies) and latencies[0] > 0
    assert result["server"]["cpu_s"] >= 0 and result["server"]["rss_bytes"] > 0
    assert 0 <= result["generator"]["busy"] <= 1
    assert sum(interval["received"] for interval in result["intervals"]) > 0


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_it_speaks_each_mqtt_version(strait, loadgen, version, qos):
    flags = ["--from", "mqtt", "--to", "mqtt", "--qos", qos, "--mqtt-version", version, "--msgs", "2k"]
    result = loadgen("pubsub", *at(strait), *flags).expect(OK).json
    assert_whole(result)
    assert result["scenario"]["mqtt_version"] == version


@pytest.mark.parametrize(
    ("shape", "publishers", "subscribers", "copies"),
    [("all", 3, 2, 2), ("pair", 4, 4, 1), ("queue", 2, 3, 1)],
)
def test_each_shape_delivers_as_many_copies_as_it_says(strait, loadgen, shape, publishers, subscribers, copies):
    flags = ["--shape", shape, "--publishers", publishers, "--subscribers", subscribers]
    result = loadgen("pubsub", *at(strait), *flags, "--msgs", 1001).expect(OK).json
    assert result["sent"] == 1001
    assert result["received"] == result["expected"] == 1001 * copies
    assert result["lost"] == result["duplicates"] == 0


def test_it_hits_wildcards_in_turn(strait, loadgen):
    flags = ["--wildcards", 500, "--publishers", 2, "--subscribers", 3, "--msgs", "5k"]
    result = loadgen("pubsub", *at(strait), *flags).expect(OK).json
    assert result["received"] == result["expected"] == 5000
    assert result["scenario"]["wildcards"] == 500


def test_an_open_loop_sends_what_the_rate_says(strait, loadgen):
    result = loadgen("pubsub", *at(strait), *short("--rate", "2k", "--to", "mqtt")).expect(OK).json
    assert_whole(result)
    assert result["scenario"]["rate"] == 2000
    # 350 ms of it and no more: the schedule makes no message twice.
    assert 100 <= result["sent"] <= 2000


def test_a_kept_threshold_is_success_and_a_missed_one_is_99(strait, loadgen):
    flags = [*at(strait), "--msgs", "1k"]
    kept = loadgen("pubsub", *flags, "--threshold", "loss==0", "--threshold", "p99<1h").expect(OK)
    assert [check["ok"] for check in kept.json["thresholds"]] == [True, True]
    missed = loadgen("pubsub", *flags, "--threshold", "loss==0", "--threshold", "p99<1ns").expect(THRESHOLD_MISSED)
    assert [check["ok"] for check in missed.json["thresholds"]] == [True, False]
    assert "MISSED: p99<1ns" in missed.out


@pytest.mark.parametrize("speaks", ["nats", "mqtt"])
def test_it_opens_connections_and_makes_round_trips(strait, loadgen, speaks):
    both = ["--from", speaks, "--to", speaks]
    flags = [*at(strait), *both, "--connections", 20, "--duration", "200ms", "--warmup", "0s"]
    held = loadgen("conn", *flags, "--connrate", 200, "--server-pid", strait.process.pid).expect(OK).json
    assert (held["connections"]["opened"], held["connections"]["failed"]) == (20, 0)
    assert held["connections"]["handshake_us"]["count"] == 20
    assert "memory_bytes_per_connection" in held["server"]
    asked = loadgen("request", *flags).expect(OK).json
    assert asked["round_trips"]["count"] > 0
    assert_whole(asked)


def test_sub_hears_what_pub_says_in_another_process(strait, loadgen, tmp_path):
    flags = [*at(strait), "--prefix", "apart"]
    (tmp_path / "sub").mkdir()
    sub, file = start(tmp_path / "sub", "sub", *flags, "--to", "mqtt", "--msgs", 500)
    try:
        # A publisher cannot know when the other process has subscribed, so it goes on until that one is done.
        while sub.poll() is None:
            loadgen("pub", *flags, "--rate", "5k", "--msgs", 500).expect(OK)
        out, err = sub.communicate(timeout=RUN_S)
    finally:
        sub.kill()
        sub.wait()
    result = Result(sub, out, err, file).expect(OK).json
    assert result["received"] >= 500 and result["duplicates"] == 0


@pytest.mark.parametrize("verb", ["pubsub", "sub"])
def test_an_interrupt_ends_a_run_with_its_figures(strait, tmp_path, verb):
    process, file = start(tmp_path, verb, *at(strait), "--duration", "1h", "--warmup", "0s")
    try:
        # The first progress line says that it is in its stride.
        assert "received" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=RUN_S)
    finally:
        process.kill()
        process.wait()
    result = Result(process, out, err, file).expect(INTERRUPTED)
    assert result.json["interrupted"] is True
    assert "latency" in out or verb == "sub"


def test_results_are_written_for_other_tools_and_compared(strait, loadgen, tmp_path):
    csv, hgrm, page = (tmp_path / f"run.{kind}" for kind in ("csv", "hgrm", "html"))
    files = ["--csv", csv, "--hgrm", hgrm, "--html", page]
    result = loadgen("pubsub", *at(strait), "--msgs", "1k", *files).expect(OK).json
    header, *rows = csv.read_text().splitlines()
    assert header == "t_s,sent,received,p50_us,p99_us,max_us"
    assert sum(int(row.split(",")[2]) for row in rows) <= result["received"]
    assert f"{result['latency_us']['count']}]" in hgrm.read_text().splitlines()[-1]
    page = Page(page.read_text())
    assert page.n_charts == 3 and not page.outside
    assert f"{result['received']:,}" in page.text
    written = tmp_path / "result.json"
    compared = subprocess.run([LOADGEN, "compare", written, written], capture_output=True, text=True, timeout=RUN_S)
    assert compared.returncode == OK and "received /s" in compared.stdout and "+0.0 %" in compared.stdout
    wrong = subprocess.run([LOADGEN, "compare", written, csv], capture_output=True, text=True, timeout=RUN_S)
    assert wrong.returncode == FAILED and "is not JSON" in wrong.stderr


@pytest.mark.parametrize(("speaks", "qos"), [("nats", 0), ("mqtt", 0), ("mqtt", 1), ("mqtt", 2)])
def test_a_sink_counts_what_a_publisher_sends(loadgen, tmp_path, speaks, qos):
    anywhere = ["--nats", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]
    (tmp_path / "sink").mkdir()
    sink, file = start(tmp_path / "sink", "sink", *anywhere)
    try:
        words = sink.stdout.readline().replace(",", "").split()
        where = ["--nats", words[words.index("NATS") + 2], "--mqtt", words[words.index("MQTT") + 2]]
        loadgen("pub", *where, "--from", speaks, "--qos", qos, "--msgs", "10k", "--size", 16).expect(OK)
        sink.send_signal(signal.SIGINT)
        out, err = sink.communicate(timeout=RUN_S)
    finally:
        sink.kill()
        sink.wait()
    result = Result(sink, out, err, file).expect(OK).json
    assert (result["received"], result["connections"]["opened"]) == (10_000, 1)


# Other servers.


def test_it_loads_nats_server_too(nats_server, loadgen):
    flags = ["--nats", gateway.address(nats_server), "--publishers", 2, "--subscribers", 2, "--shape", "pair"]
    assert_whole(loadgen("pubsub", *short(*flags)).expect(OK).json)


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_it_loads_mosquitto_too(mosquitto, loadgen, qos, version):
    flags = ["--from", "mqtt", "--to", "mqtt", "--mqtt", gateway.address(mosquitto), "--qos", qos]
    result = loadgen("pubsub", *flags, "--mqtt-version", version, "--msgs", "2k", "--window", 10).expect(OK).json
    assert_whole(result)
    assert result["sent"] == 2000


@pytest.mark.parametrize("version", [4, 5])
def test_members_of_a_shared_subscription_share_at_mosquitto(mosquitto, loadgen, version):
    flags = ["--from", "mqtt", "--to", "mqtt", "--mqtt", gateway.address(mosquitto), "--mqtt-version", version]
    shared = ["--shape", "queue", "--publishers", 2, "--subscribers", 3, "--qos", 1, "--window", 10]
    result = loadgen("pubsub", *flags, *shared, "--msgs", 1001).expect(OK).json
    assert result["received"] == result["expected"] == 1001
    assert result["lost"] == result["duplicates"] == 0


def test_a_refused_login_is_said(guarded_nats_server, loadgen):
    flags = ["--nats", gateway.address(guarded_nats_server), "--user", "ann", "--msgs", 10]
    refused = loadgen("pubsub", *flags, "--password", "wrong").expect(FAILED)
    assert "refuses" in refused.err and "Authorization Violation" in refused.err
    loadgen("pubsub", *flags, "--password", "right").expect(OK)


@pytest.mark.parametrize("version", [4, 5])
def test_a_login_that_mosquitto_refuses_is_said(guarded_mosquitto, loadgen, version):
    flags = ["--from", "mqtt", "--to", "mqtt", "--mqtt", gateway.address(guarded_mosquitto)]
    refused = loadgen("pubsub", *flags, "--mqtt-version", version, "--msgs", 10).expect(FAILED)
    assert "refuses the login: not authorized" in refused.err


def test_connections_come_from_the_addresses_that_are_given(loadgen):
    seen = []

    def greet(connection):
        seen.append(connection.getpeername()[0])
        connection.sendall(INFO)
        while heard := connection.recv(1 << 16):
            connection.sendall(b"PONG\r\n" * heard.count(b"PING\r\n"))

    with Misbehaving(greet) as server:
        flags = ["--nats", server.address, "--ifaddr", "127.0.0.2,127.0.0.3", "-c", 4, "--duration", "50ms"]
        loadgen("conn", *flags).expect(OK)
        foreign = loadgen("conn", "--nats", server.address, "--ifaddr", "192.0.2.1").expect(FAILED)
    assert sorted(seen) == ["127.0.0.2"] * 2 + ["127.0.0.3"] * 2
    assert "cannot connect from 192.0.2.1" in foreign.err


# Servers that misbehave.


@pytest.mark.parametrize("speaks", ["nats", "mqtt"])
def test_nobody_there_is_said(loadgen, speaks):
    nowhere = f"127.0.0.1:{gateway.free_port()}"
    done = loadgen("pubsub", "--from", speaks, "--to", speaks, f"--{speaks}", nowhere).expect(FAILED)
    assert "connection refused" in done.err and nowhere in done.err


@pytest.mark.parametrize(("speaks", "awaited"), [("nats", "INFO"), ("mqtt", "CONNACK")])
def test_a_server_that_says_nothing_is_given_up(loadgen, speaks, awaited):
    with Misbehaving(lambda connection: connection.recv(1 << 16)) as server:
        flags = ["--from", speaks, "--to", speaks, f"--{speaks}", server.address, "--timeout", "300ms"]
        done = loadgen("pubsub", *flags).expect(FAILED)
    assert awaited in done.err and "did not come within 300ms" in done.err


def test_a_server_that_drops_us_is_said(loadgen):
    def drop_in_the_middle(connection):
        connection.sendall(INFO)
        heard = b""
        while heard.count(b"PING\r\n") < 1:
            heard += connection.recv(1 << 16)
        connection.sendall(b"PONG\r\n")
        while b"PUB " not in heard:
            more = connection.recv(1 << 16)
            heard += more
            if not more:
                return
        connection.close()

    with Misbehaving(drop_in_the_middle) as server:
        done = loadgen("pub", "--nats", server.address, "--duration", "1h").expect(FAILED)
    assert "closed the connection" in done.err or "dropped the connection" in done.err


def test_a_subscriber_that_never_gets_its_messages_ends_the_run(loadgen):
    def swallow(connection):
        connection.sendall(INFO)
        while heard := connection.recv(1 << 16):
            connection.sendall(b"PONG\r\n" * heard.count(b"PING\r\n"))

    with Misbehaving(swallow) as server:
        done = loadgen("pubsub", "--nats", server.address, "--timeout", "300ms").expect(FAILED)
    assert "nothing has moved for 300ms" in done.err
    assert "no subscriber has received" in done.err


@pytest.mark.parametrize(("speaks", "name"), [("nats", "NATS"), ("mqtt", "MQTT")])
def test_a_server_of_another_protocol_is_said(loadgen, speaks, name):
    with Misbehaving(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        flags = ["--from", speaks, "--to", speaks, f"--{speaks}", server.address]
        done = loadgen("pubsub", *flags).expect(FAILED)
    assert f"does not speak {name}" in done.err


def test_a_server_that_reads_no_more_ends_the_run(loadgen):
    def stop_reading(connection):
        connection.sendall(INFO)
        heard = b""
        while b"PING\r\n" not in heard:
            heard += connection.recv(1 << 16)
        connection.sendall(b"PONG\r\n")
        stopped.wait(RUN_S)

    for pace in ("--flood", "--rate=1m", "--duration=1s"):
        stopped = threading.Event()
        with Misbehaving(stop_reading) as server:
            flags = ["--nats", server.address, "--timeout", "300ms", "--warmup", "0s", pace]
            length = [] if "duration" in pace else ["--msgs", "100m"]
            done = loadgen("pub", *flags, *length).expect(FAILED)
            stopped.set()
        assert "nothing has moved for 300ms" in done.err or "no answer to a ping" in done.err, pace


@pytest.mark.parametrize("qos", [1, 2])
def test_a_server_that_acknowledges_nothing_ends_the_run(loadgen, qos):
    def take_all(connection):
        connection.recv(1 << 16)
        connection.sendall(b"\x20\x02\x00\x00")

    with Misbehaving(take_all) as server:
        flags = ["--from", "mqtt", "--mqtt", server.address, "--qos", qos, "--msgs", "1k", "--timeout", "300ms"]
        done = loadgen("pub", *flags).expect(FAILED)
    assert "nothing has moved for 300ms" in done.err and "acknowledges nothing" in done.err


@pytest.mark.parametrize(("code", "version"), [(0x80, 4), (0x87, 5)])
def test_a_refused_subscription_is_said(loadgen, code, version):
    def refuse(connection):
        connection.recv(1 << 16)
        connection.sendall(b"\x20\x02\x00\x00" if version == 4 else b"\x20\x03\x00\x00\x00")
        connection.recv(1 << 16)
        connection.sendall(bytes([0x90, 3, 0, 1, code] if version == 4 else [0x90, 4, 0, 1, 0, code]))

    with Misbehaving(refuse) as server:
        flags = ["--to", "mqtt", "--mqtt", server.address, "--mqtt-version", version]
        done = loadgen("sub", *flags).expect(FAILED)
    assert "refuse" in done.err and "subscri" in done.err


def test_a_subscriber_that_gets_no_more_of_its_messages_gives_up(strait, tmp_path, loadgen):
    process, file = start(tmp_path, "sub", *at(strait), "--prefix", "scarce", "--msgs", "1m", "--timeout", "500ms")
    try:
        # It waits for the first as long as it takes, and for the next no longer than it was told.
        while process.poll() is None:
            (tmp_path / "pub").mkdir(exist_ok=True)
            publisher, _ = start(tmp_path / "pub", "pub", *at(strait), "--prefix", "scarce", "--msgs", 10)
            publisher.communicate(timeout=RUN_S)
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                pass
        out, err = process.communicate(timeout=RUN_S)
    finally:
        process.kill()
        process.wait()
    result = Result(process, out, err, file).expect(FAILED)
    assert "nothing has moved for 500ms" in err and "of 1000000 messages have come" in err
    assert result.json["received"] >= 1


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_reader_whom_mosquitto_denies_is_said(denying_mosquitto, loadgen, qos, version):
    flags = ["--from", "mqtt", "--to", "mqtt", "--mqtt", gateway.address(denying_mosquitto), "--timeout", "500ms"]
    done = loadgen("pubsub", *flags, "--window", 10, "--qos", qos, "--mqtt-version", version).expect(FAILED)
    assert "nothing has moved for 500ms" in done.err and "subscriber" in done.err


@pytest.mark.parametrize("denied", ["publish", "subscribe"])
def test_what_nats_server_denies_is_said(denying_nats_server, loadgen, denied):
    login = ["--user", f"no-{denied}", "--password", "x", "--timeout", "2s"]
    done = loadgen("pubsub", "--nats", gateway.address(denying_nats_server), *login).expect(FAILED)
    assert "Permissions Violation" in done.err


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_dying_mosquitto_ends_the_run(tmp_path, qos, version):
    broker = serve_mosquitto(tmp_path, "allow_anonymous true")
    flags = ["--from", "mqtt", "--to", "mqtt", "--qos", qos, "--mqtt-version", version, "--window", 10]
    assert_death_is_said(broker, "--mqtt", flags, tmp_path)


@pytest.mark.parametrize("binary", NATS_SERVERS.values(), ids=NATS_SERVERS.keys())
def test_a_dying_nats_server_ends_the_run(tmp_path, binary):
    assert_death_is_said(serve(lambda port: [binary, "-a", "127.0.0.1", "-p", str(port)]), "--nats", [], tmp_path)


def assert_death_is_said(served, where, flags, folder):
    address = next(served)
    process, file = start(folder, "pubsub", where, gateway.address(address), *flags, "--duration", "1h", "--warmup", "0s")
    try:
        assert "received" in process.stderr.readline()
        # The fixture that serves ends its process when it is closed.
        served.close()
        out, err = process.communicate(timeout=RUN_S)
    finally:
        process.kill()
        process.wait()
        served.close()
    result = Result(process, out, err, file).expect(FAILED)
    assert "connection" in err and result.json["error"]


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize(("sender", "to"), [("mqtt", "mqtt"), ("nats", "mqtt")])
def test_a_dying_gateway_ends_the_run(start_strait, tmp_path, sender, to, qos, version):
    strait = start_strait()
    flags = ["--from", sender, "--to", to, "--qos", qos, "--mqtt-version", version, "--duration", "1h", "--warmup", "0s"]
    process, file = start(tmp_path, "pubsub", *at(strait), *flags)
    try:
        assert "received" in process.stderr.readline()
        strait.kill()
        out, err = process.communicate(timeout=RUN_S)
    finally:
        process.kill()
        process.wait()
    result = Result(process, out, err, file).expect(FAILED)
    assert "connection" in result.err and result.json["error"]


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["fly"],
        ["pubsub", "--size", "15"],
        ["pubsub", "--size", "many"],
        ["pubsub", "--qos", "3"],
        ["pubsub", "--msgs", "10", "--duration", "1s"],
        ["pubsub", "--rate", "0"],
        ["pubsub", "--lag", "0"],
        ["pubsub", "--shape", "pair", "--publishers", "2", "--subscribers", "3"],
        ["pubsub", "--threshold", "speed>9000"],
        ["pubsub", "--nats", "nowhere"],
        ["pubsub", "--no-such-flag"],
        ["pub", "--publishers", "0"],
        ["pubsub", "--connections", "3"],
        ["pubsub", "--from", "mqtt", "--port", "1883"],
        ["pubsub", "--ifaddr", "here"],
        ["run"],
        ["run", "x.toml", "--qos", "3"],
        ["compare", "only-one.json"],
    ],
    ids=" ".join,
)
def test_wrong_flags_are_64_with_a_word_of_why(flags):
    done = subprocess.run([LOADGEN, *flags], capture_output=True, text=True, timeout=RUN_S)
    assert done.returncode == USAGE, done.stderr
    assert done.stderr.strip()
    assert not done.stdout


class Page(html.parser.HTMLParser):
    """What a reader sees of a page, how many charts it has, and whatever it would load from elsewhere."""

    def __init__(self, source):
        super().__init__()
        self.n_charts, self.text, self.outside = 0, "", []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.n_charts += tag == "svg"
        self.outside += [tag] * (tag in ("script", "link", "img", "iframe"))
        links = [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        self.outside += [link for link in links if not link.startswith("#")]

    def handle_data(self, data):
        self.text += data


class Misbehaving:
    """A server that does to each connection what it is told, and then waits for its end."""

    def __init__(self, treat):
        self.treat = treat
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = gateway.address(self.listener.getsockname())
        self.threads = []

    def __enter__(self):
        self.threads.append(threading.Thread(target=self.accept))
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(RUN_S)

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=self.serve, args=[connection]))
            self.threads[-1].start()

    def serve(self, connection):
        with connection:
            connection.settimeout(RUN_S)
            try:
                self.treat(connection)
                while connection.fileno() >= 0 and connection.recv(1 << 16):
                    pass
            except ConnectionError:
                # That is how a client may leave.
                pass
