"""What a message says beside topic and payload, from MQTT to NATS and back: byte by byte, and with paho and nats-py."""

import json

import paho.mqtt.client as paho
import pytest
from nats.errors import NoRespondersError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import wire_mqtt as mqtt
import wire_nats as nats
from clients import NatsThread, Paho
from wire_mqtt import V311

def of_publish(**values):
    properties = Properties(PacketTypes.PUBLISH)
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


@pytest.mark.parametrize("cores", [1, 2])
def test_user_properties_and_headers_cross_in_order(start_strait, cores):
    strait = start_strait(cores)
    with mqtt.connected(strait.mqtt) as device, nats.connected(strait.nats, headers=True) as service:
        service.subscribe("room.7")
        service.ping()
        pairs = [("tag", "a"), ("tag", "b"), ("Nats-Msg-Id", "1\r\nforged: 1"), ("ü", "100 %")]
        properties = [("user_property", pair) for pair in pairs] + [("content_type", "text/plain")]
        device.publish("room/7", b"warm", qos=1, packet_id=1, properties=properties)
        device.expect("PUBACK")
        told = service.expect("MSG")
        lines = told.headers.decode().split("\r\n")
        assert lines[0] == "NATS/1.0"
        assert sorted(lines[1:-2]) == sorted(
            [
                "Mqtt-QoS: 1",
                "tag: a",
                "tag: b",
                "Mqtt-User-Nats-Msg-Id: 1%0D%0Aforged: 1",
                "Mqtt-User-%C3%BC: 100 %25",
                "Content-Type: text/plain",
            ]
        )
        assert lines.index("tag: a") < lines.index("tag: b")
        assert told.payload == b"warm"
        # And back, by somebody who sends on what came.
        device.subscribe(("back/+", 0))
        service.send(nats.hpub("back.7", told.headers, b"warm"))
        back = device.expect("PUBLISH")
        assert [value for name, value in back.properties if name == "user_property"] == pairs
        assert back.prop("content_type") == "text/plain"


def test_clients_that_take_no_headers_see_the_message_alone(strait):
    with mqtt.connected(strait.mqtt) as device, nats.connected(strait.nats, headers=False, no_responders=False) as plain:
        plain.subscribe("bare")
        plain.ping()
        device.publish("bare", b"x", qos=1, packet_id=1, properties=[("user_property", ("a", "b"))])
        found = plain.expect("MSG")
        assert (found.payload, found.headers) == (b"x", b"")
    with mqtt.connected(strait.mqtt, version=V311) as old, nats.connected(strait.nats, headers=True) as service:
        old.subscribe(("bare/old", 0))
        service.send(nats.hpub("bare.old", b"NATS/1.0\r\na: b\r\n\r\n", b"y", reply="r"))
        assert old.expect("PUBLISH").payload == b"y"


def test_a_nats_request_is_answered_by_an_mqtt_responder(strait):
    with Paho(strait) as device, NatsThread(strait) as service:
        device.subscribe(("svc/echo", 0))

        def answer(client, _, message):
            data = getattr(message.properties, "CorrelationData", None)
            answered = of_publish(UserProperty=[("by", "device")])
            if data is not None:
                answered.CorrelationData = data
            client.publish(message.properties.ResponseTopic, message.payload.upper(), properties=answered)

        device.client.on_message = answer
        reply = service.call(service.connection.request("svc.echo", b"hello", timeout=10))
        assert reply.data == b"HELLO"
        assert reply.headers["by"] == "device"


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_an_mqtt_request_is_answered_by_a_nats_service(start_strait, cores):
    """With its correlation data, of which the service knows nothing, and by nobody else's hearing."""
    strait = start_strait(cores)
    with (
        NatsThread(strait) as service,
        mqtt.connected(strait.mqtt, client_id="asks") as device,
        mqtt.connected(strait.mqtt, client_id="curious") as curious,
        nats.connected(strait.nats) as spy,
    ):

        async def answer(message):
            assert message.reply.startswith("_INBOX.strait.")
            assert message.headers["Mqtt-Response-Topic"] == "replies/device x"
            await message.respond(message.data[::-1])
            await message.respond(b"and more")

        service.call(service.connection.subscribe("svc.reverse", cb=answer))
        service.settle()
        spy.subscribe("_INBOX.>", "1")
        spy.subscribe("replies.>", "2")
        curious.subscribe(("replies/#", 0), ("#", 0), ("+/+/+/+", 0))
        device.subscribe(("replies/device x", 0))
        for n in range(8):
            correlation = b"\x00n%d" % n
            properties = [("response_topic", "replies/device x"), ("correlation_data", correlation)]
            device.publish("svc/reverse", b"abc%d" % n, properties=properties)
            found = [device.expect("PUBLISH") for _ in range(2)]
            assert [(it.topic, it.payload) for it in found] == [
                ("replies/device x", b"%dcba" % n),
                ("replies/device x", b"and more"),
            ]
            assert [it.prop("correlation_data") for it in found] == [correlation] * 2
        assert {curious.expect("PUBLISH").topic for _ in range(8)} == {"svc/reverse"}
        curious.ping()
        spy.ping()


