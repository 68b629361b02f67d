"""Scenario files, and what the load generator shows while it runs: on a terminal, and in a pipe."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios

import pytest

import gateway
from test_loadgen import FAILED, INTERRUPTED, LOADGEN, OK, RUN_S, THRESHOLD_MISSED, Page, assert_whole, at, loadgen, start

__all__ = ["loadgen"]

EXAMPLE = gateway.ROOT / "loadgen/scenarios/day.toml"
SCENARIO_WRONG = 78
ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def cores():
    return 2


@pytest.fixture
def scenario(tmp_path):
    """Writes a file and gives its path."""

    def write(text):
        file = tmp_path / "scenario.toml"
        file.write_text(text)
        return file

    return write


def test_the_example_runs_and_says_what_came_of_each_job(strait, loadgen, tmp_path):
    html, csv = tmp_path / "day.html", tmp_path / "day.csv"
    shorter = ["--duration", "500ms", "--warmup", "50ms", "--threshold", "loss==0"]
    done = loadgen("run", EXAMPLE, *at(strait), *shorter, "--html", html, "--csv", csv).expect(OK)
    runs = {run["name"]: run for run in done.json["runs"]}
    assert list(runs) == ["morning", "noon/telemetry", "noon/commands", "noon/requests", "evening"]
    assert runs["morning"]["connections"]["opened"] == 200
    for name in list(runs)[1:]:
        assert runs[name]["received"] == runs[name]["expected"] > 0, name
        assert runs[name]["foreign"] == 0, "jobs at once keep apart"
        assert name in done.out
    assert done.json["left_out"] == 0
    page = Page(html.read_text())
    assert not page.outside and page.n_charts >= 12
    header, *rows = csv.read_text().splitlines()
    assert header.startswith("run,t_s,") and {row.split(",")[0] for row in rows} == {f'"{name}"' for name in runs}
    whole = tmp_path / "result.json"
    compared = subprocess.run([LOADGEN, "compare", whole, whole], capture_output=True, text=True, timeout=RUN_S)
    assert compared.returncode == OK and compared.stdout.count("── ") == len(runs)


def test_jobs_of_a_phase_run_at_once_and_phases_one_after_another(strait, loadgen, scenario):
    file = scenario(
        """
        duration = '400ms'
        warmup = '0s'
        [[phase]]
        [[phase.job]]
        [[phase.job]]
        from = 'mqtt'
        [[phase]]
        """
    )
    # Each alone takes as long as the two together.
    done = loadgen("run", file, *at(strait)).expect(OK)
    first, second, last = done.json["runs"]
    for run in (first, second, last):
        assert_whole(run)
    assert first["scenario"]["from"] == "nats" and second["scenario"]["from"] == "mqtt"
    assert first["started"] <= last["started"] and second["started"] <= last["started"]


def test_a_missed_threshold_is_99_and_the_phases_go_on(strait, loadgen, scenario):
    file = scenario("msgs = 100\n[[phase]]\nname = 'a'\nthreshold = 'p99<1ns'\n[[phase]]\nname = 'b'\nthreshold = 'p99<1h'\n")
    done = loadgen("run", file, *at(strait)).expect(THRESHOLD_MISSED)
    assert [run["thresholds"][0]["ok"] for run in done.json["runs"]] == [False, True]
    assert "MISSED p99<1ns" in done.out


def test_a_phase_that_fails_is_the_last(strait, loadgen, scenario):
    nowhere = f"127.0.0.1:{gateway.free_port()}"
    file = scenario(
        f"msgs = 100\n[[phase]]\nname = 'there'\nnats = '{gateway.address(strait.nats)}'\n"
        f"[[phase]]\nname = 'away'\nnats = '{nowhere}'\n[[phase]]\nname = 'never'\n"
    )
    done = loadgen("run", file).expect(FAILED)
    assert f"away: loadgen-" in done.err and "connection refused" in done.err
    assert [run["name"] for run in done.json["runs"]] == ["there", "away"]
    assert done.json["left_out"] == 1 and "FAILED" in done.out


def test_an_interrupt_ends_all_jobs_and_leaves_out_what_follows(strait, tmp_path, scenario):
    file = scenario("duration = '1h'\nwarmup = '0s'\n[[phase]]\n[[phase.job]]\n[[phase.job]]\n[[phase]]\n")
    process, result = start(tmp_path, "run", file, *at(strait))
    try:
        assert "received" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=RUN_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == INTERRUPTED, err
    written = json.loads(result.read_text())
    assert [run["interrupted"] for run in written["runs"]] == [True, True] and written["left_out"] == 1


def test_a_wrong_file_is_78_with_its_line_and_the_right_word(scenario):
    file = scenario("size = 16\n[[phase]]\n  pubishers = 3\n")
    for check in ([], ["--check"]):
        done = subprocess.run([LOADGEN, "run", file, *check], capture_output=True, text=True, timeout=RUN_S)
        assert done.returncode == SCENARIO_WRONG and not done.stdout
        assert f"{file}:3:3" in done.stderr and "did you mean `publishers`?" in done.stderr
    missing = subprocess.run([LOADGEN, "run", "/no/such.toml"], capture_output=True, text=True, timeout=RUN_S)
    assert missing.returncode == SCENARIO_WRONG and "/no/such.toml" in missing.stderr
    right = subprocess.run([LOADGEN, "run", "--check", EXAMPLE], capture_output=True, text=True, timeout=RUN_S)
    assert right.returncode == OK and "3 phases, 5 jobs" in right.stdout


# What is shown.


def test_a_pipe_gets_plain_lines(strait, loadgen):
    done = loadgen("pubsub", *at(strait), "--duration", "1200ms", "--warmup", "0s").expect(OK)
    lines = done.err.splitlines()
    assert lines and all(re.match(r" +\d+\.\d s   sent +[\d,]+/s   received +[\d,]+/s   p50", line) for line in lines)
    assert ESCAPE not in done.err + done.out
    silent = loadgen("pubsub", *at(strait), "--msgs", 100, "--no-progress").expect(OK)
    assert silent.err == ""


def test_a_terminal_gets_a_live_line_that_leaves_only_the_table(strait):
    command = ["pubsub", *at(strait), "--duration", "1300ms", "--warmup", "100ms"]
    code, shown, out = on_a_terminal(command)
    assert code == OK
    assert "connections are ready; measuring begins in 100ms" in shown
    assert "━" in shown and re.search(r"\d+ %", shown) and re.search(r"↑ [\d,]+/s  ↓ [\d,]+/s  p50", shown)
    # The line is drawn in place, and at the end it is wiped away.
    assert shown.count("\n") <= 2 and shown.rstrip("\r\n").endswith(f"{ESCAPE}[2K")
    assert out.startswith("measured") and ESCAPE not in out


def test_jobs_at_once_have_a_live_line_each(strait, scenario):
    file = scenario("duration = '1200ms'\nwarmup = '0s'\n[[phase]]\n[[phase.job]]\nname = 'left'\n[[phase.job]]\nname = 'right'\n")
    code, shown, out = on_a_terminal(["run", str(file), *at(strait)])
    assert code == OK
    assert "phase 1/left" in shown and "phase 1/right" in shown
    assert "── phase 1/left" in out and ESCAPE not in out


def on_a_terminal(flags):
    """Runs it with stderr at a terminal of 100 columns: exit code, what was shown there, and stdout."""
    terminal, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    command = [LOADGEN, *map(str, flags)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=its_end, env=environment
    )
    os.close(its_end)
    shown = b""
    try:
        # At the end of the last process that has it open, reading a terminal fails.
        while chunk := read_some(terminal):
            shown += chunk
        out, _ = process.communicate(timeout=RUN_S)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    return process.returncode, shown.decode(), out.decode()


def read_some(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
