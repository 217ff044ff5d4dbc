# SPDX-License-Identifier: Apache-2.0
"""The store on the disk, with the real daemon: what it promises to publishers and subscribers over
crashes, and what becomes of them when the disk does not take any more."""
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import threading
import time

import pytest

from jt808wire import UNREGISTER, Terminal
from mqttwire import MqttPeer, acknowledge, publish, PUBACK
from polygate import TIMEOUT, resident_bytes, sanitized

STORE = 'store { path = "store" }\n'
EXPIRY = 0x11  # Session Expiry Interval
RECEIVE_MAXIMUM = 0x21


def open_gateway(gateway, config="", **arguments):
    return gateway(STORE + config, **arguments)


def durable(gw, client_id, **arguments):
    """A client whose session outlives it."""
    peer = gw.connect("mqtt", MqttPeer)
    peer.connack = peer.login(client_id, version=5, clean=False, props={EXPIRY: 3600}, **arguments)
    return peer


def leave(gw, peer, client_id):
    """Close, and wait until the gateway knows: what is published then is not sent to a dead peer."""
    peer.close()
    gw.wait_log("closed", client=client_id)


def publisher(gw):
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("publisher", version=5)
    return peer


def crash(gw):
    gw.kill()
    gw.start()


def store_status(gw, status=0):
    return json.loads(gw.ctl("status", "-j", status=status))["store"]


