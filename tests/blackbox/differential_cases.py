"""The conversations that `differential` plays: made from a seed, never sent anywhere by themselves."""

import json
import random
from dataclasses import dataclass, replace

# Seven bytes, as long as what takes their place.
MARK = b"@@@@@@@"
# Sids of shared queue groups begin so, and with the group's name; which of them hears is left open.
GROUP_SID = "g"
GROUP_SID_LEN = 2
SUBJECTS = ["a", "b", "a.b", "a.b.c", "b.c", "c"]
FILTERS = [*SUBJECTS, "*", ">", "*.b", "a.*", "a.>", "*.*", "a.*.c", "*.>"]
ODD_FILTERS = ["", ".a", "a.", "a..b", ">.a", "a.>.b", "a*", "*a", ">a", "a.*b", "é.a", "a.>>", "a.**", "a\fb"]
ODD_SUBJECTS = ["*", ">", "a.*", "*.b", "a.>", "a..b", "a.", ".a", "", "a*", "é.a", "a.>.b"]
MAXIMA = ["1", "2", "3", "5", "0", "-1", "x", "3x", "+2", "007", "99999999999", "1.5", "12345678901234567890"]
HEADERS = [b"NATS/1.0\r\nA: 1\r\n\r\n", b"NATS/1.0\r\n\r\n", b"NATS/1.0 503\r\n\r\n", b"junk", b""]
CONTROL_LINE_MAX = 4096
PAYLOAD_MAX = 1 << 20

# What ends a connection, or is passed over; with the PONGs it asks for. Nothing here waits for more bytes.
ODD_OPS = [
    (b"FOO\r\n", 0), (b"\r\n", 0), (b" PING\r\n", 0), (b"MSG a 1 0\r\n\r\n", 0), (b"A+ a\r\n", 0),
    (b"PIN\r\n", 0), (b"PINGX\r\n", 1), (b"PING junk here\r\n", 1), (b"pInG\r\n", 1), (b"PING\n", 1),
    (b"ping \t\r\n", 1), (b"PONG\r\n", 0), (b"pong junk\n", 0), (b"+OK\r\n", 0), (b"+ok junk\r\n", 0),
    (b"-ERR 'x'\r\n", 0), (b"-err\r\n", 0), (b"INFO {}\r\n", 0), (b"info{}\r\n", 0), (b"INFO junk\n", 0),
    (b"PUB\r\n", 0), (b"PUB \r\n", 0), (b"PUB a\r\n", 0), (b"PUB a x\r\n", 0), (b"PUB a -1\r\n", 0),
    (b"PUB a 1 2 3\r\n", 0), (b"PUB a +1\r\nx\r\n", 0), (b"PUB a 1x\r\nx\r\n", 0), (b"PUB a 0x1\r\nx\r\n", 0),
    (b"PUB a 1.0\r\nx\r\n", 0), (b"PUBa 1\r\nx\r\n", 0), (b"PUB a 1\r\nxx\r\n", 0), (b"PUB a 1\r\nx\n\n", 0),
    (b"PUB a 3\r\nab\r\n\r\n", 0), (b"PUB a 1000000000\r\n", 0), (b"PUB a 9999999999999999999999\r\n", 0),
    (b"PUB a %d\r\n" % (PAYLOAD_MAX + 1), 0), (b"HPUB a 0 %d\r\n" % (PAYLOAD_MAX + 1), 0),
    (b"HPUB\r\n", 0), (b"HPUB a\r\n", 0), (b"HPUB a 1\r\n", 0), (b"HPUB a 5 3\r\nabcde\r\n", 0),
    (b"HPUB a b c 1 2\r\n", 0), (b"HPUB a x 2\r\nab\r\n", 0), (b"HPUB a 2 x\r\nab\r\n", 0),
    (b"HPUB a -1 2\r\nab\r\n", 0), (b"HPUBa 1 2\r\n", 0),
    (b"SUB\r\n", 0), (b"SUB a\r\n", 0), (b"SUB a b c d\r\n", 0), (b"SUBa b\r\n", 0), (b"SUB\t\t\r\n", 0),
    (b"UNSUB\r\n", 0), (b"UNSUB 1 2 3\r\n", 0), (b"UNSUB \r\n", 0), (b"UNSUBX 1\r\n", 0),
    (b"CONNECT\r\n", 0), (b"CONNECT {\r\n", 0), (b"CONNECT []\r\n", 0), (b"CONNECT 1\r\n", 0),
    (b"CONNECT null\r\n", 0), (b'CONNECT "x"\r\n', 0), (b"CONNECT {} x\r\n", 0), (b"CONNECT\t{}\n", 0),
    (b"CONNECT{}\r\n", 0), (b'CONNECT {"verbose":1}\r\n', 0), (b'CONNECT {"name":7}\r\n', 0),
    (b'CONNECT {"echo":null,"verbose":null}\r\n', 0), (b'CONNECT {"VERBOSE":false,"Pedantic":false}\r\n', 0),
    (b'CONNECT {"protocol":2}\r\n', 0), (b'CONNECT {"protocol":-1}\r\n', 0), (b'CONNECT {"protocol":"1"}\r\n', 0),
    (b'CONNECT {"verbose":true,"verbose":false}\r\n', 0), (b'CONNECT {"unknown":{"a":[1,2]}}\r\n', 0),
    (b'CONNECT {"no_responders":true,"headers":false}\r\n', 0), (b'CONNECT {"account":"x"}\r\n', 0),
    (b'CONNECT {"user":"x","pass":"y","auth_token":"z"}\r\n', 0), (b'CONNECT {"jwt":"x","sig":"y","nkey":"z"}\r\n', 0),
    (b'CONNECT {"lang":5}\r\n', 0), (b'CONNECT {"tls_required":true}\r\n', 0), (b'CONNECT {"protocol":1.5}\r\n', 0),
    (b"GET / HTTP/1.1\r\n", 0), (b"\x16\x03\x01", 0), (b"\x10\x0e\x00\x04MQTT", 0), (b"\x00\r\n", 0),
    (b"SUB " + b"x" * CONTROL_LINE_MAX + b" 1\r\n", 0), (b"PUB " + b"y" * CONTROL_LINE_MAX * 2, 0),
    (b"PING " + b"z" * CONTROL_LINE_MAX + b"\r\n", 1), (b"CONNECT " + b"{" * CONTROL_LINE_MAX * 2, 0),
    (b"SUB a _sys_ 1\r\n", 0), (b"PUB $NRG.x 0\r\n\r\n", 0), (b"PUB _GR_.x 0\r\n\r\n", 0), (b"PUB a _R_.x 0\r\n\r\n", 0),
    (b"PUB a $JS.ACK.x 0\r\n\r\n", 0), (b"SUB $SYS.> s\r\n", 0), (b"PUB a _GR_.x 0\r\n\r\n", 0),
]  # fmt: skip