def test_answers_cannot_be_subscribed_to_nor_guessed(strait):
    with mqtt.connected(strait.mqtt) as device, nats.connected(strait.nats, verbose=False) as service:
        for filter in ("_INBOX.strait.>", "_INBOX.strait.0.*", "_INBOX.strait"):
            service.send(f"SUB {filter} 9\r\n".encode())
            assert f'Permissions Violation for Subscription to "{filter}"' in str(service.expect("-ERR"))
        inboxes = ["_INBOX/strait/#", "_INBOX/strait/0/x", "_INBOX/#", "_INBOX/+/a", "$share/g/_INBOX/#", "_INBOX/mine"]
        device.send(mqtt.subscribe(7, [(filter, 0) for filter in inboxes]))
        assert device.expect("SUBACK").reasons == [0x87] * 5 + [0]
        service.subscribe("_INBOX.>")
        for subject in ("_INBOX.strait.0." + 32 * "0", "_INBOX.strait.9." + 32 * "0", "_INBOX.strait.x"):
            service.send(nats.pub(subject, b"?"))
            device.publish(subject.replace(".", "/"), b"?", qos=1, packet_id=1)
            assert device.expect("PUBACK").reason == 0x10
        service.ping()


def test_an_answer_says_what_the_service_says_and_comes_to_a_session_that_is_away(strait):
    kept = [("session_expiry", 100)]
    with nats.connected(strait.nats, headers=True) as service:
        service.subscribe("svc.slow")
        with mqtt.Connection(strait.mqtt) as device:
            device.connect(client_id="asks-and-goes", clean=True, properties=kept)
            device.subscribe(("answers/slow", 1))
            properties = [("response_topic", "answers/slow"), ("correlation_data", b"c")]
            device.publish("svc/slow", b"?", properties=properties)
            request = service.expect("MSG")
            device.send(mqtt.disconnect())
            device.until_closed()
        header = b"NATS/1.0\r\nMqtt-QoS: 1\r\nContent-Type: text\r\nMqtt-Correlation-Data: QQ==\r\na: b\r\n\r\n"
        service.send(nats.hpub(request.reply, header, b"!"))
        service.ping()
        with mqtt.Connection(strait.mqtt) as device:
            device.connect(client_id="asks-and-goes", clean=False, properties=kept)
            found = device.expect("PUBLISH")
            assert (found.topic, found.payload, found.qos) == ("answers/slow", b"!", 1)
            assert found.prop("content_type") == "text"
            assert found.prop("user_property") == ("a", "b")
            assert [value for name, value in found.properties if name == "correlation_data"] == [b"c"]
        # Its session has ended with its client's wish: nobody waits for the rest.
        with mqtt.Connection(strait.mqtt) as device:
            device.connect(client_id="asks-and-goes", clean=True)
            device.subscribe(("answers/slow", 1))
            service.send(nats.pub(request.reply, b"late"))
            service.ping()
            device.ping()


