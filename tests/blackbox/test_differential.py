"""Thousands of generated conversations, each answered as nats-server answers it. `differential` plays them."""

import itertools
import pathlib
import random

import pytest

import differential
import differential_cases

# Those that found something once come first; the others are new in every run.
KEPT_SEEDS = [int(line.split()[0]) for line in pathlib.Path(__file__).with_name("differential_seeds.txt").open()]
N_SEEDS = 1200
CORES = [1, 2, 4]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    with differential.nats_server(tmp_path_factory.mktemp("nats-server")) as (at, _):
        yield at


@pytest.mark.timeout(600)
def test_generated_conversations_are_answered_as_nats_server_does(start_strait, theirs):
    first = random.randrange(10**9)
    print(f"seeds from {first}")
    straits = [start_strait(cores) for cores in CORES]
    for seed in itertools.chain(KEPT_SEEDS, range(first, first + N_SEEDS)):
        case, number = differential_cases.generate(seed), differential.next_number()
        expected = differential.play(case, theirs, number)
        for strait in straits:
            strait.assert_healthy()
            if differential.compare(differential.play(case, strait.nats, number), expected):
                pytest.fail(differential.report(case, strait.nats, theirs, strait.cores))


def test_conversations_use_all_that_clients_can_say():
    cases = [differential_cases.generate(seed) for seed in range(N_SEEDS)]
    said = {op.data for case in cases for step in case.steps for op in step.ops}
    verbs = {data.split(maxsplit=1)[0].upper() for data in said if data.strip()}
    assert {b"CONNECT", b"PUB", b"HPUB", b"SUB", b"UNSUB", b"PING", b"PONG", b"FOO"} <= verbs
    assert {data for data, _ in differential_cases.ODD_OPS} <= said
    assert {case.n_clients for case in cases} == {1, 2, 3}
    assert differential_cases.generate(7) == differential_cases.generate(7) != differential_cases.generate(8)


class Mutant:
    """Between clients and nats-server: does as it does but for one thing."""

    def __init__(self, at, said, instead):
        self.at, self.said, self.instead = at, said, instead

    def play(self, case, number):
        steps = [
            differential_cases.Step(step.client, tuple(self.change(op) for op in step.ops), step.n_pieces)
            for step in case.steps
        ]
        return differential.play(differential_cases.Case(case.seed, case.n_clients, tuple(steps)), self.at, number)

    def change(self, op):
        return differential_cases.Op(op.data.replace(self.said, self.instead), op.n_pongs)


@pytest.mark.parametrize(
    "said, instead",
    [
        (b'"verbose": true', b'"verbose": false'),
        (b'"echo": false', b'"echo": true '),
        (b'"headers": true', b'"headers": false'),
        (b"UNSUB 1 2\r\n", b"UNSUB 1 3\r\n"),
        (b"SUB %s.*.b" % differential_cases.MARK, b"SUB %s.*.c" % differential_cases.MARK),
        (b"PUB %s.a.b " % differential_cases.MARK, b"PUB %s.a.c " % differential_cases.MARK),
        (b"PING junk here\r\n", b"PINGjunk\r\nFOO\r\n"),
        (b"-ERR 'x'\r\n", b"FOO\r\n"),
        (b" A gA1", b" B gA1"),
    ],
)
def test_a_server_that_does_one_thing_otherwise_is_found_and_the_case_gets_short(theirs, said, instead):
    mutant = Mutant(theirs, said, instead)

    def differs(case):
        number = differential.next_number()
        return differential.compare(mutant.play(case, number), differential.play(case, theirs, number))

    # A change of what no case says would be found nowhere.
    with_it = (case for case in map(differential_cases.generate, itertools.count()) if says(case, said))
    found = next(case for case in itertools.islice(with_it, 300) if differs(case))
    short = differential.shrink(found, differs)
    assert differs(short) and says(short, said)
    assert sum(len(step.ops) for step in short.steps) <= 6, str(short)


def says(case, said):
    return any(said in op.data for step in case.steps for op in step.ops)


def test_what_is_left_open_makes_no_difference_and_the_rest_does():
    message = differential.wire_nats.Op
    a, b = (message("MSG", subject="s", sid=sid, payload=b"x") for sid in "12")
    later = message("MSG", subject="s", sid="1", payload=b"y")
    ok = message("+OK")

    def told(*ops):
        return differential.Round(list(ops)).told()

    assert told(a, b) == told(b, a)
    assert told(a, later) != told(later, a)
    assert told(ok, a) != told(a, ok)
    assert told(a) != told(a, a)
    member = message("MSG", subject="s", sid="gA1", payload=b"x")
    assert told(member) == [] and differential.is_by_group(member)
