# SPDX-License-Identifier: Apache-2.0
"""Faults that other MQTT brokers have had, on the real daemon: each test is named for what must hold
instead. Those that need no core are in tests/unit/test_mqtt_faults.c."""
import time

import pytest

from mqttwire import (CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK,
                      MqttPeer, acknowledge, connect, disconnect, peer, publish, subscribe, unsubscribe)

SESSION_EXPIRY, SUBSCRIPTION_ID, RECEIVE_MAXIMUM = 0x11, 0x0B, 0x21
MESSAGE_EXPIRY, WILL_DELAY, TOPIC_ALIAS = 0x02, 0x18, 0x23
KEEP = {SESSION_EXPIRY: 0xFFFFFFFF}
NO_LOCAL, RETAIN_AS_PUBLISHED = 0x04, 0x08


@pytest.fixture
def gw(gateway):
    return gateway()


def back(gw, client_id, version=5, **arguments):
    """The same client again, with the session that it left."""
    props = arguments.pop("props", KEEP) if version == 5 else ()
    one = peer(gw, client_id, version, clean=False, props=props, **arguments)
    assert one.connack.session_present
    return one


def nothing_more(*peers):
    for one in peers:
        one.barrier()


def test_m1_a_long_connect_is_refused_at_its_length(gw):
    one = gw.connect("mqtt", MqttPeer)
    one.send(bytes.fromhex("10ffffff7f"))
    one.expect_close()
    gw.wait_log("closed", reason="too_large")


def test_m2_a_payload_that_needs_four_length_bytes_arrives(gateway):
    gw = gateway("mqtt { max_packet_size = 4m }\nlimits { frame_size = 4m output_max = 16m }")
    sub, pub = peer(gw, "sub"), peer(gw, "pub")
    sub.subscribe("t", 1)
    payload = bytes(range(256)) * 8193
    pub.publish("t", payload, qos=1)
    assert sub.receive("t").payload == payload


def test_m5_the_send_quota_is_that_of_the_new_connection(gw):
    sub = peer(gw, "sub", clean=False, props={**KEEP, RECEIVE_MAXIMUM: 2})
    pub = peer(gw, "pub")
    sub.subscribe("t", 1)
    for number in range(6):
        pub.publish("t", str(number), qos=1)
    assert [sub.next(PUBLISH).payload for _ in range(2)] == [b"0", b"1"]
    nothing_more(sub)
    sub.reset()
    gw.wait_log("closed", client="sub")
    sub = back(gw, "sub", props={**KEEP, RECEIVE_MAXIMUM: 5})
    got = [sub.next(PUBLISH) for _ in range(5)]
    assert [p.payload for p in got] == [b"0", b"1", b"2", b"3", b"4"]
    assert [p.dup for p in got] == [True, True, False, False, False]
    nothing_more(sub)
    sub.send(acknowledge(PUBACK, got[3].packet_id))
    assert sub.next(PUBLISH).payload == b"5"


def test_m13_the_will_of_who_is_taken_over_is_sent_once(gw):
    watcher = peer(gw, "watcher")
    watcher.subscribe("will/#")
    old = peer(gw, "a", will=("will/a", "old", 0, False))
    new = peer(gw, "a", will=("will/a", "new", 0, False))
    assert old.next(DISCONNECT).reason == 0x8E
    old.expect_close()
    watcher.receive("will/a", "old")
    new.barrier()
    new.reset()
    watcher.receive("will/a", "new")
    nothing_more(watcher)


def test_m13_a_delayed_will_is_not_sent_when_the_session_goes_on(gw):
    watcher = peer(gw, "watcher")
    watcher.subscribe("will/#")
    peer(gw, "a", clean=False, props=KEEP, will=("will/a", "old", 0, False),
         will_props={WILL_DELAY: 3600})
    again = back(gw, "a")
    again.barrier()
    nothing_more(watcher)


def test_m13_a_delayed_will_is_sent_when_the_session_ends_first(gw):
    watcher = peer(gw, "watcher")
    watcher.subscribe("will/#")
    one = peer(gw, "a", props={SESSION_EXPIRY: 1}, will=("will/a", "gone", 0, False),
               will_props={WILL_DELAY: 3600})
    one.reset()
    watcher.receive("will/a", "gone")


def guarded(gateway, folder, rules, more=""):
    path = folder / "rules"
    path.write_text(rules, encoding="utf-8")
    return gateway(f'authfile {{ rules_file = "{path}" }}\naccess {{ allow_anonymous = yes {more} }}\n')


