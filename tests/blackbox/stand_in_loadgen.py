#!/usr/bin/env python3
"""Takes loadgen's command line and writes a result of its form, so that scripts/compare can be tested with runs
that fail in every way. It connects to the server but measures nothing: its figures are made up.

STAND_IN says what goes wrong: "lose", "refuse", "babble" (a result that is no JSON) or "hang".
"""

import json
import os
import socket
import sys
import time

if sys.argv[1:] == ["--version"]:
    print("loadgen stand-in")
    sys.exit()

words = dict(zip(sys.argv[1:], sys.argv[2:]))
for protocol in ("--nats", "--mqtt"):
    if protocol in words:
        host, port = words[protocol].split(":")
        socket.create_connection((host, int(port)), timeout=5).close()
os.stat(f"/proc/{words['--server-pid']}")

trouble = os.environ.get("STAND_IN")
if trouble == "hang":
    time.sleep(600)
if trouble == "refuse":
    sys.exit("the server refused the login")
result = {
    "duration_s": 1.0,
    "received": 1000,
    "lost": 3 if trouble == "lose" else 0,
    "duplicates": 0,
    "reordered": 0,
    "rates": {"received_per_s": 5e6},
    "latency_us": {"p50": 70.0, "p99": 180.0},
    "server": {"cpu_s": 0.5, "cpu_us_per_message": 0.1},
    "generator": {"busy": 0.3, "bottleneck": True, "why": "it stands in"},
}
with open(words["--json"], "w") as file:
    file.write("{" if trouble == "babble" else json.dumps(result))
