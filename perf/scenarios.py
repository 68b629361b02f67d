"""What is measured: the scenarios, the figure that each is about, and Strait's goal for it.

A scenario is a command line of loadgen without addresses, times and cores; those come from generator.
"""

import fnmatch
from dataclasses import dataclass, field

# Messages under way in a closed loop, over all publishers: enough to keep a server's core busy, few enough to
# stay within its queues and the cache.
LAG_BY_SIZE = {16: 16384, 128: 8192, 1024: 2048}
BEST = "best"


@dataclass(frozen=True)
class Metric:
    """A figure of a measurement. `factor` turns the measured value into the unit that is shown."""

    id: str
    title: str
    unit: str
    digits: int
    lower_is_better: bool = True
    factor: float = 1.0


METRICS = {
    metric.id: metric
    for metric in (
        Metric("cpu_us", "server CPU per delivered message", "µs", 3),
        Metric("rate", "messages delivered", "M/s", 3, lower_is_better=False, factor=1e-6),
        Metric("p50_us", "latency, median", "µs", 0),
        Metric("p99_us", "latency, 99th percentile", "µs", 0),
        Metric("round_trips", "round trips", "k/s", 1, lower_is_better=False, factor=1e-3),
        Metric("connection_bytes", "server memory per idle connection", "KB", 2, factor=1e-3),
    )
}


@dataclass(frozen=True)
class Scenario:
    """One run of the generator. `goals` maps the metrics to show to Strait's goal, in the unit shown: a number,
    BEST (at or better than the best peer of the same run), or None."""

    id: str
    title: str
    group: str
    arguments: tuple
    protocols: frozenset
    goals: dict = field(hash=False)
    headline: bool = False
    # Time beside the measured one: thousands of subscriptions or connections take a while.
    extra_s: float = 0.0
    crosses: bool = False


def table():
    """All scenarios, in the order of the report."""
    return [*nats(), *mqtt(), *mqtt_qos1(), *crossing(), *wildcards(), *latency(), *round_trips(), *idle()]


def select(patterns):
    """Those whose id matches one of the patterns: an id, a glob, or a part of ids."""
    if not patterns:
        return table()
    ids = {each.id for each in table()}
    globs = [each if each in ids or any(sign in each for sign in "*?[") else f"*{each}*" for each in patterns]
    return [each for each in table() if any(fnmatch.fnmatchcase(each.id, glob) for glob in globs)]


def nats():
    group = "NATS → NATS"
    return [
        flow("nats", "nats", "1to1", 16, 0.065, group, headline=True),
        flow("nats", "nats", "1to1", 128, 0.12, group),
        flow("nats", "nats", "1to1", 1024, 0.45, group),
        flow("nats", "nats", "1to8", 16, 0.025, group, headline=True),
        flow("nats", "nats", "1to8", 128, 0.05, group),
        flow("nats", "nats", "8pairs", 16, 0.07, group),
        flow("nats", "nats", "8pairs", 128, 0.13, group),
        flow("nats", "nats", "queue4", 16, 0.075, group),
    ]


def mqtt():
    group = "MQTT → MQTT, QoS 0"
    return [
        flow("mqtt", "mqtt", "1to1", 16, 0.07, group, headline=True),
        flow("mqtt", "mqtt", "1to1", 128, 0.13, group),
        flow("mqtt", "mqtt", "1to1", 1024, 0.45, group),
        flow("mqtt", "mqtt", "1to8", 16, 0.035, group, headline=True),
        flow("mqtt", "mqtt", "1to8", 128, 0.06, group),
        flow("mqtt", "mqtt", "8pairs", 16, 0.08, group),
        flow("mqtt", "mqtt", "8pairs", 128, 0.14, group),
    ]


def mqtt_qos1():
    group = "MQTT → MQTT, QoS 1, window 100"
    return [
        flow("mqtt", "mqtt", "1to1", 128, 0.6, group, qos=1, headline=True),
        flow("mqtt", "mqtt", "8pairs", 128, 0.25, group, qos=1),
    ]


