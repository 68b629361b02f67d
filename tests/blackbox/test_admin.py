"""The admin listener: what it serves, and that its counts are those of what was sent."""

import contextlib
import http.client
import http.server
import json
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import pytest
from hdrh.histogram import HdrHistogram
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as prometheus

import clients
import gateway
import wire_mqtt
import wire_nats as nats

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
DIRECTIONS = ["mqtt_to_mqtt", "mqtt_to_nats", "nats_to_mqtt", "nats_to_nats"]
N = 500


def get(strait, path, accept=None, method="GET"):
    connection = http.client.HTTPConnection(*strait.admin, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, headers={"Accept": accept} if accept else {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


def scrape(strait, accept=OPEN_METRICS):
    """Every sample by (name, labels), read by a parser that is not ours."""
    status, headers, text = get(strait, "/metrics", accept)
    assert status == 200
    parse = openmetrics.text_string_to_metric_families
    if headers["content-type"] == TEXT:
        parse = prometheus.text_string_to_metric_families
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(samples, name, **labels):
    return samples[(name, tuple(sorted(labels.items())))]


def publish(strait, n, subject=b"m.n", payload=b"x" * 16):
    with nats.connected(strait.nats) as client:
        for _ in range(n):
            client.send(b"PUB %s %d\r\n%s\r\n" % (subject, len(payload), payload))
        client.ping()


def test_every_path_answers_with_its_content_type(strait):
    for path, content_type in [
        ("/", "text/html; charset=utf-8"),
        ("/metrics", TEXT),
        ("/healthz", "application/json"),
        ("/readyz", "application/json"),
        ("/api/v1/histograms", "application/json"),
    ]:
        status, headers, body = get(strait, path)
        assert (status, headers["content-type"]) == (200, content_type), path
        assert body
        assert get(strait, path, method="HEAD")[::2] == (200, "")
        assert get(strait, path, method="POST")[0] == 405
        assert "GET" in get(strait, path, method="DELETE")[1]["allow"]
    assert json.loads(get(strait, "/healthz")[2]) == {"status": "ok", "cores": strait.cores}
    assert json.loads(get(strait, "/readyz")[2]) == {"status": "ready"}
    for path in ["/metric", "/metrics/", "/api/v1", "//", "/%2e%2e/etc/passwd"]:
        status, _, body = get(strait, path)
        assert status == 404 and "error" in json.loads(body), path


def test_both_formats_say_the_same(strait):
    both = [scrape(strait, accept) for accept in (OPEN_METRICS, TEXT)]
    assert get(strait, "/metrics", OPEN_METRICS)[1]["content-type"] == OPEN_METRICS
    assert both[0].keys() == both[1].keys()
    assert value(both[0], "strait_core_up", core="0") == 1


def test_what_waits_in_sessions_is_shown_until_its_client_has_it(start_strait):
    strait = start_strait(2)

    def n_waiting():
        return value(scrape(strait), "strait_session_messages")

    kept = [("session_expiry", 100)]
    for name in ("one", "other"):
        with wire_mqtt.connected(strait.mqtt, client_id=name, properties=kept) as client:
            assert client.subscribe(("kept", 1)) == [1]
    assert n_waiting() == 0
    with wire_mqtt.connected(strait.mqtt) as publisher:
        for packet_id in range(1, 4):
            publisher.publish("kept", b"x", qos=1, packet_id=packet_id)
            assert publisher.expect("PUBACK").reason == 0
    gateway.wait_until(lambda: n_waiting() == 6, n_waiting)
    with wire_mqtt.Connection(strait.mqtt) as client:
        assert client.connect(client_id="one", clean=False, properties=kept).session_present
        for _ in range(3):
            client.expect("PUBLISH")
        gateway.wait_until(lambda: n_waiting() == 3, n_waiting)


def test_counts_are_those_of_what_was_sent(start_strait):
    strait = start_strait(2)
    with clients.Paho(strait) as mqtt, clients.NatsThread(strait) as subscriber:
        mqtt.subscribe("m/n")
        subscription = subscriber.subscribe("m.n")
        publish(strait, N)
        mqtt.publish("m/n", b"y" * 10)
        assert len(mqtt.n_messages(N + 1)) == len(subscriber.n_messages(subscription, N + 1)) == N + 1
        samples = scrape(strait)
        assert value(samples, "strait_messages_received_total", protocol="nats") == N
        assert value(samples, "strait_messages_received_total", protocol="mqtt") == 1
        assert value(samples, "strait_payload_received_bytes_total", protocol="nats") == 16 * N
        expected = dict(zip(DIRECTIONS, [1, 1, N, N]))
        for direction, n in expected.items():
            assert value(samples, "strait_deliveries_total", direction=direction) == n
            assert value(samples, "strait_delivery_latency_seconds_count", direction=direction) == n
            assert value(samples, "strait_delivery_latency_seconds_bucket", direction=direction, le="+Inf") == n
        assert value(samples, "strait_connections", protocol="mqtt") == 1
        assert value(samples, "strait_subscriptions", protocol="nats") == 1
        assert value(samples, "strait_panics_total") == 0
        shown = json.loads(get(strait, "/api/v1/histograms")[2])
        for direction, n in expected.items():
            latency = shown["deliveries"][direction]
            # An independent reader of HdrHistogram's encoding comes to the same.
            histogram = HdrHistogram.decode(latency["hdr"])
            assert histogram.get_total_count() == latency["count"] == n
            close = pytest.approx(latency["quantiles"]["p99"], rel=0.01)
            assert histogram.get_value_at_percentile(99) == close
            assert 0 < latency["quantiles"]["p50"] <= latency["quantiles"]["p99.99"] <= latency["max"]


def test_scrapes_during_load_lose_nothing_and_never_go_back(start_strait):
    strait = start_strait(2)
    seen = []
    stop = threading.Event()

    def scrape_on():
        while not stop.is_set():
            samples = scrape(strait)
            seen.append(value(samples, "strait_delivery_latency_seconds_count", direction="nats_to_nats"))

    with clients.NatsThread(strait) as subscriber:
        subscription = subscriber.subscribe("load.>")
        threads = [threading.Thread(target=scrape_on) for _ in range(2)]
        for thread in threads:
            thread.start()
        for round_idx in range(10):
            publish(strait, N, b"load.%d" % round_idx)
        subscriber.n_messages(subscription, 10 * N)
        stop.set()
        for thread in threads:
            thread.join(30)
    assert len(seen) > 10
    samples = scrape(strait)
    assert value(samples, "strait_delivery_latency_seconds_count", direction="nats_to_nats") == 10 * N
    assert value(samples, "strait_deliveries_total", direction="nats_to_nats") == 10 * N


def test_a_port_in_use_is_said_at_the_start(start_strait):
    strait = start_strait(1)
    command = [gateway.BINARY, "--mqtt", "0", "--nats", "0", "--admin", gateway.address(strait.admin)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert ended.returncode == gateway.PORT_IN_USE
    assert f"{gateway.address(strait.admin)} is in use" in ended.stderr


@pytest.fixture
def start_relay():
    """Passes scrapes on, asking for the older text: Prometheus itself asks for OpenMetrics where it may."""
    relays = []

    def start(strait):
        class Relay(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                _, headers, body = get(strait, self.path, TEXT)
                assert headers["content-type"] == TEXT
                self.send_response(200)
                self.send_header("Content-Type", TEXT)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        relays.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Relay))
        threading.Thread(target=relays[-1].serve_forever, daemon=True).start()
        return relays[-1].server_address

    yield start
    for relay in relays:
        relay.shutdown()
        relay.server_close()


@pytest.mark.parametrize("accept", [OPEN_METRICS, TEXT], ids=["openmetrics", "text"])
def test_prometheus_itself_scrapes_it_during_load(start_strait, start_relay, tmp_path, accept):
    strait = start_strait(2)
    port = gateway.free_port()
    target = strait.admin if accept == OPEN_METRICS else start_relay(strait)
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        "scrape_configs:\n"
        f"  - job_name: strait\n    static_configs: [{{targets: ['{gateway.address(target)}']}}]\n"
    )
    program = clients.DEBIAN / "usr/bin/prometheus"
    command = [program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def ask(path, **query):
        url = f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def result(query):
        with contextlib.suppress(OSError):
            found = ask("/api/v1/query", query=query)["result"]
            return float(found[0]["value"][1]) if found else None

    try:
        with clients.NatsThread(strait) as subscriber:
            subscription = subscriber.subscribe("p.>")
            gateway.wait_until(lambda: result("up") == 1, lambda: (tmp_path / "log").read_text()[-2000:], 30)
            for round_idx in range(10):
                publish(strait, N, b"p.%d" % round_idx)
                time.sleep(0.1)
            subscriber.n_messages(subscription, 10 * N)
        for query in [
            'strait_deliveries_total{direction="nats_to_nats"}',
            'strait_delivery_latency_seconds_count{direction="nats_to_nats"}',
            'strait_delivery_latency_seconds_bucket{direction="nats_to_nats",le="+Inf"}',
        ]:
            gateway.wait_until(lambda: result(query) == 10 * N, lambda: f"{query}: {result(query)}")
        assert result("min_over_time(up[1h])") == 1
        (scraped,) = ask("/api/v1/targets")["activeTargets"]
        assert (scraped["health"], scraped["lastError"]) == ("up", "")
    finally:
        process.terminate()
        process.wait(20)
