# SPDX-License-Identifier: Apache-2.0
"""Listeners: proxies that say who is there, sockets of the file system, and options of sockets."""
import ctypes
import json
import os
import re
import socket
import stat
import struct
import subprocess

import pytest

import proxywire
from mqttwire import CONNACK, MqttPeer, connect, subscribe
from polygate import BIN, TIMEOUT
from proxywire import Proxy, tls, v1, v2
from test_tls import ca, context  # noqa: F401
from test_tls import listener as tls_listener
from wswire import WebSocket, frame, request

ACCEPTED = bytes.fromhex("20020000")


def proxied(keys="allow_anonymous = yes", mode="any", transport="tcp", name="mqtt"):
    return (f'listener "{name}" {{ bind = {{"127.0.0.1:0"}}  transport = {transport}  protocol = mqtt '
            f'proxy = {mode}  proxy_from = {{"127.0.0.1"}}  {keys} }}\n')


def guarded(folder):
    """Only who has a name comes in."""
    (folder / "rules").write_text("allow all * #\n")
    return f'authfile {{ rules_file = "{folder}/rules" }}  access {{ allow_anonymous = no }}'


def counter(gw, name):
    """The value of one counter of `polygatectl counters`."""
    rows = json.loads(gw.ctl("counters", "--json", "--all"))["counters"]
    return {row["name"]: row["value"] for row in rows}[name]


# ---- proxies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("header, peer", [
    (v1(), "192.0.2.7:40000"),
    (v1("2001:db8::7"), "[2001:db8::7]:40000"),
    (v2(), "192.0.2.7:40000"),
    (v2("2001:db8::7"), "[2001:db8::7]:40000"),
    (v2(tlvs=proxywire.tlv(1, b"mqtt") + proxywire.tlv(2, b"gw.example")), "192.0.2.7:40000"),
    (b"PROXY UNKNOWN\r\n", r"127\.0\.0\.1:\d+"),
    (v2(local=True), r"127\.0\.0\.1:\d+"),
], ids=["v1", "v1-ipv6", "v2", "v2-ipv6", "v2-values", "unknown", "local"])
@pytest.mark.parametrize("piece", [None, 1])
def test_proxy_the_client_has_the_address_that_the_proxy_names(gateway, header, peer, piece):
    gw = gateway(listeners={"mqtt": proxied()})
    with gw.connect("mqtt") as s:
        data = header + connect("probe")
        if piece:
            s.send_pieces(data, piece)
        else:
            s.send(data)
        s.expect(ACCEPTED)
        pattern = peer if "\\" in peer else re.escape(peer)
        gw.wait_log("admitted", client="probe", peer=pattern)
        assert re.fullmatch(pattern, json.loads(gw.ctl("client", "probe", "--json"))["peer"])


def test_proxy_limits_and_bans_are_of_the_clients_address(gateway):
    gw = gateway("access { allow_anonymous = yes }\n",
                 listeners={"mqtt": proxied("address_connections = 1  place_wait = 0s")})

    def arrive(address, name):
        peer = gw.connect("mqtt")
        peer.send(v1().replace(b"192.0.2.7", address) + connect(name))
        return peer
    arrive(b"192.0.2.7", "a").expect(ACCEPTED)
    arrive(b"192.0.2.8", "b").expect(ACCEPTED)
    arrive(b"192.0.2.8", "c").expect_close()
    gw.wait_log("connection_refused", reason="connection_limit", peer="192.0.2.8:.*")
    gw.ctl("ban", "192.0.2.9")
    arrive(b"192.0.2.9", "d").expect_close()
    gw.wait_log("connection_refused", reason="banned", peer="192.0.2.9:.*")


