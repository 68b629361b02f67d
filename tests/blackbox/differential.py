"""Generated conversations of several NATS clients, told to Strait and to nats-server: both must answer alike.

A case is a list of steps: which client speaks, and its ops. `differential_cases` makes them; here they are
played, made comparable, and shrunk. Left out of what is compared is what nats-server leaves open: in which
order one connection's subscriptions get a message, which member of a queue group does, and which of several
subscriptions for the reply hears that nobody responds.

    .test/venv/bin/python tests/blackbox/differential.py --seed 17 --cores 4

plays one seed again against both, and shows the shortest conversation in which they differ.
"""

import argparse
import collections
import contextlib
import itertools
import json
import pathlib
import random
import select
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace

import differential_cases
import gateway
import wire_nats

NATS_SERVER = gateway.ROOT / ".test/venv/bin/nats-server"
# A round trip takes well under a millisecond; what has not come by then does not come.
ANSWER_S = 10
COMPLAINT = "-ERR 'Invalid Publish Subject'"
NO_RESPONDERS = b"NATS/1.0 503\r\nNats-Subject: "
ABORT = struct.pack("ii", 1, 0)
# Stands for the subjects of one play, so that the last one's subscriptions cannot hear it. Lengths stay.
MARK = differential_cases.MARK
numbers = itertools.count(random.Random().randrange(10**6))


def next_number():
    """For one play, or one beside another."""
    return next(numbers) % 10**6


@dataclass
class Round:
    """What one connection heard in one step."""

    ops: list = field(default_factory=list)
    end: str = ""

    def told(self):
        ops = sorted_runs(by_some_sid(op) for op in self.ops if not is_by_group(op))
        # nats-server complains once more of a publish whose payload it read in several pieces.
        lines = [[line] if line == COMPLAINT else list(run) for line, run in itertools.groupby(map(shown, ops))]
        return sum(lines, []) + ([self.end] if self.end else [])


