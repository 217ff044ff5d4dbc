# SPDX-License-Identifier: Apache-2.0
"""The daemon as an administrator has it: check, start, reload and stop, in every way that can go
wrong. test_start.py has the short form of the same."""
import json
import os
import re
import signal
import socket
import subprocess
import threading

import pytest

import polygate
from mqttwire import DISCONNECT, PUBACK, MqttPeer, disconnect, publish


def run(*arguments, env=None):
    return subprocess.run([polygate.BIN, *map(str, arguments)], timeout=polygate.TIMEOUT, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, env=env)


def listener(name, address="127.0.0.1:0", protocol="mqtt"):
    return f'listener "{name}" {{ bind = "{address}"  protocol = {protocol} }}\n'


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- the command line ----------------------------------------------------------------------------

def test_the_sample_configuration_is_correct():
    done = run("-t", "-c", polygate.ROOT / "conf" / "polygate.conf")
    assert done.returncode == 0, done.stdout
    assert "is correct" in done.stdout


def test_the_built_in_configuration_is_correct():
    assert run("-t").returncode == 0


def test_unknown_arguments_are_refused():
    for arguments in (["-x"], ["file"], ["-c"]):
        done = run(*arguments)
        assert done.returncode == 1 and "Usage:" in done.stdout


def test_every_option_is_printed_for_the_manual():
    done = run("-O")
    assert done.returncode == 0
    for name in ("workers", "login_frame_size", "queue_policy", "bind", "allow_anonymous"):
        assert f".It Ic {name}\n" in done.stdout


@pytest.mark.parametrize("text, expected", [
    ('listener "a" { bind = "0.0.0.0:0" protocol = mqtt }', "other machines can reach 0.0.0.0:0"),
    ('listener "a" { bind = "127.0.0.1:0" }', "protocol is not given"),
    ('listener "a" { bind = "localhost:0" protocol = mqtt }', "names are not looked up"),
    ("workers = many", 'found "many", expected a whole number'),
    ("include nowhere.conf", "cannot read"),
    ("", "there is no listener"),
])
def test_a_bad_configuration_refuses_check_and_start_alike(folder, text, expected):
    path = folder / "polygate.conf"
    path.write_text(text, encoding="utf-8")
    for arguments in (["-t", "-c", path], ["-c", path]):
        done = run(*arguments)
        assert done.returncode == 1
        assert expected in done.stdout.replace('\\"', '"') and str(path) in done.stdout


def test_the_check_disturbs_no_running_gateway(gateway):
    gw = gateway()
    assert run("-t", "-c", gw.config_path).returncode == 0
    gw.connect("mqtt", MqttPeer).login("a")
    gw.ctl("status")


# ---- log -----------------------------------------------------------------------------------------

def test_json_lines_are_json(folder):
    gw = polygate.Gateway(folder, "log { format = json }\n", listeners={"mqtt": "mqtt"})
    gw.launch()
    gw.lines.wait(lambda line: '"event":"ready"' in line, "ready")
    gw.stop()
    lines = [json.loads(line) for line in gw.lines.all()]
    assert all(list(line)[:3] == ["time", "level", "event"] for line in lines)
    assert {"listening", "ready", "stopping", "stopped"} <= {line["event"] for line in lines}
    assert next(line for line in lines if line["event"] == "ready")["workers"] >= 1


# ---- reload --------------------------------------------------------------------------------------

def test_a_reload_opens_what_is_new_and_closes_what_is_gone(gateway):
    gw = gateway(listeners={"mqtt": "mqtt", "old": "mqtt"})
    stays, old = gw.connect("mqtt", MqttPeer), gw.connect("old", MqttPeer)
    stays.login("a")
    old.login("b")
    port, old_port = gw.port("mqtt"), gw.port("old")

    gw.listeners = {"mqtt": "mqtt", "new": "mqtt"}
    assert gw.reload("")["event"] == "reloaded"
    gw.wait_log("listener_closed", name="old")
    with pytest.raises(ConnectionRefusedError):
        polygate.Peer(old_port)
    gw.connect("new", MqttPeer).login("c")
    polygate_again = MqttPeer(port)          # the same socket as before
    polygate_again.login("d")
    stays.barrier()
    old.barrier()                            # its connection is not touched


