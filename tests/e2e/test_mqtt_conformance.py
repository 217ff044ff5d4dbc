# SPDX-License-Identifier: Apache-2.0
"""What MQTT promises its clients, packet by packet on the real daemon; which statement of the standards a
test shows is listed in polygate-mqtt(7). What is refused is in test_mqtt_rules.py."""
import struct
import time

import pytest

from mqttwire import (CONNACK, DISCONNECT, PINGREQ_PACKET, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK,
                      UNSUBACK, acknowledge, connect, dial, disconnect, packet, peer, publish, subscribe, unsubscribe)
from polygate import TIMEOUT

SESSION_EXPIRY, RECEIVE_MAXIMUM, TOPIC_ALIAS, ALIAS_MAXIMUM, USER = 0x11, 0x21, 0x23, 0x22, 0x26
PAYLOAD_FORMAT, MESSAGE_EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION = 0x01, 0x02, 0x03, 0x08, 0x09
ASSIGNED_ID, SUBSCRIPTION_ID, WILL_DELAY, MAXIMUM_PACKET_SIZE = 0x12, 0x0B, 0x18, 0x27
RETAIN_AS_PUBLISHED = 8
WORKERS = "workers = 2\n"


@pytest.fixture
def gw(gateway):
    return gateway(WORKERS)


def keeps(version, seconds=0xFFFFFFFF):
    """Arguments of peer() for a session that stays."""
    return {"version": version, "clean": False, "props": {SESSION_EXPIRY: seconds} if version == 5 else ()}


def leave(gw, one, client_id):
    """DISCONNECT, until the gateway has taken it."""
    mark = gw.mark()
    one.send(disconnect())
    gw.wait_log("closed", client=client_id, start=mark)


def lose(gw, one, client_id):
    """The network fails, until the gateway has noticed."""
    mark = gw.mark()
    one.reset()
    gw.wait_log("closed", client=client_id, start=mark)


def taken(one):
    """Every message that is there: two rounds, as it may be on its way from another worker."""
    got = []
    for _ in range(2):
        one.send(PINGREQ_PACKET)
        while (p := one.next()).kind != PINGRESP:
            if p.kind == PUBLISH:
                got.append(p)
            if p.kind == PUBLISH and p.qos > 0:
                one.send(acknowledge(PUBACK if p.qos == 1 else PUBREC, p.packet_id, version=one.version))
            elif p.kind == PUBREL:
                one.send(acknowledge(PUBCOMP, p.packet_id, version=one.version))
    return got


