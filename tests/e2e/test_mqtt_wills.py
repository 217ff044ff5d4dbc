# SPDX-License-Identifier: Apache-2.0
"""Wills when the gateway stops (MQTT 5.0, 3.1.2.5): its clients have not said goodbye."""
import signal
import time

import pytest

from mqttwire import DISCONNECT, peer

KEEP = {0x11: 3600}
WILL_DELAY = 0x18
STORE = 'store { path = "store" }\n'


def with_will(gw, client_id, delay=0, props=KEEP, retain=False):
    return peer(gw, client_id, clean=False, props=props, will=(f"w/{client_id}", "gone", 1, retain),
                will_props={WILL_DELAY: delay} if delay else ())


def watcher(gw):
    """A durable subscriber of all wills."""
    return peer(gw, "watcher", clean=False, props=KEEP)


def stop(gw, *clients):
    """By SIGTERM; the clients are put out before they can go themselves."""
    gw.process.send_signal(signal.SIGTERM)
    for one in clients:
        assert one.next(DISCONNECT).reason == 0x8B
    gw.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_wills_are_published_when_the_gateway_stops(gateway, workers):
    """With DISCONNECT 8B the clients are put out; durable subscribers and retained messages have it."""
    gw = gateway(f"workers = {workers}\n" + STORE)
    sub = watcher(gw)
    sub.subscribe("w/#", 1)
    clients = [with_will(gw, "kept", retain=True), with_will(gw, "ends", delay=3600, props=()),
               with_will(gw, "now")]
    stop(gw, *clients)
    gw.start()
    sub = watcher(gw)
    assert sub.connack.session_present
    got = [sub.receive() for _ in clients]
    assert sorted(p.topic for p in got) == ["w/ends", "w/kept", "w/now"]
    assert not any(p.retain for p in got)
    sub.barrier()
    late = peer(gw, "late")
    late.subscribe("w/#", 1)
    assert late.receive("w/kept", "gone").retain
    late.barrier()


@pytest.mark.parametrize("crash", [False, True])
def test_a_delayed_will_waits_through_a_restart_for_its_client(gateway, crash):
    gw = gateway(STORE)
    sub = watcher(gw)
    sub.subscribe("w/#", 1)
    one = with_will(gw, "back", delay=3600)
    if crash:
        gw.kill()
    else:
        stop(gw, one)
    gw.start()
    sub = watcher(gw)
    sub.barrier()
    assert with_will(gw, "back").connack.session_present
    sub.barrier()


def test_the_delay_of_a_will_is_counted_from_the_stop(gateway):
    gw = gateway(STORE)
    sub = watcher(gw)
    sub.subscribe("w/#", 1)
    one = with_will(gw, "a", delay=2)
    stopped = time.monotonic()
    stop(gw, one)
    while time.monotonic() < stopped + 3.2: # the clock is what is tested
        time.sleep(0.1)
    gw.start()
    sub = watcher(gw)
    sub.receive("w/a", "gone")
    sub.barrier()


def test_a_will_that_is_due_after_the_restart_comes_then(gateway):
    gw = gateway(STORE)
    sub = watcher(gw)
    sub.subscribe("w/#", 1)
    one = with_will(gw, "a", delay=3)
    stopped = time.monotonic()
    stop(gw, one)
    gw.start()
    sub = watcher(gw)
    sub.receive("w/a", "gone")
    assert 1.9 <= time.monotonic() - stopped < 20 # due times are whole seconds


def test_who_said_goodbye_leaves_no_will_to_a_restart(gateway):
    gw = gateway(STORE)
    sub = watcher(gw)
    sub.subscribe("w/#", 1)
    with_will(gw, "polite", delay=1).send(b"\xe0\x00")
    gw.wait_log("closed", client="polite")
    stop(gw, sub)
    gw.start()
    watcher(gw).barrier()


def test_a_client_that_is_banned_leaves_its_will(gateway):
    gw = gateway()
    sub = watcher(gw)
    sub.subscribe("w/#", 1)
    one = with_will(gw, "bad")
    gw.ctl("ban", "client:bad")
    assert one.next(DISCONNECT).reason == 0x98
    sub.receive("w/bad", "gone")


def test_a_session_that_ends_does_not_wait_for_the_delay(gateway):
    """By a clean start, or by an expiry of 0."""
    gw = gateway()
    sub = watcher(gw)
    sub.subscribe("w/#", 1)
    with_will(gw, "a", delay=3600).reset()
    gw.wait_log("closed", client="a")
    sub.barrier()
    peer(gw, "a", clean=True).barrier()
    sub.receive("w/a", "gone")
    with_will(gw, "b", delay=3600, props=()).reset()
    sub.receive("w/b", "gone")
    sub.barrier()


def test_a_stop_tells_where_to_go(gateway):
    gw = gateway('mqtt { server_reference = "b.example:1883 c.example" }\n')
    one = peer(gw, "a")
    gw.process.send_signal(signal.SIGTERM)
    got = one.next(DISCONNECT)
    assert got.reason == 0x9C and got.prop(0x1C) == "b.example:1883 c.example" and got.prop(0x1F)
    one.expect_close()