def test_proxy_rules_are_about_the_clients_address(gateway, folder):
    (folder / "rules").write_text("allow all address:192.0.2.0/24 in/#\nallow all address:127.0.0.1 own/#\n")
    gw = gateway(f'authfile {{ rules_file = "{folder}/rules" }}  access {{ allow_anonymous = yes }}\n',
                 listeners={"mqtt": proxied("")})
    for header, topic, code in [(v1(), "in/a", 0), (v1(), "own/a", 0x80), (v2(), "in/a", 0),
                                (v1("198.51.100.7"), "in/a", 0x80), (v2("2001:db8::7"), "in/a", 0x80),
                                (v2(local=True), "own/a", 0), (v2(local=True), "in/a", 0x80)]:
        with gw.connect("mqtt") as s:
            s.send(header + connect("probe") + subscribe(1, (topic, 0)))
            s.expect(ACCEPTED + bytes([0x90, 3, 0, 1, code]))


def test_proxy_mosquitto_clients_through_a_proxy(gateway):
    gw = gateway(listeners={"mqtt": proxied()})
    with Proxy(gw.port("mqtt"), v2()) as proxy:
        sub = gw.tool("stdbuf", "-oL", "mosquitto_sub", "-d", "-h", "127.0.0.1", "-p", proxy.port,
                      "-t", "a/b", "-C", "1", "-F", "MSG %t %p")
        sub.wait_line(r"^Subscribed")
        gw.tool("mosquitto_pub", "-h", "127.0.0.1", "-p", proxy.port, "-q", "1", "-t", "a/b", "-m",
                "hello").wait()
        sub.wait_line("^MSG a/b hello$")
        sub.wait()
    gw.wait_log("admitted", peer=re.escape("192.0.2.7:40000"))


def test_proxy_below_websocket(gateway):
    gw = gateway(listeners={"ws": proxied(transport="ws", name="ws")})
    peer = gw.connect("ws", WebSocket)
    status, _ = peer.ask(v2() + request())
    assert status == 101
    peer.send(frame(connect("probe")))
    peer.expect_stream(ACCEPTED)
    gw.wait_log("admitted", client="probe", peer=re.escape("192.0.2.7:40000"))


def test_proxy_curl_through_a_header_of_its_own(gateway):
    gw = gateway(listeners={"ws": proxied(transport="ws", name="ws", mode="v1")})
    page = gw.tool("curl", "-s", "--haproxy-protocol",
                   f"http://127.0.0.1:{gw.port('ws')}/nowhere").wait()
    assert page
    gw.wait_log("connection_refused", detail="404: .*", peer=r"127\.0\.0\.1:\d+")


def test_proxy_below_tls(gateway, ca):  # noqa: F811
    gw = gateway(listeners={"mqtt": tls_listener(
        ca, 'proxy = v2 proxy_from = {"127.0.0.1"} allow_anonymous = yes')})
    raw = socket.create_connection(("127.0.0.1", gw.port("mqtt")), TIMEOUT)
    raw.sendall(v2())
    with context(ca).wrap_socket(raw, server_hostname="localhost") as s:
        s.sendall(connect("probe"))
        assert s.recv(4) == ACCEPTED
    gw.wait_log("admitted", client="probe", peer=re.escape("192.0.2.7:40000"))


def test_proxy_the_name_of_a_certificate_is_the_user(gateway, folder):
    gw = gateway(guarded(folder) + " log { level = debug }",
                 listeners={"mqtt": proxied("proxy_identity = cn")})
    with gw.connect("mqtt") as s:
        s.send(v2(tlvs=tls("device-7")) + connect("probe", username="somebody-else"))
        s.expect(ACCEPTED)
        gw.wait_log("proxied", peer=re.escape("192.0.2.7:40000"), proxy=r"127\.0\.0\.1:\d+",
                    tls=re.escape("TLSv1.3"), cn="device-7")
        gw.wait_log("admitted", client="probe", user="device-7")
    # Neither a certificate that is not valid, nor one that was not shown, makes anybody somebody.
    for words in (tls("device-7", verify=20), tls("device-7", bits=1), b""):
        with gw.connect("mqtt") as s:
            s.send(v2(tlvs=words) + connect("probe"))
            assert s.read(4)[3] != 0
    mark = gw.mark()
    with gw.connect("mqtt") as s:
        s.send(v2(tlvs=tls(b"root\0.example")) + connect("probe"))
        s.expect_close()
    gw.wait_log("connection_refused", start=mark, reason="bad_proxy_header")


