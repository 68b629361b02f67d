"""The project's acceptance checks: the demonstration, the NATS recordings, the mapping's vectors.

STRAIT_ACCEPTANCE names their folder. Without it conftest leaves this file out, as scripts/test says.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import gateway
import wire_mqtt as mqtt
import wire_nats as nats

FOLDER = pathlib.Path(os.environ["STRAIT_ACCEPTANCE"])
VECTORS = json.loads((FOLDER / "mapping.json").read_text())
# Their names are the gateway's: no client may publish there.
RESERVED = ("$SYS/", "$share/")
OPEN = [(topic, subject) for topic, subject in VECTORS["topic_to_subject"] if not topic.startswith(RESERVED)]
CLOSED = [(topic, subject) for topic, subject in VECTORS["topic_to_subject"] if topic.startswith(RESERVED)]

# Recorded cases in which this gateway differs from nats-server 2.15.1 on purpose: {case: reason}.
EXPECTED_DIFFERENCES = {}


def test_the_demonstration_works_on_the_default_ports(start_strait):
    start_strait(2, mqtt_port=1883, nats_port=20243)
    done = subprocess.run(
        [sys.executable, FOLDER / "seed-demo/check.py"], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("2 passed, 0 failed\n"), done.stdout


@pytest.fixture(scope="module")
def recordings_check(start_module_strait):
    """The outcome of every recorded case with 1 and with 2 cores; both runs at once, for they mostly wait."""
    runs = {}
    for n_cores in (1, 2):
        host, port = start_module_strait(n_cores).nats
        runs[n_cores] = subprocess.Popen(
            [sys.executable, FOLDER / "nats-wire/nats_wire.py", "--host", host, "--port", str(port),
             "--check", FOLDER / "nats-wire/golden-2.15.1.json"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    outputs = {}
    for n_cores, run in runs.items():
        try:
            outputs[n_cores], _ = run.communicate(timeout=110)
        finally:
            run.kill()
    return outputs


@pytest.mark.parametrize("n_cores", [1, 2])
def test_nats_clients_are_answered_as_recorded(recordings_check, n_cores):
    output = recordings_check[n_cores]
    outcomes = {case: outcome for outcome, case in re.findall(r"^(PASS|FAIL) (\S+)$", output, re.MULTILINE)}
    recorded = json.loads((FOLDER / "nats-wire/golden-2.15.1.json").read_text())
    assert set(outcomes) == set(recorded), f"the check did not run to its end:\n{output[-3000:]}"
    failed = {case for case, outcome in outcomes.items() if outcome == "FAIL"}
    assert failed == set(EXPECTED_DIFFERENCES), f"{sorted(failed)}:\n{output[-6000:]}"


def test_an_mqtt_topic_arrives_as_its_subject(strait):
    with nats.connected(strait.nats) as subscriber, mqtt.connected(strait.mqtt) as publisher:
        subscriber.subscribe(">")
        for topic, subject in OPEN:
            publisher.publish(topic, topic.encode())
            assert subscriber.message() == (subject, topic.encode())


def test_a_subject_arrives_as_its_mqtt_topic(strait):
    with mqtt.connected(strait.mqtt) as subscriber, nats.connected(strait.nats) as publisher:
        codes = subscriber.subscribe(*(topic for topic, _ in OPEN))
        assert codes == [0] * len(OPEN)
        for topic, subject in OPEN:
            publisher.publish(subject, subject.encode())
            assert subscriber.message() == (topic, subject.encode())


def test_topics_come_back_as_they_were_said(strait):
    with mqtt.connected(strait.mqtt) as subscriber, mqtt.connected(strait.mqtt) as publisher:
        subscriber.subscribe("#")
        for topic, _ in OPEN:
            publisher.publish(topic, b"x")
            if not topic.startswith("$"):
                assert subscriber.message() == (topic, b"x")


def test_nobody_publishes_under_the_gateways_own_names(strait):
    assert CLOSED
    with nats.connected(strait.nats) as subscriber:
        subscriber.subscribe(">")
        for topic, subject in CLOSED:
            with mqtt.connected(strait.mqtt) as publisher, nats.connected(strait.nats) as other:
                publisher.publish(topic, b"no")
                other.publish(subject, b"no")
                assert [op.text for op in other.ping()] == [f"'Permissions Violation for Publish to \"{subject}\"'"]
                other.publish("end")
                assert subscriber.message() == ("end", b"")


def test_a_subject_without_a_topic_reaches_nats_and_not_mqtt(strait):
    with (
        nats.connected(strait.nats) as nats_subscriber,
        mqtt.connected(strait.mqtt) as mqtt_subscriber,
        nats.connected(strait.nats) as publisher,
    ):
        nats_subscriber.subscribe(">")
        mqtt_subscriber.subscribe("#", "+/#")
        mqtt_subscriber.subscribe("$JS/API/#", "$SYS/#", "end")
        for subject in VECTORS["subjects_without_a_topic"]:
            publisher.publish(subject, b"x")
            assert nats_subscriber.message() == (subject, b"x")
        publisher.publish("end", b"y")
        # The gateway's own statistics are under $SYS as well.
        heard = mqtt_subscriber.message()
        while heard[0].startswith("$SYS/broker/"):
            heard = mqtt_subscriber.message()
        assert heard == ("end", b"y")
        mqtt_subscriber.ping()


def test_a_pedantic_publisher_is_told_of_a_subject_without_a_topic(strait):
    with nats.connected(strait.nats, pedantic=True) as publisher:
        for subject in VECTORS["subjects_without_a_topic"]:
            publisher.publish(subject)
            assert [op.text for op in publisher.ping()] == ["'Invalid Publish Subject'"], subject


def map_names(names, *flags):
    """What `strait map` says of each."""
    done = subprocess.run(
        [gateway.BINARY, "map", "--null", *flags, "-"],
        input="".join(f"{name}\0" for name in names).encode(), capture_output=True, timeout=30,
    )  # fmt: skip
    answers = done.stdout.decode().split("\0")
    assert answers.pop() == ""
    return done.returncode, answers, done.stderr.decode().splitlines()


def test_strait_map_says_the_vectors():
    topics, subjects = zip(*VECTORS["topic_to_subject"])
    assert map_names(topics) == (0, list(subjects), [])
    assert map_names(subjects, "--subject") == (0, list(topics), [])
    code, answers, complaints = map_names(VECTORS["subjects_without_a_topic"], "--subject")
    assert (code, set(answers)) == (1, {""})
    for subject, complaint in zip(VECTORS["subjects_without_a_topic"], complaints, strict=True):
        assert complaint.startswith(f"error: `{subject}`: no topic has this subject: ")