@dataclass(frozen=True)
class Op:
    data: bytes
    n_pongs: int = 0


@dataclass(frozen=True)
class Step:
    """Ops that one client says at once, in so many pieces."""

    client: int
    ops: tuple
    n_pieces: int = 1


@dataclass(frozen=True)
class Case:
    seed: int
    n_clients: int
    steps: tuple

    def __str__(self):
        lines = [
            f"  {idx}: client {step.client}" + (f", in {step.n_pieces} pieces" if step.n_pieces > 1 else "")
            + "".join(f"\n       {brief(op.data)}" for op in step.ops)
            for idx, step in enumerate(self.steps)
        ]  # fmt: skip
        return "\n".join(lines)

    def smaller(self):
        """Cases with less in them, the largest cuts first."""
        length = len(self.steps)
        size = length // 2
        while size >= 1:
            for start in range(0, length, size):
                yield replace(self, steps=self.steps[:start] + self.steps[start + size :])
            size //= 2
        for idx, step in enumerate(self.steps):
            without = [step.ops[:at] + step.ops[at + 1 :] for at in range(len(step.ops))] if len(step.ops) > 1 else []
            less = [replace(step, ops=ops) for ops in without]
            less += [replace(step, n_pieces=1)] if step.n_pieces > 1 else []
            for step in less:
                yield replace(self, steps=(*self.steps[:idx], step, *self.steps[idx + 1 :]))


def brief(data):
    return repr(data) if len(data) < 200 else f"{data[:60]!r} … {len(data)} bytes"


def generate(seed):
    return Generator(random.Random(seed)).case(seed)


