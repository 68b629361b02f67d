"""A gateway whose configuration is a `[gateway.nats]` table, as somebody who comes from EMQX writes it: each key's effect,
seen from outside."""

import subprocess

import pytest

import gateway
import wire_mqtt as mqtt
import wire_nats as nats

PAYLOAD_BYTES_MAX = 2048


class FromEmqx(gateway.Strait):
    """It has its NATS listeners from the file, and nothing of them from flags."""

    def __init__(self, folder, cores):
        self.file = folder / "strait.toml"
        self.edge, self.rest = (("127.0.0.1", gateway.free_port()) for _ in range(2))
        super().__init__(cores)

    def command(self):
        self.file.write_text(f"""
[gateway.nats]
enable = true
mountpoint = "plant/"
default_heartbeat_interval = "1s"
heartbeat_wait_timeout = "1s"
max_payload_size = "2KB"
server_id = "emqx_nats_1"
server_name = "emqx_nats"

[gateway.nats.listeners.tcp.default]
bind = "{gateway.address(self.nats)}"
mountpoint = "first/"
max_connections = 3
acceptors = 16
enable_authn = false

[gateway.nats.listeners.tcp.edge]
bind = {self.edge[1]}
mountpoint = "edge/${{username}}/"
mapping = "emqx"

[gateway.nats.listeners.tcp.rest]
bind = {self.rest[1]}
""")
        others = ["--mqtt", gateway.address(self.mqtt), "--admin", gateway.address(self.admin)]
        return [gateway.BINARY, "--config", self.file, *others, "--cores", str(self.cores)]


@pytest.fixture(scope="module")
def from_emqx(tmp_path_factory, cores):
    strait = FromEmqx(tmp_path_factory.mktemp("emqx"), cores)
    yield strait
    try:
        strait.stop()
    finally:
        strait.kill()


def test_info_has_the_server_the_limit_and_each_listener_s_own_address(from_emqx):
    for at in (from_emqx.nats, from_emqx.edge, from_emqx.rest):
        with nats.Connection(at) as client:
            info = client.info
            assert (info["server_id"], info["server_name"]) == ("emqx_nats_1", "emqx_nats")
            assert info["max_payload"] == PAYLOAD_BYTES_MAX
            assert (info["host"], info["port"]) == at and "connect_urls" not in info


def test_each_listener_s_clients_are_at_its_mountpoint(from_emqx):
    with mqtt.connected(from_emqx.mqtt) as watcher:
        watcher.subscribe("#")
        with nats.connected(from_emqx.nats) as first:
            first.publish("a", b"first")
            assert watcher.message() == ("first/a", b"first")
        with nats.connected(from_emqx.rest) as plant, nats.connected(from_emqx.edge, user="ann") as edge:
            plant.publish("spBv1//0.x", b"plant")
            assert watcher.message() == ("plant/spBv1.0/x", b"plant")
            # Its own mapping, which spells a dot as a level's end.
            edge.publish("spBv1.0.x", b"edge")
            assert watcher.message() == ("edge/ann/spBv1/0/x", b"edge")
            edge.subscribe("a.>")
            watcher.publish("edge/ann/a/b", b"down")
            assert edge.message() == ("a.b", b"down")


def test_a_payload_beyond_the_limit_is_refused(from_emqx):
    with nats.connected(from_emqx.edge) as client:
        client.subscribe("large")
        client.publish("large", b"x" * PAYLOAD_BYTES_MAX)
        assert client.message() == ("large", b"x" * PAYLOAD_BYTES_MAX)
        client.publish("large", b"x" * (PAYLOAD_BYTES_MAX + 1))
        client.expect_error("Maximum Payload Violation")


def test_a_client_that_answers_no_heartbeat_is_closed(from_emqx):
    silent = nats.Connection(from_emqx.edge)
    silent.connect()
    silent.socket.settimeout(20)
    heard = b""
    while more := silent.socket.recv(1 << 16):
        heard += more
    assert b"PING\r\n" in heard and heard.endswith(b"-ERR 'Stale Connection'\r\n"), heard


def test_a_listener_takes_so_many_connections(from_emqx):
    clients = [nats.connected(from_emqx.nats) for _ in range(3)]
    with nats.Connection(from_emqx.nats) as refused:
        refused.expect_error("maximum connections exceeded")
    with nats.connected(from_emqx.edge):
        pass
    for client in clients:
        client.close()


def test_what_is_in_force_is_shown_and_what_promises_more_is_refused(from_emqx):
    command = [gateway.BINARY, "--config", from_emqx.file]
    shown = subprocess.run([*command, "config", "show"], capture_output=True, text=True, timeout=20).stdout
    for line in (
        'mountpoint = "first."  # ',
        'mountpoint = "plant."  # ',
        "ping_interval_secs = 1  # ",
        "pong_timeout_secs = 1  # ",
        "payload_bytes_max = 2048  # ",
        "[nats.listeners.edge]\n",
        'mountpoint = "edge.${username}."  # ',
    ):
        assert line in shown, (line, shown)
    text = from_emqx.file.read_text()
    wrong = from_emqx.file.with_name("wrong.toml")
    for written, told in (
        (text.replace("enable_authn = false", "enable_authn = true"), "enable_authn` can't be true"),
        (text.replace("acceptors = 16", 'access_rules = ["deny all"]'), "access_rules` of EMQX's is not supported"),
        (text.replace("tcp.edge]", "ssl.edge]"), "there is no TLS yet"),
        (text.replace(f"bind = {from_emqx.edge[1]}", 'bind = "0.0.0.0:1"'), "add `enable_authn = false` to [gateway"),
    ):
        wrong.write_text(written)
        refused = subprocess.run([gateway.BINARY, "--config", wrong], capture_output=True, text=True, timeout=20)
        assert refused.returncode == 78 and told in refused.stderr, refused
