# SPDX-License-Identifier: Apache-2.0
"""Rules of the format that a client may break, each in every place where it stands, on the real daemon;
which statement of the standards a test shows is listed in polygate-mqtt(7)."""
import pytest

from mqttwire import (AUTH, CONNACK, DISCONNECT, PINGREQ, PINGREQ_PACKET, PUBACK, PUBCOMP, PUBLISH, PUBREC,
                      PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, acknowledge, connect, dial,
                      disconnect, packet, peer, properties, publish, subscribe, text, unsubscribe)

REASON, USER, AUTH_METHOD, CONTENT_TYPE, RESPONSE_TOPIC = 0x1F, 0x26, 0x15, 0x03, 0x08
SUBSCRIPTION_ID, MAXIMUM_PACKET_SIZE, TOPIC_ALIAS = 0x0B, 0x27, 0x23

BROKEN_TEXTS = [b"a\xc0\x80", b"a\xed\xa0\x80b", b"a\x00b", b"\xff", b"a\xe4\xbd"]


@pytest.fixture
def gw(gateway):
    return gateway()


def refused(gw, data, version, code=None):
    """A CONNECT that is not accepted: CONNACK with a code, or not a word, and the end."""
    one = dial(gw, data, version)
    try:
        connack = one.next(CONNACK)
    except ConnectionError:
        assert code is None
        return
    assert connack.reason == code if code else connack.reason > 0
    assert not connack.session_present
    one.expect_close()


BODIES = {
    PUBLISH: b"\0\1t", PUBACK: b"\0\1", PUBREC: b"\0\1", PUBREL: b"\0\1", PUBCOMP: b"\0\1",
    SUBSCRIBE: b"\0\1\0\1t\0", UNSUBSCRIBE: b"\0\1\0\1t", PINGREQ: b"", DISCONNECT: b"",
    AUTH: b"", SUBACK: b"\0\1\0", UNSUBACK: b"\0\1", CONNACK: b"\0\0", 13: b"", 0: b"",
}


def body_of(kind, version):
    """The smallest body of a packet in this version."""
    body = BODIES[kind]
    if version == 5 and kind == PUBLISH:
        return body + b"\0"
    return body[:2] + b"\0" + body[2:] if version == 5 and kind in (SUBSCRIBE, UNSUBSCRIBE) else body


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_only_connect_may_come_first(gw, kind):
    for version in (4, 5):
        flags = 2 if kind in (PUBREL, SUBSCRIBE, UNSUBSCRIBE) else 0
        one = dial(gw, packet(kind, flags, body_of(kind, version)))
        one.expect_close()


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("same", [True, False])
def test_a_second_connect_ends_the_connection(gw, version, same):
    one = peer(gw, "a", version)
    one.send(connect("a" if same else "b", version))
    one.expect_disconnect(0x82)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("kind", [PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT,
                                  AUTH])
def test_flags_that_are_reserved_must_be_as_they_are(gw, version, kind):
    right = 2 if kind in (PUBREL, SUBSCRIBE, UNSUBSCRIBE) else 0
    for flags in range(16):
        if flags == right:
            continue
        one = peer(gw, "a", version)
        one.send(packet(kind, flags, body_of(kind, version)))
        one.expect_disconnect(*((0x81, 0x82) if kind == AUTH else (0x81,)))


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("flags", [1, 2, 3, 4, 8, 15])
def test_flags_of_connect_are_reserved(gw, version, flags):
    data = connect("a", version)
    refused(gw, bytes([data[0] | flags]) + data[1:], version)


@pytest.mark.parametrize("version", [4, 5])
def test_the_reserved_flag_of_connect_must_be_0(gw, version):
    data = bytearray(connect("a", version))
    data[2 + 2 + 4 + 1] |= 1
    refused(gw, bytes(data), version, 0x81 if version == 5 else None)


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("flags", [6, 7, 8, 9, 14, 15])
def test_a_publish_has_no_qos_3_and_no_dup_without_qos(gw, version, flags):
    if version == 3 and flags in (8, 9):
        return # 3.1 has no such rule
    one = peer(gw, "a", version)
    one.send(packet(PUBLISH, flags, b"\0\1t" + (b"\0\1" if flags & 6 else b"") + (b"\0" if version == 5 else b"")))
    one.expect_disconnect(0x81, 0x82)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("make", [
    lambda v: publish("t", "x", 1, 0, version=v), lambda v: publish("t", "x", 2, 0, version=v),
    lambda v: subscribe(0, ("t", 0), version=v), lambda v: unsubscribe(0, "t", version=v),
    lambda v: acknowledge(PUBREL, 0, version=v)])
