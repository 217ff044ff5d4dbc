# SPDX-License-Identifier: Apache-2.0
"""Normative statements of MQTT on the real daemon that no other test shows by itself; which test
shows which statement is listed in polygate-mqtt(7)."""
import pytest

from mqttwire import (CONNACK, PINGRESP, PUBACK, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, acknowledge, connect,
                      dial, peer, publish, subscribe, unsubscribe)

KEEP = {0x11: 0xFFFFFFFF}
MESSAGE_EXPIRY = 0x02
NO_LOCAL = 4


@pytest.fixture
def gw(gateway):
    return gateway()


@pytest.mark.parametrize("version", [4, 5])
def test_a_subscription_is_replaced_without_a_gap(gw, version):
    """The new maximum QoS holds, retained messages come again, and there is one subscription."""
    pub, sub = peer(gw, "pub", version), peer(gw, "sub", version)
    pub.publish("t", "kept", qos=1, retain=True)
    sub.subscribe("t", 0)
    assert sub.receive("t", "kept").qos == 0
    sub.subscribe("t", 1, packet_id=2)
    assert sub.receive("t", "kept").qos == 1
    pub.publish("t", "live", qos=2)
    assert sub.receive("t", "live").qos == 1
    sub.barrier()


@pytest.mark.parametrize("version", [4, 5])
def test_unsubscribing_ends_what_is_new_and_completes_what_has_begun(gw, version):
    pub, sub = peer(gw, "pub", version), peer(gw, "sub", version)
    sub.subscribe("t", 2)
    pub.publish("t", "begun", qos=2)
    begun = sub.next(PUBLISH)
    sub.send(unsubscribe(2, "t", "u", version=version))
    unsuback = sub.next(UNSUBACK)
    assert unsuback.packet_id == 2 and unsuback.codes == ([0x00, 0x11] if version == 5 else [])
    pub.publish("t", "new", qos=2)
    sub.send(acknowledge(PUBREC, begun.packet_id, version=version))
    assert sub.next(PUBREL).packet_id == begun.packet_id
    sub.send(acknowledge(7, begun.packet_id, version=version))
    sub.barrier()


@pytest.mark.parametrize("version", [4, 5])
def test_only_retained_messages_are_kept_and_an_empty_one_clears(gw, version):
    pub = peer(gw, "pub", version)
    pub.publish("t", "kept", qos=1, retain=True)
    pub.publish("t", "passing", qos=1)
    late = peer(gw, "late", version)
    late.subscribe("t")
    assert late.receive("t", "kept").retain
    pub.publish("t", "", qos=1, retain=True)
    assert not late.receive("t", "").retain
    later = peer(gw, "later", version)
    later.subscribe("t")
    later.barrier()


def test_what_was_sent_does_not_expire(gw):
    """The exchange of QoS 2 goes on, and the message comes again, though its expiry has passed."""
    pub, sub = peer(gw, "pub"), peer(gw, "sub", clean=False, props=KEEP)
    sub.subscribe("t", 2)
    pub.publish("t", "x", qos=2, props={MESSAGE_EXPIRY: 1})
    first = sub.next(PUBLISH)
    sub.socket.close()
    # A retained message with the same expiry that is gone tells that the time has passed.
    pub.publish("r", "y", qos=1, retain=True, props={MESSAGE_EXPIRY: 1})
    for number in range(100000):
        late = peer(gw, "late")
        late.subscribe("r")
        late.send(bytes.fromhex("c000"))
        if late.next().kind == PINGRESP:
            break
    assert number > 0
    back = peer(gw, "sub", clean=False, props=KEEP)
    again = back.next(PUBLISH)
    assert again.packet_id == first.packet_id and again.dup and again.payload == b"x"
    back.send(acknowledge(PUBREC, again.packet_id, version=5))
    assert back.next(PUBREL).packet_id == again.packet_id


