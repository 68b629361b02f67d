"""Listeners of their own, and clients whose names are mounted: what they see and what stays apart."""

import asyncio
import json
import signal
import subprocess

import nats
import nats.errors
import pytest

import gateway
import wire_nats as wire
from clients import Paho, run, settle

HOSTILE = {
    "a.b": "a%2Eb",
    "*": "%2A",
    ">": "%3E",
    "with space": "with%20space",
    "a/b+#": "a%2Fb%2B%23",
    "$SYS": "%24SYS",
    "_INBOX": "%5FINBOX",
    "": "_",
}


@pytest.fixture(scope="module")
def mounted(start_module_strait, cores):
    """A gateway with a NATS listener each for east, west and users, and one for a single connection."""
    ports = {name: gateway.free_port() for name in ("east", "west", "users", "narrow")}
    mountpoints = {"east": "plant.east", "west": "plant.west.", "users": "t.${username}", "narrow": ""}
    env = {}
    for name, port in ports.items():
        variable = f"STRAIT__NATS__LISTENERS__{name.upper()}"
        env |= {f"{variable}__BIND": str(port), f"{variable}__MOUNTPOINT": mountpoints[name]}
    env["STRAIT__NATS__LISTENERS__NARROW__MAX_CONNECTIONS"] = "1"
    strait = start_module_strait(cores, env=env)
    strait.ports = ports
    yield strait


async def connect(strait, listener=None, **options):
    port = strait.ports[listener] if listener else strait.nats[1]
    return await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False, **options)


def test_two_mounts_don_t_hear_each_other_and_one_without_hears_both(mounted):
    async def scenario():
        east, west, all_ = [await connect(mounted, name) for name in ("east", "west", None)]
        heard = {nc: await nc.subscribe(">") for nc in (east, west)}
        outside = await all_.subscribe("plant.>")
        for nc in (east, west, all_):
            await settle(nc)
        await east.publish("a.b", b"from east", reply="r")
        await west.publish("a.b", b"from west")
        await settle(east)
        await settle(west)
        seen = {(it.subject, it.reply): it.data for it in [await outside.next_msg(10) for _ in range(2)]}
        assert seen == {("plant.east.a.b", "plant.east.r"): b"from east", ("plant.west.a.b", ""): b"from west"}
        await all_.publish("plant.west.end")
        await all_.publish("plant.east.end")
        for nc, text in ((east, b"from east"), (west, b"from west")):
            messages = [await heard[nc].next_msg(10) for _ in range(2)]
            assert [(it.subject, it.data) for it in messages] == [("a.b", text), ("end", b"")]
        for nc in (east, west, all_):
            await nc.close()

    run(scenario())


def test_requests_work_within_a_mount_and_with_services_outside(mounted):
    async def scenario():
        east, west, all_ = [await connect(mounted, name) for name in ("east", "west", None)]
        inside = await connect(mounted, "east")
        watcher = await connect(mounted, "west")

        async def answer(message):
            await message.respond(b"inside " + message.data)

        async def answer_all(message):
            await message.respond(b"outside " + message.subject.encode())

        await inside.subscribe("svc.in", cb=answer)
        await all_.subscribe("plant.*.svc.out", queue="q", cb=answer_all)
        spy = await watcher.subscribe("_INBOX.>")
        for nc in (inside, all_, watcher):
            await settle(nc)
        assert (await east.request("svc.in", b"?", timeout=10)).data == b"inside ?"
        assert (await east.request("svc.in", b"!", timeout=10, old_style=True)).data == b"inside !"
        for nc, name in ((east, b"east"), (west, b"west")):
            reply = await nc.request("svc.out", b"?", timeout=10)
            assert reply.data == b"outside plant." + name + b".svc.out"
        # What is in one mount is nowhere in the other.
        with pytest.raises(nats.errors.NoRespondersError):
            await west.request("svc.in", b"?", timeout=10)
        # The replies of its own mount are all that came.
        await settle(watcher)
        assert [(await spy.next_msg(10)).data for _ in range(spy.pending_msgs)] == [b"outside plant.west.svc.out"]
        info = json.loads((await east.request("$SYS.REQ.USER.INFO", timeout=10)).data)
        assert info["server"]["name"] == "strait"
        with pytest.raises(nats.errors.NoRespondersError):
            await east.request("$SYS.REQ.SERVER.PING", timeout=10)
        for nc in (east, west, all_, inside, watcher):
            await nc.close()

    run(scenario())


