"""scripts/compare from outside: real servers, a generator that stands in, the three reports, and nothing left."""

import html.parser
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import gateway

STAND_IN = pathlib.Path(__file__).with_name("stand_in_loadgen.py")


class Compare:
    """One call. Its servers keep their files below `folder`, by which they are found again."""

    def __init__(self, folder, trouble=""):
        self.folder = folder
        self.out = folder / "out"
        self.env = {**os.environ, "TMPDIR": str(folder), "STAND_IN": trouble}

    def start(self, *arguments):
        command = [sys.executable, gateway.ROOT / "scripts/compare", "--no-build", "--loadgen", STAND_IN]
        command += ["--strait", gateway.BINARY, "--out", self.out, "--seconds", "0.1", *arguments]
        # A shell's background job ignores it, and so would what it starts.
        heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.env, stdout=pipe, stderr=subprocess.STDOUT, text=True, preexec_fn=heed)

    def run(self, *arguments):
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=100)
        assert not self.left(), "processes are left"
        return process.returncode, said

    def left(self):
        """Command lines that name the folder: the servers by their configuration, the generator by its result."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"{self.folder}/compare-" in line:
                found.append(line)
        return found

    def document(self):
        return json.loads((self.out / "compare.json").read_text())

    def written(self, name):
        return (self.out / name).read_text()


class Addresses(html.parser.HTMLParser):
    """What a page would load from elsewhere."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.n_charts = 0

    def handle_starttag(self, tag, attributes):
        self.n_charts += tag == "svg"
        self.found += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        self.found += [tag] if tag in ("link", "script", "iframe", "img") else []


def test_a_run_writes_json_markdown_and_a_page_that_needs_nothing_else(tmp_path):
    compare = Compare(tmp_path)
    code, said = compare.run("--only", "nats-1to1-16", "--only", "latency-mqtt", "--servers", "strait,nats-debian,mosquitto", "--rounds", "2")
    assert code == 0, said
    document = compare.document()
    assert document["schema"] == 1 and not document["interrupted"]
    assert document["machine"]["cpu"] and document["machine"]["cores"] >= 2
    assert [server["version"] is not None for server in document["servers"]] == [True] * 3
    assert [row["metric"] for row in document["rows"]] == ["cpu_us", "p50_us", "p99_us"]
    assert set(document["rows"][0]["cells"]) == {"strait", "nats-debian"}, "mosquitto does not speak NATS"
    assert set(document["rows"][1]["cells"]) == {"strait", "nats-debian", "mosquitto"}
    assert len(document["runs"]) == 2 * (2 + 3)
    assert [run["server"] for run in document["runs"][5:7]] == ["nats-debian", "strait"], "round 2 begins with another"
    assert [entry["round"] for entry in document["rounds"]] == [1, 2]
    markdown = compare.written("compare.md")
    assert "| 1 : 1, 16 B | 0.100 (0.100 – 0.100)ᵍ |" in markdown
    assert "the generator was the bottleneck: it stands in" in markdown
    page = Addresses()
    page.feed(compare.written("compare.html"))
    assert page.n_charts == 4 and not page.found
    assert "@import" not in compare.written("compare.html") and "url(" not in compare.written("compare.html")
    assert str(gateway.ROOT) not in markdown, "a kept report names no folder of its machine"


@pytest.mark.parametrize(
    ("trouble", "reason"), [("lose", "3 lost"), ("refuse", "the server refused the login"), ("babble", "no JSON")]
)
def test_a_run_that_fails_is_an_entry_with_its_reason(tmp_path, trouble, reason):
    compare = Compare(tmp_path, trouble)
    code, said = compare.run("--only", "mqtt-1to1-16", "--servers", "strait,mosquitto", "--rounds", "1")
    assert code == 1, said
    assert [reason in run["reason"] for run in compare.document()["runs"]] == [True, True]
    assert "| failed | failed |" in compare.written("compare.md")
    assert reason in compare.written("compare.md") and reason in compare.written("compare.html")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_its_processes_and_writes_what_it_has(tmp_path, number):
    compare = Compare(tmp_path, "hang")
    process = compare.start("--only", "nats-1to1-16", "--servers", "strait")
    deadline = time.monotonic() + 20
    # The server and the generator.
    while len(compare.left()) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert not compare.left()
    assert compare.document()["interrupted"]


def test_a_server_that_is_absent_is_said_to_be(tmp_path):
    compare = Compare(tmp_path)
    code, said = compare.run("--strait", tmp_path / "nowhere", "--only", "mqtt-1to1-16", "--servers", "strait,mosquitto", "--rounds", "1")
    assert code == 0, said
    assert "nowhere is missing" in compare.document()["servers"][0]["absent"]
    assert "not measured" in compare.written("compare.md")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--only", "nothing-like-it"], "no scenario matches"),
        (["--servers", "strait,frog"], "no such server: frog"),
        (["--rounds", "0"], "positive number"),
        (["--seconds", "soon"], "positive number"),
        (["--frog"], "--frog"),
    ],
)
def test_wrong_usage_is_refused_with_64(tmp_path, arguments, word):
    code, said = Compare(tmp_path).run(*arguments)
    assert code == 64 and word in said


# The other script, as far as it goes without recording anything.


def test_a_profile_of_no_known_scenario_names_the_nearest():
    code, said = profile("nats-1to-16")
    assert code == 64 and "did you mean" in said and "nats-1to1-16" in said


def test_a_profile_without_perf_says_what_to_install_before_it_builds(tmp_path):
    code, said = profile("nats-1to1-16", path=tmp_path)
    assert code == 69 and "linux-perf" in said


def profile(*arguments, path=os.environ["PATH"]):
    command = [sys.executable, gateway.ROOT / "scripts/profile", *arguments]
    done = subprocess.run(command, env={**os.environ, "PATH": str(path)}, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr
