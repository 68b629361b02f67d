"""nats-py on both ends: wildcards, queue groups, requests, headers, size, order, drain."""

import asyncio
import collections
import json

import nats
import nats.errors
import nats.micro
import pytest

from clients import connect_nats, run, settle

MIB = 1 << 20
MANY = 20_000


def test_wildcards_match_as_nats_server_does(strait):
    async def scenario():
        nc = await connect_nats(strait)
        publisher = await connect_nats(strait)
        filters = ["w.*", "w.>", "w.a.*.c", ">", "w"]
        subscriptions = {name: await nc.subscribe(name) for name in filters}
        await settle(nc)
        for subject in ["w", "w.a", "w.a.b.c", "w.end"]:
            await publisher.publish(subject, subject.encode())
        for name, heard in {
            "w": ["w"],
            "w.*": ["w.a", "w.end"],
            "w.>": ["w.a", "w.a.b.c", "w.end"],
            "w.a.*.c": ["w.a.b.c"],
            ">": ["w", "w.a", "w.a.b.c", "w.end"],
        }.items():
            assert [(await subscriptions[name].next_msg(10)).subject for _ in heard] == heard, name
        for name, subscription in subscriptions.items():
            assert subscription.pending_msgs == 0, name

    run(scenario())


def test_every_overlapping_subscription_gets_its_own_copy(strait):
    async def scenario():
        nc = await connect_nats(strait)
        subscriptions = [await nc.subscribe("overlap.a") for _ in range(3)]
        await settle(nc)
        await nc.publish("overlap.a", b"x")
        for subscription in subscriptions:
            assert (await subscription.next_msg(10)).data == b"x"

    run(scenario())


def test_exactly_one_member_of_a_queue_group_gets_a_message_and_all_get_some(strait):
    n_members, n_messages = 6, 1200

    async def scenario():
        taken = collections.Counter()
        members = collections.Counter()
        everything = asyncio.Event()

        def member(idx):
            async def on_message(message):
                taken[message.data] += 1
                members[idx] += 1
                if len(taken) == n_messages:
                    everything.set()

            return on_message

        connections = [await connect_nats(strait) for _ in range(n_members)]
        for idx, nc in enumerate(connections):
            # Half of them by a wildcard: a group is its name, not its filter.
            await nc.subscribe("jobs.*" if idx % 2 else "jobs.new", queue="workers", cb=member(idx))
            await settle(nc)
        publisher = await connect_nats(strait)
        for n in range(n_messages):
            await publisher.publish("jobs.new", b"%d" % n)
        await settle(publisher)
        await everything.wait()
        for nc in connections:
            await settle(nc)
        assert set(taken.values()) == {1}
        # Fair within wide bounds: 200 each are expected, and 100 is nine standard deviations away.
        assert len(members) == n_members and min(members.values()) > 100, members

    run(scenario())


def test_a_group_goes_on_with_those_who_stay(strait):
    async def scenario():
        stays, leaves = await connect_nats(strait), await connect_nats(strait)
        subscription = await stays.subscribe("stay", queue="q")
        await settle(stays)
        await leaves.subscribe("stay", queue="q")
        await settle(leaves)
        await leaves.close()
        publisher = await connect_nats(strait)
        # Cores learn of the leaving one by one, and may give it some until then; never the last of many.
        last = n_heard = 0
        for n in range(200):
            await publisher.publish("stay", b"%d" % n)
            await settle(publisher)
        while last != 199:
            last = int((await subscription.next_msg(10)).data)
            n_heard += 1
        assert n_heard >= 190, "the group goes on giving messages to one who has left"

    run(scenario())


def test_a_request_gets_its_reply(strait):
    async def scenario():
        server, client = await connect_nats(strait), await connect_nats(strait)

        async def serve(message):
            await message.respond(message.data.upper())

        await server.subscribe("service.upper", queue="s", cb=serve)
        await settle(server)
        replies = await asyncio.gather(*(client.request("service.upper", b"r%d" % n, timeout=10) for n in range(200)))
        assert [reply.data for reply in replies] == [b"R%d" % n for n in range(200)]

    run(scenario())


def test_a_request_that_nobody_can_answer_fails_at_once(strait):
    async def scenario():
        nc = await connect_nats(strait)
        for _ in range(20):
            with pytest.raises(nats.errors.NoRespondersError):
                await nc.request("nobody.home", b"?", timeout=30)

    run(scenario())