def wait_store(gw, **expected):
    """The store's numbers, when they are so: they follow the answers to clients."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        got = store_status(gw, status=None)
        if all(got[key] == value for key, value in expected.items()):
            return got
        assert time.monotonic() < deadline, f"waiting for {expected}: {got}"


def test_messages_for_who_is_away_survive_a_crash_in_order(gateway):
    gw = open_gateway(gateway)
    sub = durable(gw, "away")
    sub.subscribe("a/#", 1)
    leave(gw, sub, "away")
    pub = publisher(gw)
    for i in range(200):
        assert pub.publish("a/b", str(i), 1, i + 1) == 0
    crash(gw)
    sub = durable(gw, "away")
    assert sub.connack.session_present
    for i in range(200):
        got = sub.receive("a/b", str(i))
        assert got.qos == 1 and not got.dup
    sub.barrier()


def test_what_was_sent_and_not_acknowledged_comes_again_after_a_crash(gateway):
    gw = open_gateway(gateway)
    sub = durable(gw, "s")
    sub.subscribe("t", 1)
    pub = publisher(gw)
    for i in range(10):
        assert pub.publish("t", str(i), 1, i + 1) == 0
    first = [sub.next() for _ in range(10)]
    assert [p.payload for p in first] == [str(i).encode() for i in range(10)]
    crash(gw)
    sub = durable(gw, "s")
    assert [sub.receive("t").payload for _ in range(10)] == [str(i).encode() for i in range(10)]
    sub.barrier()


def test_subscriptions_and_retained_messages_survive_a_crash(gateway):
    gw = open_gateway(gateway)
    sub = durable(gw, "s")
    sub.subscribe("x/+", 2)
    sub.subscribe("$share/g/y", 1)
    leave(gw, sub, "s")
    pub = publisher(gw)
    assert pub.publish("r/1", "kept", 1, 1, retain=True) in (0, 0x10)
    assert pub.publish("r/2", "gone", 1, 2, retain=True) in (0, 0x10)
    assert pub.publish("r/2", "", 1, 3, retain=True) in (0, 0x10)
    crash(gw)
    sub = durable(gw, "s")
    assert sub.connack.session_present
    pub = publisher(gw)
    assert pub.publish("x/1", "plain", 1, 1) == 0
    assert pub.publish("y", "shared", 1, 2) == 0
    sub.receive("x/1", "plain")
    sub.receive("y", "shared")
    other = gw.connect("mqtt", MqttPeer)
    other.login("other", version=5)
    other.subscribe("r/#", 1)
    got = other.receive("r/1", "kept")
    assert got.retain
    other.barrier()
    sub.barrier()


def test_clean_start_leaves_nothing_for_a_crash_to_bring_back(gateway):
    gw = open_gateway(gateway)
    sub = durable(gw, "s")
    sub.subscribe("t", 1)
    leave(gw, sub, "s")
    pub = publisher(gw)
    assert pub.publish("t", "old", 1, 1) == 0
    fresh = gw.connect("mqtt", MqttPeer)
    assert not fresh.login("s", version=5, clean=True, props={EXPIRY: 3600}).session_present
    crash(gw)
    sub = durable(gw, "s")
    assert sub.connack.session_present
    sub.barrier()
    assert publisher(gw).publish("t", "new", 1, 1) == 0x10  # no matching subscribers


def test_a_terminal_that_unregistered_stays_so_over_a_crash(gateway):
    gw = open_gateway(gateway, 'jt808 { code_secret = "a secret of the test" }\n')
    first = gw.connect("jt808", Terminal).login()
    old = first.code
    other = gw.connect("jt808", Terminal, phone="013912345679").login().code
    first.expect_general(UNREGISTER, first.say(UNREGISTER))
    crash(gw)
    again = gw.connect("jt808", Terminal)
    again.authenticate(old, result=1)
    new = again.login().code
    assert new != old
    crash(gw)
    # Its new code holds, as do those of others.
    gw.connect("jt808", Terminal).authenticate(new)
    gw.connect("jt808", Terminal, phone="013912345679").authenticate(other)


def test_session_that_ends_with_its_client_is_not_in_the_store(gateway):
    gw = open_gateway(gateway)
    sub = gw.connect("mqtt", MqttPeer)
    sub.login("s", version=5)
    sub.subscribe("t", 1)
    assert store_status(gw)["sessions"] == 0
    crash(gw)
    assert not durable(gw, "s").connack.session_present


def test_status_tells_what_waits(gateway):
    gw = open_gateway(gateway)
    sub = durable(gw, "s")
    sub.subscribe("t", 1)
    leave(gw, sub, "s")
    pub = publisher(gw)
    for i in range(5):
        assert pub.publish("t", "x" * 100, 1, i + 1) == 0
    got = wait_store(gw, sessions=1, queued=5)
    assert got["kind"] == "disk" and got["healthy"] is True
    assert got["queued_bytes"] >= 500 and got["disk_bytes"] > 0
    assert re.search(r"^store store: 1 sessions, 5 messages wait", gw.ctl("status"), re.M)
    gw.stop()
    gw.start()
    wait_store(gw, queued=5)


def test_status_without_a_store_says_that_it_is_memory(gateway):
    assert store_status(gateway()) == {"kind": "memory"}


def test_quota_of_a_session_drops_the_oldest_and_says_so(gateway):
    gw = gateway('store { path = "store" session_messages = 3 }')
    sub = durable(gw, "s")
    sub.subscribe("t", 1)
    leave(gw, sub, "s")
    pub = publisher(gw)
    for i in range(5):
        assert pub.publish("t", str(i), 1, i + 1) == 0
    gw.wait_log("store_dropped", client="s", reason="queue_full")
    wait_store(gw, dropped=2)
    sub = durable(gw, "s")
    for i in range(2, 5):
        sub.receive("t", str(i))
    sub.barrier()


def test_quota_may_refuse_instead(gateway):
    gw = gateway('store { path = "store" session_messages = 3 policy = reject }')
    sub = durable(gw, "s")
    sub.subscribe("t", 1)
    leave(gw, sub, "s")
    pub = publisher(gw)
    for i in range(3):
        assert pub.publish("t", str(i), 1, i + 1) == 0
    assert pub.publish("t", "3", 1, 4) == 0x97  # quota exceeded
    sub = durable(gw, "s")
    for i in range(3):
        sub.receive("t", str(i))
    sub.barrier()


def test_disk_that_takes_nothing_refuses_qos_1_and_nothing_else(gateway):
    gw = open_gateway(gateway)
    sub = durable(gw, "s")
    sub.subscribe("t", 1)
    live = gw.connect("mqtt", MqttPeer)
    live.login("live", version=5)
    live.subscribe("zero", 0)
    leave(gw, sub, "s")
    pub = publisher(gw)
    assert pub.publish("t", "before", 1, 1) == 0
    # No file may grow; what is there is above the limit already.
    before = resource.prlimit(gw.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    assert pub.publish("t", "refused", 1, 2) >= 0x80
    gw.wait_log("store_failed")
    pub.publish("zero", "goes on")
    live.receive("zero", "goes on")
    got = wait_store(gw, healthy=False)
    assert got["healthy"] is False and got["detail"]
    assert "STORE NOT HEALTHY" in gw.ctl("status", status=1)
    resource.prlimit(gw.process.pid, resource.RLIMIT_FSIZE, before)
    gw.wait_log("store_works")
    assert pub.publish("t", "after", 1, 3) == 0
    wait_store(gw, healthy=True)
    sub = durable(gw, "s")
    sub.receive("t", "before")
    sub.receive("t", "after")
    sub.barrier()


SLOW_DISK = r'''
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
/* A disk that stands still as long as the file is there. */
int fdatasync(int fd)
{
    while (access(getenv("SLOW_DISK"), F_OK) == 0)
        usleep(10000);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
'''


def slow_disk(folder):
    """The environment of a gateway whose disk stands still while folder/slow is there."""
    compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or shutil.which("gcc")]
    if not compiler[0] or sanitized():
        pytest.skip("no compiler, or a sanitizer that wants to be loaded first")
    (folder / "slow_disk.c").write_text(SLOW_DISK, encoding="ascii")
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", folder / "slow_disk.so", folder / "slow_disk.c",
                    "-ldl"], check=True, timeout=TIMEOUT)
    return {"LD_PRELOAD": str(folder / "slow_disk.so"), "SLOW_DISK": str(folder / "slow")}


def test_slow_disk_holds_publishers_off_and_nobody_else(gateway, folder):
    count, size = 150, 256 * 1024  # more than the 32 MiB at which it begins
    gw = open_gateway(gateway, env=slow_disk(folder))
    sub = durable(gw, "s")
    sub.subscribe("t", 1)
    live = gw.connect("mqtt", MqttPeer)
    live.login("live", version=5)
    live.subscribe("zero", 0)
    leave(gw, sub, "s")
    (folder / "slow").touch()
    pub = gw.connect("mqtt", MqttPeer)
    pub.login("filler")
    sender = threading.Thread(target=pub.send, daemon=True, args=[
        b"".join(publish("t", f"{i} ".ljust(size, "x"), 1, i + 1) for i in range(count))])
    sender.start()
    gw.wait_log("store_congested")
    got = wait_store(gw, healthy=False)
    assert "publishers are held off" in got["detail"] and got["refused"] == 0
    assert "STORE NOT HEALTHY: the disk is slow" in gw.ctl("status", status=1)
    other = publisher(gw)  # with nothing for the store
    other.publish("zero", "goes on")
    live.receive("zero", "goes on")
    (folder / "slow").unlink()
    for i in range(count):
        assert pub.next(PUBACK).packet_id == i + 1
    sender.join(TIMEOUT)
    gw.wait_log("store_eased")
    assert not gw.logged("publish_refused")
    got = wait_store(gw, healthy=True, queued=count)
    assert got["refused"] == 0
    assert re.search(r"core\.publishers_held +[1-9]", gw.ctl("counters"))


def test_folder_that_cannot_be_used_is_named(gateway):
    gw = gateway('store { path = "no/such/folder" }', launch_only=True)
    assert gw.wait_log("start_failed")["error"].startswith("store.path: no/such/folder: ")
    gw.wait_exit(1)


def test_second_gateway_does_not_get_the_same_store(gateway):
    first = open_gateway(gateway)
    path = first.folder / "store"
    second = gateway(f'store {{ path = "{path}" }}', launch_only=True)
    assert "store" in second.wait_log("start_failed")["error"]
    second.wait_exit(1)


def test_reload_does_not_change_the_store(gateway):
    gw = open_gateway(gateway)
    answer = gw.reload('store { path = "another" }')
    assert answer["event"] == "reload_failed"
    assert "store.path" in answer["error"] and "restart" in answer["error"]
    assert gw.reload(STORE)["event"] == "reloaded"


def test_session_that_goes_from_worker_to_worker_gets_everything_in_order(gateway):
    gw = open_gateway(gateway, "workers = 4\n")
    sub = durable(gw, "s")
    sub.subscribe("t", 1)
    pub = publisher(gw)
    got = []
    for turn in range(8):
        sub = durable(gw, "s")  # takes over, on any worker
        for i in range(20):
            pub.send(publish("t", str(turn * 20 + i), 1, i + 1, version=5))
        for _ in range(20):
            assert pub.next(PUBACK).reason == 0
        while len(got) < turn * 20 + 10:
            number = int(sub.receive("t").payload)
            if number not in got:  # what was not acknowledged comes again
                got.append(number)
    while len(got) < 160:
        number = int(sub.receive("t").payload)
        if number not in got:
            got.append(number)
    assert got == list(range(160))


def fill_queue(gw, topic, count, size, first=0):
    """`count` messages of QoS 1, each with its number first, from a client before MQTT 5."""
    pub = gw.connect("mqtt", MqttPeer)
    pub.login("filler")
    sent = acknowledged = 0
    while acknowledged < count:
        if sent < count:
            pub.send(b"".join(publish(topic, f"{first + i} ".ljust(size, "x"), 1, i % 60000 + 1)
                              for i in range(sent, min(sent + 500, count))))
            sent = min(sent + 500, count)
        while acknowledged < sent - 500 or (sent == count and acknowledged < count):
            assert pub.next(PUBACK).packet_id == acknowledged % 60000 + 1
            acknowledged += 1
    pub.close()


# PG_QUEUE_MESSAGES=1000000 is what it is about, and takes half a minute.
QUEUE_MESSAGES = int(os.environ.get("PG_QUEUE_MESSAGES", "50000"))


def test_large_queue_comes_back_paced_and_does_not_fill_memory(gateway):
    count, window = QUEUE_MESSAGES, 20
    gw = open_gateway(gateway)
    sub = durable(gw, "s")
    sub.subscribe("t", 1)
    sub.close()
    fill_queue(gw, "t", 10000, 1000)
    assert wait_store(gw, queued=10000)["index_bytes"] <= 10000 * 32
    fill_queue(gw, "t", count - 10000, 1000, first=10000)
    assert wait_store(gw, queued=count)["index_bytes"] <= count * 32
    crash(gw)
    before = resident_bytes(gw)
    sub = gw.connect("mqtt", MqttPeer)
    assert sub.login("s", version=5, clean=False,
                     props={EXPIRY: 3600, RECEIVE_MAXIMUM: window}).session_present
    other = publisher(gw)
    most = 0
    for first in range(0, count, window):
        ids = []
        for i in range(first, first + window):
            got = sub.next()
            assert got.payload.startswith(b"%d " % i)
            ids.append(got.packet_id)
        if first % 5000 == 0:
            sub.barrier()  # the window is full: nothing else comes
            other.barrier()
            most = max(most, resident_bytes(gw) - before)
        sub.send(b"".join(acknowledge(PUBACK, i, version=5) for i in ids))
    sub.barrier()
    wait_store(gw, queued=0)
    if not sanitized():
        assert most < 8 << 20, f"{most} bytes for a window of {window}"