def test_m14_a_will_that_may_not_be_published_is_not(gateway, folder):
    gw = guarded(gateway, folder, "deny publish * secret/#\nallow all * #\n")
    watcher = peer(gw, "watcher")
    watcher.subscribe("#")
    one = gw.connect("mqtt", MqttPeer)
    one.version = 5
    one.send(connect("a", 5, will=("secret/x", "leak", 0, False)))
    connack = one.next(CONNACK)
    if connack.reason == 0:
        one.reset()
        gw.wait_log("closed", client="a")
    else:
        assert connack.reason == 0x87
    peer(gw, "b").publish("after", qos=1)
    watcher.receive("after")


def test_m16_shared_subscriptions_get_no_retained_messages(gw):
    pub = peer(gw, "pub")
    pub.publish("t/1", "kept", qos=1, retain=True)
    sub = peer(gw, "sub")
    sub.subscribe("$share/g/t/#", 1)
    nothing_more(sub)
    pub.publish("t/1", "live", qos=1)
    sub.receive("t/1", "live")


@pytest.mark.parametrize("stored,granted", [(q, g) for q in range(3) for g in range(3)])
def test_m17_a_retained_message_has_the_lower_of_both_qos(gw, stored, granted):
    pub = peer(gw, "pub")
    pub.publish("t/1", "kept", qos=stored, retain=True)
    pub.barrier()
    for number, name in enumerate(("t/1", "t/+", "#")):
        sub = peer(gw, f"sub{number}")
        sub.subscribe(name, granted)
        got = sub.receive("t/1", "kept")
        assert got.qos == min(stored, granted) and got.retain


@pytest.mark.parametrize("client_id", ["+", "#", "a/b", "+/x"])
def test_m18_identifiers_with_wildcards_match_no_placeholder(gateway, folder, client_id):
    gw = guarded(gateway, folder, "allow all * own/${client}\n", "otherwise = deny")
    one = gw.connect("mqtt", MqttPeer)
    one.version = 5
    one.send(connect(client_id, 5))
    assert one.next(CONNACK).reason == 0
    one.send(subscribe(1, ("own/" + client_id, 0), version=5))
    assert one.next(SUBACK).codes == [0x87]


def test_m20_exact_and_shared_subscription_are_separate(gw):
    sub, pub = peer(gw, "sub"), peer(gw, "pub")
    sub.subscribe("t", 0)
    sub.subscribe("$share/g/t", 0, packet_id=2)
    for name, code in (("$share/h/t", 0x11), ("t", 0), ("t", 0x11)):
        sub.send(unsubscribe(3, name, version=5))
        assert sub.next(UNSUBACK).codes == [code]
    pub.publish("t", "shared", qos=1)
    sub.receive("t", "shared")
    nothing_more(sub)
    sub.send(unsubscribe(4, "$share/g/t", version=5))
    assert sub.next(UNSUBACK).codes == [0]
    assert pub.publish("t", "nobody", qos=1) == 0x10


@pytest.mark.parametrize("levels, taken", [(128, True), (129, False), (10000, False)])
def test_m22_levels_are_counted_in_topics_and_wills(gw, levels, taken):
    deep = "/" * (levels - 1)
    one = peer(gw, "one")
    assert one.publish(deep, b"x", 1) == (0x10 if taken else 0x90)
    two = gw.connect("mqtt", MqttPeer)
    two.version = 5
    two.send(connect("two", version=5, will=(deep, b"x", 0, False)))
    assert two.next(CONNACK).reason == (0 if taken else 0x90)


def test_m22_a_topic_of_slashes_does_no_harm(gw):
    slashes = "/" * 65000
    one = peer(gw, "a")
    one.send(subscribe(1, (slashes, 0), version=5))
    assert one.next(SUBACK).codes[0] >= 0x80
    one.send(publish(slashes, "x", 1, 2, retain=True, version=5))
    assert one.next().kind in (PUBACK, DISCONNECT)
    other = peer(gw, "b")
    other.barrier()
    one.reset()
    other.barrier()


