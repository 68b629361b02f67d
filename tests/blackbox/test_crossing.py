"""What a message says beside topic and payload, from MQTT to NATS and back: byte by byte, and with paho and nats-py."""

import pytest
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


def test_an_mqtt_request_is_answered_by_a_nats_service(strait):
    with NatsThread(strait) as service, mqtt.connected(strait.mqtt) as device:

        async def answer(message):
            assert message.reply == "replies.device/20x"
            await message.respond(message.data[::-1])

        service.call(service.connection.subscribe("svc.reverse", cb=answer))
        service.settle()
        device.subscribe(("replies/device x", 0))
        device.publish("svc/reverse", b"abc", properties=[("response_topic", "replies/device x")])
        found = device.expect("PUBLISH")
        assert (found.topic, found.payload) == ("replies/device x", b"cba")


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
        device.publish("who", b"y", properties=[("user_property", ("Mqtt-Client-Id", "root"))])
        assert b"\r\nMqtt-User-Mqtt-Client-Id: root\r\n" in service.expect("MSG").headers