def test_identifiers_are_not_0(gw, version, make):
    one = peer(gw, "a", version)
    one.send(make(version))
    one.expect_disconnect(0x81, 0x82)


# ---- text ------------------------------------------------------------------------------------------


CONNECT_TEXTS = {
    "client identifier": lambda t, v: connect(t, v),
    "user name": lambda t, v: connect("a", v, username=t),
    "will topic": lambda t, v: connect("a", v, will=(t, "x", 0, False)),
    "authentication method": lambda t, v: connect("a", v, props={AUTH_METHOD: t}),
    "user property name": lambda t, v: connect("a", v, props=[(USER, (t, "v"))]),
    "user property value": lambda t, v: connect("a", v, props=[(USER, ("k", t))]),
    "will content type": lambda t, v: connect("a", v, will=("w", "", 0, False), will_props={CONTENT_TYPE: t}),
    "will response topic": lambda t, v: connect("a", v, will=("w", "", 0, False),
                                                will_props={RESPONSE_TOPIC: t}),
    "will user property": lambda t, v: connect("a", v, will=("w", "", 0, False),
                                               will_props=[(USER, (t, t))]),
}
TEXTS = {
    "topic name": lambda t, v: publish(t, "x", version=v),
    "content type": lambda t, v: publish("t", "x", version=v, props={CONTENT_TYPE: t}),
    "response topic": lambda t, v: publish("t", "x", version=v, props={RESPONSE_TOPIC: t}),
    "user property name": lambda t, v: publish("t", "x", version=v, props=[(USER, (t, "v"))]),
    "user property value": lambda t, v: publish("t", "x", version=v, props=[(USER, ("k", t))]),
    "topic filter": lambda t, v: subscribe(1, (t, 0), version=v),
    "second topic filter": lambda t, v: subscribe(1, ("t", 0), (t, 0), version=v),
    "user property of subscribe": lambda t, v: subscribe(1, ("t", 0), version=v, props=[(USER, (t, "v"))]),
    "filter of unsubscribe": lambda t, v: unsubscribe(1, t, version=v),
    "reason string": lambda t, v: acknowledge(PUBACK, 1, 0, version=v, props={REASON: t}),
    "user property of puback": lambda t, v: acknowledge(PUBACK, 1, 0, version=v, props=[(USER, ("k", t))]),
    "reason string of disconnect": lambda t, v: disconnect(0, version=v, props={REASON: t}),
}
IN_3_1_1 = {"client identifier", "user name", "will topic", "topic name", "topic filter", "second topic filter",
            "filter of unsubscribe"}


@pytest.mark.parametrize("field", CONNECT_TEXTS)
def test_broken_text_in_connect_is_refused(gw, field):
    for version in (4, 5):
        if version == 5 or field in IN_3_1_1:
            for broken in BROKEN_TEXTS:
                refused(gw, CONNECT_TEXTS[field](broken, version), version)


@pytest.mark.parametrize("field", TEXTS)
def test_broken_text_ends_the_connection(gw, field):
    """And nothing of the packet has taken effect."""
    sub = peer(gw, "sub")
    sub.subscribe("#")
    for version in (4, 5):
        if version == 4 and field not in IN_3_1_1:
            continue
        for broken in BROKEN_TEXTS:
            one = peer(gw, "a", version)
            one.send(TEXTS[field](broken, version))
            one.expect_disconnect(0x81)
    sub.barrier()


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("name", ["a/+", "+", "#", "a/#", "a+b", "a#", ""])
def test_names_have_no_wildcards_and_are_not_empty(gw, version, name):
    one = peer(gw, "a", version)
    one.send(publish(name, "x", version=version))
    one.expect_disconnect(0x81, 0x82, 0x90)
    refused(gw, connect("b", version, will=(name, "x", 0, False)), version)
    if version == 5:
        one = peer(gw, "a")
        one.send(publish("t", "x", version=5, props={RESPONSE_TOPIC: name}))
        one.expect_disconnect(0x81, 0x82)