def test_a_service_that_has_nobody_behind_it_says_so(strait):
    with mqtt.connected(strait.mqtt) as device, nats.connected(strait.nats, headers=True) as service:
        service.subscribe("svc.behind")
        device.subscribe(("answers/behind", 0))
        device.publish("svc/behind", b"?", properties=[("response_topic", "answers/behind")])
        request = service.expect("MSG")
        service.send(nats.hpub(request.reply, b"NATS/1.0 503\r\n\r\n"))
        found = device.expect("PUBLISH")
        assert (found.payload, found.prop("user_property")) == (b"", ("Status", "503"))


def test_a_nats_publish_asks_for_a_quality_and_an_offline_session_keeps_it(strait):
    kept = [("session_expiry", 100)]
    with mqtt.Connection(strait.mqtt) as device:
        device.connect(client_id="asks-qos", clean=True, properties=kept)
        device.subscribe(("ask/+", 2))
    with nats.connected(strait.nats, headers=True) as service:
        header = b"NATS/1.0\r\nMqtt-QoS: %d\r\nMqtt-Correlation-Data: AAH/\r\n\r\n"
        asking = [nats.hpub(f"ask.{qos}", header % qos, b"%d" % qos) for qos in (1, 2)]
        service.send(*asking, nats.pub("ask.0", b"none"))
        service.ping()
    with mqtt.Connection(strait.mqtt) as device:
        device.connect(client_id="asks-qos", clean=False, properties=kept)
        found = [device.expect("PUBLISH") for _ in range(2)]
        assert [(p.topic, p.payload, p.qos) for p in found] == [("ask/1", b"1", 1), ("ask/2", b"2", 2)]
        assert found[0].prop("correlation_data") == b"\x00\x01\xff"


def test_nats_retains_and_clears_by_header(strait):
    with nats.connected(strait.nats, headers=True) as service:
        header = b"NATS/1.0\r\nMqtt-Retain: 1\r\nunit: C\r\n\r\n"
        service.send(nats.hpub("kept.temp", header, b"21"))
        service.ping()
        with mqtt.connected(strait.mqtt) as device:
            device.subscribe(("kept/#", 0))
            found = device.expect("PUBLISH")
            assert (found.payload, found.retain, found.prop("user_property")) == (b"21", True, ("unit", "C"))
        service.send(nats.hpub("kept.temp", b"NATS/1.0\r\nMqtt-Retain: 1\r\n\r\n", b""))
        service.ping()
    with mqtt.connected(strait.mqtt) as device:
        device.subscribe(("kept/#", 0))
        device.ping()


def test_nobody_can_say_who_published_but_the_gateway(strait):
    with nats.connected(strait.nats, headers=True) as service, mqtt.connected(strait.mqtt) as device:
        service.subscribe("who")
        device.subscribe(("who", 0))
        service.send(nats.hpub("who", b"NATS/1.0\r\nmqtt-client-id: root\r\na: b\r\n\r\n", b"x"))
        assert service.expect("MSG").headers == b"NATS/1.0\r\na: b\r\n\r\n"
        assert device.expect("PUBLISH").prop("user_property") == ("a", "b")
        # Nor by a line that ends as only some clients' lines do.
        service.send(nats.hpub("who", b"NATS/1.0\r\nX: y\nMqtt-User: admin\r\n\r\n", b"x"))
        assert service.expect("MSG").headers == b"NATS/1.0\r\nX: y\n\r\n"
        assert device.expect("PUBLISH").prop("user_property") == ("X", "y")
        service.send(nats.hpub("who", b"NATS/1.0\r\nX: y\rMqtt-User: admin\r\n\r\n", b"x"))
        assert service.expect("MSG").headers == b"NATS/1.0\r\nX: y\r\n\r\n"
        assert device.expect("PUBLISH").prop("user_property") == ("X", "y")
        service.send(nats.hpub("who", b"NATS/1.0\r\nMqtt-User-Mqtt-User: root\r\n\r\n", b"x"))
        service.expect("MSG")
        assert device.expect("PUBLISH").prop("user_property") == ("Mqtt-User-Mqtt-User", "root")
        pairs = [("mqtt-client-id", "root"), ("a", "b"), ("Mqtt-User", "root")]
        device.publish("who", b"y", properties=[("user_property", pair) for pair in pairs])
        assert service.expect("MSG").headers == b"NATS/1.0\r\na: b\r\n\r\n"
        assert [value for name, value in device.expect("PUBLISH").properties if name == "user_property"] == [("a", "b")]


