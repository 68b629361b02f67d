#!/usr/bin/env python3
"""What mosquitto's own tests start for mosquitto: understands its command line and starts the gateway with that.

A directive that the gateway has no key for is refused, so that no test goes on with less than it asked for.
STRAIT_BINARY names the gateway, STRAIT_CORES the number of its shards.
"""

import os
import sys

# mosquitto's directives and the keys that mean the same.
KEYS = {
    "max_inflight_messages": ["RECEIVE_MAXIMUM", "INFLIGHT_MAX"],
    "max_keepalive": ["KEEP_ALIVE_SECS_MAX"],
    "max_queued_messages": ["SESSION_QUEUE_MESSAGES_MAX"],
    "message_size_limit": ["PAYLOAD_BYTES_MAX"],
}
# What mosquitto's are, where the tests expect them in CONNACK.
DEFAULTS = {"RECEIVE_MAXIMUM": "20", "INFLIGHT_MAX": "20", "TOPIC_ALIASES_MAX": "10", "TOPIC_LEVELS_MAX": "200"}


def main(arguments):
    port, keys = None, dict(DEFAULTS)
    while arguments:
        match arguments.pop(0):
            case "-v":
                pass
            case "-p":
                port = arguments.pop(0)
            case "-c":
                with open(arguments.pop(0)) as file:
                    port = read(file, keys) or port
            case other:
                sys.exit(f"the stand-in for mosquitto knows no {other}")
    environment = {f"STRAIT__MQTT__{key}": value for key, value in keys.items()}
    binary, cores = os.environ["STRAIT_BINARY"], os.environ["STRAIT_CORES"]
    command = [binary, "--mqtt", f"127.0.0.1:{port}", "--nats", "off", "--admin", "off", "--cores", cores]
    os.execve(binary, command, {**os.environ, **environment, "STRAIT__LOG": "warn"})


def read(file, keys):
    """The port that a configuration file names; what else it sets goes into `keys`."""
    port = None
    for line in file:
        match line.split():
            case [] | ["#", *_] | ["allow_anonymous", "true"]:
                pass
            case ["port" | "listener", value]:
                if port:
                    sys.exit("the stand-in for mosquitto has one listener")
                port = value
            case ["retain_available", "false"]:
                keys["RETAINED_MESSAGES_MAX"] = "0"
            case [directive, value] if directive in KEYS:
                keys.update(dict.fromkeys(KEYS[directive], value))
            case _:
                sys.exit(f"the stand-in for mosquitto has no key for: {line}")
    return port


main(sys.argv[1:])
