"""Listeners with EMQX's mapping: subjects and topics are exchanged plainly, and what has no name there is counted."""

import asyncio
import subprocess
import urllib.request

import nats
import nats.errors
import pytest

import gateway
from clients import Paho, run, settle
from test_crossing import of_publish


@pytest.fixture(scope="module")
def exchanging(start_module_strait, cores):
    port = gateway.free_port()
    env = {"STRAIT__NATS__LISTENERS__OLD__BIND": str(port), "STRAIT__NATS__LISTENERS__OLD__MAPPING": "emqx"}
    strait = start_module_strait(cores, env=env)
    strait.old = port
    yield strait


async def connect(strait, is_old=True, **options):
    port = strait.old if is_old else strait.nats[1]
    return await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False, **options)


def n_dropped(strait):
    host, port = strait.admin
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=20) as found:
        lines = found.read().decode().splitlines()
    [line] = [it for it in lines if it.startswith("strait_deliveries_dropped_total") and "no_emqx_subject" in it]
    return int(float(line.split()[-1]))


def test_topics_come_and_go_with_dots_for_slashes(exchanging):
    async def scenario():
        old, exact = await connect(exchanging), await connect(exchanging, is_old=False)
        heard, heard_exactly = await old.subscribe("emq.>"), await exact.subscribe("emq.>")
        await settle(old), await settle(exact)
        with Paho(exchanging) as device:
            device.subscribe("emq/#")
            told = of_publish(UserProperty=[("a", "b")])
            for topic in ("emq", "emq/a/b", "emq/v1.0/x", "emq/ü"):
                device.publish(topic, topic.encode(), 1, told)
                message = await heard.next_msg(10)
                assert (message.subject, message.data.decode()) == (topic.replace("/", "."), topic)
                assert message.headers["a"] == "b"
                assert device.message() == (topic, topic.encode())
            # To everybody else they are what they always are.
            subjects = [(await heard_exactly.next_msg(10)).subject for _ in range(3)]
            assert subjects == ["emq.a.b", "emq.v1//0.x", "emq.ü"]
            await old.publish("emq.c/d", b"in", headers={"x": "y"})
            message = await asyncio.to_thread(device.whole_message)
            assert (message.topic, message.payload) == ("emq/c/d", b"in")
            assert message.properties.UserProperty == [("x", "y")]
            assert (await heard_exactly.next_msg(10)).subject == "emq.c.d"
            assert (await heard.next_msg(10)).subject == "emq.c.d"
        await old.close(), await exact.close()

    run(scenario())


def test_topics_without_a_subject_are_counted(exchanging):
    async def scenario():
        old = await connect(exchanging)
        heard = await old.subscribe("lost.>")
        await settle(old)
        before = n_dropped(exchanging)
        with Paho(exchanging) as device:
            for topic in ("lost/a b", "lost/", "lost//x", "lost/*", "lost/./x"):
                device.publish(topic, b"x", qos=1)
            device.publish("lost/last", b"x", qos=1)
        message = await heard.next_msg(10)
        assert message.subject == "lost.last" and heard.pending_msgs == 0
        assert n_dropped(exchanging) - before == 5
        await old.close()

    run(scenario())


def test_groups_and_requests_pass_between_both_kinds_of_listener(exchanging):
    async def scenario():
        old, exact = await connect(exchanging), await connect(exchanging, is_old=False)

        async def answer(message):
            await message.respond(message.subject.encode() + b" " + message.data)

        await old.subscribe("svc.*", queue="q", cb=answer)
        await exact.subscribe("other.svc", cb=answer)
        await settle(old), await settle(exact)
        assert (await exact.request("svc.a", b"1", timeout=10)).data == b"svc.a 1"
        assert (await old.request("other/svc", b"2", timeout=10)).data == b"other.svc 2"
        with pytest.raises(nats.errors.NoRespondersError):
            await old.request("nobody.there", b"", timeout=10)
        with Paho(exchanging) as device:
            device.subscribe("answers/x", "$share/q/svc/b")
            properties = of_publish(ResponseTopic="answers/x", CorrelationData=b"c")
            await asyncio.to_thread(device.publish, "svc/a", b"3", 1, properties)
            message = await asyncio.to_thread(device.whole_message)
            assert (message.payload, message.properties.CorrelationData) == (b"svc.a 3", b"c")
            # One group of both kinds: there is one copy of each message.
            answers = await exact.subscribe("group.answers")
            for n in range(40):
                await exact.publish("svc.b", b"%d" % n, reply="group.answers")
            while device.messages.qsize() + answers.pending_msgs < 40:
                await settle(exact)
            await settle(old), await settle(exact)
            assert device.messages.qsize() + answers.pending_msgs == 40
            assert device.messages.qsize() > 0 and answers.pending_msgs > 0
        await old.close(), await exact.close()

    run(scenario())


def test_retained_messages_are_read_by_their_names_there(exchanging):
    async def scenario():
        old = await connect(exchanging)
        with Paho(exchanging) as device:
            for topic in ("kept/a.b", "kept/c", "kept/x y"):
                device.client.publish(topic, topic.encode(), qos=1, retain=True).wait_for_publish(10)
        answers = await old.subscribe("answers.kept")
        await old.publish("$STRAIT.RETAINED.LIST.kept.*", reply="answers.kept")
        found = {}
        while (message := await answers.next_msg(10)).headers.get("Status") != "204":
            found[message.headers["Nats-Subject"]] = message.data
        assert found == {"kept.a.b": b"kept/a.b", "kept.c": b"kept/c"}
        assert (await old.request("$STRAIT.RETAINED.GET.kept.c", timeout=10)).data == b"kept/c"
        await old.close()

    run(scenario())


def test_the_check_knows_the_mappings(tmp_path):
    config = tmp_path / "strait.toml"
    command = [gateway.BINARY, "--config", config, "--mqtt", str(gateway.free_port()), "--nats", "off", "--admin", "off"]
    config.write_text('[nats.listeners.old]\nbind = "off"\nmapping = "emq"\n')
    refused = subprocess.run([*command, "check"], capture_output=True, text=True)
    assert refused.returncode == 78 and "did you mean `emqx`?" in refused.stderr
    config.write_text('[nats.listeners.old]\nbind = "off"\nmapping = "emqx"\n')
    shown = subprocess.run([*command, "config", "show"], capture_output=True, text=True)
    assert 'mapping = "emqx"  # ' in shown.stdout
    mapped = subprocess.run([gateway.BINARY, "map", "--emqx", "spBv1.0/x"], capture_output=True, text=True)
    assert mapped.stdout == "spBv1.0.x\n"
