"""scripts/compare: which servers and scenarios, the rounds in alternation, and the reports at the end. Whatever
fails becomes an entry of the report, and no process is left."""

import argparse
import contextlib
import datetime
import os
import pathlib
import shlex
import signal
import subprocess
import sys

from perf import generator, host, page, report, scenarios, servers, summary

EXAMPLES = """\
examples:
  scripts/compare                                   everything, three rounds: about 40 minutes
  scripts/compare --quick                           the headline scenarios once: under 3 minutes
  scripts/compare --only nats-1to1 --servers strait,nats-debian
  scripts/compare --out perf/results/NAME           a run to keep

exit codes: 0 done, 1 a scenario failed on Strait (see the report), 64 wrong usage, 69 something is missing,
130 interrupted"""
USAGE, UNAVAILABLE, INTERRUPTED = 64, 69, 130
FULL, QUICK = {"rounds": 3, "seconds": 3.0}, {"rounds": 1, "seconds": 1.0}


def main(arguments):
    options = parse(arguments)
    chosen = [each for each in scenarios.select(options.only) if each.headline or not options.quick]
    if not chosen:
        return refuse(USAGE, f"no {'headline ' if options.quick else ''}scenario matches {', '.join(options.only)}; --list shows all")
    kinds = servers.kinds(options.strait)
    unknown = set(options.servers or []) - {kind.id for kind in kinds}
    if unknown:
        return refuse(USAGE, f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(kind.id for kind in kinds)}")
    kinds = [kind for kind in kinds if not options.servers or kind.id in options.servers]
    if options.list:
        return print_list(chosen, kinds)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return refuse(UNAVAILABLE, "two cores are needed: one for the server, one for the generator")
    # A terminal that closes and a job that is cancelled end the servers as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        present, absent = bring(options, kinds)
    except subprocess.CalledProcessError as error:
        return refuse(UNAVAILABLE, f"{shlex.join(map(str, error.cmd))} ended with {error.returncode}")
    except KeyboardInterrupt:
        return refuse(INTERRUPTED, "interrupted")
    if not options.loadgen.exists():
        return refuse(UNAVAILABLE, f"{options.loadgen} is missing: cargo build --release --package loadgen makes it")
    if not present:
        return refuse(UNAVAILABLE, "; ".join(absent.values()))
    comparison = Comparison(options, chosen, kinds, present, absent, cores)
    comparison.measure()
    comparison.write()
    if comparison.interrupted:
        return INTERRUPTED
    return 1 if any(run["server"] == summary.OURS and run["reason"] for run in comparison.runs) else 0


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/compare",
        description="Measures Strait beside other servers: each on one core, the generator on another.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.error = lambda message: parser.exit(USAGE, f"{parser.prog}: {message}\n")
    target = servers.ROOT / "target/release"
    parser.add_argument("--quick", action="store_true", help="headline scenarios, one round of one second")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="scenarios whose id matches (a glob or a part); may be repeated")
    parser.add_argument("--servers", type=lambda text: text.split(","), metavar="LIST", help="ids, separated by commas")
    parser.add_argument("--rounds", type=positive(int), metavar="N", help="default 3")
    parser.add_argument("--seconds", type=positive(float), metavar="S", help="measured in each run; default 3")
    parser.add_argument("--out", type=pathlib.Path, default=servers.ROOT / "target/compare", metavar="DIR", help="default target/compare")
    parser.add_argument("--strait", type=pathlib.Path, default=target / "strait", metavar="PATH", help="another binary to measure")
    parser.add_argument("--loadgen", type=pathlib.Path, default=target / "loadgen", metavar="PATH", help="another generator binary")
    parser.add_argument("--no-build", action="store_true", help="build and fetch nothing; what is missing is reported so")
    parser.add_argument("--list", action="store_true", help="show scenarios and servers, and end")
    options = parser.parse_args(arguments)
    preset = QUICK if options.quick else FULL
    options.rounds = options.rounds or preset["rounds"]
    options.seconds = options.seconds or preset["seconds"]
    # Servers run in folders of their own.
    options.strait, options.loadgen = options.strait.resolve(), options.loadgen.resolve()
    options.command = servers.shown(shlex.join(["scripts/compare", *arguments]))
    return options


def positive(kind):
    def convert(text):
        value = kind(text)
        if not 0 < value < 1e6:
            raise ValueError
        return value

    convert.__name__ = "positive number"
    return convert


def refuse(code, text):
    print(f"scripts/compare: {text}", file=sys.stderr)
    return code


def interrupt(*_):
    raise KeyboardInterrupt


def print_list(chosen, kinds):
    print("servers:")
    for kind in kinds:
        try:
            print(f"  {kind.id:20} {kind.name} {kind.version()}")
        except servers.Absent as error:
            print(f"  {kind.id:20} {error}")
    print("scenarios (* in --quick):")
    for scenario in chosen:
        print(f"  {scenario.id:20} {'*' if scenario.headline else ' '} {scenario.group}: {scenario.title}")
    return 0


def bring(options, kinds):
    """Builds and fetches what is missing; then the versions of those present, and why the others are absent."""
    if not options.no_build:
        build(options)
    present, absent = {}, {}
    for kind in kinds:
        try:
            if not kind.path.exists() and not options.no_build:
                fetch(kind, options.quick)
            present[kind.id] = kind.version()
        except servers.Absent as error:
            absent[kind.id] = str(error)
            say(f"without {kind.id}: {error}")
    return present, absent