def test_a_queue_group_of_a_mount_shares_its_messages_out(mounted):
    n_messages = 300

    async def scenario():
        members = [await connect(mounted, "east") for _ in range(3)]
        other = await connect(mounted, "west")
        taken = [await nc.subscribe("jobs.*", queue="workers") for nc in members]
        none = await other.subscribe("jobs.*", queue="workers")
        for nc in (*members, other):
            await settle(nc)
        for n in range(n_messages):
            await members[0].publish("jobs.new", b"%d" % n)
        await settle(members[0])
        heard = []
        while len(heard) < n_messages:
            for subscription in taken:
                while subscription.pending_msgs:
                    heard.append((await subscription.next_msg(10)).data)
            await asyncio.sleep(0)
        assert sorted(heard, key=int) == [b"%d" % n for n in range(n_messages)]
        await settle(other)
        assert none.pending_msgs == 0
        for nc in (*members, other):
            await nc.close()

    run(scenario())


@pytest.mark.parametrize("user", HOSTILE)
def test_no_user_name_leaves_its_mount(mounted, user):
    async def scenario():
        all_ = await connect(mounted)
        victim = await connect(mounted, "users", user="victim", password="x")
        hostile = await connect(mounted, "users", **({"user": user, "password": "x"} if user else {}))
        outside = await all_.subscribe(">")
        of_hostile = await hostile.subscribe(">")
        of_victim = await victim.subscribe(">")
        for nc in (all_, victim, hostile):
            await settle(nc)
        await victim.publish("secret", b"victim's")
        await hostile.publish("x.y", b"own")
        await hostile.publish("t.victim.secret", b"forged")
        for nc in (victim, hostile):
            await settle(nc)
        subjects = {(await outside.next_msg(10)).subject for _ in range(3)}
        mount = HOSTILE[user]
        assert subjects == {"t.victim.secret", f"t.{mount}.x.y", f"t.{mount}.t.victim.secret"}
        messages = [await of_hostile.next_msg(10) for _ in range(2)]
        assert [it.data for it in messages] == [b"own", b"forged"]
        assert (await of_victim.next_msg(10)).data == b"victim's" and of_victim.pending_msgs == 0
        for nc in (all_, victim, hostile):
            await nc.close()

    run(scenario())


def test_mqtt_sees_mounted_subjects_as_topics_and_reaches_them(mounted):
    async def scenario():
        east = await connect(mounted, "east")
        heard = await east.subscribe("cmd.>")
        await settle(east)
        with Paho(mounted) as device:
            device.subscribe("plant/#")
            await east.publish("temp.1", b"21.5")
            message = await asyncio.to_thread(device.messages.get, True, 10)
            assert (message.topic, message.payload) == ("plant/east/temp/1", b"21.5")
            device.client.publish("plant/east/cmd/stop", b"now")
            message = await heard.next_msg(10)
            assert (message.subject, message.data) == ("cmd.stop", b"now")
        await east.close()

    run(scenario())


def test_a_listener_has_a_limit_of_its_own_and_a_client_that_goes_makes_room(mounted):
    async def scenario():
        first = await connect(mounted, "narrow")
        with pytest.raises(Exception, match="maximum connections exceeded|Connection lost|unexpected EOF"):
            await connect(mounted, "narrow", connect_timeout=5)
        other = await connect(mounted, "east")
        await first.close()
        second = None
        for _ in range(200):
            try:
                second = await connect(mounted, "narrow")
                break
            except Exception:
                await asyncio.sleep(0.02)
        assert second and second.is_connected
        await second.close()
        await other.close()

    run(scenario())


@pytest.fixture
def announcing(start_strait):
    """A gateway whose section and whose listener `told` have addresses to announce; `plain` has none."""
    ports = {name: gateway.free_port() for name in ("plain", "told", "one")}
    section_port = gateway.free_port()
    env = {
        "STRAIT__NATS__ADVERTISE": "section.example:1",
        "STRAIT__NATS__CONNECT_URLS": f"127.0.0.1:{section_port},elsewhere.example:1",
        "STRAIT__NATS__LISTENERS__TOLD__ADVERTISE": "told.example:2",
        "STRAIT__NATS__LISTENERS__TOLD__CONNECT_URLS": "told.example:2,section.example:1,other.example:2",
        "STRAIT__NATS__LISTENERS__ONE__MAX_CONNECTIONS": "1",
        "STRAIT__LIMITS__LAME_DUCK_GRACE_SECS": "2",
        "STRAIT__LIMITS__LAME_DUCK_DURATION_SECS": "1",
    }
    for name, port in ports.items():
        variable = f"STRAIT__NATS__LISTENERS__{name.upper()}"
        env |= {f"{variable}__BIND": str(port), f"{variable}__MOUNTPOINT": f"m.{name}"}
    strait = start_strait(2, env=env, nats_port=section_port)
    strait.ports = ports
    return strait