class Generator:
    def __init__(self, chance):
        self.chance = chance
        self.n_clients = chance.randrange(1, 4)
        # A seventh of the cases are all about odd ops; the others end few connections.
        self.oddity = chance.choice([0, 0.02, 0.02, 0.05, 0.05, 0.1, 0.5])
        self.is_plain = chance.random() < 0.5
        self.n_published = 0

    def case(self, seed):
        greetings = [Step(idx, (self.connect(),)) for idx in range(self.n_clients) if self.chance.random() < 0.9]
        steps = [self.step() for _ in range(self.chance.randrange(4, 14))]
        return Case(seed, self.n_clients, tuple(greetings + steps))

    def step(self):
        client = self.chance.randrange(self.n_clients)
        ops = []
        for _ in range(self.chance.choice([1, 1, 2, 3, 6])):
            ops.append(self.op(client))
            # nats-server goes on with what came in the same read as this, though it has closed.
            if ops[-1].data.upper().startswith(b"-ERR "):
                break
        pieces = self.chance.choice([1, 1, 1, 1, 2, 4])
        return Step(client, tuple(ops), pieces)

    def op(self, client):
        chance = self.chance
        if chance.random() < self.oddity:
            return Op(*chance.choice(ODD_OPS))
        kinds = [self.subscribe, self.subscribe_group, self.unsubscribe, self.publish, self.request, self.ping, self.connect]
        (kind,) = chance.choices(kinds, weights=[26, 8, 14, 36, 8, 4, 2])
        return kind()

    def connect(self):
        chance, options = self.chance, {}
        for name, likely in [("verbose", 0.3), ("pedantic", 0.3), ("echo", 0.7), ("headers", 0.7)]:
            if chance.random() < 0.85:
                options[name] = chance.random() < likely
        if chance.random() < 0.6:
            options["no_responders"] = options.get("headers", False) and chance.random() < 0.8
        if chance.random() < 0.7:
            options["protocol"] = chance.randrange(2)
        if chance.random() < 0.5:
            options |= {"name": "d", "lang": "x", "version": "1"}
        return Op(self.line("CONNECT", json.dumps(options)))

    def subscribe(self):
        sid = f"{self.chance.randrange(1, 7)}"
        return Op(self.line("SUB", self.name(FILTERS, ODD_FILTERS), sid))

    def subscribe_group(self):
        """A shared group, or one that a single sid has for itself, whose deliveries are then certain."""
        group = self.chance.choice("ABCS")
        if group == "S":
            sid = f"s{self.chance.randrange(3)}{self.chance.randrange(10**6)}"
            return Op(self.line("SUB", self.name(FILTERS, []), f"alone{sid}", sid))
        # A sid that always names the same group: the filters differ.
        sid = f"{GROUP_SID}{group}{self.chance.randrange(3)}"
        return Op(self.line("SUB", self.name(FILTERS, []), f"{group}", sid))

    def unsubscribe(self):
        # How many a member of a shared group has had is left open, so it has no maximum.
        if self.chance.random() < 0.2:
            sid = f"{GROUP_SID}{self.chance.choice('ABC')}{self.chance.randrange(3)}"
            return Op(self.line("UNSUB", sid))
        maximum = [self.chance.choice(MAXIMA)] if self.chance.random() < 0.7 else []
        return Op(self.line("UNSUB", f"{self.chance.randrange(1, 8)}", *maximum))

    def publish(self, *reply):
        chance = self.chance
        self.n_published += 1
        size = chance.choice([0, 1, 3, 8, 8, 8, 100, 5000] if chance.random() < 0.97 else [70_000])
        payload = (b"%d." % self.n_published * (size // 2 + 1))[:size]
        subject = self.name(SUBJECTS, ODD_SUBJECTS)
        if chance.random() < 0.25 and not self.is_plain:
            header = chance.choice(HEADERS)
            sizes = [self.size(len(header)), self.size(len(header) + len(payload))]
            return Op(self.line("HPUB", subject, *reply, *sizes) + header + payload + b"\r\n")
        return Op(self.line("PUB", subject, *reply, self.size(len(payload))) + payload + b"\r\n")

    def request(self):
        return self.publish(self.name(SUBJECTS, ["*", "a..b"]))

    def ping(self):
        return Op(self.line("PING"), 1)

    def name(self, usual, odd):
        is_odd = odd and not self.is_plain and self.chance.random() < 0.12
        return MARK.decode() + "." + self.chance.choice(odd if is_odd else usual)

    def size(self, size):
        return f"{size:0{self.chance.choice([0, 0, 0, 0, 0, 0, 3, 9])}d}"

    def line(self, *words):
        """In one of the spellings that a server takes."""
        chance = self.chance
        if self.is_plain or chance.random() < 0.6:
            return (" ".join(words) + "\r\n").encode()
        verb = "".join(chance.choice([letter.lower(), letter.upper()]) for letter in words[0])
        gaps = [chance.choice([" ", "  ", "\t", " \t ", " "]) for _ in words]
        text = verb + "".join(gap + word for gap, word in zip(gaps, words[1:]))
        return (text + chance.choice(["", "", " ", "\t"]) + chance.choice(["\r\n", "\n"])).encode()