@pytest.mark.parametrize("cores", [1, 4])
def test_every_message_says_who_published_it_where_that_is_wanted(start_strait, cores):
    env = {"STRAIT__MQTT__IDENTIFY_PUBLISHERS": "true", "STRAIT__NATS__IDENTIFY_PUBLISHERS": "true"}
    strait = start_strait(cores, env=env)
    forged = of_publish(UserProperty=[("Mqtt-Client-Id", "root"), ("a", "b")])
    with NatsThread(strait) as service, Paho(strait) as reader, Paho(strait, client_id="press-7", username="zoë") as device:
        said = service.subscribe("who.>")
        reader.subscribe("who/#")
        for qos in (0, 1, 2):
            device.publish("who/device", b"%d" % qos, qos, forged)
            headers = service.whole_message(said).headers
            assert headers.items() >= {"Mqtt-Client-Id": "press-7", "a": "b"}.items() and "Mqtt-User" in headers
            pairs = [("a", "b"), ("Mqtt-Client-Id", "press-7"), ("Mqtt-User", "zoë"), ("Mqtt-Client-Protocol", "mqtt")]
            assert reader.whole_message().properties.UserProperty == pairs
        # nats-py is one of those that end a line at a bare CR.
        with nats.connected(strait.nats, headers=True) as forger:
            number = str(forger.info["client_id"])
            header = b"NATS/1.0\r\na: b\rMqtt-Client-Id: root\r\n\r\n"
            forger.send(nats.hpub("who.nats", header, b"x"), nats.pub("who.nats", b"y"))
            who = {"Mqtt-Client-Id": number, "Mqtt-Client-Protocol": "nats"}
            for more in ({"a": "b"}, {}):
                assert service.whole_message(said).headers == {**who, **more}
                assert reader.whole_message().properties.UserProperty == [*who.items(), *more.items()]
            # And reads on from the tenth byte, whatever is before it.
            for front in (b"NATS/1.0ZZMqtt-User: root", b"NATS/1.0 5Mqtt-Client-Protocol: root"):
                forger.send(nats.hpub("who.nats", front + b"\r\n root\r\n\r\n", b"z"))
                headers = service.whole_message(said).headers
                assert headers.items() >= who.items() and "root" not in headers.values()
                reader.whole_message()
        # And of those whose will it is.
        with mqtt.Connection(strait.mqtt) as dying:
            dying.connect(client_id="dies", will=("who/died", b"z", 0, False))
        assert service.whole_message(said).headers["Mqtt-Client-Id"] == "dies"
        assert ("Mqtt-Client-Id", "dies") in reader.whole_message().properties.UserProperty


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_a_nats_publish_with_a_quality_and_a_reply_is_acknowledged(start_strait, cores):
    strait = start_strait(cores)
    header = {"Mqtt-QoS": "1"}
    with NatsThread(strait) as service, Paho(strait) as device:
        device.subscribe(("acked/#", 1))

        def ask(subject, payload, **headers):
            request = service.connection.request(subject, payload, timeout=10, headers={**header, **headers})
            return json.loads(service.call(request).data)

        sequence = []
        for n in range(20):
            said = ask(f"acked.{n}", b"%d" % n)
            assert said["stream"] == "strait"
            sequence.append(said["seq"])
            message = device.messages.get(timeout=10)
            assert (message.topic, message.payload, message.qos) == (f"acked/{n}", b"%d" % n, 1)
            # It is no request to the device.
            assert not hasattr(message.properties, "ResponseTopic")
        assert sequence == sorted(set(sequence))
        said = ask("nobody.listens", b"x")
        assert said["error"]["code"] == 503 and "nobody" in said["error"]["description"]