def test_new_limits_hold_for_new_connections(gateway):
    gw = gateway()
    before = gw.connect("mqtt", MqttPeer)
    before.login("a")
    assert gw.reload("limits { connections = 1 }\n")["event"] == "reloaded"
    gw.connect("mqtt").expect_close()
    before.barrier()
    assert gw.reload("")["event"] == "reloaded"
    gw.connect("mqtt", MqttPeer).login("b")


def test_the_log_level_changes_at_once(gateway):
    gw = gateway()
    gw.write_config("log { level = error }\n")
    mark = gw.mark()
    gw.process.send_signal(signal.SIGHUP)
    gw.wait_log("reloading", start=mark)
    # No line says that it is done; a reload that fails does.
    gw.write_config("nonsense = 1\n")
    gw.process.send_signal(signal.SIGHUP)
    gw.wait_log("reload_failed", start=mark)
    assert not gw.logged("reloaded", start=mark)


def test_a_reload_that_cannot_open_a_port_changes_nothing(gateway):
    gw = gateway()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = free_port()
        answer = gw.reload(listener("good", f"127.0.0.1:{other}")
                           + listener("bad", f"127.0.0.1:{port}") + "log { level = error }\n")
        assert answer["event"] == "reload_failed"
        assert f"127.0.0.1:{port}" in answer["error"]
    with pytest.raises(ConnectionRefusedError):
        polygate.Peer(other)                 # what had been opened for it is closed again
    gw.connect("mqtt", MqttPeer).login("a")
    assert gw.reload("")["event"] == "reloaded"   # and the log level was not touched


def test_a_reload_cannot_change_the_number_of_workers(gateway):
    gw = gateway("workers = 1\n")
    answer = gw.reload("workers = 2\n")
    assert answer["event"] == "reload_failed" and "restart" in answer["error"]
    gw.connect("mqtt", MqttPeer).login("a")