def test_proxy_clients_must_have_shown_what_is_required(gateway):
    require = "allow_anonymous = yes proxy_require = "
    gw = gateway(listeners={"mqtt": proxied(require + "tls"),
                            "cert": proxied(require + "certificate", name="cert")})
    header = {"plain": b"", "tls": tls(bits=1), "invalid": tls(verify=20), "valid": tls()}
    taken = {"mqtt": ("tls", "invalid", "valid"), "cert": ("valid",)}
    for name, ones in taken.items():
        for who, words in header.items():
            with gw.connect(name) as s:
                s.send(v2(tlvs=words) + connect("probe"))
                if who in ones:
                    s.expect(ACCEPTED)
                else:
                    s.expect_close()
    gw.wait_log("connection_refused", reason="handshake_failed", listener="mqtt",
                peer=re.escape("192.0.2.7:40000"), detail=".*proxy_require")
    assert counter(gw, "refuse.handshake_failed") == 1 + 3
    for name in taken:
        with gw.connect(name) as s:  # the proxy asks whether we are there
            s.send(v2(local=True) + connect("probe"))
            s.expect(ACCEPTED)


def test_proxy_without_the_option_a_name_is_nothing(gateway, folder):
    gw = gateway(guarded(folder), listeners={"mqtt": proxied("")})
    with gw.connect("mqtt") as s:
        s.send(v2(tlvs=tls("device-7")) + connect("probe"))
        assert s.read(4)[3] != 0


def test_proxy_who_is_none_is_refused_unheard(gateway):
    gw = gateway(listeners={"mqtt": proxied()})
    for _ in range(2):
        s = socket.create_connection(("127.0.0.1", gw.port("mqtt")), TIMEOUT, ("127.0.0.2", 0))
        s.settimeout(TIMEOUT)
        try:
            s.sendall(v1() + connect("probe"))
            assert s.recv(1) == b""
        except ConnectionError:
            pass
        s.close()
    gw.wait_log("connection_refused", reason="untrusted_proxy", peer=r"127\.0\.0\.2:\d+")
    assert counter(gw, "refuse.untrusted_proxy") == 2
    with gw.connect("mqtt") as s:
        s.send(v1() + connect("probe"))
        s.expect(ACCEPTED)


@pytest.mark.parametrize("data", [
    connect("probe"), b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 1883\n",
    v2()[:12] + b"\x31" + v2()[13:], v2(tlvs=b"\1\0\4abc"), b"PROXY UNKNOWN " + b"x" * 200,
], ids=["mqtt", "http", "lf", "version", "tlv", "endless"])
def test_proxy_what_is_no_header_is_closed(gateway, data):
    gw = gateway(listeners={"mqtt": proxied()})
    s = gw.connect("mqtt")
    s.send(data)
    s.expect_close()
    gw.wait_log("connection_refused", reason="bad_proxy_header")
    assert counter(gw, "refuse.bad_proxy_header") == 1


def test_proxy_a_version_that_is_not_accepted(gateway):
    for mode, header in (("v1", v2()), ("v2", v1())):
        gw = gateway(listeners={"mqtt": proxied(mode=mode)})
        s = gw.connect("mqtt")
        s.send(header + connect("probe"))
        s.expect_close()
        gw.wait_log("connection_refused", reason="bad_proxy_header", detail="version .* accepted")


def test_proxy_a_header_has_a_deadline(gateway):
    gw = gateway("limits { first_byte_timeout = 200ms }", listeners={"mqtt": proxied()})
    s = gw.connect("mqtt")
    s.send(v2()[:20])
    s.expect_close()
    gw.wait_log("connection_refused", reason="first_byte_timeout")