def test_what_expired_leaves_a_gap_in_the_identifiers(gw):
    """So that who watches the packets sees that something was there."""
    pub, sub = peer(gw, "pub"), peer(gw, "sub", clean=False, props=KEEP)
    sub.subscribe("t", 1)
    sub.socket.close()
    gw.wait_log("closed", client="sub")
    pub.publish("t", "expires at once", qos=1, props={MESSAGE_EXPIRY: 0})
    pub.publish("t", "does not", qos=1)
    back = peer(gw, "sub", clean=False, props=KEEP)
    got = back.receive("t", "does not")
    assert got.packet_id == 2


def test_what_a_client_asked_for_can_be_looked_up(gateway):
    gw = gateway("log { level = debug }")
    peer(gw, "plain", version=4)
    gw.wait_log("mqtt_connect", client="plain", version="4", clean_start="yes", keepalive="60", will="no")
    peer(gw, "full", clean=False, keepalive=7, will=("w", "gone", 0, False))
    gw.wait_log("mqtt_connect", client="full", version="5", clean_start="no", keepalive="7", will="yes")


def test_a_subscriber_that_wants_nothing_of_its_own_is_a_subscriber(gw):
    """So a publisher is not told that there is none (10)."""
    one = peer(gw, "one")
    one.subscribe("t", 1 | NO_LOCAL)
    assert one.publish("t", "x", qos=1) == 0
    assert one.publish("u", "x", qos=1) == 0x10
    one.barrier()


def test_refused_deliveries_of_a_shared_subscription_go_to_nobody_else(gw):
    one, other, pub = peer(gw, "one"), peer(gw, "other"), peer(gw, "pub")
    for member in (one, other):
        member.subscribe("$share/g/t", 1)
    pub.publish("t", "1", qos=1)
    pub.publish("t", "2", qos=1)
    got = one.next(PUBLISH)
    assert got.qos == 1
    one.send(acknowledge(PUBACK, got.packet_id, 0x83, version=5))
    one.barrier()
    other.receive("t")
    other.barrier()


def test_dup_of_the_publisher_is_not_passed_on(gw):
    pub, sub = peer(gw, "pub", 4), peer(gw, "sub", 4)
    sub.send(subscribe(1, ("t", 1), version=4))
    sub.next(SUBACK)
    pub.send(publish("t", "x", 1, 7, dup=True, version=4))
    assert pub.next(PUBACK).packet_id == 7
    assert not sub.receive("t", "x").dup


def test_a_session_may_be_without_end_where_that_is_allowed(gateway):
    for limit, told in (("49711d", None), ("49710d", 49710 * 86400)):
        gw = gateway(f"session {{ expiry_max = {limit} }}")
        one = peer(gw, "a", clean=False, props=KEEP)
        assert one.connack.prop(0x11) == told


def test_no_local_holds_for_retained_messages_too(gateway):
    gw = gateway('store { path = "store" }\n')
    for restarted in (False, True):
        one, other = peer(gw, "one"), peer(gw, "other")
        if not restarted:
            one.publish("t/own", "x", qos=1, retain=True)
            other.publish("t/other", "x", qos=1, retain=True)
        one.subscribe("t/+", 1 | NO_LOCAL)
        one.receive("t/other")
        one.barrier()
        one.subscribe("t/own", 1) # without the option it comes
        one.receive("t/own")
        gw.stop()
        gw.start()


@pytest.mark.parametrize("version", [4, 5])
def test_no_will_goes_below_sys(gw, version):
    """Where the gateway's own numbers are, as no publication may."""
    sub, pub = peer(gw, "sub"), peer(gw, "pub")
    sub.subscribe("$SYS/#")
    refused = dial(gw, connect("a", version, will=("$SYS/broker/uptime", "forged", 0, True)), version)
    assert refused.next(CONNACK).reason == (0x87 if version == 5 else 5)
    refused.expect_close()
    assert pub.publish("$SYS/broker/uptime", "forged", qos=1) == 0x87
    sub.barrier()