def test_reloads_among_connecting_clients(gateway):
    """Nobody is refused while the configuration changes under them, and every old one is freed."""
    gw = gateway("workers = 2\n", listeners={"mqtt": "mqtt"})
    failures = []
    stop = threading.Event()
    port = gw.port("mqtt")

    def connect(number):
        count = 0
        while not stop.is_set():
            try:
                with MqttPeer(port) as peer:
                    peer.login(f"c{number}")
                    peer.barrier()
                count += 1
            except (AssertionError, OSError) as error:
                failures.append(f"connection {count}: {error!r}")
                return

    threads = [threading.Thread(target=connect, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(15):
            assert gw.reload(f"workers = 2\nsession {{ queue_messages = {number + 1} }}\n"
                             + listener(f"x{number}"))["event"] == "reloaded"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures


def test_signals_in_quick_succession(gateway):
    gw = gateway(listeners={"mqtt": "mqtt"})
    for _ in range(50):
        gw.process.send_signal(signal.SIGHUP)
    gw.connect("mqtt", MqttPeer).login("a")
    for _ in range(10):
        gw.process.send_signal(signal.SIGHUP)
    gw.stop()


# ---- stop ----------------------------------------------------------------------------------------

def test_sigint_stops_as_sigterm_does(gateway):
    gw = gateway()
    gw.process.send_signal(signal.SIGINT)
    gw.wait_exit(0)
    assert gw.logged("stopping", signal="SIGINT") and gw.logged("stopped")


def test_a_second_sigterm_does_not_wait(gateway):
    """A peer that reads nothing and does not close keeps the first one waiting for its linger."""
    gw = gateway("drain_timeout = 10m\nlimits { linger = 1m }\n")
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a", version=5)
    gw.process.send_signal(signal.SIGTERM)
    assert peer.next(DISCONNECT).reason == 0x8B
    gw.process.send_signal(signal.SIGTERM)
    gw.wait_exit(0)
    assert gw.logged("stopping_at_once")


def test_drain_timeout_bounds_the_end(gateway):
    gw = gateway("drain_timeout = 500ms\nlimits { linger = 1m }\n")
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a", version=5)
    gw.process.send_signal(signal.SIGTERM)
    assert peer.next(DISCONNECT).reason == 0x8B
    gw.wait_exit(0)


def test_who_said_goodbye_is_not_waited_for(gateway):
    """The peer does not close, which would keep its connection for as long as the gateway lingers."""
    gw = gateway("drain_timeout = 10m\nlimits { linger = 1m }\n")
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a")
    peer.send(disconnect())
    peer.expect_close()
    gw.process.send_signal(signal.SIGTERM)
    gw.wait_exit(0)


def test_what_is_due_comes_after_the_peers_goodbye(gateway):
    gw = gateway()
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a")
    peer.send(publish("t", b"x", 1, 7) + disconnect())
    assert peer.next(PUBACK).packet_id == 7
    peer.expect_close()


def test_nobody_gets_in_while_it_stops(gateway):
    gw = gateway("limits { linger = 1m }\n")
    port = gw.port("mqtt")
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a", version=5)
    gw.process.send_signal(signal.SIGTERM)
    assert peer.next(DISCONNECT).reason == 0x8B
    with pytest.raises(ConnectionRefusedError):
        polygate.Peer(port)
    peer.close()
    gw.wait_exit(0)


# ---- systemd -------------------------------------------------------------------------------------

def test_systemd_is_told(gateway, folder):
    if "systemd:     yes" not in run("-V").stdout:
        pytest.skip("built without systemd")
    path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(polygate.TIMEOUT)
        gw = gateway(env={"NOTIFY_SOCKET": str(path)})
        assert told.recv(1000).startswith(b"READY=1")
        gw.reload("")
        assert told.recv(1000).startswith(b"RELOADING=1")
        assert told.recv(1000).startswith(b"READY=1")
        assert gw.reload("nonsense = 1\n")["event"] == "reload_failed"
        assert told.recv(1000).startswith(b"RELOADING=1")
        assert told.recv(1000).startswith(b"READY=1")
        gw.process.send_signal(signal.SIGTERM)
        assert told.recv(1000).startswith(b"STOPPING=1")
        gw.wait_exit(0)


# ---- plugins that are loaded ---------------------------------------------------------------------

def build_plugin(folder, name, source):
    """A plugin made here and now; None if there is no compiler."""
    path = folder / f"{name}.c"
    path.write_text(source, encoding="utf-8")
    made = folder / f"{name}.so"
    compiler = os.environ.get("PG_CC", "cc").split()
    try:
        subprocess.run([*compiler, "-std=gnu11", "-D_GNU_SOURCE", "-fPIC", "-shared",
                        f"-I{polygate.ROOT / 'core'}", str(path), "-o", str(made)], check=True)
    except FileNotFoundError:
        pytest.skip("no compiler")
    return made


PLUGIN = """
#include "polygate.h"
static int here;
static void *start(const void *conf, struct pg_error *error)
{
    if (*(const int64_t *)conf == 13) { pg_error_set(error, "13 is not liked"); return NULL; }
    PG_LOG(PG_INFO, "guest_started", PG_F_INT("number", *(const int64_t *)conf));
    return &here;
}
static void stop(void *self) { (void)self; PG_LOG(PG_INFO, "guest_stopped", PG_F_INT("n", 1)); }
static const struct pg_option options[] = {
    {.name = "number", .type = PG_OPT_INT, .fallback = "1", .sentence = "A number."},
    {.name = NULL},
};
PG_API extern const struct pg_plugin pg_plugin_descriptor;
const struct pg_plugin pg_plugin_descriptor = {
    .abi = ABI, .name = "guest", .options = options, .conf_size = 8, .start = start, .stop = stop,
};
"""


def test_a_plugin_is_loaded_started_and_stopped(gateway, folder):
    made = build_plugin(folder, "guest", PLUGIN.replace("ABI,", "PG_ABI,"))
    gw = gateway(f'plugin "guest" {{ path = "{made}" number = 5 }}\n')
    gw.wait_log("guest_started", number="5")
    answer = gw.reload(f'plugin "guest" {{ path = "{made}" number = 13 }}\n')
    assert answer["event"] == "reload_failed" and "guest: 13 is not liked" in answer["error"]
    answer = gw.reload(f'plugin "guest" {{ path = "{made}" nmuber = 3 }}\n')
    assert 'did you mean "number"' in answer["error"].replace('\\"', '"')
    mark = gw.mark()
    assert gw.reload(f'plugin "guest" {{ path = "{made}" number = 6 }}\n')["event"] == "reloaded"
    gw.wait_log("guest_started", start=mark, number="6")
    gw.wait_log("guest_stopped", start=mark)
    assert gw.reload("")["event"] == "reloaded"
    gw.wait_log("guest_stopped", start=gw.mark() - 5)


def test_a_plugin_of_another_abi_is_refused(gateway, folder):
    made = build_plugin(folder, "guest", PLUGIN.replace("ABI,", "PG_ABI + 41,"))
    path = folder / "polygate.conf"
    path.write_text(f'plugin "guest" {{ path = "{made}" }}\n' + listener("a"), encoding="utf-8")
    done = run("-t", "-c", path)
    assert done.returncode == 1
    wrong = re.search(r"guest\.so: built for version (\d+) of the plugin ABI, wanted (\d+)", done.stdout)
    assert wrong and int(wrong[1]) == int(wrong[2]) + 41


def test_the_old_configuration_lives_as_long_as_its_connections(gateway, folder):
    made = build_plugin(folder, "guest", PLUGIN.replace("ABI,", "PG_ABI,"))
    gw = gateway(f'plugin "guest" {{ path = "{made}" }}\n')
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a")
    assert gw.reload("")["event"] == "reloaded"
    peer.barrier()
    gw.connect("mqtt", MqttPeer).login("b")
    assert not gw.logged("guest_stopped")
    peer.close()
    gw.wait_log("guest_stopped")


ECHO = """
#include "polygate.h"
struct state { uint64_t frames; };
static const struct pg_counter counters[] = {{"frames", "bytes came in"}, {NULL, NULL}};
struct conf { const char *last_words; };
static const struct pg_option options[] = {
    {.name = "last_words", .type = PG_OPT_STRING, .fallback = "bye", .sentence = "The last words."},
    {.name = NULL},
};
static void opened(struct pg_conn *conn)
{
    pg_conn_set_idle(conn, 0, PG_KEEPALIVE_TIMEOUT);
}
static size_t bytes(struct pg_conn *conn, struct pg_bytes in)
{
    pg_conn_count(conn, 0, 1);
    pg_conn_append(conn, in);
    return in.len;
}
static void goodbye(struct pg_conn *conn, enum pg_reason reason)
{
    (void)reason;
    pg_conn_append(conn, pg_bytes_str(((const struct conf *)pg_conn_conf(conn))->last_words));
}
static const struct pg_protocol echo = {
    .abi = PG_ABI, .name = "echo", .options = options, .conf_size = sizeof(struct conf),
    .counters = counters, .conn_size = sizeof(struct state),
    .open = opened, .bytes = bytes, .goodbye = goodbye,
};
PG_API extern const struct pg_plugin pg_plugin_descriptor;
const struct pg_plugin pg_plugin_descriptor = {
    .abi = PG_ABI, .name = "echo-plugin", .protocol = &echo,
};
"""


def test_a_plugin_brings_a_protocol(gateway, folder):
    made = build_plugin(folder, "echo", ECHO)
    plugin = f'plugin "echo-plugin" {{ path = "{made}" }}\n'
    gw = gateway(plugin + 'echo { last_words = "so long" }\n',
                 listeners={"mqtt": "mqtt", "echo": "echo"})
    peer = gw.connect("echo")
    peer.send(b"hello")
    peer.expect(b"hello")
    assert gw.reload(plugin + 'echo { last_words = "farewell" }\n')["event"] == "reloaded"
    later = gw.connect("echo")
    later.send(b"again")
    later.expect(b"again")
    peer.send(b"still here")
    peer.expect(b"still here")
    gw.process.send_signal(signal.SIGTERM)
    peer.expect(b"so long")                  # each as it was when it was opened
    later.expect(b"farewell")
    peer.expect_close()
    later.expect_close()
    peer.close()
    later.close()
    gw.wait_exit(0)


def test_a_reload_cannot_bring_a_protocol_with_counters(gateway, folder):
    made = build_plugin(folder, "echo", ECHO)
    gw = gateway()
    answer = gw.reload(f'plugin "echo-plugin" {{ path = "{made}" }}\n')
    assert answer["event"] == "reload_failed"
    assert "was not there at start" in answer["error"] and "restart" in answer["error"]
    gw.connect("mqtt", MqttPeer).login("a")