def test_m23_overlapping_subscriptions_give_the_highest_qos_and_all_identifiers(gw):
    sub, pub = peer(gw, "sub"), peer(gw, "pub")
    sub.subscribe("s/t", 1, props={SUBSCRIPTION_ID: 1})
    sub.subscribe("s/+", 2, packet_id=2, props={SUBSCRIPTION_ID: 2})
    sub.subscribe("$share/g/s/#", 0, packet_id=3, props={SUBSCRIPTION_ID: 3})
    pub.publish("s/t", "x", qos=2)
    got = [sub.next(PUBLISH), sub.next(PUBLISH)]  # in any order: the shared one may take another way
    own = [p for p in got if (SUBSCRIPTION_ID, 3) not in p.props]
    shared = [p for p in got if (SUBSCRIPTION_ID, 3) in p.props]
    assert len(own) == len(shared) == 1
    assert own[0].qos == 2 and shared[0].qos == 0
    assert sorted(v for k, v in own[0].props if k == SUBSCRIPTION_ID) == [1, 2]
    sub.send(acknowledge(PUBREC, own[0].packet_id, version=5))
    assert sub.next(PUBREL).packet_id == own[0].packet_id
    sub.send(acknowledge(PUBCOMP, own[0].packet_id, version=5))
    nothing_more(sub)


def test_m24_expiry_0_ends_the_session_and_forever_keeps_it(gw):
    peer(gw, "a", clean=False).send(disconnect())
    gw.wait_log("closed", client="a")
    assert not peer(gw, "a", clean=False).connack.session_present
    peer(gw, "b", clean=False, props=KEEP).send(disconnect())
    gw.wait_log("closed", client="b")
    assert peer(gw, "b", clean=False).connack.session_present


def test_m24_disconnect_may_change_the_expiry(gw):
    peer(gw, "a", clean=False, props=KEEP).send(disconnect(0, version=5, props={SESSION_EXPIRY: 0}))
    gw.wait_log("closed", client="a")
    assert not peer(gw, "a", clean=False).connack.session_present


def test_m24_the_servers_maximum_is_told(gateway):
    gw = gateway("session { expiry_max = 1h }")
    assert peer(gw, "a", props=KEEP).connack.prop(SESSION_EXPIRY) == 3600
    assert peer(gw, "b", props={SESSION_EXPIRY: 60}).connack.prop(SESSION_EXPIRY) is None


@pytest.mark.parametrize("version", [4, 5])
def test_m26_what_is_not_acknowledged_comes_again_through_many_connections(gw, version):
    sub = peer(gw, "sub", version, clean=False, props=KEEP if version == 5 else ())
    pub = peer(gw, "pub")
    sub.subscribe("t", 2)
    for number in range(4):
        pub.publish("t", str(number), qos=2 if number % 2 else 1)
    first = [sub.next(PUBLISH) for _ in range(4)]
    sub.send(acknowledge(PUBREC, first[1].packet_id, version=version))
    assert sub.next(PUBREL).packet_id == first[1].packet_id
    for _ in range(3):
        mark = gw.mark()
        sub.reset()
        gw.wait_log("closed", client="sub", start=mark)
        sub = back(gw, "sub", version)
        again = [sub.next() for _ in range(4)]
        assert [p.packet_id for p in again] == [p.packet_id for p in first]
        assert [p.kind for p in again] == [PUBLISH, PUBREL, PUBLISH, PUBLISH]
        assert all(p.dup for p in again if p.kind == PUBLISH)
        nothing_more(sub)
    sub.send(acknowledge(PUBCOMP, first[1].packet_id, version=version))
    sub.send(acknowledge(PUBACK, first[0].packet_id, version=version))
    nothing_more(sub)


def test_m27_a_silent_client_is_closed_after_one_and_a_half_times(gw):
    one = peer(gw, "a", keepalive=1)
    started = time.monotonic()
    assert one.next(DISCONNECT).reason == 0x8D
    assert 1.4 <= time.monotonic() - started < 3


def test_m28_broken_text_reaches_no_log(gw):
    one = gw.connect("mqtt", MqttPeer)
    one.version = 5
    one.send(connect(b"evil\xc0\x80id", 5))
    assert one.next(CONNACK).reason == 0x85
    gw.wait_log("closed", reason="malformed")

    def attempt():
        two = gw.connect("mqtt", MqttPeer)
        two.version = 5
        two.send(connect("line\nevent=forged", 5))
        assert two.next(CONNACK).reason == 0x85
    gw.provoke(attempt, "closed", reason="malformed")
    assert not gw.logged("forged")


def test_no_local_and_retain_as_published(gw):
    one = peer(gw, "a")
    other = peer(gw, "b")
    one.subscribe("t", NO_LOCAL | RETAIN_AS_PUBLISHED)
    other.subscribe("t", 0)
    one.publish("t", "mine", qos=1, retain=True)
    assert not other.receive("t", "mine").retain
    other.publish("t", "theirs", qos=1, retain=True)
    assert one.receive("t", "theirs").retain


