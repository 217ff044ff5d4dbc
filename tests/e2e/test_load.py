# SPDX-License-Identifier: Apache-2.0
"""Many clients, cut connections, peers that do not read, limits: what must stay true under load.

The counts fit the build: a sanitizer's runs half of them. PG_LOAD overrides the factor
(0.1 is a tenth), PG_LOAD_SEED the seed, which the programs print first.
"""
import os
import re
import select
import socket
import subprocess
import time

import pytest

import polygate
from mqttwire import PINGREQ_PACKET, MqttPeer, connect, disconnect, publish

CHURN = os.environ.get("POLYGATE_CHURN", str(polygate.BUILD / "tests" / "e2e" / "mqtt_churn"))

# Nothing may be dropped: who is cut off for a moment must find everything.
ROOMY = "session { queue_messages = 1000000 queue_bytes = 1g }\n"


def factor():
    if "PG_LOAD" in os.environ:
        return float(os.environ["PG_LOAD"])
    return 0.5 if polygate.sanitized() else 1


def churn(gw, **arguments):
    command = [CHURN, "--port", str(gw.port("mqtt"))]
    if "PG_LOAD_SEED" in os.environ:
        arguments["seed"] = os.environ["PG_LOAD_SEED"]
    for name, value in arguments.items():
        command += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, timeout=250, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    counters_agree(gw, int(re.search(r"(\d+) connections;", done.stdout).group(1)),
                   arguments["clients"])


def counters_agree(gw, connections, sessions):
    """Pitfall A4: with everybody gone, what came and went is the same number, and what is left is
    the truth."""
    deadline = time.monotonic() + polygate.TIMEOUT
    gone = f"0 connections, 0 clients, {sessions} sessions"
    while gone not in (status := gw.ctl("status")):
        assert time.monotonic() < deadline, status
        time.sleep(0.05)  # between two questions, not instead of one
    status = gw.ctl("status")  # its parts are not of one moment
    count = {name: int(number) for name, number in re.findall(r"^  core\.(\w+) +(\d+)", status, re.M)}
    assert count["connections_opened"] == count["connections_closed"] == connections
    assert count["clients_admitted"] == count["clients_ended"]
    assert count["sessions_created"] - count.get("sessions_destroyed", 0) == sessions
    # The ledger is complete when every number has come. A publisher that was cut off sends what was
    # not acknowledged again (QoS 1), and of these repeats the last ones may still wait in a session,
    # or be out, when everybody leaves: at most one or two in each.
    waiting = count["messages_queued"] - count["messages_delivered"]
    unsettled = count["messages_delivered"] - count["deliveries_settled"]
    assert 0 <= waiting <= 2 * sessions and 0 <= unsettled <= 2 * sessions, count


# ---- nothing lost, nothing twice, in order ------------------------------------------------------

@pytest.mark.parametrize("workers", [1, 2, 4])
def test_qos_1_and_2_survive_cut_connections(gateway, workers):
    gw = gateway(f"workers = {workers}\n" + ROOMY)
    # The whole number once; the other numbers of workers look for other orders of events.
    messages = int((100000 if workers == 2 else 30000) * factor())
    churn(gw, clients=200, messages=messages)


def test_qos_1_and_2_survive_connections_that_hardly_live(gateway):
    gw = gateway("workers = 2\n" + ROOMY)
    churn(gw, clients=80, messages=int(10000 * factor()), cut_after=25)


def test_two_clients_fight_for_one_identifier(gateway):
    gw = gateway("workers = 2\n" + ROOMY)
    churn(gw, clients=8, group=2, messages=int(50000 * factor()), fights=int(3000 * factor()))


def test_inflight_of_one_keeps_order_too(gateway):
    gw = gateway("workers = 2\n"
                 "session { queue_messages = 1000000 queue_bytes = 1g inflight = 1 }\n")
    churn(gw, clients=40, messages=int(10000 * factor()))