def test_proxy_connections_that_wait_for_it_are_bounded(gateway):
    gw = gateway("workers = 1  access { allow_anonymous = yes }\n", listeners={"mqtt": proxied("proxy_waiting = 2")})
    waiting = [gw.connect("mqtt") for _ in range(2)]
    gw.connect("mqtt").expect_close()
    gw.wait_log("connection_refused", reason="connection_limit", detail="see proxy_waiting of the listener")
    for number, peer in enumerate(waiting):
        peer.send(v1() + connect(f"probe-{number}"))
        peer.expect(ACCEPTED)


# ---- options of sockets ----------------------------------------------------------------------------


class GatewaysSocket:
    """The gateway's end of a connection, or what it listens on, as a descriptor of ours (pidfd_getfd(2))."""

    PIDFD_GETFD = 438  # on every architecture

    def __init__(self, gw, is_it):
        libc = ctypes.CDLL(None, use_errno=True)
        process = os.pidfd_open(gw.process.pid)
        self.socket = None
        for name in os.listdir(f"/proc/{gw.process.pid}/fd"):
            try:
                if not os.readlink(f"/proc/{gw.process.pid}/fd/{name}").startswith("socket:"):
                    continue
            except FileNotFoundError:
                continue
            fd = libc.syscall(self.PIDFD_GETFD, process, int(name), 0)
            assert fd >= 0, os.strerror(ctypes.get_errno())
            found = socket.socket(fileno=fd)
            if self.socket is None and found.family == socket.AF_INET and is_it(found):
                self.socket = found
            else:
                found.close()
        os.close(process)
        assert self.socket

    def option(self, level, name):
        return self.socket.getsockopt(level, name)

    def close(self):
        self.socket.close()


def peer_is(address):
    def is_it(found):
        try:
            return found.getpeername() == address
        except OSError:
            return False
    return is_it


@pytest.mark.parametrize("keys, keepalive, user_timeout, nodelay", [
    ("", (600, 30, 4), 0, True),
    ("tcp_keepalive = 90s  tcp_keepalive_interval = 5s  tcp_keepalive_count = 2  tcp_user_timeout = 20s "
     "tcp_nodelay = no", (90, 5, 2), 20000, False),
    ("tcp_keepalive = 0s", None, 0, True)], ids=["default", "set", "off"])
@pytest.mark.parametrize("reuse_port", ["yes", "no"])
def test_options_of_sockets_are_those_of_the_listener(gateway, keys, keepalive, user_timeout, nodelay, reuse_port):
    gw = gateway(listeners={"mqtt": (
        f'listener "mqtt" {{ bind = "127.0.0.1:0"  protocol = mqtt  reuse_port = {reuse_port}  {keys} }}\n')})
    peer = gw.connect("mqtt")
    peer.send(connect("probe"))
    peer.expect(ACCEPTED)
    own = GatewaysSocket(gw, peer_is(peer.socket.getsockname()))
    assert bool(own.option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) == (keepalive is not None)
    if keepalive:
        assert keepalive == tuple(own.option(socket.IPPROTO_TCP, name) for name in (
            socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT))
    assert own.option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == user_timeout
    assert bool(own.option(socket.IPPROTO_TCP, socket.TCP_NODELAY)) == nodelay
    own.close()