@pytest.mark.parametrize("handling,first,second", [(0, 1, 1), (1, 1, 0), (2, 0, 0)])
def test_retain_handling(gw, handling, first, second):
    pub, sub = peer(gw, "pub"), peer(gw, "sub")
    pub.publish("t", "kept", qos=1, retain=True)
    for packet_id, expected in ((1, first), (2, second)):
        sub.subscribe("t", handling << 4, packet_id=packet_id)
        if expected:
            sub.receive("t", "kept")
        nothing_more(sub)


def test_message_expiry_is_what_is_left(gw):
    sub = peer(gw, "sub", clean=False, props=KEEP)
    sub.subscribe("t", 1)
    sub.send(disconnect())
    gw.wait_log("closed", client="sub")
    pub = peer(gw, "pub")
    pub.publish("t", "gone", qos=1, props={MESSAGE_EXPIRY: 1})
    pub.publish("t", "here", qos=1, props={MESSAGE_EXPIRY: 100})
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline: # the daemon's clock is what is tested
        pub.barrier()
    sub = back(gw, "sub")
    got = sub.receive("t", "here")
    assert 95 <= got.prop(MESSAGE_EXPIRY) <= 99
    nothing_more(sub)


def test_topic_aliases_both_ways(gw):
    sub = peer(gw, "sub", props={0x22: 5})
    pub = peer(gw, "pub")
    assert pub.connack.prop(0x22)
    sub.subscribe("a/long/topic", 0)
    pub.send(publish("a/long/topic", "1", version=5, props={TOPIC_ALIAS: 1}))
    pub.send(publish("", "2", version=5, props={TOPIC_ALIAS: 1}))
    first, second = sub.next(PUBLISH), sub.next(PUBLISH)
    assert (first.topic, first.payload) == ("a/long/topic", b"1")
    assert (second.topic, second.payload) == ("", b"2")
    assert first.prop(TOPIC_ALIAS) == second.prop(TOPIC_ALIAS) > 0


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_version_and_qos_goes_through(gw, version, qos):
    sub, pub = peer(gw, "sub", version), peer(gw, "pub", version)
    sub.subscribe("t/+", qos)
    for number in range(20):
        pub.publish("t/x", str(number), qos=qos, packet_id=number + 1)
        assert sub.receive("t/x", str(number)).qos == qos
    nothing_more(sub, pub)


def test_versions_meet(gw):
    old, new = peer(gw, "old", 3), peer(gw, "new", 5)
    old.subscribe("t", 1)
    new.subscribe("t", 1)
    new.publish("t", "x", qos=1, props=[(0x26, ("k", "v")), (0x03, "text/plain")])
    assert old.receive("t", "x").props == []
    got = new.receive("t", "x")
    assert got.prop(0x26) == ("k", "v") and got.prop(0x03) == "text/plain"


def test_m19_a_permission_lost_while_away_is_lost(gateway, folder):
    gw = guarded(gateway, folder, "allow all * #\n")
    sub = peer(gw, "sub", clean=False, props=KEEP)
    sub.subscribe("secret/x", 1)
    pub = peer(gw, "pub")
    sub.send(disconnect())
    gw.wait_log("closed", client="sub")
    pub.publish("secret/x", "queued", qos=1)
    pub.publish("secret/x", "kept", qos=1, retain=True)
    (folder / "rules").write_text("deny subscribe * secret/#\nallow all * #\n", encoding="utf-8")
    gw.reload()
    sub = back(gw, "sub")
    pub.publish("secret/x", "live", qos=1)
    nothing_more(pub, sub)
    sub.send(subscribe(1, ("secret/x", 1), version=5))
    assert sub.next(SUBACK).codes == [0x87]


@pytest.mark.parametrize("version", [4, 5])
def test_a_payload_above_the_limit_is_refused_and_its_client_stays(gateway, version):
    gw = gateway("mqtt { max_payload = 3 }\n")
    pub, sub = gw.connect("mqtt", MqttPeer), gw.connect("mqtt", MqttPeer)
    pub.login("pub", version)
    sub.login("sub", version)
    sub.subscribe("t", 1)
    for qos, kind in ((0, None), (1, PUBACK), (2, PUBREC)):
        pub.send(publish("t", "long", qos, 7, version=version))
        if kind:
            assert pub.next(kind).reason == (0x97 if version == 5 else 0)
    pub.publish("t", "yes", qos=1)
    sub.receive("t", "yes")
    sub.barrier()


def test_an_assigned_identifier_begins_as_configured(gateway):
    gw = gateway('mqtt { assigned_id_prefix = "guest/" }\n')
    peer = gw.connect("mqtt", MqttPeer)
    assert peer.login("", 5).prop(0x12).startswith("guest/")