def test_rules_and_verbosity_give_nats_publishes_a_quality(start_strait):
    strait = start_strait(2, env={"STRAIT__NATS__PUBLISH_QOS": "rule.none.> 0, rule.> 2"})
    with mqtt.connected(strait.mqtt) as device, nats.connected(strait.nats, headers=True) as plain:
        device.subscribe(("rule/#", 2), ("free/#", 2))
        with nats.Connection(strait.nats) as verbose:
            # As a client that has not said otherwise is.
            verbose.send(nats.connect(verbose=True))
            assert [op.kind for op in verbose.ping()] == ["+OK"]
            for client, subject, qos in [
                (plain, "free.a", 0),
                (verbose, "free.b", 1),
                (verbose, "rule.none.c", 0),
                (plain, "rule.d", 2),
            ]:
                client.send(nats.pub(subject, b"x"))
                if client is verbose:
                    verbose.expect("+OK")
                found = device.expect("PUBLISH")
                assert (found.topic, found.qos) == (subject.replace(".", "/"), qos)
                if qos == 1:
                    device.send(mqtt.puback(found.packet_id))
        plain.send(nats.hpub("rule.e", b"NATS/1.0\r\nMqtt-QoS: 0\r\n\r\n", b"x"))
        assert device.expect("PUBLISH").qos == 0
        # Nothing of it is told to NATS clients, who get what was sent.
        plain.subscribe("rule.f")
        plain.send(nats.pub("rule.f", b"x"))
        assert plain.expect("MSG").headers == b""


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_nats_reads_what_is_retained(start_strait, cores):
    strait = start_strait(cores)
    n = 1_000
    with mqtt.connected(strait.mqtt) as device, nats.connected(strait.nats, headers=True) as reader:
        for idx in range(n):
            properties = [("user_property", ("nth", str(idx)))] if idx % 2 else []
            device.publish(f"store/{idx}", b"%d" % idx, retain=True, qos=1, packet_id=1 + idx, properties=properties)
        for _ in range(n):
            device.expect("PUBACK")
        header = b"NATS/1.0\r\nMqtt-Retain: 1\r\nx: y\r\n\r\n"
        reader.send(nats.hpub("store.nats", header, b"from nats"))
        reader.subscribe("r")

        def get(subject):
            reader.send(nats.pub(f"$STRAIT.RETAINED.GET.{subject}", b"", reply="r"))
            found = reader.expect("MSG")
            return found.headers.decode(), found.payload

        assert get("store.7") == ("NATS/1.0\r\nMqtt-QoS: 1\r\nMqtt-Retain: 1\r\nnth: 7\r\n\r\n", b"7")
        assert get("store.nats") == (header.decode(), b"from nats")
        assert get("store.absent") == ("NATS/1.0 404\r\n\r\n", b"")
        assert get("store.*")[0].startswith("NATS/1.0 400")

        def list_of(filter):
            reader.send(nats.pub(f"$STRAIT.RETAINED.LIST.{filter}", b"", reply="r"))
            found = {}
            while (message := reader.expect("MSG")).headers != b"NATS/1.0 204\r\n\r\n":
                lines = message.headers.decode().split("\r\n")
                [subject] = [line.removeprefix("Nats-Subject: ") for line in lines if line.startswith("Nats-Subject")]
                assert subject not in found and "Mqtt-Retain: 1" in lines
                found[subject] = message.payload
            return found

        wanted = {f"store.{idx}": b"%d" % idx for idx in range(n)}
        assert list_of("store.*") == wanted | {"store.nats": b"from nats"}
        assert list_of("store.5") == {"store.5": b"5"}
        assert list_of("nothing.>") == {}
        # The gateway's names are nobody else's.
        reader.send(nats.pub("$STRAIT.RETAINED.GET.store.1", b""))
        assert 'Permissions Violation for Publish to "$STRAIT.RETAINED.GET.store.1"' in str(reader.expect("-ERR"))