class Client:
    """One connection of a play."""

    def __init__(self, at):
        self.socket = socket.create_connection(at, timeout=ANSWER_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = bytearray()
        self.n_infos = self.n_pongs = self.n_pongs_due = 0
        self.is_open = True
        while self.n_infos == 0:
            self.take_in(Round(), time.monotonic() + ANSWER_S)

    def say(self, data, n_pongs):
        self.n_pongs_due += n_pongs
        # It may close while we speak; what it said before is still to be read.
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def listen(self):
        """All that comes up to the last PONG due, or to the end."""
        heard, deadline = Round(), time.monotonic() + ANSWER_S
        while self.is_open and self.n_pongs < self.n_pongs_due:
            self.take_in(heard, deadline)
        return heard

    def take_in(self, heard, deadline):
        while found := wire_nats.decode(self.pending):
            op, length = found
            del self.pending[:length]
            match op.kind:
                case "INFO":
                    self.n_infos += 1
                case "PING":
                    self.say(b"PONG\r\n", 0)
                case "PONG":
                    self.n_pongs += 1
                case _:
                    heard.ops.append(op)
        if self.n_pongs < self.n_pongs_due or self.n_infos == 0:
            self.receive(heard, deadline)

    def receive(self, heard, deadline):
        try:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            more = self.socket.recv(1 << 16)
        except TimeoutError:
            more, heard.end = b"", f"silent, {bytes(self.pending)!r} pending"
        except ConnectionError:
            more = b""
        if not more:
            heard.end = heard.end or "closed"
            self.is_open = False
        self.pending += more

    def abort(self):
        """Away with it at once; thousands of plays would run out of ports otherwise."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        self.socket.close()


def play(case, at, number):
    """The transcript: a list for each step, of what each connection heard and what queue groups took."""
    clients = [Client(at) for _ in range(case.n_clients)]
    chance = random.Random(case.seed)
    try:
        transcript = [step_told(clients, step, chance, number) for step in case.steps]
        transcript.append([f"{client.n_infos} INFO" for client in clients if client.is_open and client.n_pongs > 2])
        return transcript
    finally:
        for client in clients:
            client.abort()


def step_told(clients, step, chance, number):
    speaker = clients[step.client]
    told = [[] for _ in clients]
    groups = collections.Counter()
    if speaker.is_open:
        speak(speaker, step, chance, number)
        rounds = {step.client: speaker.listen()}
        others = [idx for idx, client in enumerate(clients) if client is not speaker and client.is_open]
        for idx in others:
            clients[idx].say(b"PING\r\n", 1)
        rounds.update((idx, clients[idx].listen()) for idx in others)
        for idx, heard in rounds.items():
            told[idx] = heard.told()
            groups.update(shown_by_group(op) for op in heard.ops if is_by_group(op))
    return [*told, sorted(groups.items())]


def speak(client, step, chance, number):
    data = b"".join(op.data for op in step.ops).replace(MARK, b"d%06d" % number)
    if step.n_pieces > 1:
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(step.n_pieces - 1))
        for start, end in itertools.pairwise([0, *cuts]):
            client.say(data[start:end], 0)
        data = data[cuts[-1] :]
    client.say(data + b"PING\r\n", 1 + sum(op.n_pongs for op in step.ops))


def is_by_group(op):
    return op.kind == "MSG" and op.sid.startswith(differential_cases.GROUP_SID)


def shown_by_group(op):
    """Without what depends on the member: whether it can take headers."""
    group = op.sid[: differential_cases.GROUP_SID_LEN]
    return f"{group} took {op.subject} reply {op.reply} {op.payload!r}"


def by_some_sid(op):
    return replace(op, sid="some") if op.headers.startswith(NO_RESPONDERS) else op


def shown(op):
    if op.kind == "MSG":
        return f"MSG {op.subject} {op.sid} reply {op.reply} {op.headers!r} {op.payload!r}"
    return f"{op.kind} {op.text}"


def sorted_runs(ops):
    """Deliveries with nothing else between them, each subscription's in their order."""
    for is_delivery, run in itertools.groupby(ops, lambda op: op.kind == "MSG"):
        yield from sorted(run, key=lambda op: op.sid) if is_delivery else run


def difference(case, ours, theirs):
    """The first step in which the transcripts of a case differ, in words; None where there is none."""
    number = next_number()
    return compare(play(case, ours, number), play(case, theirs, number))


def compare(ours, theirs):
    for idx, (here, there) in enumerate(zip(ours, theirs, strict=True)):
        if here != there:
            return f"step {idx}:\n  Strait:      {here}\n  nats-server: {there}"
    return None


def shrink(case, differs):
    """The smallest case found that still differs: steps, then ops, then pieces are left out."""
    shrunk = True
    while shrunk:
        shrunk = False
        for smaller in case.smaller():
            if differs(smaller):
                case, shrunk = smaller, True
                break
    return case


@contextlib.contextmanager
def nats_server(folder):
    """A nats-server, and where its clients and its monitoring are."""
    for _ in range(5):
        ports = gateway.free_port(), gateway.free_port()
        config = folder / f"nats-{ports[0]}.conf"
        config.write_text(f"host: 127.0.0.1\nport: {ports[0]}\nhttp: 127.0.0.1:{ports[1]}\n")
        process = subprocess.Popen(
            [NATS_SERVER, "-c", config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            if accepts(process, *ports):
                yield tuple(("127.0.0.1", port) for port in ports)
                return
        finally:
            process.terminate()
            process.wait(20)
    raise AssertionError("nats-server finds no free ports")


def accepts(process, *ports):
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        try:
            for port in ports:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            select.select([], [], [], 0.01)
    return False


def report(case, ours, theirs, cores):
    """What a failed seed says: the shortest case, the difference, and the command that shows it again."""
    case = shrink(case, lambda smaller: difference(smaller, ours, theirs))
    return (
        f"seed {case.seed} differs on {cores} cores, in {difference(case, ours, theirs)}\n"
        f"of the conversation\n{case}\n"
        f"again: .test/venv/bin/python tests/blackbox/differential.py --seed {case.seed} --cores {cores}"
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--count", type=int, default=1, help="how many seeds, from that one on")
    arguments.add_argument("--cores", type=int, default=1)
    arguments.add_argument("--show", action="store_true", help="print cases and nats-server's transcripts")
    given = arguments.parse_args()
    strait, n_failed = gateway.Strait(given.cores), 0
    with tempfile.TemporaryDirectory() as folder, nats_server(pathlib.Path(folder)) as (theirs, _):
        for seed in range(given.seed, given.seed + given.count):
            case = differential_cases.generate(seed)
            if given.show:
                print(case, json.dumps(play(case, theirs, next_number()), indent=1), sep="\n")
            if difference(case, strait.nats, theirs):
                n_failed += 1
                print(report(case, strait.nats, theirs, given.cores), flush=True)
    strait.stop()
    print(f"{given.count - n_failed} of {given.count} seeds are answered alike")
    return 1 if n_failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