def test_the_backlog_is_that_of_the_listener(gateway):
    gw = gateway(listeners={"mqtt": 'listener "mqtt" { bind = "127.0.0.1:0"  protocol = mqtt  backlog = 7 }\n'})
    listening = GatewaysSocket(gw, lambda found: found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    info = listening.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    assert struct.unpack_from("=I", info, 8 + 5 * 4)[0] == 7  # tcpi_sacked of a socket that listens
    listening.close()


def test_proxy_health_checks_leave_no_line(gateway):
    gw = gateway(listeners={"mqtt": proxied()})
    for data in (b"", v1()[:7], v2(local=True)):
        with gw.connect("mqtt") as s:
            s.send(data)
    with gw.connect("mqtt") as s:
        s.send(v1() + connect("probe"))
        s.expect(ACCEPTED)
    assert not gw.logged("connection_refused") and not gw.logged("closed", reason="peer_closed",
                                                                 client="")


def test_proxy_arrivals_end_with_their_listener(gateway):
    gw = gateway(listeners={"mqtt": "mqtt", "proxied": proxied(name="proxied")})
    s = gw.connect("proxied")
    s.send(v2()[:20])
    gw.listeners = {"mqtt": "mqtt"}
    gw.reload("")
    gw.wait_log("listener_closed", name="proxied")
    s.expect_close()


# ---- sockets of the file system --------------------------------------------------------------------


def local(folder, keys="", name="local"):
    return (f'listener "{name}" {{ bind = {{"unix:{folder}/s"}}  protocol = mqtt  {keys} }}\n')


class LocalPeer(MqttPeer):
    """A connection through the socket at `path`."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(str(path))
        self.pending = b""


@pytest.fixture
def short(tmp_path):
    """A folder whose name leaves room for a socket's."""
    assert len(str(tmp_path)) < 90, "TMPDIR is too long for the path of a socket"
    return tmp_path


def start_local(gateway, folder, keys="", config="", **arguments):
    gw = gateway(config, listeners={"local": local(folder, keys)}, launch_only=True, **arguments)
    gw.wait_log("ready")
    return gw


def test_unix_mosquitto_clients(gateway, short):
    gw = start_local(gateway, short)
    assert gw.address("local") == f"unix:{short}/s"
    sub = gw.tool("stdbuf", "-oL", "mosquitto_sub", "-d", "--unix", f"{short}/s", "-t", "a/b", "-C",
                  "1", "-F", "MSG %t %p")
    sub.wait_line(r"^Subscribed")
    gw.tool("mosquitto_pub", "--unix", f"{short}/s", "-q", "1", "-t", "a/b", "-m", "hello").wait()
    sub.wait_line("^MSG a/b hello$")
    gw.wait_log("admitted", peer=rf"unix:pid={sub.process.pid},uid=\d+")


def test_unix_curl_over_websocket_and_a_mode(gateway, short):
    gw = start_local(gateway, short, "transport = ws socket_mode = 0600")
    assert stat.S_IMODE((short / "s").stat().st_mode) == 0o600
    status = gw.tool("curl", "-s", "-o", "page", "-w", "%{http_code}", "--unix-socket", f"{short}/s",
                     "http://localhost/nowhere").wait()
    assert status == "404"


def test_unix_every_worker_takes_some(gateway, short):
    gw = start_local(gateway, short, config="workers = 2")
    peers = [LocalPeer(short / "s") for _ in range(50)]
    for number, peer in enumerate(peers):
        peer.login(f"c{number}")
    for peer in peers:
        peer.close()


def test_unix_the_file_goes_with_the_gateway_and_one_left_behind_is_replaced(gateway, short):
    gw = start_local(gateway, short)
    assert stat.S_IMODE((short / "s").stat().st_mode) == 0o660
    gw.kill()
    assert (short / "s").exists()
    gw.launch()
    gw.wait_log("ready")
    LocalPeer(short / "s").login("probe")
    gw.stop()
    assert not (short / "s").exists()


def test_unix_a_file_that_is_in_use_or_no_socket_stays(gateway, short):
    def refused(text):
        gw = gateway(listeners={"local": local(short)}, launch_only=True, control=False)
        gw.wait_exit(1)
        assert any(text in line for line in gw.lines.all()), gw.lines.all()

    first = start_local(gateway, short)
    refused("somebody listens on it")
    LocalPeer(short / "s").login("probe")
    first.stop()
    (short / "s").write_text("something else")
    refused("something that is no socket")
    assert (short / "s").read_text() == "something else"
    (short / "s").unlink()
    (short / "s").symlink_to(short / "elsewhere")
    refused("something that is no socket")


def test_unix_the_file_of_another_is_not_removed(gateway, short):
    gw = start_local(gateway, short)
    (short / "s").unlink()
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(short / "s"))
    gw.stop()
    assert (short / "s").exists()
    other.close()


