"""Connections that come and go by thousands leave nothing behind: no open file, no memory."""

import asyncio
import socket
import struct

import pytest

import gateway
import wire_mqtt as mqtt
import wire_nats as nats

WARM_UP, WAVE = 1_000, 2_000
AT_ONCE = 100
# 4,000 connections; what one of them leaves behind is far less than this share, unless it is leaked.
GROWTH_KIB_MAX = 2_048
RESET = struct.pack("ii", 1, 0)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("n_cores", [1, 4])
def test_thousands_of_connections_leave_nothing_behind(start_strait, n_cores):
    strait = start_strait(n_cores)
    asyncio.run(wave(strait, 0, WARM_UP))
    # Taken after the warm-up: a gateway that accepts may still be opening what its other shards need.
    files = files_at_rest(strait)
    assert files < WARM_UP // 10, "connections of the warm-up are still open"
    resident = []
    for first in (WARM_UP, WARM_UP + WAVE):
        asyncio.run(wave(strait, first, WAVE))
        gateway.wait_until(lambda: strait.n_open_files() <= files, lambda: f"{strait.n_open_files()} files open, {files} before")
        resident.append(strait.resident_kib())
    assert resident[1] - resident[0] <= GROWTH_KIB_MAX, f"from {resident[0]} to {resident[1]} KiB resident"


def files_at_rest(strait):
    """How many files are open once the number stands still."""
    seen = []

    def at_rest():
        seen.append(strait.n_open_files())
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    gateway.wait_until(at_rest, lambda: f"the number of open files stands still: {seen[-20:]}")
    return seen[-1]


async def wave(strait, first, n):
    """`n` connections of each kind, a bounded number of them at once."""
    numbers = iter(range(first, first + n))

    async def worker():
        for number in numbers:
            await mqtt_life(strait, number)
            await nats_life(strait, number)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def mqtt_life(strait, number):
    """Connect, subscribe, publish to oneself, leave: with DISCONNECT, by closing, or by a reset."""
    reader, writer = await asyncio.open_connection(*strait.mqtt)
    version = mqtt.VERSIONS[number % 3]
    writer.write(mqtt.connect(version, f"churn{number}") + mqtt.subscribe(1, [(f"churn/{number}/+", 1)], version))
    writer.write(mqtt.publish(f"churn/{number}/x", b"payload", 1, 2, version=version))
    await until(reader, b"payload", strait)
    if number % 2:
        writer.write(mqtt.disconnect(version))
    leave(writer, number)


async def nats_life(strait, number):
    reader, writer = await asyncio.open_connection(*strait.nats)
    writer.write(nats.connect() + b"SUB churn.%d.* 1\r\nSUB churn.q q 2\r\n" % number)
    writer.write(nats.pub(f"churn.{number}.x", b"payload"))
    await until(reader, b"payload\r\n", strait)
    if number % 2:
        writer.write(b"UNSUB 1\r\n")
    leave(writer, number)


async def until(reader, end, strait):
    seen = b""
    while end not in seen:
        more = await asyncio.wait_for(reader.read(65536), 30)
        assert more, f"closed after {seen!r}:\n{strait.log_tail()}"
        seen += more


def leave(writer, number):
    if number % 3 == 0:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
    else:
        writer.close()
