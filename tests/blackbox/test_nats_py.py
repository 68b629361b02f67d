"""nats-py on both ends: wildcards, queue groups, requests, headers, size, order, drain."""

import asyncio
import collections

import nats.errors
import pytest

from clients import connect_nats, run

MIB = 1 << 20
MANY = 20_000


def test_wildcards_match_as_nats_server_does(strait):
    async def scenario():
        nc = await connect_nats(strait)
        publisher = await connect_nats(strait)
        filters = ["w.*", "w.>", "w.a.*.c", ">", "w"]
        subscriptions = {name: await nc.subscribe(name) for name in filters}
        await nc.flush()
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
        await publisher.close()
        await nc.close()

    run(scenario())


def test_every_overlapping_subscription_gets_its_own_copy(strait):
    async def scenario():
        nc = await connect_nats(strait)
        subscriptions = [await nc.subscribe("overlap.a") for _ in range(3)]
        await nc.flush()
        await nc.publish("overlap.a", b"x")
        for subscription in subscriptions:
            assert (await subscription.next_msg(10)).data == b"x"
        await nc.close()

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
            await nc.flush()
        publisher = await connect_nats(strait)
        for n in range(n_messages):
            await publisher.publish("jobs.new", b"%d" % n)
        await publisher.flush()
        await everything.wait()
        for nc in connections:
            await nc.flush()
        assert set(taken.values()) == {1}
        # Fair within wide bounds: 200 each are expected, and 100 is nine standard deviations away.
        assert len(members) == n_members and min(members.values()) > 100, members
        for nc in [publisher, *connections]:
            await nc.close()

    run(scenario())


def test_a_group_goes_on_with_those_who_stay(strait):
    async def scenario():
        stays, leaves = await connect_nats(strait), await connect_nats(strait)
        subscription = await stays.subscribe("stay", queue="q")
        await stays.flush()
        await leaves.subscribe("stay", queue="q")
        await leaves.flush()
        await leaves.close()
        publisher = await connect_nats(strait)
        # A request is answered by somebody or refused at once, so none can get lost unseen.
        gone = 0
        for n in range(200):
            await publisher.publish("stay", b"%d" % n)
        await publisher.flush()
        last = -1
        while last != 199:
            last = int((await subscription.next_msg(10)).data)
            gone += 1
        assert gone >= 100, "the group lost more than those that were under way to the one who left"
        await publisher.close()
        await stays.close()

    run(scenario())


def test_a_request_gets_its_reply(strait):
    async def scenario():
        server, client = await connect_nats(strait), await connect_nats(strait)

        async def serve(message):
            await message.respond(message.data.upper())

        await server.subscribe("service.upper", queue="s", cb=serve)
        await server.flush()
        replies = await asyncio.gather(*(client.request("service.upper", b"r%d" % n, timeout=10) for n in range(200)))
        assert [reply.data for reply in replies] == [b"R%d" % n for n in range(200)]
        await client.close()
        await server.close()

    run(scenario())


def test_a_request_that_nobody_can_answer_fails_at_once(strait):
    async def scenario():
        nc = await connect_nats(strait)
        for _ in range(20):
            with pytest.raises(nats.errors.NoRespondersError):
                await nc.request("nobody.home", b"?", timeout=30)
        await nc.close()

    run(scenario())


def test_headers_arrive_as_they_were_sent(strait):
    async def scenario():
        nc, publisher = await connect_nats(strait), await connect_nats(strait)
        subscription = await nc.subscribe("headers")
        await nc.flush()
        sent = {"Alpha": "1", "x-lower": "two words", "Check": "✓", "Empty": "", "Nats-Msg-Id": "7"}
        await publisher.publish("headers", b"body", headers=sent)
        message = await subscription.next_msg(10)
        assert (message.headers, message.data) == (sent, b"body")
        await publisher.close()
        await nc.close()

    run(scenario())


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB])
def test_payloads_up_to_the_limit_arrive_whole(strait, size):
    async def scenario():
        nc, publisher = await connect_nats(strait), await connect_nats(strait)
        assert nc.max_payload == MIB
        payload = (bytes(range(256)) * (size // 256 + 1))[:size]
        subscription = await nc.subscribe("size")
        await nc.flush()
        await publisher.publish("size", payload)
        assert (await subscription.next_msg(10)).data == payload
        await publisher.close()
        await nc.close()

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
        await nc.flush()
        for n in range(MANY):
            await publisher.publish("order", b"%d" % n)
        await publisher.flush()
        await everything.wait()
        assert heard == list(range(MANY))
        await publisher.close()
        await nc.close()

    run(scenario())


def test_unsubscribing_after_a_number_of_messages_takes_exactly_that_many(strait):
    async def scenario():
        nc, publisher = await connect_nats(strait), await connect_nats(strait)
        subscription = await nc.subscribe("auto")
        last = await nc.subscribe("auto.end")
        await subscription.unsubscribe(limit=3)
        await nc.flush()
        for n in range(10):
            await publisher.publish("auto", b"%d" % n)
        await publisher.publish("auto.end")
        await last.next_msg(10)
        assert [(await subscription.next_msg(1)).data for _ in range(3)] == [b"0", b"1", b"2"]
        await publisher.close()
        await nc.close()

    run(scenario())


def test_a_drain_delivers_what_was_sent_before_it(strait):
    async def scenario():
        nc, publisher = await connect_nats(strait), await connect_nats(strait)
        heard = []

        async def on_message(message):
            heard.append(int(message.data))

        await nc.subscribe("drain", cb=on_message)
        await nc.flush()
        for n in range(1000):
            await publisher.publish("drain", b"%d" % n)
        # A flushed publisher and then the subscriber's drain: all of it was before.
        await publisher.flush()
        await nc.drain()
        assert heard == list(range(1000))
        await publisher.drain()

    run(scenario())