def test_unix_a_reload_keeps_opens_and_closes(gateway, short):
    gw = start_local(gateway, short)
    peer = LocalPeer(short / "s")
    peer.login("probe")
    inode = (short / "s").stat().st_ino
    gw.reload()
    assert (short / "s").stat().st_ino == inode
    (short / "more").mkdir()
    gw.listeners = {"more": local(short / "more", name="more")}
    gw.reload("")
    gw.wait_log("listener_closed", name="local")
    LocalPeer(short / "more" / "s").login("other")
    assert not (short / "s").exists()
    peer.send(bytes.fromhex("c000"))
    peer.expect(bytes.fromhex("d000"))


def test_unix_a_proxy_on_this_machine(gateway, short):
    gw = start_local(gateway, short, 'proxy = v2 proxy_from = {"unix"} allow_anonymous = yes')
    peer = LocalPeer(short / "s")
    peer.send(v2() + connect("probe"))
    assert peer.next(CONNACK).reason == 0
    gw.wait_log("admitted", client="probe", peer=re.escape("192.0.2.7:40000"))


# ---- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys, expected", [
    ("proxy = v1", "proxy_from is not given"),
    ('proxy_from = {"127.0.0.1"}', "mean nothing while proxy is off"),
    ("proxy_identity = cn", "mean nothing while proxy is off"),
    ("proxy_require = tls", "mean nothing while proxy is off"),
    ('proxy = v1 proxy_from = {"unix"} proxy_require = tls', "version 1"),
    ('proxy = v2 proxy_from = {"10.0.0.1/8"}', 'proxy_from: found "10.0.0.1/8"'),
    ('proxy = v1 proxy_from = {"unix"} proxy_identity = cn', "version 1"),
    ('proxy = v1 proxy_from = {"127.0.0.1"}', "other machines can reach"),
    ('transport = ws proxy = v1 proxy_from = {"127.0.0.1"}', "other machines can reach"),
    ('transport = auto proxy = v1 proxy_from = {"127.0.0.1"}', "other machines can reach"),
    ("proxy = v3", "expected off, v1, v2 or any"),
    ("socket_mode = 0888", 'socket_mode: found "0888"'),
    ("socket_mode = 4755", 'socket_mode: found "4755"'),
    ("tcp_keepalive_count = 0", "tcp_keepalive_count"),
    ("tcp_keepalive_interval = 500ms", "tcp_keepalive_interval"),
])
def test_wrong_options_are_refused_by_the_check(folder, keys, expected):
    path = folder / "polygate.conf"
    path.write_text(f'listener "m" {{ bind = {{"127.0.0.1:0"}} protocol = mqtt {keys} }}\n')
    done = subprocess.run([BIN, "-t", "-c", path], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 1 and expected in done.stderr and f"{path}:1" in done.stderr, done.stderr


def test_one_socket_for_all_workers(gateway):
    gw = gateway("workers = 2", listeners={
        "mqtt": 'listener "mqtt" { bind = {"127.0.0.1:0"} protocol = mqtt reuse_port = no }\n'})
    for number in range(20):
        gw.connect("mqtt", MqttPeer).login(f"c{number}")
    port = gw.port("mqtt")
    sockets = [line.split() for line in open("/proc/net/tcp", encoding="ascii")]
    assert sum(s[1] == f"0100007F:{port:04X}" and s[3] == "0A" for s in sockets) == 1
