"""Stands for the broker of paho.mqtt.testing, which paho-mqtt's tests start: the gateway at STRAIT_PORT runs already."""

import os
import threading
import types

stopped = threading.Event()


def run(config):
    stopped.clear()
    listeners.TCPListeners.server = server
    stopped.wait()


def address():
    return ("127.0.0.1", int(os.environ["STRAIT_PORT"]))


server = types.SimpleNamespace(
    shutdown=stopped.set, server_close=lambda: None, socket=types.SimpleNamespace(getsockname=address)
)
listeners = types.SimpleNamespace(TCPListeners=types.SimpleNamespace(server=None))
