# SPDX-License-Identifier: Apache-2.0
"""What keeps one peer from being served at the cost of others: limits of listeners and addresses,
frames that do not go on, bans, and many connections that say nothing."""
import json
import os
import selectors
import signal
import socket
import ssl
import threading
import time

import pytest

from authority import Authority
from mqttwire import DISCONNECT, PUBLISH, MqttPeer, connect, publish
from polygate import TIMEOUT, raise_descriptors


def listener(more="", name="mqtt"):
    return {name: f'listener "{name}" {{ bind = "127.0.0.1:0"  protocol = mqtt  {more} }}\n'}


def login(gw, client_id, name="mqtt", **arguments):
    peer = MqttPeer(gw.port(name))
    peer.login(client_id, **arguments)
    return peer


# ---- connections ---------------------------------------------------------------------------------

@pytest.mark.parametrize("limit", ["connections", "address_connections"])
def test_connections_of_a_listener_are_bounded(gateway, limit):
    gw = gateway(listeners={**listener(f"{limit} = 2"), **listener(name="free")})
    first, second = login(gw, "a"), login(gw, "b")
    MqttPeer(gw.port("mqtt")).expect_close()
    gw.wait_log("connection_refused", reason="connection_limit", listener="mqtt",
                detail="see the limits of the listener")
    login(gw, "c", "free")
    before = gw.counters()["core.connections_closed"]
    first.close()
    deadline = time.monotonic() + TIMEOUT
    while gw.counters()["core.connections_closed"] == before:
        assert time.monotonic() < deadline
    login(gw, "d")
    second.barrier()
    assert gw.counters()["refuse.connection_limit"] == 1


def test_the_limit_is_counted_over_a_reload(gateway):
    gw = gateway(listeners=listener("connections = 2"))
    kept = login(gw, "a")
    gw.listeners = listener("connections = 1")
    assert gw.reload("")["event"] == "reloaded"
    MqttPeer(gw.port("mqtt")).expect_close()
    gw.wait_log("connection_refused", reason="connection_limit")
    kept.barrier()


ADMITTED = b"\x20\x02\x00\x00"


def knock(gw, client_id, name="mqtt"):
    """A peer that has said who it is, and does not wait for the answer."""
    peer = gw.connect(name, MqttPeer)
    peer.send(connect(client_id))
    return peer


def bounded(limit, place_wait, workers=1):
    """Configuration and listeners for one connection, by this limit."""
    of_block = "" if limit == "limits.connections" else f"{limit} = 1  "
    of_process = "limits { connections = 1 }\n" if limit == "limits.connections" else ""
    return {"config": f"workers = {workers}\n{of_process}",
            "listeners": listener(f"{of_block}place_wait = {place_wait}")}


def descriptors(gw):
    return len(os.listdir(f"/proc/{gw.process.pid}/fd"))


LIMITS = ["limits.connections", "connections", "address_connections"]


@pytest.mark.parametrize("limit, workers", [
    *((limit, 1) for limit in LIMITS), ("limits.connections", 2), ("connections", 2)])
def test_places_are_given_in_the_order_of_coming(gateway, limit, workers):
    gw = gateway(**bounded(limit, "1m", workers))
    inside, waiting = login(gw, "first"), []
    for n in range(8):
        before, deadline = descriptors(gw), time.monotonic() + TIMEOUT
        waiting.append(knock(gw, f"next-{n}"))
        while descriptors(gw) == before:  # its turn begins when it is the gateway's
            assert time.monotonic() < deadline
    for peer in waiting:
        inside.close()
        peer.expect(ADMITTED)
        inside = peer
    assert not gw.logged("connection_refused")


