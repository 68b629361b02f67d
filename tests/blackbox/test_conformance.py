"""The conformance suites of others: mosquitto's own broker tests (3.1, 3.1.1 and 5.0), and those of paho-mqtt (a port of
Eclipse's client_test5) and gmqtt (both 5.0).

`scripts/test --setup` fetches them as their authors publish them. They mostly sleep, so all of them are played at
once, on gateways of their own. What is not asked of the gateway is listed here, with the reason; what is listed as
failing must fail, so that nothing stays listed that has become right.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import gateway

FOLDER = gateway.ROOT / "tests/blackbox/conformance"
FETCHED = gateway.ROOT / ".test/conformance"
MOSQUITTO = FETCHED / "mosquitto-2.0.11/test"
N_CORES = [1, 2, 4]
AT_ONCE = 14
SCRIPT_S = 60
PART_S = 110

# Suites of pytest: their folder, what to play, in how many parts, and what does not hold of the gateway.
PYTEST_SUITES = {
    "paho-mqtt": (
        "paho_mqtt-2.2.0", "tests/test_mqttv5.py::Test", 3,
        {
            "test_server_topic_alias": "wants aliases at QoS 1 and 2; ours are at QoS 0, a server's choice (3.3.2.3.4)",
            "test_subscribe_failure": "wants a filter denied by an ACL",
            "test_subscription_identifiers": "wants one copy for overlapping subscriptions; a server may send one each (3.3.4)",
        },
    ),
    "gmqtt": (
        "gmqtt-0.8.0", "tests/test_mqtt5.py", 3,
        {
            "test_assigned_clientid": "its client makes an id by itself, so that none is assigned",
            "test_basic_ssl": "wants TLS",
            "test_overlapping_subscriptions": "wants a copy at QoS 2 for a subscription of QoS 1",
        },
    ),
}  # fmt: skip
# Those that chance decides, and which may do either.
NOT_PLAYED = {"test_shared_subscriptions[gmqtt]": "wants a share for each of two members; ours leaves that to chance (4.8.2)"}
# What these suites presuppose.
SETTINGS = {"STRAIT__MQTT__RECEIVE_MAXIMUM": "20", "STRAIT__MQTT__KEEP_ALIVE_SECS_MAX": "60"}

# Directives of mosquitto.conf that a script may write, and why it is not asked of the gateway then.
NOT_OFFERED = {
    **dict.fromkeys(["acl_file", "auth_plugin", "password_file", "plugin", "psk_file"], "authentication"),
    **dict.fromkeys(["cafile", "certfile"], "TLS"),
    "allow_zero_length_clientid": "a listener that refuses empty client ids",
    "check_retain_source": "the retained messages of those who may no longer publish, withheld",
    "connection": "bridges to other brokers",
    "max_inflight_bytes": "a limit of bytes under way",
    "max_packet_size": "a maximum packet size smaller than a payload may be",
    "maximum_qos": "a maximum QoS below 2",
    "mount_point": "mountpoints in MQTT",
    "persistence": "sessions and retained messages on a disk",
    "upgrade_outgoing_qos": "messages of a higher QoS than they were published with",
}
FAILS = {
    "01-connect-allow-anonymous.py": "wants clients without a user name refused",
    "02-shared-qos0-v5.py": "wants the members of a group to take turns; ours is chosen by chance (4.8.2)",
    "02-subpub-qos0-long-topic.py": "counts 200 slashes as 200 levels; they are 201",
    "02-subpub-qos1-message-expiry.py": "wants the packet identifier after that of a message that expired unsent",
    "02-subpub-qos0-oversize-payload.py": "wants 2 bytes dropped at a limit of 1; ours takes what fits the announced packet size",
    "02-subpub-qos1-oversize-payload.py": "wants too large a message dropped; ours closes with 0x95 (3.3.4)",
    "02-subscribe-long-topic.py": "wants the connection closed for too many levels; ours refuses that filter",
    "03-publish-dollar-v5.py": "wants publishes to $SYS taken and thrown away; ours denies them with 0x87",
    "03-publish-long-topic.py": "wants 0x82 for too many levels; ours says 0x90, Topic Name invalid",
    "03-publish-qos1-max-inflight-expire.py": "wants the packet identifier after that of a message that expired unsent",
    "03-publish-qos1-queued-bytes.py": "is Python 2",
    "06-bridge-no-local.py": "speaks a version of mosquitto's own, 0x84, by which bridges tell themselves",
    "07-will-delay-reconnect.py": "wants a will delayed beyond the end of its session; that ends the delay (3.1.3.2.2)",
    "07-will-delay-recover.py": "wants the will kept back when a clean start ends the session; that ends the delay (3.1.3.2.2)",
    "07-will-delay.py": "wants a will delayed beyond the end of its session; that ends the delay (3.1.3.2.2)",
    "07-will-oversize-payload.py": "wants 5, not authorized, for too large a will; ours says 3, as for 0x95",
    "07-will-takeover.py": "wants no will of a session that is taken over; its connection ended without DISCONNECT (3.1.2.5)",
    "12-prop-assigned-client-identifier.py": "wants ids that begin with auto-",
    "12-prop-maximum-packet-size-publish-qos1.py": "counts a packet's size without its fixed header (2.1.4)",
    "12-prop-maximum-packet-size-publish-qos2.py": "counts a packet's size without its fixed header (2.1.4)",
    "12-prop-subpub-payload-format.py": "wants the payload format 0xED passed on; the byte is 0 or 1 (3.3.2.3.2)",
    "13-malformed-subscribe-v5.py": "wants 0x81 for the packet identifier 0; ours says 0x82",
    "13-malformed-unsubscribe-v5.py": "wants 0x81 for the packet identifier 0; ours says 0x82",
}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The outcomes of all suites, which begin at once; futures, by suite and number of shards."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        begun = {}
        for suite, (_, _, n_parts, _) in PYTEST_SUITES.items():
            for n_cores in N_CORES:
                begun[suite, n_cores] = [pool.submit(play_part, suite, n_cores, part) for part in range(n_parts)]
        for n_cores in N_CORES:
            folder = broker_tests(tmp_path_factory.mktemp("mosquitto"))
            begun["mosquitto", n_cores] = [pool.submit(play_script, folder, n_cores, name) for name in scripts()[0]]
            if n_cores == 1:
                begun["fails"] = {name: pool.submit(play_script, folder, n_cores, name) for name in FAILS}
        yield begun
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("n_cores", N_CORES)
@pytest.mark.parametrize("suite", [*PYTEST_SUITES, "mosquitto"])
def test_an_independent_suite_finds_no_fault(played, suite, n_cores):
    outcomes = [future.result() for future in played[suite, n_cores]]
    assert all(code == 0 for code, _ in outcomes), "\n".join(output for code, output in outcomes if code != 0)


@pytest.mark.parametrize("name", FAILS)
def test_what_is_listed_as_failing_fails(played, name):
    code, output = played["fails"][name].result()
    assert code == 1, f"{name} ended with {code}:\n{output}"


def test_what_is_listed_as_not_offered_is_asked_for():
    played_scripts, directives = scripts()
    assert directives == NOT_OFFERED.keys()
    assert len(played_scripts) > 85


def scripts():
    """mosquitto's tests that are asked of the gateway, and the directives that keep others from that."""
    names, found = [], set()
    for path in sorted((MOSQUITTO / "broker").glob("[0-9]*.py")):
        directives = set(re.findall(r'f\.write\("(\w+)', path.read_text())) & NOT_OFFERED.keys()
        found |= directives
        if not directives and path.name not in FAILS and not path.name.endswith("-helper.py"):
            names.append(path.name)
    return names, found