def test_shared_subscriptions_survive_cut_connections(gateway):
    gw = gateway("workers = 3\n" + ROOMY)
    churn(gw, clients=80, messages=int(30000 * factor()), cut_after=60, shared=True)


def test_nothing_is_lost_when_everything_is_scarce(gateway):
    """Small mailboxes and short outputs: back-pressure everywhere, all the time."""
    gw = gateway("workers = 4\n" + ROOMY + "limits { mailbox_batches = 1 output_high = 4k "
                 "output_max = 64k frame_size = 8k login_frame_size = 8k }\n")
    churn(gw, clients=200, messages=int(20000 * factor()), group=8)


# ---- peers that do not read ---------------------------------------------------------------------

def send_until_blocked(peer, data, most):
    """Send `data` again and again until the gateway reads no more; how many bytes went."""
    peer.socket.setblocking(False)
    sent = 0
    try:
        while sent < most:
            if not select.select([], [peer.socket], [], 1)[1]:
                break
            sent += peer.socket.send(data)
    finally:
        peer.socket.settimeout(polygate.TIMEOUT)
    return sent


def test_a_subscriber_that_does_not_read_costs_its_queue_and_no_more(gateway):
    gw = gateway("session { queue_messages = 100000 queue_bytes = 1m }\n")
    slow = gw.connect("mqtt", MqttPeer)
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    slow.login("slow")
    slow.subscribe("load/#")
    good = gw.connect("mqtt", MqttPeer)
    good.login("good")
    good.subscribe("load/#")
    pub = gw.connect("mqtt", MqttPeer)
    pub.login("pub")
    payload = b"x" * 1000
    before = polygate.resident_bytes(gw) // 1024
    count = int(40000 * max(factor(), 0.5))
    for start in range(0, count, 100):
        for number in range(start, start + 100):
            pub.send(publish("load/t", b"%08d" % number + payload, qos=0))
        pub.barrier()
        for number in range(start, start + 100):
            assert good.next().payload[:8] == b"%08d" % number
    # 40 MB went by; the slow one may have its queue, what is queued for its socket, and slack.
    allowed = 16 * 1024 if factor() == 1 else 400 * 1024
    assert polygate.resident_bytes(gw) // 1024 - before < allowed
    # It is still connected, and gets in order what its queue kept.
    numbers = []
    slow.send(PINGREQ_PACKET)
    while True:
        got = slow.next()
        if got.kind == 13:
            break
        numbers.append(int(got.payload[:8]))
    assert numbers == sorted(set(numbers))
    assert len(numbers) < count


def test_a_peer_that_asks_and_does_not_read_is_not_served_on(gateway):
    gw = gateway()
    peer = gw.connect("mqtt", MqttPeer)
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    peer.login("asks")
    before = polygate.resident_bytes(gw) // 1024
    most = 64 << 20
    sent = send_until_blocked(peer, PINGREQ_PACKET * 8192, most)
    assert sent < most, "the gateway reads on without end"
    assert polygate.resident_bytes(gw) // 1024 - before < (8 << 10 if factor() == 1 else 200 << 10)
    # Others do not notice.
    other = gw.connect("mqtt", MqttPeer)
    other.login("other")
    other.barrier()


def test_queue_policy_disconnect_names_the_slow_consumer(gateway):
    gw = gateway("session { queue_messages = 100 queue_policy = disconnect }\n")
    slow = gw.connect("mqtt", MqttPeer)
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    slow.login("slow", version=5)
    slow.subscribe("load/#")
    pub = gw.connect("mqtt", MqttPeer)
    pub.login("pub")
    payload = b"x" * 10000
    deadline = time.monotonic() + polygate.TIMEOUT
    while not gw.logged("closed", client="slow"):
        pub.send(publish("load/t", payload) * 20)
        pub.barrier()
        assert time.monotonic() < deadline, "the slow one is still there"
    gw.wait_log("closed", client="slow", reason="slow_consumer")
    pub.barrier()


# ---- limits -------------------------------------------------------------------------------------