def crossing():
    goals = {("1to1", 16): 0.07, ("1to1", 128): 0.13, ("1to8", 16): 0.03, ("1to8", 128): 0.06}
    return [
        flow(source, target, shape, size, goal, f"{source.upper()} → {target.upper()}", headline=shape == "1to1" and size == 16)
        for source, target in (("mqtt", "nats"), ("nats", "mqtt"))
        for (shape, size), goal in goals.items()
    ]


# Publishers, subscribers, subjects and loadgen's word; queue4's four subscribers share a queue group.
SHAPES = {
    "1to1": (1, 1, 1, "all", "1 : 1"),
    "1to8": (1, 8, 1, "all", "1 : 8"),
    "8pairs": (8, 8, 8, "pair", "8 pairs on 8 subjects"),
    "queue4": (1, 4, 1, "queue", "queue group of 4"),
}


def flow(source, target, shape, size, goal, group, qos=0, headline=False):
    """Messages through the server in a closed loop, so that none is lost."""
    n_publishers, n_subscribers, n_subjects, word, title = SHAPES[shape]
    arguments = between(source, target, n_publishers, n_subscribers, n_subjects, word, size)
    arguments += ["--lag", str(LAG_BY_SIZE[size] // n_publishers)]
    if "mqtt" in (source, target):
        arguments += ["--qos", str(qos)]
    if qos:
        arguments += ["--window", "100"]
    kind = source if source == target else f"{source}-{target}"
    return Scenario(
        id="-".join([kind, *(["qos1"] if qos else []), shape, str(size)]),
        title=f"{title}, {size_text(size)}",
        group=group,
        arguments=tuple(arguments),
        protocols=frozenset({source, target}),
        goals={"cpu_us": goal},
        headline=headline,
        crosses=source != target,
    )


def wildcards():
    return [
        Scenario(
            id=f"wildcards-{protocol}",
            title=f"{protocol.upper()}, 16 B, each of 100,000 filters hit in turn",
            group="100,000 wildcard filters",
            arguments=(*between(protocol, protocol, 1, 1, None, "all", 16), "--lag", "16384", "--wildcards", "100000"),
            protocols=frozenset({protocol}),
            goals={"rate": 2.5},
            extra_s=30,
        )
        for protocol in ("nats", "mqtt")
    ]


def latency():
    return [
        Scenario(
            id=f"latency-{protocol}",
            title=f"{protocol.upper()}, 128 B",
            group="Latency at 10,000 messages a second, open loop",
            arguments=(*between(protocol, protocol, 1, 1, 1, "all", 128), "--rate", "10000"),
            protocols=frozenset({protocol}),
            goals={"p50_us": BEST, "p99_us": BEST},
            headline=True,
        )
        for protocol in ("nats", "mqtt")
    ]


def round_trips():
    return [
        Scenario(
            id="round-trips-nats",
            title="NATS, 16 connections",
            group="Round trips",
            arguments=("request", "--from", "nats", "--to", "nats", "--connections", "16", "--size", "16"),
            protocols=frozenset({"nats"}),
            goals={"round_trips": 250},
        )
    ]


def idle():
    return [
        Scenario(
            id=f"idle-{protocol}",
            title=f"{protocol.upper()}, one subscription each",
            group="Idle connections",
            arguments=("conn", "--to", protocol, "--connections", "5000"),
            protocols=frozenset({protocol}),
            goals={"connection_bytes": 1.5},
            headline=True,
            extra_s=20,
        )
        for protocol in ("nats", "mqtt")
    ]


def between(source, target, n_publishers, n_subscribers, n_subjects, shape, size):
    arguments = ["pubsub", "--from", source, "--to", target, "--shape", shape, "--size", str(size)]
    arguments += ["--publishers", str(n_publishers), "--subscribers", str(n_subscribers)]
    return arguments if n_subjects is None else [*arguments, "--subjects", str(n_subjects)]


def size_text(size):
    return "1 KiB" if size == 1024 else f"{size} B"
