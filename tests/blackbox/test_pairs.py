"""Each client of NATS with each of MQTT, in both directions: payloads, headers and user properties, requests,
qualities and what is retained. Every client is started once, and they are all at one gateway.
"""

import queue
import subprocess
import threading

import pytest

import clients
from clients import NatsThread, Paho
from test_crossing import of_publish
from test_foreign_clients import BUILT, FOLDER

EVERY_BYTE = bytes(range(256))
PAIRS = [("unit", "C"), ("tag", "a"), ("tag", "b"), ("Upper-Case", "x:y")]
ANSWER_S = 30


def grouped(pairs):
    """By name: some clients have no order of names, or none of the values of several."""
    found = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def split(pairs):
    """What the gateway says, and what the publisher said."""
    return dict(it for it in pairs if it[0].startswith("Mqtt-")), [it for it in pairs if not it[0].startswith("Mqtt-")]


def to_hex(data):
    return (data.encode() if isinstance(data, str) else bytes(data)).hex() or "-"


def from_hex(text):
    return b"" if text == "-" else bytes.fromhex(text)


class Program:
    """A client that is a process of its own; it takes commands and tells what it hears, a line each. Of MQTT, it
    subscribes at QoS 2, as all of them here.
    """

    def __init__(self, command):
        environment = clients.environment()
        environment["NODE_PATH"] = f"{BUILT / 'js/node_modules'}:{BUILT / 'mqtt_js/node_modules'}"
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        self.lines = {kind: queue.Queue() for kind in ("ok", "heard", "answer")}
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            kind, *rest = line.split()
            self.lines[kind].put(rest)

    def command(self, *parts):
        self.process.stdin.write(" ".join(parts) + "\n")
        self.process.stdin.flush()
        self.lines["ok"].get(timeout=ANSWER_S)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join(10)
            self.process.stdout.close()

    def subscribe(self, name, n=1):
        self.command("subscribe", name)

    def serve(self, name):
        self.command("serve", name)

    def publish(self, name, payload, pairs, qos=0, retain=False):
        self.command("publish", name, to_hex(payload), pairs_hex(pairs), str(qos), str(int(retain)))

    def request(self, name, payload, pairs):
        self.command("request", name, to_hex(payload), pairs_hex(pairs))
        payload, pairs = self.lines["answer"].get(timeout=ANSWER_S)
        return from_hex(payload), hex_pairs(pairs)

    def heard(self):
        name, payload, pairs, *flags = self.lines["heard"].get(timeout=ANSWER_S)
        return name, from_hex(payload), hex_pairs(pairs), [int(flag) for flag in flags]


def pairs_hex(pairs):
    return ",".join(f"{to_hex(name)}:{to_hex(value)}" for name, value in pairs) or "-"


def hex_pairs(text):
    pairs = [pair.split(":") for pair in text.split(",")] if text != "-" else []
    return [(from_hex(name).decode(), from_hex(value).decode()) for name, value in pairs]


class NatsPy:
    def __init__(self, strait):
        self.client = NatsThread(strait)
        self.messages = queue.Queue()

    def close(self):
        self.client.__exit__()

    def subscribe(self, name):
        async def hear(message):
            self.messages.put(message)

        self.client.call(self.client.connection.subscribe(name, cb=hear))
        self.client.settle()

    def serve(self, name):
        async def answer(message):
            await self.client.connection.publish(message.reply, message.data[::-1], headers=message.headers)

        self.client.call(self.client.connection.subscribe(name, cb=answer))
        self.client.settle()

    def publish(self, name, payload, pairs):
        self.client.call(self.client.connection.publish(name, payload, headers=dict(pairs) or None))
        self.client.settle()

    def request(self, name, payload, pairs):
        asked = self.client.connection.request(name, payload, timeout=ANSWER_S, headers=dict(pairs) or None)
        answer = self.client.call(asked)
        return answer.data, list((answer.headers or {}).items())

    def heard(self):
        message = self.messages.get(timeout=ANSWER_S)
        return message.subject, message.data, list((message.headers or {}).items()), []