def pass_time(seconds, *peers):
    """The daemon's clock is what is tested; the clients stay connected."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for one in peers:
            one.barrier()
        time.sleep(0.05)


# ---- sessions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [3, 4, 5])
def test_sessions_are_made_resumed_and_discarded(gw, version):
    pub = peer(gw, "pub", version)
    one = peer(gw, "a", **keeps(version))
    assert not one.connack.session_present and one.connack.body[0] == 0
    one.subscribe("t", 1)
    leave(gw, one, "a")
    pub.publish("t", "kept", qos=1)
    one = peer(gw, "a", **keeps(version))
    assert one.connack.body[0] == (0 if version == 3 else 1) # 3.1 has no such flag
    one.receive("t", "kept")
    pub.publish("t", "live", qos=1)
    one.receive("t", "live")
    leave(gw, one, "a")
    pub.publish("t", "discarded", qos=1)
    one = peer(gw, "a", version, clean=True)
    assert one.connack.body[0] == 0
    pub.publish("t", "nobody", qos=1)
    one.subscribe("u", 1)
    one.barrier()
    leave(gw, one, "a")
    one = peer(gw, "a", **keeps(version)) # a clean session is not used again
    assert one.connack.body[0] == 0
    pub.publish("u", "nobody", qos=1)
    one.barrier()


def test_a_session_stays_while_its_client_is_connected(gw):
    """However short its expiry: that begins when the connection ends."""
    pub, one = peer(gw, "pub"), peer(gw, "a", **keeps(5, 1))
    one.subscribe("t", 2)
    pub.publish("t", "1", qos=2)
    first = one.next(PUBLISH)
    pass_time(2.5, one, pub)
    pub.publish("t", "2", qos=1)
    one.receive("t", "2")
    lose(gw, one, "a")
    one = peer(gw, "a", **keeps(5, 1))
    assert one.connack.session_present
    again = one.next(PUBLISH)
    assert again.dup and again.packet_id == first.packet_id
    lose(gw, one, "a")
    pass_time(2.5, pub)
    assert not peer(gw, "a", **keeps(5, 1)).connack.session_present


def test_assigned_identifiers_are_new_and_name_a_session(gw):
    ones = [peer(gw, "", **keeps(5)) for _ in range(10)]
    names = [one.connack.prop(ASSIGNED_ID) for one in ones]
    assert len(set(names)) == len(names)
    ones[0].subscribe("t", 1)
    lose(gw, ones[0], names[0])
    peer(gw, "pub").publish("t", "x", qos=1)
    again = peer(gw, names[0], **keeps(5))
    assert again.connack.session_present and again.connack.prop(ASSIGNED_ID) is None
    again.receive("t", "x")


@pytest.mark.parametrize("version, code", [(4, 5), (5, 0x9B)])
def test_a_refused_connect_says_no_session_and_harms_none(gateway, version, code):
    gw = gateway("mqtt { max_qos = 1 }\n")
    one = peer(gw, "a", **keeps(version))
    one.subscribe("t", 1)
    other = dial(gw, connect("a", version, clean=False, will=("w", "", 2, False)) + publish("t", "x", version=version),
                 version)
    connack = other.next(CONNACK)
    assert connack.reason == code and connack.body[0] == 0
    other.expect_close()
    one.barrier() # neither taken over nor sent anything
    lose(gw, one, "a")
    assert peer(gw, "a", **keeps(version)).connack.session_present


# ---- wills -----------------------------------------------------------------------------------------


def keepalive_passes(gw, one):
    """CONNECT said 1 s."""


ENDS = {
    "reset": lambda gw, one: one.reset(),
    "end of stream": lambda gw, one: one.socket.close(),
    "malformed packet": lambda gw, one: one.send(b"\xc1\x00"),
    "second connect": lambda gw, one: one.send(connect("a", one.version)),
    "half a packet": lambda gw, one: (one.send(b"\x30\x7f\0"), one.socket.close()),
    "keep-alive": keepalive_passes,
    "kick": lambda gw, one: gw.ctl("kick", "a"),
    "take-over": lambda gw, one: peer(gw, "a", one.version),
}


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("how", ENDS)
def test_a_will_is_published_once_however_the_connection_ends(gw, version, how):
    watcher = peer(gw, "watcher")
    watcher.subscribe("w", 2)
    one = peer(gw, "a", version, keepalive=1 if how == "keep-alive" else 60, will=("w", "gone", 1, False))
    ENDS[how](gw, one)
    assert watcher.receive("w", "gone").qos == 1
    gw.wait_log("closed", client="a")
    lose(gw, peer(gw, "a", version), "a") # without a will there is none, and the first one is over
    watcher.barrier()


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_goodbye_takes_the_will_with_it(gw, version):
    watcher = peer(gw, "watcher")
    watcher.subscribe("w", 2)
    leave(gw, peer(gw, "a", version, will=("w", "gone", 1, False)), "a")
    watcher.barrier()
    if version == 5:
        peer(gw, "a", will=("w", "wanted", 1, False)).send(disconnect(4, version=5))
        watcher.receive("w", "wanted")


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_a_will_has_its_qos_and_is_retained_if_it_says_so(gw, version, qos, retain):
    watcher = peer(gw, "watcher")
    watcher.subscribe("w", 2 | RETAIN_AS_PUBLISHED)
    lose(gw, peer(gw, "a", version, will=("w", "gone", qos, retain)), "a")
    got = watcher.receive("w", "gone")
    assert got.qos == qos and got.retain == retain
    late = peer(gw, "late")
    late.subscribe("w", 2)
    if retain:
        got = late.receive("w", "gone")
        assert got.qos == qos and got.retain
    late.barrier()


def test_the_delay_of_a_will_passes_first(gw):
    watcher = peer(gw, "watcher")
    watcher.subscribe("w", 0)
    one = peer(gw, "a", **keeps(5), will=("w", "gone", 0, False), will_props={WILL_DELAY: 2})
    began = time.monotonic()
    one.reset()
    watcher.receive("w", "gone")
    assert 1.9 <= time.monotonic() - began < 10
    lose(gw, peer(gw, "a", **keeps(5)), "a")
    watcher.barrier()


# ---- properties ------------------------------------------------------------------------------------


FORWARDED = [(PAYLOAD_FORMAT, 1), (USER, ("b", "1")), (CONTENT_TYPE, "text/x"), (USER, ("a", "2")),
             (RESPONSE_TOPIC, "answers/here"), (USER, ("b", "1")), (CORRELATION, b"\0\xff\0"), (USER, ("", "")),
             (USER, ("\u00e9", "\ufeff"))]
PATHS = ["live", "queued", "stored", "retained", "will"]


def users(props):
    return [value for key, value in props if key == USER]


def others(props):
    return {key: value for key, value in props if key != USER}


@pytest.mark.parametrize("path", PATHS)
def test_properties_arrive_unaltered_and_in_order(gateway, path):
    gw = gateway(WORKERS + 'store { path = "store" }\n')
    will = {"will": ("p/t", "payload", 1, False), "will_props": FORWARDED} if path == "will" else {}
    pub = peer(gw, "pub", **will)
    subs = [peer(gw, f"sub{i}", **keeps(5)) for i in range(4)] # on both workers
    if path != "retained":
        for number, sub in enumerate(subs):
            sub.subscribe("p/+", number % 3)
    if path in ("queued", "stored"):
        for number, sub in enumerate(subs):
            leave(gw, sub, f"sub{number}")
    if path == "will":
        pub.reset()
    else:
        pub.publish("p/t", "payload", qos=2, props=FORWARDED, retain=path == "retained")
        if path == "stored":
            gw.kill()
            gw.start()
    if path in ("queued", "stored"):
        subs = [peer(gw, f"sub{i}", **keeps(5)) for i in range(4)]
        subs[0].barrier(), subs[3].barrier() # of QoS 0
        subs = subs[1:3]
    if path == "retained":
        for number, sub in enumerate(subs):
            sub.subscribe("p/+", number % 3)
    for sub in subs:
        got = sub.receive("p/t", "payload")
        assert users(got.props) == users(FORWARDED)
        assert others(got.props) == others(FORWARDED)


def test_aliases_of_the_client_are_taken_up_to_the_maximum(gateway):
    gw = gateway(WORKERS + "mqtt { topic_alias_max = 20 }\n")
    sub, pub = peer(gw, "sub"), peer(gw, "pub")
    assert pub.connack.prop(ALIAS_MAXIMUM) == 20
    sub.subscribe("+", 0)
    for alias in range(1, 21):
        pub.send(publish(f"topic{alias}", "1", version=5, props={TOPIC_ALIAS: alias}))
        sub.receive(f"topic{alias}", "1")
    for alias in range(20, 0, -1):
        pub.send(publish("", "2", version=5, props={TOPIC_ALIAS: alias}))
        sub.receive(f"topic{alias}", "2")
    pub.send(publish("other", "1", version=5, props={TOPIC_ALIAS: 3}))
    pub.send(publish("", "2", version=5, props={TOPIC_ALIAS: 3}))
    sub.receive("other", "1")
    sub.receive("other", "2")
    pub.send(publish("x", "1", version=5, props={TOPIC_ALIAS: 21}))
    pub.expect_disconnect(0x94)
    pub = peer(gw, "pub") # a new connection has none
    pub.send(publish("", "2", version=5, props={TOPIC_ALIAS: 1}))
    pub.expect_disconnect(0x82)
    sub.barrier()


def test_an_alias_is_set_by_a_message_that_is_refused(gateway):
    """Refused is the message: the client goes on to use the alias."""
    gw = gateway("mqtt { max_payload = 3  check_payload_format = yes }\n")
    sub, pub = peer(gw, "sub"), peer(gw, "pub")
    sub.subscribe("+", 0)
    for alias, code, payload in ((1, 0x97, b"long"), (2, 0x99, b"\xff")):
        props = {TOPIC_ALIAS: alias, PAYLOAD_FORMAT: 1}
        assert pub.publish(f"t{alias}", payload, qos=1, props=props) == code
        assert pub.publish("", "ok", qos=1, props=props) == 0
        sub.receive(f"t{alias}", "ok")
    for topic, code in (("$SYS/t", 0x87), ("/" * 300, 0x90)):
        assert pub.publish(topic, "ok", qos=1, props={TOPIC_ALIAS: 3}) == code
        assert pub.publish("", "ok", qos=1, props={TOPIC_ALIAS: 3}) == code
    sub.barrier()


def test_expiry_goes_on_while_the_gateway_is_down(gateway):
    gw = gateway('store { path = "store" }\n')
    pub, sub = peer(gw, "pub"), peer(gw, "sub", **keeps(5))
    sub.subscribe("t", 1)
    leave(gw, sub, "sub")
    for expiry in (100, 1):
        pub.publish("t", str(expiry), qos=1, retain=expiry == 100, props={MESSAGE_EXPIRY: expiry})
    gw.kill()
    pass_time(2.2)
    gw.start()
    sub = peer(gw, "sub", **keeps(5))
    assert 90 <= sub.receive("t", "100").prop(MESSAGE_EXPIRY) <= 98
    sub.barrier()
    sub.subscribe("t", 1)
    assert 90 <= sub.receive("t", "100").prop(MESSAGE_EXPIRY) <= 98


@pytest.mark.parametrize("most", [None, 0, 1, 3, 65535])
def test_aliases_of_the_gateway_stay_within_what_the_client_takes(gw, most):
    pub = peer(gw, "pub")
    for client_id in ("one", "two"): # each connection begins anew
        sub = peer(gw, client_id, props={} if most is None else {ALIAS_MAXIMUM: most})
        sub.subscribe("topics/+", 0)
        known, alone = {}, 0
        for number in range(30):
            pub.publish(f"topics/{number % 6}", "x")
            got = sub.next(PUBLISH)
            alias = got.prop(TOPIC_ALIAS)
            assert alias is None or 0 < alias <= (most or 0)
            if got.topic == "":
                alone += 1
            elif alias:
                known[alias] = got.topic
            assert (got.topic or known[alias]) == f"topics/{number % 6}"
        assert alone > 0 if (most or 0) >= 6 else alone == 0 or most
        leave(gw, sub, client_id)


# ---- subscriptions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [3, 4, 5])
def test_the_lower_qos_of_publication_and_subscription_holds(gw, version):
    pub = peer(gw, "pub", version)
    for granted in range(3):
        sub = peer(gw, "sub", version)
        assert sub.subscribe("t", granted).codes == [granted]
        for sent in range(3):
            pub.publish("t", "x", qos=sent)
            assert sub.receive("t", "x").qos == min(sent, granted)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_overlapping_subscriptions_give_the_highest_qos(gw, version):
    sub, pub = peer(gw, "sub", version), peer(gw, "pub", version)
    sub.send(subscribe(1, ("t/x", 0), ("t/#", 2), ("+/x", 1), version=version))
    assert sub.next(SUBACK).codes == [0, 2, 1]
    pub.publish("t/x", "1", qos=2)
    assert sub.receive("t/x", "1").qos == 2
    pub.publish("u/x", "2", qos=2)
    assert sub.receive("u/x", "2").qos == 1
    sub.barrier()


@pytest.mark.parametrize("version", [4, 5])
def test_filters_of_one_packet_are_as_if_they_came_one_by_one(gw, version):
    pub, sub = peer(gw, "pub", version), peer(gw, "sub", version)
    pub.publish("t", "kept", qos=2, retain=True)
    sub.send(subscribe(0xABCD, ("t", 0), ("u", 1), ("t", 2), version=version))
    first = sub.next(SUBACK)
    assert first.packet_id == 0xABCD and first.codes == [0, 1, 2]
    assert [sub.receive("t", "kept").qos for _ in range(2)] == [0, 2]
    pub.publish("t", "live", qos=2)
    assert sub.receive("t", "live").qos == 2
    sub.send(unsubscribe(0x8000, "t", "t", "u", "v", version=version))
    unsuback = sub.next(UNSUBACK)
    assert unsuback.packet_id == 0x8000
    assert unsuback.codes == ([0, 0x11, 0, 0x11] if version == 5 else [])
    pub.publish("t", "nobody", qos=1)
    sub.barrier()


@pytest.mark.parametrize("version", [4, 5])
def test_no_message_is_lost_while_a_subscription_is_replaced(gw, version):
    """Nor comes twice, whatever the order in which the two workers are at it."""
    pub, sub = peer(gw, "pub", version), peer(gw, "sub", version)
    sub.subscribe("t/#", 1)
    chunk, rounds, expected = 40, 25, 0
    for turn in range(rounds):
        pub.send(b"".join(publish("t/x", str(turn * chunk + i), 1, i + 1, version=version) for i in range(chunk)))
        sub.send(subscribe(2, ("t/#", 1 + turn % 2), version=version))
        acknowledged = False
        while expected < (turn + 1) * chunk or not acknowledged:
            got = sub.next()
            if got.kind == SUBACK:
                acknowledged = True
                continue
            assert got.kind == PUBLISH and got.payload == str(expected).encode() and got.qos == 1
            sub.send(acknowledge(PUBACK, got.packet_id, version=version))
            expected += 1
        for _ in range(chunk):
            assert pub.next(PUBACK).reason == 0
    sub.barrier()


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_retained_message_is_replaced_by_the_next(gw, version):
    pub = peer(gw, "pub", version)
    for number, qos in enumerate((2, 0, 1)):
        pub.publish("r/a", f"old{number}", qos=qos, retain=True)
    pub.publish("r/b", "other", qos=2, retain=True)
    pub.publish("s/c", "third", qos=1, retain=True)
    leave(gw, pub, "pub") # it is no part of its session
    sub, pub = peer(gw, "sub", version), peer(gw, "pub", version)
    sub.subscribe("r/+", 2)
    got = sorted(taken(sub), key=lambda p: p.topic)
    assert [(p.topic, p.payload, p.qos, p.retain) for p in got] == [
        ("r/a", b"old2", 1, True), ("r/b", b"other", 2, True)]
    sub.subscribe("r/+", 2, packet_id=2) # again: all of them again
    assert sorted(p.topic for p in taken(sub)) == ["r/a", "r/b"]
    pub.publish("r/a", "new", qos=1, retain=True)
    assert not sub.receive("r/a", "new").retain # it is not there because of the subscription
    sub.barrier()


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("retain", [False, True])
def test_retain_is_as_published_for_those_who_ask(gw, as_published, retain):
    sub, pub = peer(gw, "sub"), peer(gw, "pub")
    for name in ("t", "$share/g/u"):
        sub.subscribe(name, RETAIN_AS_PUBLISHED if as_published else 0)
        pub.publish(name[-1], "x", retain=retain)
        assert sub.receive(name[-1], "x").retain == (retain and as_published)


def identifiers(got):
    return sorted(value for key, value in got.props if key == SUBSCRIPTION_ID)


def test_subscription_identifiers_are_those_of_the_subscription_that_holds(gateway):
    """With retained messages, too, and over a restart; one that is made again without has none."""
    gw = gateway('store { path = "store" }\n')
    pub, sub = peer(gw, "pub"), peer(gw, "sub", **keeps(5))
    pub.publish("t/x", "kept", qos=1, retain=True)
    sub.subscribe("t/x", 1, props={SUBSCRIPTION_ID: 7})
    assert identifiers(sub.receive("t/x", "kept")) == [7]
    sub.subscribe("t/+", 1 | 0x20, props={SUBSCRIPTION_ID: 268435455})
    pub.publish("t/x", "both", qos=1)
    assert identifiers(sub.receive("t/x", "both")) == [7, 268435455]
    sub.subscribe("t/x", 1 | 0x20, props={SUBSCRIPTION_ID: 8})
    leave(gw, sub, "sub")
    pub.publish("t/x", "queued", qos=1)
    gw.kill()
    gw.start()
    pub, sub = peer(gw, "pub"), peer(gw, "sub", **keeps(5))
    assert identifiers(sub.receive("t/x", "queued")) == [8, 268435455]
    pub.publish("t/x", "restored", qos=1)
    assert identifiers(sub.receive("t/x", "restored")) == [8, 268435455]
    for name in ("t/x", "t/+"):
        sub.subscribe(name, 1 | 0x20)
    pub.publish("t/x", "none", qos=1)
    assert identifiers(sub.receive("t/x", "none")) == []


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_too_long_for_its_client_is_over(gw, qos):
    """It takes no place in the window, does not come again, and others have it."""
    props = {SESSION_EXPIRY: 3600, MAXIMUM_PACKET_SIZE: 100, RECEIVE_MAXIMUM: 1}
    sub, other = peer(gw, "sub", clean=False, props=props), peer(gw, "other")
    sub.subscribe("t", qos)
    other.subscribe("t", qos)
    pub = peer(gw, "pub")
    for number in range(3):
        pub.publish("t", "x" * 100, qos=qos)
        other.receive("t")
        pub.publish("t", str(number), qos=qos)
        other.receive("t", str(number))
    for number in range(3):
        sub.receive("t", str(number))
    sub.barrier()
    lose(gw, sub, "sub")
    peer(gw, "sub", **keeps(5)).barrier()


# ---- QoS 1 and 2, as receiver ------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
def test_qos_2_reaches_its_subscribers_once(gw, version):
    """However often, and over how many connections, it is sent before its release."""
    sub = peer(gw, "sub")
    sub.subscribe("t", 2)
    pub = peer(gw, "pub", **keeps(version))
    pub.send(publish("t", "1", 2, 0xABCD, version=version))
    for _ in range(3):
        assert pub.next(PUBREC).packet_id == 0xABCD
        pub.send(publish("t", "1", 2, 0xABCD, dup=True, version=version))
        assert pub.next(PUBREC).packet_id == 0xABCD
        lose(gw, pub, "pub")
        pub = peer(gw, "pub", **keeps(version))
        assert pub.connack.session_present
        pub.send(publish("t", "1", 2, 0xABCD, dup=True, version=version))
    assert pub.next(PUBREC).reason == 0
    for again in range(2): # PUBCOMP may have been lost
        pub.send(acknowledge(PUBREL, 0xABCD, version=version))
        pubcomp = pub.next(PUBCOMP)
        assert pubcomp.packet_id == 0xABCD and pubcomp.reason == 0
    sub.receive("t", "1")
    pub.publish("t", "2", qos=2, packet_id=0xABCD)
    sub.receive("t", "2")
    sub.barrier()


@pytest.mark.parametrize("version", [4, 5])
def test_qos_1_is_a_new_message_once_it_was_acknowledged(gw, version):
    sub, pub = peer(gw, "sub"), peer(gw, "pub", version)
    sub.subscribe("t", 1)
    for number, dup in enumerate((False, True, False)):
        pub.publish("t", str(number), qos=1, packet_id=0xABCD, dup=dup)
        sub.receive("t", str(number))
    sub.barrier()


def test_a_refused_message_leaves_its_identifier_free(gateway, folder):
    rules = folder / "rules"
    rules.write_text("deny publish * no\nallow all * #\n", encoding="utf-8")
    gw = gateway(f'authfile {{ rules_file = "{rules}" }}\naccess {{ allow_anonymous = yes }}\n')
    sub, pub = peer(gw, "sub"), peer(gw, "pub")
    sub.subscribe("+", 2)
    for number in range(3):
        assert pub.publish("no", "x", qos=2, packet_id=7) == 0x87
        assert pub.publish("yes", str(number), qos=2, packet_id=7) == 0
        sub.receive("yes", str(number))
    sub.barrier()


def test_an_exchange_goes_on_though_its_message_has_expired(gw):
    sub, pub = peer(gw, "sub", **keeps(5)), peer(gw, "pub")
    sub.subscribe("t", 2)
    leave(gw, sub, "sub")
    pub.send(publish("t", "x", 2, 7, version=5, props={MESSAGE_EXPIRY: 1}))
    assert pub.next(PUBREC).reason == 0
    pass_time(2.2, pub)
    sub = peer(gw, "sub", **keeps(5))
    sub.barrier() # it is gone
    pub.send(publish("t", "x", 2, 7, dup=True, version=5, props={MESSAGE_EXPIRY: 1}))
    assert pub.next(PUBREC).packet_id == 7
    pub.send(acknowledge(PUBREL, 7, version=5))
    pubcomp = pub.next(PUBCOMP)
    assert pubcomp.packet_id == 7 and pubcomp.reason == 0
    sub.barrier()


# ---- QoS 1 and 2, as sender --------------------------------------------------------------------------


def test_refused_deliveries_do_not_come_again(gw):
    sub, pub = peer(gw, "sub", **keeps(5)), peer(gw, "pub")
    sub.subscribe("t", 2)
    pub.publish("t", "1", qos=1)
    sub.send(acknowledge(PUBACK, sub.next(PUBLISH).packet_id, 0x80, version=5))
    pub.publish("t", "2", qos=2)
    sub.send(acknowledge(PUBREC, sub.next(PUBLISH).packet_id, 0x83, version=5))
    sub.barrier() # no PUBREL either
    lose(gw, sub, "sub")
    peer(gw, "sub", **keeps(5)).barrier()


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("store", ["", 'store { path = "store" }\n'])
def test_pubrel_follows_the_order_of_pubrec(gateway, version, store):
    gw = gateway(store)
    sub, pub = peer(gw, "sub", **keeps(version)), peer(gw, "pub")
    sub.subscribe("t", 2)
    for number in range(5):
        pub.publish("t", str(number), qos=2)
    ids = [sub.next(PUBLISH).packet_id for _ in range(5)]
    order = [ids[i] for i in (4, 0, 3, 1, 2)]
    sub.send(b"".join(acknowledge(PUBREC, i, version=version) for i in order))
    assert [sub.next(PUBREL).packet_id for _ in range(5)] == order
    sub.send(b"".join(acknowledge(PUBCOMP, i, version=version) for i in reversed(order)))
    sub.barrier()
    lose(gw, sub, "sub")
    peer(gw, "sub", **keeps(version)).barrier()


def test_identifiers_are_never_0_nor_in_use(gw):
    """While two deliveries are out, all the others come by, more than there are identifiers."""
    sub, pub = peer(gw, "sub", 4), peer(gw, "pub", 4)
    sub.subscribe("t", 2)
    pub.publish("t", "a", qos=1)
    pub.publish("t", "b", qos=2)
    held = {sub.next(PUBLISH).packet_id for _ in range(2)}
    assert len(held) == 2 and 0 not in held
    chunk = 200 # session.inflight is 256
    sent = b"".join(publish("t", "x", 1, i + 1) for i in range(chunk))
    size = len(publish("t", "x", 1, 1))
    seen = set()
    for _ in range(66000 // chunk):
        pub.send(sent)
        pub.read(chunk * 4)
        got = sub.read(chunk * size)
        ids = [struct.unpack_from("!H", got, at + 5)[0] for at in range(0, len(got), size)]
        assert len(set(ids)) == chunk and 0 not in ids and not held & set(ids)
        seen.update(ids)
        sub.send(b"".join(acknowledge(PUBACK, i) for i in ids))
    assert len(seen) > 65000 # nearly all that there are, and again from the first


def test_no_more_is_sent_than_the_receive_maximum_and_nothing_else_waits(gw):
    sub, pub = peer(gw, "sub", props={RECEIVE_MAXIMUM: 2}), peer(gw, "pub")
    sub.subscribe("t", 2)
    for number in range(6):
        pub.publish("t", str(number), qos=1 + number % 2)
    first, second = sub.next(PUBLISH), sub.next(PUBLISH)
    sub.barrier()
    sub.subscribe("u", 0, packet_id=2)
    assert sub.publish("v", "x", qos=1) == 0x10
    sub.send(unsubscribe(3, "u", version=5))
    assert sub.next(UNSUBACK).codes == [0]
    sub.send(acknowledge(PUBREC, second.packet_id, version=5))
    assert sub.next(PUBREL).packet_id == second.packet_id
    sub.barrier() # PUBREC alone frees no place
    sub.send(acknowledge(PUBCOMP, second.packet_id, version=5))
    third = sub.next(PUBLISH)
    assert third.payload == b"2"
    sub.barrier()
    sub.send(acknowledge(PUBACK, first.packet_id, 0x80, version=5)) # a refusal does
    fourth = sub.next(PUBLISH)
    assert fourth.payload == b"3"
    sub.send(acknowledge(PUBREC, fourth.packet_id, 0x80, version=5))
    assert sub.next(PUBLISH).payload == b"4"
    sub.barrier()


@pytest.mark.parametrize("end", ["lost", "lost with a store", "crash"])
@pytest.mark.parametrize("window", [1, 2])
def test_a_smaller_receive_maximum_holds_for_what_comes_again(gateway, end, window):
    """Releases do not wait for it, and everything arrives, in order, whatever is out."""
    gw = gateway("" if end == "lost" else 'store { path = "store" }\n')
    sub, pub = peer(gw, "sub", **keeps(5)), peer(gw, "pub")
    sub.subscribe("t", 2)
    for number in range(8):
        pub.publish("t", str(number), qos=1 + number % 2)
    ids = [sub.next(PUBLISH).packet_id for _ in range(8)]
    for released in (5, 1):
        sub.send(acknowledge(PUBREC, ids[released], version=5))
        assert sub.next(PUBREL).packet_id == ids[released]
    if end == "crash":
        gw.kill()
        gw.start()
        pub = peer(gw, "pub")
    else:
        lose(gw, sub, "sub")
    pub.publish("t", "8", qos=1)
    sub = peer(gw, "sub", clean=False, props={SESSION_EXPIRY: 3600, RECEIVE_MAXIMUM: window})
    expected, again, out, confirmed = [i for i in range(9) if i not in (1, 5)], [], [], None
    while len(again) < len(expected) or out:
        sub.send(PINGREQ_PACKET)
        while (got := sub.next()).kind != PINGRESP:
            if got.kind == PUBLISH:
                assert got.dup == (got.payload != b"8")
                again.append(int(got.payload))
                out.append(got)
            elif got.packet_id in (ids[1], ids[5]):
                sub.send(acknowledge(PUBCOMP, got.packet_id, version=5))
            else:
                sub.send(acknowledge(PUBCOMP, out.pop(0).packet_id, version=5))
            assert len(out) <= window
        if out and out[0].qos == 1:
            sub.send(acknowledge(PUBACK, out.pop(0).packet_id, version=5))
        elif out and out[0] is not confirmed:
            confirmed = out[0] # its release may take a while
            sub.send(acknowledge(PUBREC, confirmed.packet_id, version=5))
    assert again == expected
    sub.barrier()


# ---- shared subscriptions ----------------------------------------------------------------------------


def test_qos_2_of_a_shared_subscription_waits_for_its_member(gw):
    """It is not given to another, neither while its member is away nor when that ends its session."""
    a, pub = peer(gw, "a", **keeps(5)), peer(gw, "pub")
    a.subscribe("$share/g/t", 2)
    for number in range(2):
        pub.publish("t", str(number), qos=2)
    first, second = a.next(PUBLISH), a.next(PUBLISH)
    b = peer(gw, "b")
    b.subscribe("$share/g/t", 2)
    lose(gw, a, "a")
    b.barrier()
    a = peer(gw, "a", **keeps(5))
    for before in (first, second):
        again = a.next(PUBLISH)
        assert again.dup and again.packet_id == before.packet_id and again.payload == before.payload
    a.send(acknowledge(PUBREC, first.packet_id, version=5))
    assert a.next(PUBREL).packet_id == first.packet_id
    a.send(acknowledge(PUBCOMP, first.packet_id, version=5))
    leave(gw, a, "a")
    peer(gw, "a", clean=True).barrier()
    b.barrier()
    pub.publish("t", "new", qos=2)
    b.receive("t", "new")


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_members_of_a_shared_subscription_get_fair_shares(gw, qos):
    """Each message goes to one of them."""
    members, pub = [peer(gw, f"m{i}") for i in range(4)], peer(gw, "pub")
    for member in members:
        member.subscribe("$share/g/t", qos)
    total = 400
    for number in range(total):
        pub.publish("t", str(number), qos=qos)
    pub.barrier()
    got = [taken(member) for member in members]
    assert sorted(int(p.payload) for share in got for p in share) == list(range(total))
    assert min(len(share) for share in got) > total / 4 * 0.6, [len(share) for share in got]


def test_what_a_member_leaves_goes_to_the_others(gw):
    """Of QoS 1, also what it had and did not acknowledge: nothing is lost."""
    a, pub = peer(gw, "a", props={RECEIVE_MAXIMUM: 10}), peer(gw, "pub")
    a.subscribe("$share/g/t", 1)
    for number in range(50):
        pub.publish("t", str(number), qos=1)
    held = [a.next(PUBLISH).payload for _ in range(10)]
    assert held == [str(i).encode() for i in range(10)]
    b, c = peer(gw, "b"), peer(gw, "c")
    b.subscribe("$share/g/t", 1)
    c.subscribe("$share/g/t", 1)
    lose(gw, a, "a")
    got, deadline = [], time.monotonic() + TIMEOUT  # each worker hands on what it has when its turn comes
    while len(got) < 50 and time.monotonic() < deadline:
        got += taken(b) + taken(c)
    assert sorted(int(p.payload) for p in got + taken(b) + taken(c)) == list(range(50))