def test_the_limit_of_connections(gateway):
    gw = gateway("workers = 2\nlimits { connections = 5 }\n")
    peers = [gw.connect("mqtt", MqttPeer) for _ in range(5)]
    for number, peer in enumerate(peers):
        peer.login(f"c{number}")
    for _ in range(3):
        gw.connect("mqtt").expect_close()
    gw.connect("jt808").expect_close()  # it is the process's limit, whatever the listener
    assert gw.wait_log("connection_refused")["reason"] == "connection_limit"
    for peer in peers:
        peer.barrier()
    peers[0].close()
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("again")
    peer.barrier()


@pytest.mark.parametrize("workers", [1, 2])
def test_who_reconnects_at_the_limit_finds_the_place_free(gateway, workers):
    gw = gateway(f"workers = {workers}\nlimits {{ connections = 1 }}\n")
    for number in range(200):
        peer = gw.connect("mqtt", MqttPeer)
        peer.login("c")
        if number % 2 == 0:
            peer.send(disconnect())
        peer.close()
    assert not gw.logged("connection_refused")


def test_a_giant_login_is_refused_by_its_length(gateway):
    """Pitfall M1: the declared length alone decides, before anything is kept."""
    gw = gateway("limits { login_frame_size = 4k }\n")
    before = polygate.resident_bytes(gw) // 1024
    peers = [gw.connect("mqtt", MqttPeer) for _ in range(50)]
    for peer in peers:
        peer.send(bytes.fromhex("10ffffff7f") + connect("x" * 1000)[2:])
    for peer in peers:
        peer.expect_close()
    assert polygate.resident_bytes(gw) // 1024 - before < 4096
    gw.wait_log("closed", reason="too_large|malformed")


@pytest.mark.parametrize("piece", [65536, 500])
def test_the_limits_of_frames_hold_however_a_frame_is_cut(gateway, piece):
    gw = gateway("limits { login_frame_size = 1k frame_size = 8k }\n")
    big = gw.connect("mqtt", MqttPeer)
    big.send_pieces(connect("big", username="u" * 1100), piece)
    big.expect_close()
    gw.wait_log("closed", reason="too_large", client="")
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("peer", username="u" * 500)
    peer.send_pieces(publish("t", b"x" * 8000), piece)
    peer.barrier()
    peer.send_pieces(publish("t", b"x" * 8200), piece)
    peer.expect_close()
    gw.wait_log("closed", reason="too_large", client="peer")


def test_who_never_logs_in_is_put_out(gateway):
    gw = gateway("limits { first_byte_timeout = 300ms login_timeout = 800ms }\n")
    silent = gw.connect("mqtt")
    halfway = gw.connect("mqtt")
    halfway.send(connect("half")[:5])
    silent.expect_close()
    gw.wait_log("closed", reason="first_byte_timeout")
    halfway.expect_close()
    gw.wait_log("closed", reason="login_timeout")


def test_short_of_descriptors_it_goes_on(gateway):
    """At the limit of descriptors those who are connected are served, and accepting resumes."""
    gw = gateway("workers = 1\n")
    first = gw.connect("mqtt", MqttPeer)
    first.login("first")
    open_now = len(os.listdir(f"/proc/{gw.process.pid}/fd"))
    limit = open_now + 10
    subprocess.run(["prlimit", "--pid", str(gw.process.pid), f"--nofile={limit}:{limit}"],
                   check=True, timeout=polygate.TIMEOUT)
    crowd = [gw.connect("mqtt") for _ in range(30)]
    gw.wait_log("accept_failed")
    for _ in range(20):
        first.barrier()
    for peer in crowd:
        peer.close()
    deadline = time.monotonic() + polygate.TIMEOUT
    while True:
        peer = gw.connect("mqtt", MqttPeer)
        try:
            peer.login("later")
            break
        except (ConnectionError, BrokenPipeError):
            assert time.monotonic() < deadline
    peer.barrier()
    assert len(gw.logged("accept_failed")) == 1