@pytest.mark.parametrize("version", [4, 5])
def test_a_byte_order_mark_is_part_of_the_text(gw, version):
    sub, pub = peer(gw, "sub", version), peer(gw, "\ufeffpub", version)
    sub.send(subscribe(1, ("\ufefft", 0), ("u\ufeff/+", 0), version=version))
    sub.next(SUBACK)
    for topic in ("t", "\ufefft", "u/x", "u\ufeff/\ufeffx"):
        pub.publish(topic, topic.encode())
    sub.receive("\ufefft", "\ufefft")
    sub.receive("u\ufeff/\ufeffx", "u\ufeff/\ufeffx")
    sub.barrier()
    peer(gw, "pub", version)
    pub.barrier() # another client


@pytest.mark.parametrize("version", [4, 5])
def test_topics_are_compared_byte_for_byte(gw, version):
    """No case is folded, nothing is composed, trimmed or taken for a level that it is not."""
    topics = ["a/b", "A/b", "a/b/", "/a/b", "a//b", " a/b", "a/b ", "a /b", "caf\u00e9", "cafe\u0301", "\u212b",
              "\u00c5", "a/\u200b", "a/\u2028", "%61/b", "a\\b", "\ue000", "\U0010fffd"]
    sub, pub = peer(gw, "sub", version), peer(gw, "pub", version)
    for name in topics:
        sub.subscribe(name, 0)
        for topic in topics:
            pub.publish(topic, topic.encode())
        pub.barrier()  # none is left for the next subscription
        sub.receive(name, name)
        sub.send(unsubscribe(2, name, version=version))
        assert sub.next(UNSUBACK).packet_id == 2
        sub.barrier()


# ---- integers, fields that flags announce ------------------------------------------------------------


@pytest.mark.parametrize("data", [
    b"\xc0\x80\x00", b"\x30\x84\x00\0\1t\0", b"\x30\x85\x80\x00\0\1t\0", b"\x30\x05\0\1t\x80\x00",
    b"\x30\x07\0\1t\x82\x00\x01\x00", b"\x82\x0a\0\1\x03\x0b\x81\x00\0\1t\0"])
def test_integers_take_no_more_bytes_than_they_need(gw, data):
    one = peer(gw, "a")
    one.send(data)
    one.expect_disconnect(0x81)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("flags, fields, taken", [
    (0x00, 0, True), (0x80, 1, True), (0xC0, 2, True), (0x80, 0, False), (0xC0, 1, False), (0xC0, 0, False),
    (0x00, 1, False), (0x00, 2, False), (0x80, 2, False), (0xC0, 3, False),
    (0x40, 1, None), (0x40, 0, False), (0x40, 2, False)])
def test_user_name_and_password_are_there_if_their_flags_say_so(gw, version, flags, fields, taken):
    """A password alone is for MQTT 5."""
    body = text("MQTT") + bytes([version, flags | 2, 0, 60]) + (b"\0" if version == 5 else b"")
    data = packet(1, 0, body + text("a") + text("x") * fields)
    if version == 5 if taken is None else taken:
        assert dial(gw, data, version).next(CONNACK).reason == 0
    else:
        refused(gw, data, version)


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("flags, fields, taken", [
    (0x04, 2, True), (0x0C, 2, True), (0x14, 2, True), (0x24, 2, True), (0x34, 2, True), (0x04, 1, False),
    (0x04, 0, False), (0x00, 2, False), (0x00, 1, False), (0x08, 0, None), (0x10, 0, None), (0x18, 0, None),
    (0x20, 0, None), (0x1C, 2, False), (0x3C, 2, False)])
def test_will_fields_are_there_if_their_flags_say_so(gw, version, flags, fields, taken):
    """MQTT 3.1 has no rule for the flags of a will that is not there."""
    body = text("MQIsdp" if version == 3 else "MQTT") + bytes([version, flags | 2, 0, 60])
    block = b"\0" if version == 5 else b""
    data = packet(1, 0, body + block + text("a") + (block if flags & 4 else b"") + text("x") * fields)
    if version == 3 if taken is None else taken:
        assert dial(gw, data, version).next(CONNACK).reason == 0
    else:
        refused(gw, data, version)


