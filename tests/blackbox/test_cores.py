"""Connections are spread evenly over the cores, and thousands at once are served."""

import asyncio
import collections
import contextlib

import pytest

import gateway
import wire_mqtt as mqtt
import wire_nats as nats

N_SPREAD = 1_000
N_AT_ONCE = 5_000
# What a connection with a subscription may cost while it is up, in KiB; descriptors and sockets are the kernel's.
CONNECTION_KIB_MAX = 6


def test_a_thousand_connections_are_spread_evenly(start_strait):
    """A client's number tells its core: each core counts in steps of their number."""
    strait = start_strait(4)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(nats.Connection(strait.nats)) for _ in range(N_SPREAD)]
        by_core = collections.Counter(client.info["client_id"] % 4 for client in clients)
    assert len(by_core) == 4
    assert max(by_core.values()) / min(by_core.values()) <= 1.2, by_core


@pytest.mark.timeout(180)
def test_five_thousand_of_each_kind_at_once(start_strait):
    """They connect, subscribe, wait for each other, publish to themselves and leave."""
    strait = start_strait(2)
    files, before = strait.n_open_files(), strait.resident_kib()
    highest = asyncio.run(crowd(strait))
    assert highest - before <= 2 * N_AT_ONCE * CONNECTION_KIB_MAX, f"{highest - before} KiB for all of them"
    gateway.wait_until(
        lambda: strait.n_open_files() <= files, lambda: f"{strait.n_open_files()} files open, {files} before"
    )
    first = strait.resident_kib()
    asyncio.run(crowd(strait))
    gateway.wait_until(
        lambda: strait.n_open_files() <= files, lambda: f"{strait.n_open_files()} files open, {files} before"
    )
    assert strait.resident_kib() - first <= 4_096, f"from {first} to {strait.resident_kib()} KiB"


async def crowd(strait):
    all_up, n_up, may_open = asyncio.Event(), [0], asyncio.Semaphore(200)
    lives = [life(strait, number, all_up, n_up, may_open) for life in (mqtt_life, nats_life) for number in range(N_AT_ONCE)]
    tasks = [asyncio.create_task(life) for life in lives]
    watch = asyncio.create_task(all_up.wait())
    await asyncio.wait([watch, *tasks], return_when=asyncio.FIRST_COMPLETED, timeout=120)
    assert all_up.is_set(), f"{n_up[0]} of {2 * N_AT_ONCE} are up:\n{strait.log_tail()}"
    highest = strait.resident_kib()
    await asyncio.gather(*tasks)
    return highest


async def mqtt_life(strait, number, all_up, n_up, may_open):
    async with may_open:
        reader, writer = await asyncio.open_connection(*strait.mqtt)
        writer.write(mqtt.connect(mqtt.V311, f"crowd{number}") + mqtt.subscribe(1, [(f"m/{number}", 1)], mqtt.V311))
        await until(reader, b"\x90\x03\x00\x01\x01", strait)
    await arrive(all_up, n_up)
    writer.write(mqtt.publish(f"m/{number}", b"payload", 1, 2, version=mqtt.V311))
    await until(reader, b"payload", strait)
    writer.write(mqtt.disconnect(mqtt.V311))
    writer.close()


async def nats_life(strait, number, all_up, n_up, may_open):
    async with may_open:
        reader, writer = await asyncio.open_connection(*strait.nats)
        writer.write(nats.connect() + b"SUB n.%d 1\r\nPING\r\n" % number)
        await until(reader, b"PONG\r\n", strait)
    await arrive(all_up, n_up)
    writer.write(nats.pub(f"n.{number}", b"payload"))
    await until(reader, b"payload\r\n", strait)
    writer.close()


async def arrive(all_up, n_up):
    n_up[0] += 1
    if n_up[0] == 2 * N_AT_ONCE:
        all_up.set()
    await all_up.wait()


async def until(reader, end, strait):
    seen = b""
    while end not in seen:
        more = await asyncio.wait_for(reader.read(65536), 60)
        assert more, f"closed after {seen!r}:\n{strait.log_tail()}"
        seen += more