def test_headers_arrive_as_they_were_sent(strait):
    async def scenario():
        nc, publisher = await connect_nats(strait), await connect_nats(strait)
        subscription = await nc.subscribe("headers")
        await settle(nc)
        sent = {"Alpha": "1", "x-lower": "two words", "Check": "✓", "Empty": "", "Nats-Msg-Id": "7"}
        await publisher.publish("headers", b"body", headers=sent)
        message = await subscription.next_msg(10)
        assert (message.headers, message.data) == (sent, b"body")

    run(scenario())


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB])
def test_payloads_up_to_the_limit_arrive_whole(strait, size):
    async def scenario():
        nc, publisher = await connect_nats(strait), await connect_nats(strait)
        assert nc.max_payload == MIB
        payload = (bytes(range(256)) * (size // 256 + 1))[:size]
        subscription = await nc.subscribe("size")
        await settle(nc)
        await publisher.publish("size", payload)
        assert (await subscription.next_msg(10)).data == payload

    run(scenario())


def test_twenty_thousand_messages_arrive_in_order(strait):
    async def scenario():
        nc, publisher = await connect_nats(strait), await connect_nats(strait)
        heard, everything = [], asyncio.Event()

        async def on_message(message):
            heard.append(int(message.data))
            if len(heard) == MANY:
                everything.set()

        await nc.subscribe("order", cb=on_message)
        await settle(nc)
        for n in range(MANY):
            await publisher.publish("order", b"%d" % n)
        await settle(publisher)
        await everything.wait()
        assert heard == list(range(MANY))

    run(scenario())


def test_unsubscribing_after_a_number_of_messages_takes_exactly_that_many(strait):
    async def scenario():
        nc, publisher = await connect_nats(strait), await connect_nats(strait)
        subscription = await nc.subscribe("auto")
        last = await nc.subscribe("auto.end")
        await subscription.unsubscribe(limit=3)
        await settle(nc)
        for n in range(10):
            await publisher.publish("auto", b"%d" % n)
        await publisher.publish("auto.end")
        await last.next_msg(10)
        assert [(await subscription.next_msg(1)).data for _ in range(3)] == [b"0", b"1", b"2"]

    run(scenario())


def test_a_drain_loses_nothing_that_has_arrived(strait):
    async def scenario():
        nc, publisher = await connect_nats(strait), await connect_nats(strait)
        heard, end = [], asyncio.Event()

        async def on_message(message):
            await asyncio.sleep(0)
            heard.append(int(message.data))

        async def on_end(_):
            end.set()

        await nc.subscribe("drain", cb=on_message)
        await nc.subscribe("drain.end", cb=on_end)
        await settle(nc)
        for n in range(1000):
            await publisher.publish("drain", b"%d" % n)
        await publisher.publish("drain.end")
        # nats-py sends the PING of a drain ahead of its UNSUBs, so it must not begin while messages are
        # on their way from core to core; test_order has the drain of a client that keeps them in order.
        await end.wait()
        await nc.drain()
        assert heard == list(range(1000))

    run(scenario())


def test_requests_of_the_old_style_get_their_replies(strait):
    async def scenario():
        server, client = await connect_nats(strait), await connect_nats(strait)

        async def serve(message):
            await message.respond(message.data.upper())

        await server.subscribe("old.upper", cb=serve)
        await settle(server)
        for n in range(100):
            reply = await client.request("old.upper", b"r%d" % n, timeout=10, old_style=True)
            assert reply.data == b"R%d" % n

    run(scenario())


def test_one_connection_has_ten_thousand_subscriptions(strait):
    async def scenario():
        nc, publisher = await connect_nats(strait), await connect_nats(strait)
        heard, everything = set(), asyncio.Event()

        async def on_message(message):
            heard.add(message.subject)
            if len(heard) == 10_000:
                everything.set()

        for n in range(10_000):
            await nc.subscribe(f"many.{n}", cb=on_message)
        await settle(nc)
        for n in range(10_000):
            await publisher.publish(f"many.{n}")
        await settle(publisher)
        await everything.wait()

    run(scenario())


def test_a_micro_service_is_discovered_and_asked(strait):
    async def scenario():
        server, client = await connect_nats(strait), await connect_nats(strait)
        services = [await nats.micro.add_service(server, name="upper", version="1.2.3") for _ in range(2)]

        async def upper(request):
            await request.respond(request.data.upper())

        for service in services:
            await service.add_endpoint(name="upper", subject="micro.upper", handler=upper)
        await settle(server)
        for subject in ["$SRV.PING", "$SRV.INFO.upper", "$SRV.STATS.upper"]:
            inbox = client.new_inbox()
            answers = await client.subscribe(inbox)
            await client.publish(subject, b"", reply=inbox)
            found = [json.loads((await answers.next_msg(10)).data) for _ in services]
            assert {answer["id"] for answer in found} == {service.id for service in services}
            assert {answer["version"] for answer in found} == {"1.2.3"}
        one = await client.request(f"$SRV.PING.upper.{services[0].id}", timeout=10)
        assert json.loads(one.data)["type"] == "io.nats.micro.v1.ping_response"
        assert (await client.request("micro.upper", b"x", timeout=10)).data == b"X"
        for service in services:
            await service.stop()

    run(scenario())


def test_clients_find_the_gateway_again_after_a_restart(start_strait, cores):
    strait = start_strait(cores)

    async def scenario():
        again = asyncio.Event()

        async def on_reconnected():
            again.set()

        async def on_error(_):
            pass

        nc = await nats.connect(
            strait.nats_url, reconnect_time_wait=0.05, max_reconnect_attempts=-1, reconnected_cb=on_reconnected,
            error_cb=on_error,
        )  # fmt: skip
        subscription = await nc.subscribe("again")
        await settle(nc)
        await asyncio.to_thread(strait.stop)
        await asyncio.to_thread(start_strait, cores, mqtt_port=strait.mqtt[1], nats_port=strait.nats[1])
        await again.wait()
        publisher = await connect_nats(strait)
        await settle(nc)
        await publisher.publish("again", b"after")
        assert (await subscription.next_msg(10)).data == b"after"
        await nc.close()

    run(scenario())
