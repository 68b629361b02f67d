"""scripts/profile: one scenario on a pinned Strait under `perf record`, as a flame graph and a list. It says
where the time goes, not how much there is: that is scripts/compare."""

import argparse
import difflib
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys

from perf import flame, generator, run, scenarios, servers

EXAMPLES = """\
examples:
  scripts/profile nats-1to1-16
  scripts/profile mqtt-8pairs-128 --seconds 10 --out /tmp/pairs --inline

scripts/compare --list shows the scenarios."""
# Stacks of frame pointers are cheap to take and complete only if everything keeps them.
FRAME_POINTERS = {"RUSTFLAGS": "-C force-frame-pointers=yes"}
TARGET = servers.ROOT / "target/profile"


def main(arguments):
    options = parse(arguments)
    known = scenarios.table()
    chosen = [each for each in known if each.id == options.scenario]
    if not chosen:
        near = difflib.get_close_matches(options.scenario, [each.id for each in known])
        meant = f": did you mean {' or '.join(near)}?" if near else ";"
        return refuse(run.USAGE, f"no scenario is called {options.scenario}{meant} scripts/compare --list shows all")
    # Said before a build that takes minutes.
    if not shutil.which("perf"):
        return refuse(run.UNAVAILABLE, "perf is not installed: on Debian `apt install linux-perf`, elsewhere linux-tools")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return refuse(run.UNAVAILABLE, "two cores are needed: one for the server, one for the generator")
    signal.signal(signal.SIGTERM, run.interrupt)
    try:
        return profile(options, chosen[0], cores)
    except subprocess.CalledProcessError as error:
        return refuse(1, f"{shlex.join(map(str, error.cmd))} ended with {error.returncode}")
    except (servers.StartFailed, OSError) as error:
        return refuse(1, str(error))
    except KeyboardInterrupt:
        return refuse(run.INTERRUPTED, "interrupted")


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="scripts/profile",
        description="Shows where Strait's CPU goes in one scenario.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.error = lambda message: parser.exit(run.USAGE, f"{parser.prog}: {message}\n")
    parser.add_argument("scenario", metavar="SCENARIO")
    parser.add_argument("--seconds", type=run.positive(float), default=5.0, metavar="S", help="recorded; default 5")
    parser.add_argument("--frequency", type=run.positive(int), default=1999, metavar="HZ", help="samples a second; default 1999")
    parser.add_argument("--out", type=pathlib.Path, default=servers.ROOT / "target/profiles", metavar="DIR", help="default target/profiles")
    parser.add_argument("--inline", action="store_true", help="name inlined functions too; takes minutes")
    parser.add_argument("--strait", type=pathlib.Path, metavar="PATH", help="a binary to profile, instead of one built with frame pointers")
    parser.add_argument("--loadgen", type=pathlib.Path, default=servers.ROOT / "target/release/loadgen", metavar="PATH", help="another generator binary")
    return parser.parse_args(arguments)


def refuse(code, text):
    print(f"scripts/profile: {text}", file=sys.stderr)
    return code


def profile(options, scenario, cores):
    options.loadgen = options.loadgen.resolve()
    if options.loadgen == servers.ROOT / "target/release/loadgen":
        subprocess.run(["cargo", "build", "--release", "--locked", "--package", "loadgen"], cwd=servers.ROOT, check=True)
    strait = options.strait.resolve() if options.strait else build()
    kind = servers.kinds(strait)[0]
    options.out.mkdir(parents=True, exist_ok=True)
    recorded = options.out / f"{scenario.id}.data"
    with servers.Running(kind, cores[0], "mqtt" in scenario.protocols) as server:
        measured = record(options, scenario, server, cores[1], recorded)
    if measured.reason:
        return refuse(1, f"the scenario failed: {measured.reason}")
    stacks = flame.fold(script(recorded, options.inline))
    if not stacks:
        return refuse(1, f"perf recorded no sample of Strait in {recorded}")
    figure = run.outcome(scenario, measured)
    title = f"Strait {kind.version()}: {scenario.group}, {scenario.title}"
    write(options.out / f"{scenario.id}.svg", flame.svg(stacks, title, f"{figure} under perf"))
    listed = flame.top(stacks)
    write(options.out / f"{scenario.id}.txt", f"{title}\n{figure} under perf\n\n{listed}")
    print(listed)
    return 0


def build():
    environment = {**os.environ, **FRAME_POINTERS, "CARGO_TARGET_DIR": str(TARGET)}
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "strait"], cwd=servers.ROOT, env=environment, check=True)
    return TARGET / "release/strait"


def record(options, scenario, server, core, recorded):
    """perf begins when the warm-up is over and ends by itself; the generator goes on a little longer."""
    delay_s = generator.WARMUP_S + 0.5
    # No hardware counter: a virtual machine seldom has one, and the clock is enough to see where time goes.
    command = ["perf", "record", "--quiet", "--event", "cpu-clock", "--freq", str(options.frequency), "-g"]
    command += ["--delay", str(int(delay_s * 1000)), "--pid", str(server.pid), "--output", str(recorded)]
    command += ["--", "sleep", f"{delay_s + options.seconds:g}"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=lambda: servers.settle(core)
    )
    try:
        return generator.measure(options.loadgen, scenario, server, core, options.seconds + 1)
    finally:
        finish(process)


def finish(process):
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def script(recorded, inline):
    command = ["perf", "script", "--input", str(recorded), "--fields", "comm,time,ip,sym,dso"]
    command += [] if inline else ["--no-inline"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, errors="replace")
    return done.stdout


def write(path, text):
    path.write_text(text)
    run.say(f"wrote {path}")
