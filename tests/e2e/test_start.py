# SPDX-License-Identifier: Apache-2.0
"""The life of the process: start, refuse to start, reload, stop."""
import re
import signal
import subprocess

import polygate
from jt808wire import Terminal
from mqttwire import DISCONNECT, MqttPeer


def run(*arguments):
    return subprocess.run([polygate.BIN, *map(str, arguments)], timeout=polygate.TIMEOUT, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)


def test_listeners_say_their_real_ports(gateway):
    gw = gateway()
    ports = {name: gw.port(name) for name in gw.listeners}
    assert all(ports.values()) and len(set(ports.values())) == len(ports)
    gw.connect("mqtt", MqttPeer).login("a")
    gw.connect("jt808", Terminal).login()


def test_version_tells_how_it_was_built():
    done = run("-V")
    assert done.returncode == 0
    assert re.search(r"^polygate \d+\.\d+\.\d+", done.stdout, re.MULTILINE)
    assert "compiler:" in done.stdout and "sanitizers:" in done.stdout


def test_sigterm_says_goodbye_and_ends_with_0(gateway):
    gw = gateway()
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a", version=5)
    gw.process.send_signal(signal.SIGTERM)
    assert peer.next(DISCONNECT).reason == 0x8B
    peer.expect_close()
    gw.wait_exit(0)


def test_a_port_in_use_refuses_the_start(gateway):
    first = gateway()
    block = (f'listener "mqtt" {{ bind = {{"{first.address("mqtt")}"}} '
             'transport = tcp protocol = mqtt }\n')
    second = gateway(listeners={"mqtt": block}, launch_only=True)
    second.process.wait(polygate.TIMEOUT)
    assert second.process.returncode != 0
    second.lines.join()
    assert any(first.address("mqtt") in line for line in second.lines.all())
    second.process = None


def test_a_good_configuration_passes_the_check(folder):
    gw = polygate.Gateway(folder)
    done = run("-t", "-c", gw.config_path)
    assert done.returncode == 0, done.stdout


def test_an_unknown_key_is_refused_with_file_line_and_suggestion(folder):
    path = folder / "polygate.conf"
    path.write_text("# a comment\nsession {\n    queue_mesages = 10\n}\n", encoding="utf-8")
    done = run("-t", "-c", path)
    assert done.returncode != 0
    assert f"{path}:3" in done.stdout
    assert "queue_mesages" in done.stdout and "queue_messages" in done.stdout


def test_an_unclosed_block_is_refused(folder):
    path = folder / "polygate.conf"
    path.write_text("session {\n    queue_messages = 10\n", encoding="utf-8")
    done = run("-t", "-c", path)
    assert done.returncode != 0
    assert str(path) in done.stdout


def test_a_failed_reload_changes_nothing(gateway):
    gw = gateway()
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a")
    assert gw.reload("session { queue_mesages = 10 }\n")["event"] == "reload_failed"
    peer.barrier()
    gw.connect("mqtt", MqttPeer).login("b")


def test_a_reload_keeps_connections(gateway):
    gw = gateway()
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a")
    assert gw.reload("session { queue_messages = 10 }\n")["event"] == "reloaded"
    peer.barrier()
    gw.connect("mqtt", MqttPeer).login("b")