class PahoMqtt:
    ANSWERS = "pairs/answers/paho"

    def __init__(self, strait):
        self.client = Paho(strait)
        self.served = set()
        self.answers = queue.Queue()
        self.client.client.on_message = self.on_message

    def close(self):
        self.client.__exit__()

    def on_message(self, client, _, message):
        if message.topic == self.ANSWERS:
            self.answers.put(message)
        elif message.topic in self.served:
            told = {"UserProperty": user_properties(message)}
            if hasattr(message.properties, "CorrelationData"):
                told["CorrelationData"] = message.properties.CorrelationData
            client.publish(message.properties.ResponseTopic, message.payload[::-1], properties=of_publish(**told))
        else:
            self.client.messages.put(message)

    def subscribe(self, name, n=1):
        self.client.subscribe((name, 2))

    def serve(self, name):
        self.served.add(name)
        self.client.subscribe((name, 1))

    def publish(self, name, payload, pairs, qos=0, retain=False):
        properties = of_publish(UserProperty=pairs)
        sent = self.client.client.publish(name, payload, qos=qos, retain=retain, properties=properties)
        sent.wait_for_publish(ANSWER_S)

    def request(self, name, payload, pairs):
        self.client.subscribe(self.ANSWERS)
        told = {"UserProperty": pairs, "ResponseTopic": self.ANSWERS, "CorrelationData": b"\x00\r\n"}
        self.client.publish(name, payload, properties=of_publish(**told))
        message = self.answers.get(timeout=ANSWER_S)
        assert message.properties.CorrelationData == b"\x00\r\n"
        return message.payload, user_properties(message)

    def heard(self):
        message = self.client.messages.get(timeout=ANSWER_S)
        return message.topic, message.payload, user_properties(message), [message.qos, int(message.retain)]


def user_properties(message):
    return list(getattr(message.properties, "UserProperty", []))


class Mosquitto:
    """mosquitto_sub, mosquitto_pub and mosquitto_rr: a process for each thing they do. They serve nobody."""

    def __init__(self, strait):
        self.strait = strait
        self.subscribers = []

    def close(self):
        for process in self.subscribers:
            process.kill()
            process.wait()
            process.stdout.close()

    def program(self, verb, name, *options):
        return [*clients.mosquitto(verb, self.strait, "mqttv5", 1), "-t", name, *options]

    def subscribe(self, name, n=1):
        """It ends with the `n`th message."""
        options = ["-q", "2", "-C", str(n), "-W", str(ANSWER_S), "-d", "-F", "heard %t %x %q %r %P"]
        command = ["stdbuf", "-oL", *self.program("sub", name, *options)]
        process = subprocess.Popen(command, env=clients.environment(), stdout=subprocess.PIPE, text=True)
        self.subscribers.append(process)
        for line in process.stdout:
            if line.startswith("Subscribed ("):
                return
        raise AssertionError("mosquitto_sub ended before its SUBACK")

    def publish(self, name, payload, pairs, qos=0, retain=False):
        options = ["-s", "-q", str(qos), *(["-r"] if retain else []), *told(pairs)]
        self.run(self.program("pub", name, *options), payload)

    def request(self, name, payload, pairs):
        options = ["-m", payload, "-e", f"pairs/answers/rr/{name}", "-W", str(ANSWER_S), "-F", "%x %P", *told(pairs)]
        payload, *pairs = self.run(self.program("rr", name, *options), b"").split()
        return from_hex(payload), [tuple(pair.split(":", 1)) for pair in pairs]

    def heard(self):
        line = next((line for line in self.subscribers[-1].stdout if line.startswith("heard ")), None)
        assert line is not None, f"mosquitto_sub ended with {self.subscribers[-1].wait(ANSWER_S)}"
        _, name, payload, qos, retain, *pairs = line.split()
        return name, from_hex(payload), [tuple(pair.split(":", 1)) for pair in pairs], [int(qos), int(retain)]

    def run(self, command, payload):
        done = subprocess.run(
            command, env=clients.environment(), input=payload, capture_output=True, timeout=ANSWER_S, check=False
        )
        assert done.returncode == 0, done
        return done.stdout.decode()


def told(pairs):
    return [part for name, value in pairs for part in ("-D", "publish", "user-property", name, value)]