def test_a_status_that_is_retained_is_no_answer_of_the_gateways(strait):
    with nats.connected(strait.nats, headers=True) as publisher, NatsThread(strait) as reader:
        publisher.subscribe("kept.status.*")
        lines = {
            "404": b"NATS/1.0 404\r\n",
            "503": b"NATS/1.0 503 None\r\n",
            "line": b"NATS/1.0\r\nStatus: 503\r\n",
        }
        for name, front in lines.items():
            header = front + b"Mqtt-Retain: 1\r\nx: y\r\n\r\n"
            publisher.send(nats.hpub(f"kept.status.{name}", header, name.encode()))
            # To whoever subscribes it comes as it went.
            assert publisher.expect("MSG").headers == header
        wanted = {"Mqtt-Retain": "1", "x": "y"}
        for name in lines:
            found = reader.call(reader.connection.request(f"$STRAIT.RETAINED.GET.kept.status.{name}", b"", timeout=10))
            assert (found.headers, found.data) == (wanted, name.encode())
        publisher.subscribe("list", "2")
        publisher.send(nats.pub("$STRAIT.RETAINED.LIST.kept.status.*", b"", reply="list"))
        found = [publisher.expect("MSG") for _ in range(len(lines) + 1)]
        assert [it.headers.startswith(b"NATS/1.0\r\nMqtt-Retain: 1\r\n") for it in found] == [True] * 3 + [False]
        assert found[-1].headers == b"NATS/1.0 204\r\n\r\n"


def test_what_is_retained_is_replayed_to_nats_where_that_is_configured(start_strait):
    strait = start_strait(2, env={"STRAIT__NATS__REPLAY_RETAINED": "state.>"})
    with mqtt.connected(strait.mqtt) as device, nats.connected(strait.nats, headers=True) as reader:
        for topic in ("state/a", "state/b/c", "other/a"):
            device.publish(topic, topic.encode(), retain=True, qos=1, packet_id=1)
            device.expect("PUBACK")
        reader.send(b"SUB state.> 1\r\n")
        found = [reader.expect("MSG") for _ in range(2)]
        assert {it.subject: it.payload for it in found} == {"state.a": b"state/a", "state.b.c": b"state/b/c"}
        assert all(b"Mqtt-Retain: 1" in it.headers for it in found)
        # What comes live comes once.
        device.publish("state/a", b"new", retain=True)
        assert reader.expect("MSG").payload == b"new"
        # Not to a member of a group, and not where it is not configured.
        reader.subscribe("state.>", "2", queue="g")
        reader.subscribe(">", "3")
        reader.subscribe("other.a", "4")
        reader.ping()


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_a_device_of_3_1_1_answers_requests_by_its_topics(start_strait, cores):
    pattern = "rpc/+/request/${id} -> rpc/+/response/${id}"
    strait = start_strait(cores, env={"STRAIT__MQTT__RESPONDERS": pattern})
    with NatsThread(strait) as service, Paho(strait, version=paho.MQTTv311) as device:

        def answer(client, _, message):
            client.publish(message.topic.replace("request", "response"), message.payload.upper(), qos=1)

        device.client.on_message = answer
        device.subscribe(("rpc/d7/request/+", 1))
        for n in range(5):
            reply = service.call(service.connection.request("rpc.d7.request", b"n%d" % n, timeout=10))
            assert reply.data == b"N%d" % n
        with mqtt.connected(strait.mqtt) as asker:
            asker.subscribe(("answers/rpc", 0))
            properties = [("response_topic", "answers/rpc"), ("correlation_data", b"c")]
            asker.publish("rpc/d7/request", b"mqtt", properties=properties)
            found = asker.expect("PUBLISH")
            assert (found.topic, found.payload, found.prop("correlation_data")) == ("answers/rpc", b"MQTT", b"c")
        # Nobody is there for another.
        with pytest.raises(NoRespondersError):
            service.call(service.connection.request("rpc.d8.request", b"?", timeout=10))
        # An answer that nobody asked for is nobody's, and what is no answer is a message like others.
        service_heard = service.subscribe("rpc.*.response.*")
        device.publish("rpc/d7/response/0-" + 32 * "0", b"forged", qos=1)
        device.publish("rpc/d7/response/plain", b"plain", qos=1)
        assert service.message(service_heard) == ("rpc.d7.response.plain", b"plain")