def announced(info):
    return info["host"], info["port"], info.get("connect_urls")


def test_a_listener_announces_itself_and_not_what_others_announce(announcing):
    at = {name: ("127.0.0.1", port) for name, port in announcing.ports.items()}
    told = ["told.example:2", "section.example:1", "other.example:2"]
    expected = {
        announcing.nats: ("section.example", 1, [f"127.0.0.1:{announcing.nats[1]}", "elsewhere.example:1"]),
        at["plain"]: (*at["plain"], None),
        at["told"]: ("told.example", 2, told),
        at["one"]: (*at["one"], None),
    }
    clients = {address: wire.Connection(address) for address in expected}
    for address, client in clients.items():
        assert announced(client.info) == expected[address]
        client.send(wire.connect(), b"PING\r\n")
        while (op := client.receive()).kind != "PONG":
            pass
        assert announced(json.loads(client.expect("INFO").text)) == expected[address]
    # What is said to one who is turned away is said by the listener as well.
    with wire.Connection(at["one"]) as refused:
        assert announced(refused.info) == (*at["one"], None)
        refused.expect_error("maximum connections exceeded")
    announcing.process.send_signal(signal.SIGUSR2)
    left = {announcing.nats: [f"127.0.0.1:{announcing.nats[1]}", "elsewhere.example:1"], at["told"]: ["other.example:2"]}
    for address, client in clients.items():
        info = json.loads(client.expect("INFO").text)
        assert info["ldm"] and announced(info) == (*expected[address][:2], left.get(address))
        assert client.until_closed() == []
    gateway.running.remove(announcing)
    assert announcing.process.wait(20) == 0


def test_a_client_that_reconnects_stays_in_its_mount(announcing):
    async def scenario():
        back = asyncio.Event()

        async def reconnected():
            back.set()

        url = f"nats://127.0.0.1:{announcing.ports['plain']}"
        nc = await nats.connect(url, reconnect_time_wait=0.05, max_reconnect_attempts=100, reconnected_cb=reconnected)
        watcher = await nats.connect(announcing.nats_url)
        outside = await watcher.subscribe(">")
        await settle(watcher)
        for n in range(5):
            assert nc.discovered_servers == [] and len(nc.servers) == 1
            back.clear()
            nc._transport.close()
            await asyncio.wait_for(back.wait(), 20)
            await nc.publish("a", b"%d" % n)
            await settle(nc)
            message = await outside.next_msg(10)
            assert (message.subject, message.data) == ("m.plain.a", b"%d" % n)
        await nc.close()
        await watcher.close()

    run(scenario())


def test_the_log_and_the_check_name_every_listener(mounted, tmp_path):
    assert f"NATS (east) on 127.0.0.1:{mounted.ports['east']}" in mounted.log()
    port = gateway.free_port()
    config = tmp_path / "strait.toml"
    config.write_text(f'[nats.listeners.edge]\nbind = {port}\nmountpoint = "edge/x/"\n')
    command = [gateway.BINARY, "--config", config, "--mqtt", "off", "--nats", "off", "--admin", "off"]
    refused = subprocess.run([*command, "check"], capture_output=True, text=True)
    assert refused.returncode == 78
    assert 'mountpoint = "edge.x."' in refused.stderr and "strait.toml:3" in refused.stderr
    config.write_text(f'[nats.listeners.edge]\nbind = {port}\nmountpoint = "edge.x."\n')
    checked = subprocess.run([*command, "check"], capture_output=True, text=True)
    assert f"127.0.0.1:{port} is free" in checked.stdout, checked
    shown = subprocess.run([*command, "config", "show"], capture_output=True, text=True)
    assert "[nats.listeners.edge]" in shown.stdout and 'mountpoint = "edge.x."  # ' in shown.stdout
