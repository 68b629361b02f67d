"""The clients people use, made waitable: paho-mqtt, nats-py, mosquitto_pub and mosquitto_sub.

Each call returns when the gateway has answered, so tests need no pauses.
"""

import asyncio
import os
import queue
import subprocess
import threading

import nats
import paho.mqtt.client as paho

import gateway

TEST_S = 60
DEBIAN = gateway.ROOT / ".test/debian"


# paho-mqtt.


class Paho:
    """A paho client with its network thread; connected when made."""

    def __init__(self, strait, version=paho.MQTTv5, client_id="", username=None, port=None):
        self.messages = queue.Queue()
        self.disconnected = queue.Queue()
        self.acknowledged = {}
        self.answered = threading.Condition()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=version)
        self.client.max_inflight_messages_set(1000)
        if username is not None:
            self.client.username_pw_set(username)
        connacks = queue.Queue()
        self.client.on_connect = lambda _c, _u, _f, reason, _p: connacks.put(reason)
        self.client.on_disconnect = lambda _c, _u, _f, reason, _p: self.disconnected.put(reason)
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        self.client.on_subscribe = lambda _c, _u, mid, reasons, _p: self.on_answer(mid, reasons)
        self.client.on_unsubscribe = lambda _c, _u, mid, reasons, _p: self.on_answer(mid, reasons)
        self.client.connect(strait.mqtt[0], port or strait.mqtt[1], keepalive=60)
        self.client.loop_start()
        reason = connacks.get(timeout=TEST_S)
        assert not reason.is_failure, reason

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def on_answer(self, mid, reasons):
        with self.answered:
            self.acknowledged[mid] = reasons
            self.answered.notify_all()

    def await_answer(self, called):
        _, mid = called
        with self.answered:
            assert self.answered.wait_for(lambda: mid in self.acknowledged, TEST_S), "no SUBACK or UNSUBACK"
            return [reason.value for reason in self.acknowledged[mid]]

    def subscribe(self, *filters):
        """Filters are names (QoS 0) or (name, QoS); returns the codes of SUBACK."""
        return self.await_answer(self.client.subscribe([(f, 0) if isinstance(f, str) else f for f in filters]))

    def unsubscribe(self, *filters):
        return self.await_answer(self.client.unsubscribe(list(filters)))

    def publish(self, topic, payload=b"", qos=0, properties=None):
        self.client.publish(topic, payload, qos=qos, properties=properties).wait_for_publish(TEST_S)

    def whole_message(self):
        return self.messages.get(timeout=TEST_S)

    def message(self):
        found = self.whole_message()
        return found.topic, found.payload

    def n_messages(self, n):
        return [self.message() for _ in range(n)]


# nats-py.


def run(scenario):
    """Runs a coroutine with a bound on its time, and closes what it connected."""

    async def bounded():
        try:
            return await asyncio.wait_for(scenario, TEST_S)
        finally:
            # Those of a failed test must not hear what the next one says.
            while opened:
                connection = opened.pop()
                if not connection.is_closed:
                    await connection.close()

    return asyncio.run(bounded())


opened = []


async def connect_nats(strait, **options):
    async def on_error(error):
        raise error

    opened.append(await nats.connect(strait.nats_url, allow_reconnect=False, error_cb=on_error, **options))
    return opened[-1]


async def settle(connection):
    """Returns once the gateway has taken what was said on this connection.

    nats-py writes the PING of a flush ahead of what waits to be written, which goes out while that one is
    answered: only the second PING is behind it.
    """
    await connection.flush(TEST_S)
    await connection.flush(TEST_S)


class NatsThread:
    """A nats-py connection with a loop in a thread of its own, for tests without a loop."""

    def __init__(self, strait):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.connection = self.call(connect_nats(strait))
        opened.remove(self.connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call(self.connection.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(TEST_S)
        self.loop.close()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(TEST_S)

    def subscribe(self, subject, group=""):
        """A subscription that the gateway has taken; ask it with `message`."""
        subscription = self.call(self.connection.subscribe(subject, queue=group))
        self.settle()
        return subscription

    def whole_message(self, subscription):
        return self.call(subscription.next_msg(TEST_S))

    def message(self, subscription):
        found = self.whole_message(subscription)
        return found.subject, found.data

    def n_messages(self, subscription, n):
        return [self.message(subscription) for _ in range(n)]

    def publish(self, subject, payload=b""):
        self.call(self.connection.publish(subject, payload))
        self.settle()

    def settle(self):
        self.call(settle(self.connection))


# mosquitto_pub and mosquitto_sub.


class MosquittoSub:
    """A mosquitto_sub that has its SUBACK. It ends after `count` messages."""

    def __init__(self, strait, version, qos, topic_filter, count):
        # Into a pipe it would keep its lines until it ends.
        command = ["stdbuf", "-oL", *mosquitto("sub", strait, version, qos)]
        command += ["-t", topic_filter, "-C", str(count), "-W", str(TEST_S), "-d", "-F", "message %q %t %p"]
        self.process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if line.startswith("Subscribed ("):
                return
        raise AssertionError(f"mosquitto_sub ended before its SUBACK: {seen}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def messages(self):
        """What it received, as (QoS, topic, payload)."""
        out = self.process.stdout.read()
        code = self.process.wait(TEST_S)
        assert code == 0, f"mosquitto_sub ended with {code}:\n{out}"
        lines = [line.split(" ", 3)[1:] for line in out.splitlines() if line.startswith("message ")]
        return [(int(qos), topic, payload) for qos, topic, payload in lines]


def mosquitto_pub(strait, version, qos, topic, *payloads, options=()):
    command = [*mosquitto("pub", strait, version, qos), "-t", topic, "-l", *options]
    done = subprocess.run(
        command, env=environment(), input="".join(p + "\n" for p in payloads),
        capture_output=True, text=True, timeout=TEST_S,
    )  # fmt: skip
    assert done.returncode == 0, f"mosquitto_pub ended with {done.returncode}: {done.stdout}{done.stderr}"


def mosquitto(verb, strait, version, qos):
    host, port = strait.mqtt
    program = DEBIAN / "usr/bin" / f"mosquitto_{verb}"
    return [program, "-h", host, "-p", str(port), "-V", version, "-q", str(qos)]


def environment():
    libraries = next((DEBIAN / "usr/lib").glob("*-linux-gnu"))
    return {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