def broker_tests(folder):
    """A copy of mosquitto's broker tests, which write beside themselves, with what stands for mosquitto there."""
    shutil.copytree(MOSQUITTO, folder / "test", ignore=shutil.ignore_patterns("client", "lib", "old", "ssl", "unit"))
    (folder / "test/mosq_test.py").rename(folder / "test/mosq_test_original.py")
    shutil.copy(FOLDER / "mosq_test.py", folder / "test")
    (folder / "src").mkdir()
    (folder / "src/mosquitto").symlink_to(FOLDER / "mosquitto.py")
    return folder / "test/broker"


def play_script(folder, n_cores, name):
    environment = {"STRAIT_BINARY": str(gateway.BINARY), "STRAIT_CORES": str(n_cores)}
    return run([name, str(gateway.free_port())], folder, environment, SCRIPT_S)


def play_part(suite, n_cores, part):
    folder, tests, n_parts, expected = PYTEST_SUITES[suite]
    strait = gateway.Strait(n_cores, env=SETTINGS)
    try:
        host, port = strait.mqtt
        environment = {
            "PYTHONPATH": str(FOLDER), "STRAIT_PORT": str(port), "STRAIT_PART": str(part), "STRAIT_PARTS": str(n_parts),
            "STRAIT_EXPECTED": json.dumps(expected), "STRAIT_SUITE": suite, "STRAIT_NOT_PLAYED": json.dumps(NOT_PLAYED),
            "HOST": host, "PORT": str(port), "USERNAME": "",
        }  # fmt: skip
        options = ["-m", "pytest", "-p", "parts", "-p", "no:cacheprovider", "--tb=short", "-q", tests]
        outcome = run(options, FETCHED / folder, environment, PART_S)
        strait.stop()
        return outcome
    finally:
        strait.kill()


def run(arguments, folder, environment, timeout):
    """The exit code of a Python program, and what it printed."""
    # Scripts that start others find the same Python by its name.
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, timeout=timeout, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired as expired:
        return None, f"{arguments[0]} did not end within {timeout} s:\n{expired.stdout}"
    return done.returncode, f"{arguments[0]} on {environment.get('STRAIT_CORES', '')}:\n{done.stdout}"