@pytest.mark.parametrize("limit", LIMITS)
def test_nobody_is_refused_where_all_take_turns(gateway, limit):
    """Far more than there are places, on several workers, each again and again."""
    places, clients, turns = 4, 16, 20
    settings = bounded(limit, "1m", 2)
    settings["config"] = settings["config"].replace("connections = 1", f"connections = {places}")
    settings["listeners"] = {"mqtt": settings["listeners"]["mqtt"].replace(f"{limit} = 1 ", f"{limit} = {places} ")}
    gw = gateway(**settings)
    failed = []

    def take_turns(number):
        try:
            for _ in range(turns):
                with MqttPeer(gw.port("mqtt")) as peer:
                    peer.login(f"client-{number}")
                    peer.barrier()
        except (AssertionError, OSError) as error:
            failed.append(error)

    threads = [threading.Thread(target=take_turns, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and not gw.logged("connection_refused")
    assert gw.counters()["core.clients_admitted"] == clients * turns


def test_everybody_waits_for_a_place_as_long_as_is_set(gateway):
    gw = gateway(listeners={**listener("connections = 1  place_wait = 1s"),
                            **listener("connections = 1  place_wait = 0s", "hasty")})
    first, hasty = login(gw, "a"), login(gw, "b", "hasty")
    earlier = knock(gw, "c")
    time.sleep(0.5)
    started = time.monotonic()
    knock(gw, "d").expect_close()  # not when the other one's time is up
    assert time.monotonic() - started > 0.99
    earlier.expect_close()
    took = []
    for _ in range(10):
        started = time.monotonic()
        knock(gw, "e", "hasty").expect_close()
        took.append(time.monotonic() - started)
    assert min(took) < 0.2
    assert gw.counters()["refuse.connection_limit"] == 12
    first.barrier()
    hasty.barrier()


@pytest.mark.parametrize("goodbye", [b"", b"\xe0\0"])
@pytest.mark.parametrize("limit", LIMITS)
def test_who_closes_and_comes_back_at_once_has_a_place(gateway, limit, goodbye):
    """However short the wait: the end of the old connection has come, and only has to be read."""
    gw = gateway(**bounded(limit, "0s"))
    peer = login(gw, "a")
    for _ in range(5):
        gw.process.send_signal(signal.SIGSTOP)
        peer.send(goodbye)
        peer.close()
        peer = knock(gw, "a")
        gw.process.send_signal(signal.SIGCONT)
        peer.expect(ADMITTED)
    assert not gw.logged("connection_refused")


def test_one_address_above_its_limit_does_not_keep_others_out(gateway):
    """More than can wait: the others of that address are refused, and everybody else is served."""
    gw = gateway("workers = 1\n", listeners=listener("address_connections = 1  place_wait = 1m"))
    inside = login(gw, "a")
    crowd = [knock(gw, f"b-{n}") for n in range(300)]
    gw.wait_log("connection_refused", reason="connection_limit")
    other = MqttPeer(gw.port("mqtt"), source="127.0.0.2")
    other.login("c")
    inside.close()
    crowd[0].expect(ADMITTED)
    for peer in crowd[256:]:
        peer.expect_close()
    assert gw.counters()["refuse.connection_limit"] == 44
    other.close()


def test_more_than_can_wait_stay_in_the_queue_of_the_kernel(gateway):
    gw = gateway("workers = 1\n", listeners=listener("connections = 1  place_wait = 1m"))
    inside = login(gw, "a")
    before = descriptors(gw)
    crowd = [knock(gw, f"b-{n}") for n in range(300)]
    for peer in crowd:
        inside.close()
        peer.expect(ADMITTED)
        assert descriptors(gw) <= before + 256
        inside = peer
    assert not gw.logged("connection_refused")


def test_who_waits_is_let_go_when_the_listener_or_the_gateway_ends(gateway):
    gw = gateway(listeners={**listener("connections = 1  place_wait = 1m"), **listener(name="free")})
    first, second = login(gw, "a"), knock(gw, "b")
    gw.listeners = listener(name="free")
    assert gw.reload("")["event"] == "reloaded"
    second.expect_close()
    first.barrier()
    gw.listeners = {**listener("connections = 1  place_wait = 1m"), **listener(name="free")}
    mark = gw.mark()
    assert gw.reload("")["event"] == "reloaded"
    port = int(gw.wait_log("listening", start=mark, name="mqtt")["address"].rpartition(":")[2])
    third = MqttPeer(port)
    third.send(connect("c"))
    gw.stop()
    third.expect_close()


def test_connections_of_an_address_come_at_a_rate(gateway):
    gw = gateway(listeners=listener("address_connects_per_minute = 3"))
    for name in "abc":
        login(gw, name).close()
    for _ in range(30):
        MqttPeer(gw.port("mqtt")).expect_close()
    gw.wait_log("connection_refused", reason="connection_rate")
    assert gw.counters()["refuse.connection_rate"] == 30


def test_connections_of_a_listener_come_at_a_rate(gateway):
    gw = gateway(listeners={**listener("connects_per_second = 2"), **listener(name="free")})
    started = time.monotonic()
    login(gw, "a", "free").close()
    refused = 0
    while not refused:  # however slow this machine is
        peer = knock(gw, "b")
        try:
            peer.expect(ADMITTED)
        except AssertionError:
            refused += 1
    assert gw.counters()["refuse.connection_rate"] == 1
    gw.wait_log("connection_refused", reason="connection_rate", listener="mqtt")
    login(gw, "a", "free").close()
    while True:  # and a moment later there is room again
        peer = knock(gw, "c")
        try:
            peer.expect(ADMITTED)
            break
        except AssertionError:
            assert time.monotonic() < started + TIMEOUT


# ---- rates ---------------------------------------------------------------------------------------

def sent_slowly(gw, keepalive, count, size):
    """Everything at once; the seconds until all of it has been passed on, in order."""
    reader = login(gw, "reader", "free")
    reader.subscribe("t")
    writer = login(gw, "writer", keepalive=keepalive)
    started = time.monotonic()
    writer.send(b"".join(publish("t", b"%06d" % n + b"x" * (size - 6)) for n in range(count)))
    for n in range(count):
        assert reader.next(PUBLISH).payload[:6] == b"%06d" % n
    took = time.monotonic() - started
    writer.barrier()
    return took


@pytest.mark.parametrize("limit, count, size, least", [
    ("connection_bytes_per_second = 40k", 120, 1000, 1.5),
    ("address_bytes_per_second = 40k", 120, 1000, 1.5),
    ("bytes_per_second = 40k", 120, 1000, 1.5),
    ("connection_messages_per_second = 40", 120, 200, 1.5),
    ("address_messages_per_second = 40", 120, 200, 1.5),
    ("messages_per_second = 40", 120, 200, 1.5),
])
def test_what_comes_too_fast_is_read_later_and_not_lost(gateway, limit, count, size, least):
    gw = gateway(listeners={**listener(limit), **listener(name="free")})
    # A keep-alive of 1 s must not run out while the gateway does not listen.
    took = sent_slowly(gw, 1, count, size)
    assert least < took < TIMEOUT
    assert gw.counters()["core.reads_paused"] >= 1
    line = gw.wait_log("reads_paused", client="writer", listener="mqtt")
    assert limit.split(" ")[0].endswith(line["limit"]) and int(line["ms"]) > 0


# ---- the log -------------------------------------------------------------------------------------

STORMS = {
    # what is written about it: the listener's block, what a peer sends, the event, the reason
    "garbage": ("transport = auto  protocol = auto", b"\xff", "connection_refused", "unknown_protocol"),
    "garbage for TLS": ("transport = tls  protocol = mqtt  {certificate}", b"garbage", "closed", "handshake_failed"),
    "garbage for WSS": ("transport = wss  protocol = mqtt  {certificate}", b"garbage", "connection_refused",
                        "handshake_failed"),
    "no WebSocket": ("transport = ws  protocol = mqtt", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "connection_refused",
                     "protocol_error"),
    "no proxy": ('protocol = mqtt  proxy = any  proxy_from = "192.0.2.1"', b"", "connection_refused",
                 "untrusted_proxy"),
    "no header of a proxy": ('protocol = mqtt  proxy = any  proxy_from = "127.0.0.1"', b"garbage",
                             "connection_refused", "bad_proxy_header"),
    "no place": ("protocol = mqtt  connections = 1  place_wait = 0s", b"", "connection_refused", "connection_limit"),
    "silence": ("protocol = mqtt", None, "closed", "first_byte_timeout"),
    "silence for TLS": ("transport = tls  protocol = mqtt  handshake_timeout = 200ms  {certificate}", None, "closed",
                        "handshake_timeout"),
    "a wrong packet": ("protocol = mqtt", b"\xf0\0", "closed", "protocol_error|malformed"),
    "a full line": ("transport = tls  protocol = mqtt  handshakes = 1  {certificate}", b"", "connection_refused", "busy"),
}


@pytest.mark.parametrize("storm", STORMS)
def test_a_storm_is_one_line_a_second(gateway, folder, storm):
    block, data, event, reason = STORMS[storm]
    if "{certificate}" in block:
        Authority(folder).issue("server")
        block = block.format(certificate=f'certificates = "{folder}/server.pem"  keys = "{folder}/server.key"')
    gw = gateway("workers = 1  limits { first_byte_timeout = 200ms }  access { allow_anonymous = yes }\n", listeners={
        "storm": f'listener "storm" {{ bind = "127.0.0.1:0"  {block} }}\n'})
    kept = [gw.connect("storm")] if storm in ("no place", "a full line") else []
    count, started = 100, time.monotonic()
    peers = [gw.connect("storm") for _ in range(count)]
    for peer in peers:
        try:
            peer.send(data or b"")
            if data is not None or event == "closed":
                peer.read_until(b"path.\n" if data and data.startswith(b"GET") else b"never")
        except ConnectionError:
            pass
    gw.wait_log(event, reason=reason, listener="storm")
    moved = gw.counters()
    prefix = "refuse." if event == "connection_refused" else "close."
    assert sum(moved.get(prefix + name, 0) for name in reason.split("|")) >= count
    lines = gw.logged(event, reason=reason)
    assert 1 <= len(lines) <= time.monotonic() - started + 2
    for peer in kept:
        peer.close()


# ---- frames that do not go on --------------------------------------------------------------------

def test_an_unfinished_frame_has_to_go_on(gateway):
    gw = gateway("limits { frame_timeout = 1s }\n", listeners=listener())
    good, slow = login(gw, "good"), login(gw, "slow")
    half = publish("t", b"x" * 3000)
    slow.send(half[:500])
    gw.wait_log("closed", client="slow", reason="stalled")
    # What goes on is not closed, however long it takes in all.
    for start in range(0, len(half), 1100):
        good.send(half[start:start + 1100])
        time.sleep(0.7)
    good.barrier()


# ---- bans ----------------------------------------------------------------------------------------

def test_bans_by_hand(gateway, folder):
    gw = gateway(f'store {{ path = "{folder}/store" }}\n', listeners=listener())
    a, b = login(gw, "a", version=5), login(gw, "b", version=5)
    assert "1 closed" in gw.ctl("ban", "client:a", "--for", "2h", "--reason", "spam")
    assert a.next(DISCONNECT).reason == 0x98
    a.expect_close()
    again = MqttPeer(gw.port("mqtt"))
    again.login("a", version=5, reason=0x8A)
    b.barrier()
    assert "1 closed" in gw.ctl("ban", "127.0.0.0/8")
    b.next(DISCONNECT)
    MqttPeer(gw.port("mqtt")).expect_close()
    gw.wait_log("connection_refused", reason="banned")
    bans = {row["who"]: row for row in json.loads(gw.ctl("bans", "-j"))["bans"]}
    assert set(bans) == {"client:a", "127.0.0.0/8"}
    assert bans["client:a"]["detail"] == "spam" and bans["client:a"]["hits"] == 1
    assert "spam" in gw.ctl("bans")
    assert "no such ban" in gw.ctl("unban", "127.0.0.1", status=1)
    gw.ctl("unban", "127.0.0.0/8")
    login(gw, "b", version=5)
    # The store remembers them.
    gw.stop()
    gw.start()
    assert [row["who"] for row in json.loads(gw.ctl("bans", "-j"))["bans"]] == ["client:a"]
    MqttPeer(gw.port("mqtt")).login("a", version=5, reason=0x8A)


@pytest.mark.parametrize("who, says", [
    ("nobody", "expected an address"), ("10.0.0.1/8", "expected an address"),
    ("client:", "expected an address")])
def test_bans_that_cannot_be(gateway, who, says):
    gw = gateway(listeners=listener())
    assert says in gw.ctl("ban", who, status=1)
    assert "expected a time" in gw.ctl("ban", "10.0.0.1", "--for", "x", status=2)


def test_who_offends_too_often_is_banned(gateway):
    gw = gateway('bans { after = 3  time = 2s }\n', listeners=listener())
    for _ in range(3):
        peer = MqttPeer(gw.port("mqtt"))
        peer.send(b"\x10\x00")
        peer.expect_close()
    gw.wait_log("banned", address="127.0.0.1", reason="malformed", offences="3")
    MqttPeer(gw.port("mqtt")).expect_close()
    gw.wait_log("connection_refused", reason="banned")
    assert gw.counters()["core.bans_added"] == 1
    deadline = time.monotonic() + TIMEOUT
    while json.loads(gw.ctl("bans", "-j"))["bans"]:
        assert time.monotonic() < deadline
    login(gw, "later")
    gw.config_path.write_text(gw.config_path.read_text().replace("time = 2s", 'exempt = "127.0.0.0/8"'))
    assert gw.reload()["event"] == "reloaded"
    for _ in range(5):
        peer = MqttPeer(gw.port("mqtt"))
        peer.send(b"\x10\x00")
        peer.expect_close()
    login(gw, "still")


# ---- many that say nothing -----------------------------------------------------------------------

def numbers():
    """How many bad and good connections descriptors allow, both ends and some to spare."""
    room = min(raise_descriptors(), 8000) - 500
    return min(5000, room * 5 // 6), min(1000, room // 6)


def client_hello():
    goes = ssl.MemoryBIO()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(ssl.MemoryBIO(), goes, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        return goes.read()


# What the crowd begins with and does not go on with: the transport, what it says, how much of it at a time,
# and why those are gone who said nothing, and those who said something.
CROWDS = {
    "tcp": (lambda: connect("never", keepalive=60), 1, "close.first_byte_timeout", "close.login_timeout"),
    "tls": (client_hello, 4096, "close.handshake_timeout", "close.handshake_timeout"),
    "ws": (lambda: b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\n", 1, "refuse.first_byte_timeout",
           "refuse.login_timeout"),
}


class Crowd:
    """Connections that trickle or say nothing, until they are closed."""

    def __init__(self, port, count, packet, piece):
        self.selector = selectors.DefaultSelector()
        self.all = [socket.create_connection(("127.0.0.1", port), TIMEOUT) for _ in range(count)]
        for s in self.all:
            s.setblocking(False)
            self.selector.register(s, selectors.EVENT_READ)
        self.packet, self.piece, self.sent, self.gone = packet, piece, 0, 0

    def drip(self):
        """A piece more of every other one that is still there; what follows never comes."""
        piece = self.packet[self.sent:self.sent + self.piece]
        for s in self.all[::2] if piece else ():
            if s.fileno() >= 0:
                try:
                    s.send(piece)
                except (ConnectionError, BlockingIOError):
                    pass
        self.sent += len(piece)

    def look(self):
        for key, _ in self.selector.select(0):
            try:
                if key.fileobj.recv(4096):
                    assert self.piece > 1, "they are told nothing"
                    continue
            except ConnectionError:
                pass
            self.selector.unregister(key.fileobj)
            key.fileobj.close()
            self.gone += 1


def answers(good):
    """How long each of them waits for its PINGRESP, in seconds, one after the other."""
    times = []
    for peer in good:
        started = time.monotonic()
        peer.barrier()
        times.append(time.monotonic() - started)
    return times


def percentile(times, part):
    return sorted(times)[int(len(times) * part)]


@pytest.mark.parametrize("transport", CROWDS)
def test_many_that_say_nothing_do_not_slow_those_who_do(gateway, folder, transport):
    """On the port of those who do, except for WebSocket: there, it is another one of the same workers."""
    say, piece, silent, stalled = CROWDS[transport]
    bad_count, good_count = numbers()
    more = {"tcp": "protocol = mqtt", "ws": "protocol = auto  openings = 5000"}.get(transport)
    if transport == "tls":
        Authority(folder).issue("server")
        more = (f'protocol = mqtt  certificates = "{folder}/server.pem"  keys = "{folder}/server.key"  '
                "handshakes = 5000  handshake_timeout = 10s")
    gw = gateway("limits { first_byte_timeout = 6s  login_timeout = 8s }\n", listeners={
        "bad": f'listener "bad" {{ bind = "127.0.0.1:0"  transport = {transport}  {more} }}\n', **listener(name="plain")})
    good = []
    for n in range(good_count):
        peer = MqttPeer(gw.port("plain" if transport == "ws" else "bad"))
        if transport == "tls":
            trusting = ssl.create_default_context(cafile=folder / "ca.pem")
            peer.socket = trusting.wrap_socket(peer.socket, server_hostname="localhost")
        peer.login(f"good-{n}", keepalive=600)
        good.append(peer)
    calm = answers(good) + answers(good)
    before = gw.counters()
    crowd = Crowd(gw.port("bad"), bad_count, say()[:-1] if piece == 1 else say(), piece)
    busy, opened = [], time.monotonic()
    while crowd.gone < bad_count:
        assert time.monotonic() < opened + TIMEOUT + 10, f"{crowd.gone} of {bad_count} are gone"
        crowd.drip()
        busy += answers(good)
        crowd.look()
    assert time.monotonic() - opened > 5  # they were there for as long as they may
    after = answers(good)
    moved = gw.counters()
    for reason in {silent, stalled}:
        part = bad_count if silent == stalled else bad_count // 2
        assert moved.get(reason, 0) - before.get(reason, 0) == part
    for name, times in (("without", calm), ("with them", busy), ("after", after)):
        print(f"{transport}, {name}: p50 {percentile(times, 0.5) * 1e6:.0f} us, p99 {percentile(times, 0.99) * 1e6:.0f} us, "
              f"at most {max(times) * 1e3:.1f} ms, of {len(times)}")
    # The crowd's own closing, 5,000 at once, and this program's work on it are a part of it.
    assert percentile(busy, 0.5) < 2 * percentile(calm, 0.5) + 0.001
    assert percentile(busy, 0.99) < 3 * percentile(calm, 0.99) + 0.02
    for peer in good:
        peer.close()