# ---- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4, 5, 8, 10, 20, 100])
def test_no_refusal_is_longer_than_the_client_takes(gw, size):
    """The reason string goes first, and then all of CONNACK; of a packet that is malformed, too."""
    sizes = {MAXIMUM_PACKET_SIZE: size}
    for code, data in ((0x85, connect("a\nb", 5, props=sizes)), (0x81, connect("a", 5, username="\xff\n", props=sizes)),
                       (0x90, connect("a", 5, will=("/" * 500, "", 0, False), props=sizes))):
        one = dial(gw, data)
        if size >= 5:
            connack = one.next(CONNACK)
            assert connack.reason == code and len(connack.body) + 2 <= size
            assert (connack.prop(REASON) is not None) == (size == 100)
        one.expect_close()


def test_no_answer_is_longer_than_the_client_takes(gateway, folder):
    rules = folder / "rules"
    rules.write_text("deny all * no\nallow all * #\n", encoding="utf-8")
    gw = gateway(f'authfile {{ rules_file = "{rules}" }}\naccess {{ allow_anonymous = yes }}\n')
    for size in (28, 100):
        one = peer(gw, "a", props={MAXIMUM_PACKET_SIZE: size})
        for data in (publish("no", "x", 1, 1, version=5), publish("no", "x", 2, 1, version=5),
                     subscribe(1, ("no", 0), version=5), unsubscribe(1, "#no", version=5)):
            one.send(data)
            answer = one.next()
            assert len(answer.body) + 2 <= size
            assert (answer.prop(REASON) is None) == (size == 28), answer
        one.send(b"\xc1\x00")
        assert one.next(DISCONNECT).reason == 0x81


# What MQTT 5 has a code for, and how to come by it: configuration, CONNECT, packets.
ENDINGS = [
    (0x81, "", {}, [b"\xc1\x00"]),
    (0x82, "", {}, [connect("a", 5)]),
    (0x82, "", {}, [publish("", "x", version=5)]),
    (0x82, "", {}, [packet(AUTH, 0, b"\x19" + properties({AUTH_METHOD: "m"}))]),
    (0x93, "mqtt { receive_maximum = 1 }", {}, [publish("t", "x", 2, 1, version=5),
                                                publish("t", "x", 2, 2, version=5)]),
    (0x94, "", {}, [publish("t", "x", version=5, props={TOPIC_ALIAS: 0})]),
    (0x94, "mqtt { topic_alias_max = 7 }", {}, [publish("t", "x", version=5, props={TOPIC_ALIAS: 8})]),
    (0x95, "mqtt { max_packet_size = 100 }", {}, [publish("t", b"x" * 100, version=5)]),
    (0x99, "mqtt { check_payload_format = yes }", {}, [publish("t", b"\xff", version=5, props={1: 1})]),
    (0x9A, "mqtt { retain_available = no }", {}, [publish("t", "x", retain=True, version=5)]),
    (0x9B, "mqtt { max_qos = 1 }", {}, [publish("t", "x", 2, 1, version=5)]),
    (0xA1, "mqtt { subscription_id_available = no }", {},
     [subscribe(1, ("t", 0), version=5, props={SUBSCRIPTION_ID: 1})]),
]


@pytest.mark.parametrize("code, config, arguments, packets", ENDINGS)
def test_an_end_is_told_by_its_code_and_in_words(gateway, code, config, arguments, packets):
    """Also what comes with it: nothing is sent behind DISCONNECT, and the connection is closed."""
    gw = gateway(config)
    one, pub = peer(gw, "a", **arguments), peer(gw, "pub")
    one.subscribe("live")
    one.send(PINGREQ_PACKET + b"".join(packets) + PINGREQ_PACKET)
    for number in range(10):
        pub.publish("live", str(number))
    got = one.next()
    while got.kind != DISCONNECT:
        got = one.next()
    assert got.reason == code and got.prop(REASON), got
    assert {key for key, _ in got.props} == {REASON}
    one.expect_close()


def test_an_end_from_outside_is_told_too(gateway):
    gw = gateway()
    one = peer(gw, "a")
    peer(gw, "a")
    one.expect_disconnect(0x8E)
    one = peer(gw, "b")
    gw.ctl("kick", "b")
    one.expect_disconnect(0x98)
    one = peer(gw, "c", keepalive=1)
    one.expect_disconnect(0x8D)
