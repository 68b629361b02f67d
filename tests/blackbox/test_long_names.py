"""The longest topics cross in both directions, between the clients that people use; and what happens where one of the
two worlds has no room for a name.
"""

import gateway
import pytest
import wire_mqtt as mqtt
import wire_nats as nats
from test_limits import metrics
from test_pairs import OF_MQTT as PLAYED
from test_pairs import OF_NATS, split

TOPIC_BYTES_MAX = 65_535
# Room for a topic of blanks, each of which has three bytes in a subject, and for what else is in a line.
LINES = {"STRAIT__NATS__CONTROL_LINE_BYTES_MAX": "262144"}
PAIRS = [("unit", "C")]
# As it is played, rumqttc takes packets of 10 KiB at most.
OF_MQTT = {name: start for name, start in PLAYED.items() if name != "rumqttc"}


def longest(begin, filling):
    """A topic of as many bytes as MQTT has."""
    n = TOPIC_BYTES_MAX - len(begin)
    return begin + (filling * (n // len(filling) + 1))[: n - 1] + "x"


def subject_of(topic):
    return topic.replace("/", ".").replace(" ", "/20")


@pytest.fixture(scope="module", params=[1, 2], ids=["1core", "2cores"])
def players(request, start_module_strait):
    strait = start_module_strait(request.param, env=LINES)
    started = {name: start(strait) for name, start in [*OF_NATS.items(), *OF_MQTT.items()]}
    yield started
    for player in started.values():
        player.close()


@pytest.mark.parametrize("mqtt_name", OF_MQTT)
@pytest.mark.parametrize("nats_name", OF_NATS)
def test_the_longest_topics_cross_with_their_headers(players, nats_name, mqtt_name):
    service, device = players[nats_name], players[mqtt_name]
    root = f"long/{nats_name}/{mqtt_name}/".replace(".", "_")
    # Names are words in what the programs are told and tell: only subjects have no blanks.
    fillings = ["level/7/"] if mqtt_name != "paho-mqtt" else ["level/7/", " "]
    for filling in fillings:
        topic = longest(f"{root}in/{len(filling)}/", filling)
        device.subscribe(topic)
        service.publish(subject_of(topic), b"in", [*PAIRS, ("Mqtt-QoS", "1")])
        assert device.heard() == (topic, b"in", PAIRS, [1, 0])

        topic = longest(f"{root}out/{len(filling)}/", filling)
        # As it is, and by a wildcard, which every client may write whatever the limit of its lines.
        service.subscribe(subject_of(f"{root}out/{len(filling)}/>"))
        service.subscribe(subject_of(topic))
        device.publish(topic, b"out", PAIRS, 1)
        for _ in range(2):
            name, payload, found, _ = service.heard()
            assert (name, payload) == (subject_of(topic), b"out")
            assert split(found) == ({"Mqtt-QoS": "1"}, PAIRS)


@pytest.mark.parametrize("mqtt_name", [name for name in OF_MQTT if name != "mosquitto"])
@pytest.mark.parametrize("nats_name", OF_NATS)
def test_requests_by_the_longest_topics_are_answered(players, nats_name, mqtt_name):
    service, device = players[nats_name], players[mqtt_name]
    root = f"ask/{nats_name}/{mqtt_name}/".replace(".", "_")
    for filling in ["level/7/"] if mqtt_name != "paho-mqtt" else ["level/7/", " "]:
        topic = longest(f"{root}nats/{len(filling)}/", filling)
        service.serve(subject_of(topic))
        answer, found = device.request(topic, b"abc", PAIRS)
        assert answer == b"cba" and PAIRS[0] in found
        topic = longest(f"{root}mqtt/{len(filling)}/", filling)
        device.serve(topic)
        answer, found = service.request(subject_of(topic), b"abc", PAIRS)
        assert answer == b"cba" and split(found)[1] == PAIRS


@pytest.mark.parametrize("cores", [1, 2])
def test_a_topic_of_separators_alone_crosses(start_strait, cores):
    strait = start_strait(cores, env=LINES)
    topic = "/" * TOPIC_BYTES_MAX
    subject = ".".join("/" * (TOPIC_BYTES_MAX + 1))
    with mqtt.connected(strait.mqtt) as device, nats.connected(strait.nats, headers=True) as service:
        assert device.subscribe((topic, 1)) == [1]
        service.subscribe(">")
        service.send(nats.pub(subject, b"in"))
        assert device.message() == (topic, b"in")
        assert service.message() == (subject, b"in")
        device.publish(topic, b"out", qos=1, packet_id=1)
        assert service.message() == (subject, b"out")


@pytest.mark.parametrize("cores", [1, 2])
def test_a_subject_that_is_longer_than_a_topic_is_counted_and_said(start_strait, cores):
    strait = start_strait(cores, env=LINES)
    with mqtt.connected(strait.mqtt) as device, nats.connected(strait.nats, pedantic=True) as service:
        assert device.subscribe(("#", 0)) == [0]
        service.subscribe("long.>")
        fits, too_long = longest("long.", "y"), longest("long.", "y") + "y"
        service.send(nats.pub(too_long, b"no"))
        assert "Invalid Publish Subject" in str(service.expect("-ERR"))
        assert service.message() == (too_long, b"no")
        service.send(nats.pub(fits, b"yes"))
        assert service.message() == (fits, b"yes")
        assert device.message() == (fits.replace(".", "/"), b"yes")
        counted = 'strait_deliveries_dropped_total{reason="no_topic_for_subject"} 1\n'
        gateway.wait_until(lambda: counted in metrics(strait), lambda: metrics(strait))
        assert strait.log().count("no topic can spell this subject") == 1


@pytest.mark.parametrize("cores", [1, 2])
def test_a_line_over_the_limit_is_counted_and_said(start_strait, cores):
    strait = start_strait(cores)
    topic = longest("long/", "level/7/")
    with mqtt.connected(strait.mqtt, client_id="press") as device, nats.connected(strait.nats) as service:
        service.subscribe("long.>")
        device.publish(topic, b"x", qos=1, packet_id=1)
        assert device.expect("PUBACK").reason == 0x10
        assert device.subscribe(("long/#", 0)) == [0]
        device.publish(topic, b"x", qos=1, packet_id=2)
        found = {packet.kind: packet for packet in (device.receive(), device.receive())}
        assert found["PUBACK"].reason == 0 and found["PUBLISH"].topic == topic
        assert service.ping() == []
        counted = 'strait_deliveries_dropped_total{reason="subject_too_long"} 2\n'
        gateway.wait_until(lambda: counted in metrics(strait), lambda: metrics(strait))
        assert strait.log().count("over nats.control_line_bytes_max") == 1
        assert "press" in next(line for line in strait.log().splitlines() if "control_line" in line)
