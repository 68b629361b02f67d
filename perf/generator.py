"""One run of loadgen against one running server, and what its report says; not what is done with the figures."""

import json
import os
import pathlib
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

from perf import host, servers

WARMUP_S = 1.0
# For connecting, warming up and settling; a run that takes longer hangs.
SLACK_S = 20.0
FAILED_EXIT_CODES = {1: "loadgen failed", 64: "loadgen does not take these arguments"}


@dataclass
class Measurement:
    """What one run gave. Without a reason it counts; with one its figures do not."""

    command: list
    reason: str | None = None
    figures: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    others: dict = field(default_factory=dict)


def measure(loadgen, scenario, server, core, seconds):
    """Runs the scenario. Whatever goes wrong becomes the measurement's reason."""
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        report = pathlib.Path(folder) / "result.json"
        command = command_line(loadgen, scenario, server, core, seconds, report)
        measurement = Measurement(command)
        cores = {core, server.core}
        cpu_before, server_before, began = host.ticks(cores), server.cpu_s(), time.monotonic()
        limit = seconds + WARMUP_S + scenario.extra_s + SLACK_S
        code, said, own_s = run(command, core, limit)
        wall_s = time.monotonic() - began
        ended = server.ended()
        if ended is None:
            used = host.ticks(cores).since(cpu_before)
            theirs = used.busy_s - own_s - (server.cpu_s() - server_before)
            measurement.others = {
                "steal": max(0.0, used.stolen_s) / wall_s / len(cores),
                "other_cpu": max(0.0, theirs) / wall_s / len(cores),
            }
        measurement.reason = ended or failure(code, said, limit)
        if report.exists():
            read_into(measurement, report)
        elif measurement.reason is None:
            measurement.reason = "loadgen wrote no result"
        missing = [each for each in scenario.goals if measurement.figures.get(each) is None]
        if measurement.reason is None and missing:
            measurement.reason = f"loadgen reports no {', '.join(missing)}"
        return measurement


def command_line(loadgen, scenario, server, core, seconds, report):
    command = [str(loadgen), *scenario.arguments]
    for protocol in sorted(scenario.protocols):
        command += [f"--{protocol}", f"127.0.0.1:{server.ports[protocol]}"]
    command += ["--duration", f"{seconds:g}s", "--core", str(core), "--server-pid", str(server.pid)]
    if scenario.arguments[0] == "pubsub":
        command += ["--warmup", f"{WARMUP_S:g}s"]
    return [*command, "--no-progress", "--json", str(report)]


def run(command, core, limit):
    """Exit code (None: it took too long), what it said, and the CPU it used."""
    before = os.times()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: servers.settle(core),
    )
    try:
        said, _ = process.communicate(timeout=limit)
        code = process.returncode
    except subprocess.TimeoutExpired:
        code, said = None, b""
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    after = os.times()
    own_s = after.children_user + after.children_system - before.children_user - before.children_system
    return code, said.decode(errors="replace"), own_s


def failure(code, said, limit):
    if code == 0:
        return None
    if code is None:
        return f"not done within {limit:.0f} s"
    last = [line.strip() for line in said.splitlines() if line.strip()][-3:]
    return f"{FAILED_EXIT_CODES.get(code, f'loadgen ended with {code}')}: {' | '.join(last)[:400] or 'it said nothing'}"


def read_into(measurement, report):
    try:
        result = json.loads(report.read_text())
    except ValueError as error:
        measurement.reason = measurement.reason or f"loadgen's result is no JSON: {error}"
        return
    measurement.figures = figures(result)
    measurement.reason = measurement.reason or broken_promise(result)
    generator = result.get("generator") or {}
    if generator.get("bottleneck"):
        measurement.notes.append(f"the generator was the bottleneck: {generator.get('why') or 'no reason given'}")


def figures(result):
    """The figures of a result in base units, as METRICS names them; those that it does not have are left out."""
    server = result.get("server") or {}
    latency = result.get("latency_us") or {}
    rates = result.get("rates") or {}
    duration_s = result.get("duration_s") or 0
    found = {
        "cpu_us": server.get("cpu_us_per_message"),
        "rate": rates.get("received_per_s"),
        "p50_us": latency.get("p50"),
        "p99_us": latency.get("p99"),
        "round_trips": (result.get("round_trips") or {}).get("per_s"),
        "connection_bytes": server.get("memory_bytes_per_connection"),
        "server_busy": server["cpu_s"] / duration_s if server.get("cpu_s") and duration_s else None,
        "cpu_user_s": server.get("cpu_user_s"),
        "cpu_system_s": server.get("cpu_system_s"),
        "rss_peak_bytes": server.get("rss_peak_bytes"),
        "generator_busy": (result.get("generator") or {}).get("busy"),
        "received": (result.get("measured") or {}).get("received"),
    }
    return {name: value for name, value in found.items() if value is not None}


def broken_promise(result):
    """A server that loses messages has done less work than one that does not: its figure would mislead."""
    broken = [f"{result[what]} {what}" for what in ("lost", "duplicates", "reordered") if result.get(what)]
    failed = (result.get("connections") or {}).get("failed")
    broken += [f"{failed} connections failed"] if failed else []
    return ", ".join(broken) or None