def build(options):
    """Ours: a stale binary would be measured otherwise. One named by a flag is measured as it is."""
    packages = []
    for path, package in ((options.strait, "strait"), (options.loadgen, "loadgen")):
        if path == servers.ROOT / "target/release" / package:
            packages += ["--package", package]
    if packages:
        subprocess.run(["cargo", "build", "--release", "--locked", *packages], cwd=servers.ROOT, check=True)


def fetch(kind, in_a_hurry):
    if kind.id != "rumqttd":
        subprocess.run([servers.ROOT / "scripts/test", "--setup"], cwd=servers.ROOT, check=False, stdout=sys.stderr)
        return
    if in_a_hurry:
        raise servers.Absent(f"not installed, and --quick does not wait for it to compile: {kind.bring}")
    # Without --locked: the lock file of 0.20.0 holds a metrics 0.22.1 that Rust 1.95 does not compile.
    command = ["cargo", "install", "--root", str(servers.FETCHED / "cargo"), "rumqttd", "--version", servers.RUMQTTD_VERSION]
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode != 0:
        raise servers.Absent(f"it does not build here: {shlex.join(command)}")


class Comparison:
    """The runs of one call, and the document that they make."""

    def __init__(self, options, chosen, kinds, present, absent, cores):
        self.options = options
        self.chosen = chosen
        self.kinds = kinds
        self.present = present
        self.absent = absent
        self.server_core, self.generator_core = cores[:2]
        self.began = datetime.datetime.now(datetime.UTC)
        self.runs = []
        self.load_averages = {}
        self.server_commands = {}
        self.scenario_commands = {}
        self.interrupted = False

    def measure(self):
        try:
            for number in range(1, self.options.rounds + 1):
                self.load_averages[number] = host.load_average()
                for scenario in self.chosen:
                    for kind in self.order(scenario, number):
                        self.runs.append(self.one(number, scenario, kind))
        except KeyboardInterrupt:
            self.interrupted = True
            say("interrupted: writing what there is")

    def order(self, scenario, number):
        """Every server in turn, another one first in each round, so that noise and warmth hit all alike."""
        able = [kind for kind in self.kinds if kind.id in self.present and kind.serves(scenario.protocols)]
        turn = (number - 1) % len(able) if able else 0
        return able[turn:] + able[:turn]

    def one(self, number, scenario, kind):
        entry = {"round": number, "scenario": scenario.id, "server": kind.id}
        try:
            with servers.Running(kind, self.server_core, "mqtt" in scenario.protocols) as server:
                self.server_commands[kind.id] = (command_text(server.command), servers.shown(server.config))
                got = generator.measure(self.options.loadgen, scenario, server, self.generator_core, self.options.seconds)
                if kind.id == summary.OURS:
                    self.scenario_commands[scenario.id] = command_text(got.command)
        except (servers.StartFailed, OSError) as error:
            got = generator.Measurement([], reason=str(error))
        say(f"round {number}/{self.options.rounds}  {scenario.id:20} {kind.id:12} {outcome(scenario, got)}")
        return {
            **entry,
            "reason": got.reason and servers.shown(got.reason),
            "figures": got.figures,
            "notes": got.notes,
            "others": got.others,
            "command": command_text(got.command),
        }

    def document(self):
        ids = [kind.id for kind in self.kinds]
        return {
            "schema": report.SCHEMA,
            "date": self.began.isoformat(timespec="seconds"),
            "interrupted": self.interrupted,
            "machine": host.describe(),
            "settings": {
                "command": self.options.command,
                "rounds": self.options.rounds,
                "seconds": self.options.seconds,
                "warmup_seconds": generator.WARMUP_S,
                "server_core": self.server_core,
                "generator_core": self.generator_core,
            },
            "generator": {"version": self.generator_version(), "path": servers.shown(str(self.options.loadgen))},
            "servers": [self.server_entry(kind) for kind in self.kinds],
            "scenarios": [
                {"id": each.id, "title": each.title, "group": each.group, "command": self.scenario_commands.get(each.id)}
                for each in self.chosen
            ],
            "rounds": summary.rounds(self.runs, self.load_averages),
            "rows": summary.rows(self.chosen, ids, self.runs),
            "runs": self.runs,
        }

    def server_entry(self, kind):
        version = self.present.get(kind.id)
        command, config = self.server_commands.get(kind.id, (None, None))
        return {
            "id": kind.id,
            "name": kind.name,
            "version": version,
            "title": f"{kind.name} {version}" if version else kind.id,
            "absent": servers.shown(self.absent[kind.id]) if kind.id in self.absent else None,
            "command": command,
            "config": config,
        }

    def generator_version(self):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            said = subprocess.run([self.options.loadgen, "--version"], capture_output=True, text=True, timeout=10)
            return said.stdout.strip() or "unknown"
        return "unknown"

    def write(self):
        folder = self.options.out
        folder.mkdir(parents=True, exist_ok=True)
        document = self.document()
        for name, text in (
            ("compare.json", report.as_json(document)),
            ("compare.md", report.as_markdown(document)),
            ("compare.html", page.as_html(document)),
        ):
            (folder / name).write_text(text)
            say(f"wrote {folder / name}")


def outcome(scenario, measurement):
    if measurement.reason:
        return f"failed: {measurement.reason}"
    texts = []
    # How many passed belongs to what each cost; elsewhere it is set or nothing.
    for name in [*scenario.goals, *(["rate"] if "cpu_us" in scenario.goals else [])]:
        metric = scenarios.METRICS[name]
        if name in measurement.figures:
            texts.append(f"{measurement.figures[name] * metric.factor:.{metric.digits}f} {metric.unit}")
    return ", ".join([*texts, *measurement.notes])


def command_text(command):
    return servers.shown(shlex.join(command))


def say(text):
    print(text, file=sys.stderr, flush=True)
