"""Clients in their own languages: nats.js, nats.c, async-nats, MQTT.js and rumqttc (nats-py and paho are elsewhere).

Each is a program that plays its scenarios and prints `ok NAME` for each, and `restart` where it wants the
gateway to end and come again at its port.
"""

import os
import subprocess
import threading

import pytest

import clients
import gateway

FOLDER = gateway.ROOT / "tests/blackbox"
BUILT = gateway.ROOT / ".test"
PROGRAM_S = 110
COMMON = [
    "publish_subscribe", "queues", "requests_of_the_new_style", "requests_of_the_old_style", "headers",
    "a_payload_of_one_mib", "ten_thousand_subscriptions", "unsubscribing_after_some", "drain", "reconnect",
]  # fmt: skip
MQTT_COMMON = ["publish_subscribe", "retained", "will", "shared", "session_resume", "reconnect"]
MQTT_JS = [f"{name}_{version}" for version in (4, 5) for name in [*MQTT_COMMON, "user_properties"]]
RUMQTTC = [*MQTT_COMMON, "many_in_order", "a_payload_of_one_mib", "a_publisher_that_comes_back"]
PROGRAMS = {
    "nats.js": (["node", FOLDER / "nats_js/client.cjs"], [*COMMON, "many_answers_to_one_request", "nobody_to_answer"]),
    "nats.c": ([BUILT / "nats_c/client"], COMMON),
    "async-nats": ([BUILT / "rust_clients/release/nats"], COMMON),
    "MQTT.js": (["node", FOLDER / "mqtt_js/client.cjs"], MQTT_JS),
    "rumqttc": (
        [BUILT / "rust_clients/release/mqtt"],
        [*(f"{name}_{version}" for version in (4, 5) for name in RUMQTTC), "properties_5"],
    ),
}
SPEAK_MQTT = ["MQTT.js", "rumqttc"]


@pytest.mark.parametrize("client", PROGRAMS)
@pytest.mark.parametrize("cores", [1, 2, 4])
def test_an_official_client_finds_all_it_knows_of_nats_server(start_strait, client, cores):
    command, scenarios = PROGRAMS[client]
    strait = start_strait(cores)
    speaks_mqtt = client in SPEAK_MQTT
    url = "mqtt://{}:{}".format(*strait.mqtt) if speaks_mqtt else strait.nats_url
    done, restarted, tail = play([*command, url], lambda: again(start_strait, strait))
    assert sorted(done) == sorted(scenarios), tail
    # Once in each version.
    assert restarted == (2 if speaks_mqtt else 1)


def play(command, restart):
    """The scenarios that went well, the restarts asked for, and how the program ended."""
    environment = {**clients.environment(), "NODE_PATH": f"{BUILT / 'js/node_modules'}:{BUILT / 'mqtt_js/node_modules'}"}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watchdog = threading.Timer(PROGRAM_S, process.kill)
    watchdog.start()
    done, n_restarts = [], 0
    try:
        for line in process.stdout:
            match line.split():
                case ["ok", name]:
                    done.append(name)
                case ["restart"]:
                    restart()
                    n_restarts += 1
        errors = process.stderr.read()
        code = process.wait(PROGRAM_S)
        assert code == 0, f"{command[0]} ended with {code} after {done}:\n{errors}"
        return done, n_restarts, errors
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def again(start_strait, strait):
    ports = {"mqtt_port": strait.mqtt[1], "nats_port": strait.nats[1]}
    # The one before may have been restarted already.
    for one in gateway.running.copy():
        if one.mqtt == strait.mqtt:
            one.stop()
    start_strait(strait.cores, **ports)


def test_programs_are_built():
    for command, _ in PROGRAMS.values():
        program = command[-1]
        assert os.path.exists(program), f"{program} is missing: scripts/test --setup"
    assert (BUILT / "js/node_modules/@nats-io/transport-node").exists()
    assert (BUILT / "mqtt_js/node_modules/mqtt").exists()
