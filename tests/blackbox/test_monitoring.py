"""The monitoring that NATS people use: field by field as nats-server 2.15.1 has it, and asked over NATS."""

import asyncio
import contextlib
import datetime
import http.client
import json
import threading
import urllib.parse

import pytest

import clients
import differential
import gateway
import wire_mqtt as mqtt
import wire_nats as nats

# What nats-server shows of itself that has no counterpart here.
NOT_OURS = {
    "varz": {"config_digest", "feature_flags", "system_account", "disk_io_wait_stats"},
    "connz": set(),
    # The longest fan-out is nowhere kept.
    "subsz": {"max_fanout"},
}
N_CONNECTIONS = 1500


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    with differential.nats_server(tmp_path_factory.mktemp("nats-server")) as addresses:
        yield addresses


def get(at, path, status=200):
    connection = http.client.HTTPConnection(*at, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        assert answer.status == status, body
        return json.loads(body) if status == 200 else body


def shape(value):
    """The JSON types of a value, so that two servers can be compared."""
    match value:
        case dict():
            return {name: shape(one) for name, one in value.items()}
        case list():
            return [shape(value[0])] if value else []
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case _:
            return type(value).__name__


def assert_same_shape(ours, theirs, left_out=()):
    expected = {name: shape(value) for name, value in theirs.items() if name not in left_out}
    found = {name: shape(value) for name, value in ours.items()}
    assert {name: found.get(name) for name in expected} == expected


def talk(at):
    """A conversation that both servers count alike; the connections stay open."""
    one = nats.connected(at, name="one", lang="raw", version="7", user="u")
    two = nats.connected(at, name="two")
    one.subscribe("m.a", "s1")
    one.subscribe("m.*", "s2")
    one.subscribe("m.q", "s3", queue="workers")
    one.send(b"UNSUB s1 5\r\n")
    one.ping()
    for n in range(4):
        two.publish("m.a", b"%d" % n)
    two.ping()
    assert len(one.ping()) == 8
    return one, two


def by_name(connz):
    return {one.get("name"): one for one in connz["connections"]}


def test_varz_has_what_nats_server_has(start_strait, theirs):
    strait = start_strait(2)
    kept = [talk(at) for at in (strait.nats, theirs[0])]
    ours, expected = get(strait.admin, "/varz"), get(theirs[1], "/varz")
    assert_same_shape(ours, expected, NOT_OURS["varz"] | {"http_req_stats", "mqtt"})
    for name in [
        "proto", "max_connections", "ping_interval", "ping_max", "max_control_line", "max_payload", "max_pending",
        "write_deadline", "http_base_path", "in_msgs", "in_bytes", "out_msgs", "out_bytes", "connections",
        "slow_consumers", "routes", "leafnodes",
    ]:  # fmt: skip
        assert ours[name] == expected[name], name
    info = kept[0][0].info
    assert (ours["server_id"], ours["server_name"], ours["version"]) == (
        info["server_id"], info["server_name"], info["version"],
    )  # fmt: skip
    assert (ours["port"], ours["http_port"], ours["mqtt"]["port"]) == (
        strait.nats[1], strait.admin[1], strait.mqtt[1],
    )  # fmt: skip
    assert ours["subscriptions"] == 3 and ours["mem"] > 1 << 20 and ours["gomaxprocs"] == 2
    began, now = (datetime.datetime.fromisoformat(ours[name][:26] + "+00:00") for name in ("start", "now"))
    assert began < now < began + datetime.timedelta(minutes=5)
    assert abs(now - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(minutes=1)
    assert get(strait.admin, "/varz")["http_req_stats"]["/varz"] == 2
    for connection in [one for pair in kept for one in pair]:
        connection.close()


def test_connz_tells_of_each_connection_what_nats_server_tells(start_strait, theirs):
    strait = start_strait(2)
    kept = [talk(at) for at in (strait.nats, theirs[0])]
    for query in ["", "?subs=1", "?subs=detail", "?auth=1"]:
        ours, expected = (get(at, f"/connz{query}") for at in (strait.admin, theirs[1]))
        assert_same_shape(ours, expected, {"connections"})
        assert (ours["num_connections"], ours["total"], ours["offset"], ours["limit"]) == (2, 2, 0, 1024)
        for name in ("one", "two"):
            here, there = by_name(ours)[name], by_name(expected)[name]
            assert_same_shape(here, there, NOT_OURS["connz"] | {"subscriptions_list_detail"})
            # In no order, and not all with the same fields.
            known = [{field for d in one.get("subscriptions_list_detail", []) for field in d} for one in (here, there)]
            assert known[0] == known[1]
            for field in ["kind", "type", "ip", "pending_bytes", "in_msgs", "out_msgs", "in_bytes", "out_bytes", "subscriptions",
                          "name", "lang", "version", "authorized_user", "name_tag"]:  # fmt: skip
                assert here.get(field) == there.get(field), f"{query} {name} {field}"
            assert sorted(here.get("subscriptions_list", [])) == sorted(there.get("subscriptions_list", []))
            details = [
                sorted((d["subject"], d["sid"], d["msgs"], d.get("max"), d.get("qgroup")) for d in one)
                for one in (here.get("subscriptions_list_detail", []), there.get("subscriptions_list_detail", []))
            ]
            assert details[0] == details[1]
    one, two = kept[0]
    ours = by_name(get(strait.admin, "/connz"))
    for connection in (one, two):
        cid = connection.info["client_id"]
        (alone,) = get(strait.admin, f"/connz?cid={cid}")["connections"]
        assert alone["port"] == connection.socket.getsockname()[1]
    assert ours["one"]["uptime"].endswith("s")
    for connection in [one for pair in kept for one in pair]:
        connection.close()


def test_connections_are_found_by_what_they_subscribe_to(start_strait):
    """nats-server has it where it is asked over NATS, in the same words."""
    strait = start_strait(2)
    kept = talk(strait.nats)
    expected = {"m.a": ["one"], "*.q": ["one"], "m": [], "n.>": [], ">": ["one", "two"]}
    for filter, names in expected.items():
        found = get(strait.admin, f"/connz?acc=$G&filter_subject={urllib.parse.quote(filter)}")["connections"]
        assert sorted(connection["name"] for connection in found) == names, filter
    assert get(strait.admin, "/connz?acc=other&filter_subject=m.a")["connections"] == []
    get(strait.admin, "/connz?filter_subject=m.a", status=400)
    for connection in kept:
        connection.close()


def test_connections_are_sorted_and_shown_in_parts(start_strait):
    strait = start_strait(4)
    connections = [nats.connected(strait.nats, name=f"c{n}") for n in range(8)]
    for n, connection in enumerate(connections):
        for sid in range(n):
            connection.subscribe(f"sorted.{n}.{sid}", f"{sid}")
        for _ in range(8 - n):
            connection.publish("sorted.nobody", b"x")
        connection.ping()

    def names(query):
        return [one["name"] for one in get(strait.admin, f"/connz?{query}")["connections"]]

    ascending = [f"c{n}" for n in range(8)]
    assert names("") == names("sort=cid") == names("sort=start") == names("sort=uptime") == ascending
    assert names("sort=subs") == names("sort=last") == ascending[::-1]
    assert names("sort=msgs_from") == names("sort=bytes_from") == names("sort=idle") == ascending
    assert names("sort=cid&offset=2&limit=3") == ["c2", "c3", "c4"]
    part = get(strait.admin, "/connz?offset=2&limit=3")
    assert (part["total"], part["num_connections"], part["offset"], part["limit"]) == (8, 3, 2, 3)
    for sort in ["pending", "msgs_to", "bytes_to"]:
        assert sorted(names(f"sort={sort}")) == ascending
    for query in ["sort=nonsense", "state=nonsense", "limit=x", "cid=x", "subs=x", "sort=stop"]:
        get(strait.admin, f"/connz?{query}", status=400)
    for connection in connections:
        connection.close()


def test_connections_that_ended_are_remembered_with_their_reason(start_strait):
    strait = start_strait(2)
    stays = nats.connected(strait.nats, name="stays")
    leaves = nats.connected(strait.nats, name="leaves")
    leaves.publish("closed.x", b"12345")
    leaves.subscribe("closed.y")
    leaves.close()
    wrong = nats.connected(strait.nats, name="wrong")
    wrong.send(b"NONSENSE\r\n")
    wrong.expect_error("Unknown Protocol Operation")
    gateway.wait_until(
        lambda: by_name(get(strait.admin, "/connz?state=closed")).keys() >= {"leaves", "wrong"}, "both have ended"
    )
    closed = by_name(get(strait.admin, "/connz?state=closed&sort=stop"))
    assert closed["leaves"]["reason"] == "Client Closed" and closed["wrong"]["reason"] == "Protocol Violation"
    assert (closed["leaves"]["in_msgs"], closed["leaves"]["in_bytes"]) == (1, 5)
    assert closed["leaves"]["subscriptions"] == 1 and closed["leaves"]["stop"] > closed["leaves"]["start"]
    everyone = get(strait.admin, "/connz?state=any")
    # Those without a name only looked whether it listens.
    assert by_name(everyone).keys() - {None} == {"stays", "leaves", "wrong"}
    (found,) = get(strait.admin, f"/connz?cid={leaves.info['client_id']}")["connections"]
    assert found["name"] == "leaves"
    stays.close()
    wrong.close()


def test_mqtt_clients_are_shown_with_their_id(start_strait):
    strait = start_strait(2)
    with clients.Paho(strait, client_id="press 7") as paho:
        paho.subscribe("a/+")
        paho.publish("a/b", b"12345", qos=1)
        paho.message()
        (one,) = get(strait.admin, "/connz?mqtt_client=press%207&subs=1")["connections"]
        assert (one["type"], one["mqtt_client"], one["in_msgs"], one["in_bytes"]) == ("mqtt", "press 7", 1, 5)
        assert one["subscriptions_list"] == ["a.*"]
        assert get(strait.admin, "/connz?mqtt_client=press")["total"] == 0


def test_of_mqtt_subscriptions_no_count_is_shown(start_strait):
    strait = start_strait(1)
    with mqtt.connected(strait.mqtt, client_id="counts nothing") as client, nats.connected(strait.nats) as counts:
        client.subscribe("counted/#")
        counts.subscribe("counted.>", "s1")
        client.publish("counted/a", b"x")
        client.expect("PUBLISH")
        counts.message()
        due = {("counted.>", "s1"): 1, ("counted.>", "counted/#"): None}
        connections = get(strait.admin, "/connz?subs=detail")["connections"]
        of_connections = [it for one in connections for it in one.get("subscriptions_list_detail", [])]
        of_all = get(strait.admin, "/subsz?subs=1")["subscriptions_list"]
        for shown in (of_connections, of_all):
            # What is below a name has another entry for the name itself, where all are listed.
            shown = [it for it in shown if it["subject"] != "counted"]
            assert {(it["subject"], it["sid"]): it.get("msgs") for it in shown} == due
            assert ["msgs" in it for it in shown].count(True) == 1


def test_subsz_has_what_nats_server_has(start_strait, theirs):
    strait = start_strait(2)
    kept = [talk(at) for at in (strait.nats, theirs[0])]
    for query in ["", "?subs=1", "?subs=1&limit=1", "?subs=1&test=m.zzz"]:
        for path in ["/subsz", "/subscriptionsz"]:
            ours, expected = get(strait.admin, path + query), get(theirs[1], "/subsz" + query)
            assert_same_shape(ours, expected, NOT_OURS["subsz"] | {"subscriptions_list"})
            if "subs=1" in query:
                # Whichever is first: one of a queue group has one field more.
                known = set(expected["subscriptions_list"][0]) - {"qgroup"}
                assert set(ours["subscriptions_list"][0]) >= known
    listed = get(strait.admin, "/subsz?subs=1")
    assert (listed["num_subscriptions"], listed["total"]) == (3, 3)
    assert {one["sid"] for one in listed["subscriptions_list"]} == {"s1", "s2", "s3"}
    matching = get(strait.admin, "/subsz?subs=1&test=m.zzz")
    assert [one["subject"] for one in matching["subscriptions_list"]] == ["m.*"]
    kept[0][0].unsubscribe("s2")
    after = get(strait.admin, "/subsz")
    assert (after["num_subscriptions"], after["num_inserts"], after["num_removes"]) == (2, 3, 1)
    for query in ("test=m.*", "subs=detail"):
        for at in (strait.admin, theirs[1]):
            get(at, f"/subsz?{query}", status=400)
    for connection in [one for pair in kept for one in pair]:
        connection.close()


def test_healthz_is_ok_to_both_readers(start_strait, theirs):
    strait = start_strait(2)
    ours, expected = get(strait.admin, "/healthz?js-enabled-only=true"), get(theirs[1], "/healthz")
    assert {name: ours[name] for name in expected} == expected


def test_a_look_at_many_connections_and_subscriptions_shows_all_and_stops_nobody(start_strait):
    strait = start_strait(2)
    with contextlib.ExitStack() as stack:
        for n in range(N_CONNECTIONS):
            connection = stack.enter_context(nats.Connection(strait.nats))
            connection.send(nats.connect(name=f"n{n}"))
        many = stack.enter_context(nats.connected(strait.nats, name="many"))
        many.send(b"".join(b"SUB many.%d %d\r\n" % (n, n) for n in range(3000)))
        many.ping()
        gateway.wait_until(
            lambda: by_name(get(strait.admin, "/connz?limit=5000")).keys() >= {f"n{n}" for n in range(N_CONNECTIONS)},
            "all are shown",
        )
        shown = get(strait.admin, "/connz?limit=5000")
        assert shown["total"] == shown["num_connections"] == N_CONNECTIONS + 1
        assert len({one["cid"] for one in shown["connections"]}) == N_CONNECTIONS + 1
        (one,) = get(strait.admin, f"/connz?cid={many.info['client_id']}&subs=1")["connections"]
        assert sorted(one["subscriptions_list"]) == sorted(f"many.{n}" for n in range(3000))
        assert get(strait.admin, "/subsz?subs=1&offset=2990")["total"] == 3000
        assert len(get(strait.admin, "/subsz?subs=1&offset=2990")["subscriptions_list"]) == 10
        look_while_messages_pass(strait, many)


def look_while_messages_pass(strait, subscriber):
    stop = threading.Event()
    n_looks = 0

    def look():
        nonlocal n_looks
        while not stop.is_set():
            get(strait.admin, "/connz?subs=1&limit=100")
            n_looks += 1

    thread = threading.Thread(target=look)
    thread.start()
    with nats.connected(strait.nats) as publisher:
        for n in range(300):
            publisher.publish(f"many.{n}", b"x")
            assert subscriber.message() == (f"many.{n}", b"x")
    stop.set()
    thread.join(30)
    assert n_looks > 0


def ask(at, subject, **options):
    with nats.connected(at, name="asks", **options) as client:
        client.subscribe("_INBOX.ask")
        client.publish(subject, b"", reply="_INBOX.ask")
        op = client.expect("MSG")
        assert op.headers == b"", f"{subject} has nobody to answer"
        return json.loads(op.payload)


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_clients_may_ask_who_they_are_and_how_the_server_is(start_strait, theirs, cores):
    strait = start_strait(cores)
    for options in [{}, {"user": "u", "pass": "p"}, {"pedantic": True}]:
        ours, expected = (ask(at, "$SYS.REQ.USER.INFO", **options) for at in (strait.nats, theirs[0]))
        assert ours["data"] == expected["data"]
        assert_same_shape(ours["server"], expected["server"], {"feature_flags"})
    kept = talk(strait.nats)
    status = ask(strait.nats, "$SYS.REQ.SERVER.PING")
    assert status["server"]["id"] == kept[0].info["server_id"]
    statsz = status["statsz"]
    # This client and its subscription are there as well.
    assert (statsz["connections"], statsz["subscriptions"]) == (3, 4)
    assert statsz["mem"] > 1 << 20
    # What other cores count is told to this one a moment later.
    gateway.wait_until(
        lambda: ask(strait.nats, "$SYS.REQ.SERVER.PING")["statsz"]["received"]["msgs"] >= 4, "the messages are counted"
    )
    with nats.connected(strait.nats) as client:
        client.subscribe("_INBOX.x")
        client.publish("$SYS.REQ.NOBODY", b"", reply="_INBOX.x")
        assert client.expect("MSG").headers.startswith(b"NATS/1.0 503")
    for connection in kept:
        connection.close()


@pytest.mark.parametrize("cores", [1, 4])
def test_an_answer_reaches_the_reply_subject_wherever_it_is_subscribed(start_strait, cores):
    strait = start_strait(cores)
    listeners = [nats.connected(strait.nats) for _ in range(4)]
    for listener in listeners:
        listener.subscribe("answers.here")
    with nats.Connection(strait.nats) as asks:
        asks.send(nats.connect(verbose=True), b"PUB $SYS.REQ.USER.INFO answers.here 0\r\n\r\n")
        assert [op.kind for op in asks.ping()] == ["+OK", "+OK"]
    for listener in listeners:
        op = listener.expect("MSG")
        assert json.loads(op.payload)["data"]["account"] == "$G"
        listener.close()


def test_a_client_library_asks_as_well(start_strait):
    strait = start_strait(2)

    async def scenario():
        client = await clients.connect_nats(strait)
        answers = await asyncio.gather(*(client.request("$SYS.REQ.SERVER.PING", timeout=10) for _ in range(50)))
        assert {json.loads(answer.data)["server"]["name"] for answer in answers} == {"strait"}

    clients.run(scenario())