OF_NATS = {
    "nats-py": NatsPy,
    "nats.js": lambda strait: Program(["node", FOLDER / "nats_js/pair.cjs", strait.nats_url]),
    "async-nats": lambda strait: Program([BUILT / "rust_clients/release/pair", strait.nats_url]),
}
OF_MQTT = {
    "paho-mqtt": PahoMqtt,
    "MQTT.js": lambda strait: Program(["node", FOLDER / "mqtt_js/pair.cjs", "mqtt://{}:{}".format(*strait.mqtt)]),
    "mosquitto": Mosquitto,
    "rumqttc": lambda strait: Program([BUILT / "rust_clients/release/pair_mqtt", "{}:{}".format(*strait.mqtt)]),
}


@pytest.fixture(scope="module")
def players(start_module_strait, cores):
    strait = start_module_strait(cores)
    started = {name: start(strait) for name, start in [*OF_NATS.items(), *OF_MQTT.items()]}
    yield started
    for player in started.values():
        player.close()


@pytest.fixture(params=OF_NATS)
def of_nats(request, players):
    return request.param, players[request.param]


@pytest.fixture(params=OF_MQTT)
def of_mqtt(request, players):
    return request.param, players[request.param]


# With QoS 0 last, a second copy of what was sent at a higher one would be heard in its place.
QUALITIES = [1, 2, 0]


def test_a_message_says_the_same_once_in_both_directions(of_nats, of_mqtt):
    (nats_name, service), (mqtt_name, device) = of_nats, of_mqtt
    root = f"pairs/{nats_name}/{mqtt_name}".replace(".", "_")
    # nats-py has one value of each name.
    pairs = [it for it in PAIRS if nats_name != "nats-py" or it != ("tag", "b")]

    def agree(found, sent):
        if nats_name == "async-nats":
            # Its headers have no order.
            return grouped(found) == grouped(sent)
        return found == sent

    topic, subject = f"{root}/in", f"{root}/in".replace("/", ".")
    device.subscribe(topic, n=len(QUALITIES))
    for asked in QUALITIES:
        service.publish(subject, EVERY_BYTE, [*pairs, *([("Mqtt-QoS", str(asked))] if asked else [])])
        name, payload, found, [qos, retain] = device.heard()
        assert (name, payload, qos, retain) == (topic, EVERY_BYTE, asked, 0) and agree(found, pairs), found

    topic, subject = f"{root}/out", f"{root}/out".replace("/", ".")
    service.subscribe(subject)
    for qos in QUALITIES:
        device.publish(topic, EVERY_BYTE, pairs, qos)
        name, payload, found, _ = service.heard()
        said, found = split(found)
        assert (name, payload) == (subject, EVERY_BYTE) and agree(found, pairs), found
        assert said == ({"Mqtt-QoS": str(qos)} if qos else {})


def test_a_request_is_answered_across(of_nats, of_mqtt):
    (nats_name, service), (mqtt_name, device) = of_nats, of_mqtt
    root = f"pairs/{nats_name}/{mqtt_name}".replace(".", "_")
    # What mosquitto_rr asks is a word of its command line.
    pairs, payload = [("unit", "C")], b"a question" if mqtt_name == "mosquitto" else EVERY_BYTE
    topic = f"{root}/asks/nats"
    service.serve(topic.replace("/", "."))
    answer, found = device.request(topic, payload, pairs)
    assert answer == payload[::-1] and ("unit", "C") in found
    if mqtt_name != "mosquitto":
        topic = f"{root}/asks/mqtt"
        device.serve(topic)
        answer, found = service.request(topic.replace("/", "."), payload, pairs)
        assert answer == payload[::-1] and split(found)[1] == pairs


def test_what_one_retains_the_other_reads(of_nats, of_mqtt):
    (nats_name, service), (mqtt_name, device) = of_nats, of_mqtt
    root = f"pairs/{nats_name}/{mqtt_name}".replace(".", "_")
    topic = f"{root}/kept/by-nats"
    service.publish(topic.replace("/", "."), b"of nats", [("unit", "C"), ("Mqtt-Retain", "1")])
    device.subscribe(topic)
    assert device.heard() == (topic, b"of nats", [("unit", "C")], [0, 1])
    topic = f"{root}/kept/by-mqtt"
    device.publish(topic, b"of mqtt", [("unit", "K")], 1, retain=True)
    answer, found = service.request(f"$STRAIT.RETAINED.GET.{topic.replace('/', '.')}", b"", [])
    assert answer == b"of mqtt"
    assert split(found) == ({"Mqtt-QoS": "1", "Mqtt-Retain": "1"}, [("unit", "K")])
