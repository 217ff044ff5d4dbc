# SPDX-License-Identifier: Apache-2.0
"""MQTT packets for tests: made here, byte by byte, and taken apart just as far as tests look.

Written from the standards (MQTT 3.1.1 and 5.0, chapters 2 and 3) and independent of the gateway's
codec on purpose. `version` is the protocol level: 3 (3.1), 4 (3.1.1) or 5 (5.0).
"""
import struct

from polygate import Peer

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = (
    8, 9, 10, 11, 12, 13, 14, 15)

NAMES = {value: name for name, value in list(globals().items()) if name.isupper()}

# Properties (MQTT 5.0, 2.2.2.2): identifier -> kind.
BYTE, TWO, FOUR, VARINT, BINARY, TEXT, PAIR = range(7)
KINDS = {
    0x01: BYTE, 0x02: FOUR, 0x03: TEXT, 0x08: TEXT, 0x09: BINARY, 0x0B: VARINT, 0x11: FOUR,
    0x12: TEXT, 0x13: TWO, 0x15: TEXT, 0x16: BINARY, 0x17: BYTE, 0x18: FOUR, 0x19: BYTE, 0x1A: TEXT,
    0x1C: TEXT, 0x1F: TEXT, 0x21: TWO, 0x22: TWO, 0x23: TWO, 0x24: BYTE, 0x25: BYTE, 0x26: PAIR,
    0x27: FOUR, 0x28: BYTE, 0x29: BYTE, 0x2A: BYTE,
}


def varint(number):
    out = b""
    while True:
        number, low = number >> 7, number & 0x7F
        out += bytes([low | (0x80 if number else 0)])
        if not number:
            return out


def text(value):
    data = value.encode() if isinstance(value, str) else bytes(value)
    return struct.pack("!H", len(data)) + data


def properties(items):
    """A property block from [(identifier, value), ...] or a dict."""
    out = b""
    for identifier, value in (items.items() if isinstance(items, dict) else items or ()):
        kind = KINDS[identifier]
        out += varint(identifier)
        if kind == BYTE:
            out += struct.pack("!B", value)
        elif kind == TWO:
            out += struct.pack("!H", value)
        elif kind == FOUR:
            out += struct.pack("!I", value)
        elif kind == VARINT:
            out += varint(value)
        elif kind == PAIR:
            out += text(value[0]) + text(value[1])
        else:
            out += text(value)
    return varint(len(out)) + out


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def connect(client_id="", version=4, clean=True, keepalive=60, username=None, password=None,
            will=None, props=(), will_props=()):
    """will: (topic, payload, qos, retain)"""
    flags = 0x02 if clean else 0
    tail = text(client_id)
    if will:
        topic, payload, qos, retain = will
        flags |= 0x04 | qos << 3 | (0x20 if retain else 0)
        tail += (properties(will_props) if version == 5 else b"") + text(topic) + text(payload)
    if username is not None:
        flags |= 0x80
        tail += text(username)
    if password is not None:
        flags |= 0x40
        tail += text(password)
    head = text("MQIsdp" if version == 3 else "MQTT") + struct.pack("!BBH", version, flags, keepalive)
    return packet(CONNECT, 0, head + (properties(props) if version == 5 else b"") + tail)


def publish(topic, payload=b"", qos=0, packet_id=None, retain=False, dup=False, version=4, props=()):
    body = text(topic)
    if qos:
        body += struct.pack("!H", packet_id)
    if version == 5:
        body += properties(props)
    payload = payload.encode() if isinstance(payload, str) else payload
    return packet(PUBLISH, (8 if dup else 0) | qos << 1 | (1 if retain else 0), body + payload)


def acknowledge(kind, packet_id, reason=0, version=4, props=()):
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""
    body = struct.pack("!H", packet_id)
    if version == 5 and (reason or props):
        body += bytes([reason]) + (properties(props) if props else b"")
    return packet(kind, 2 if kind == PUBREL else 0, body)


def subscribe(packet_id, *filters, version=4, props=()):
    """filters: (filter, options)"""
    body = struct.pack("!H", packet_id) + (properties(props) if version == 5 else b"")
    for name, options in filters:
        body += text(name) + bytes([options])
    return packet(SUBSCRIBE, 2, body)


def unsubscribe(packet_id, *filters, version=4):
    body = struct.pack("!H", packet_id) + (properties(()) if version == 5 else b"")
    return packet(UNSUBSCRIBE, 2, body + b"".join(text(name) for name in filters))


def disconnect(reason=None, version=4, props=()):
    if version < 5 or reason is None:
        return packet(DISCONNECT, 0, b"")
    return packet(DISCONNECT, 0, bytes([reason]) + (properties(props) if props else b""))


PINGREQ_PACKET = packet(PINGREQ, 0, b"")


class Packet:
    """A packet received: `kind`, `flags`, `body`, and the parts that tests ask for."""

    def __init__(self, kind, flags, body, version):
        self.kind, self.flags, self.body, self.version = kind, flags, body, version
        self._at = 0
        self.props = []
        self.packet_id = self.topic = self.payload = self.reason = None
        self.codes = []
        if kind == CONNACK:
            self.session_present = bool(body[0] & 1)
            self.reason = body[1]
            self._at = 2
            self._take_properties()
        elif kind == PUBLISH:
            self.qos, self.retain, self.dup = flags >> 1 & 3, bool(flags & 1), bool(flags & 8)
            self.topic = self._take(self._number(2)).decode()
            if self.qos:
                self.packet_id = self._number(2)
            self._take_properties()
            self.payload = body[self._at:]
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self.packet_id = self._number(2)
            self.reason = body[2] if len(body) > 2 else 0
            self._at = 3
            if len(body) > 3:
                self._take_properties()
        elif kind in (SUBACK, UNSUBACK):
            self.packet_id = self._number(2)
            self._take_properties()
            self.codes = list(body[self._at:])
        elif kind in (DISCONNECT, AUTH):
            self.reason = body[0] if body else 0
            self._at = 1
            if len(body) > 1:
                self._take_properties()

    def _take(self, size):
        data = self.body[self._at:self._at + size]
        assert len(data) == size, f"{self}: ends too early"
        self._at += size
        return data

    def _number(self, size):
        return int.from_bytes(self._take(size), "big")

    def _varint(self):
        value = shift = 0
        while True:
            byte = self._number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def _take_properties(self):
        if self.version != 5:
            return
        end = self._varint() + self._at
        while self._at < end:
            identifier = self._varint()
            kind = KINDS[identifier]
            if kind in (BYTE, TWO, FOUR):
                value = self._number({BYTE: 1, TWO: 2, FOUR: 4}[kind])
            elif kind == VARINT:
                value = self._varint()
            elif kind == PAIR:
                value = (self._take(self._number(2)).decode(), self._take(self._number(2)).decode())
            elif kind == TEXT:
                value = self._take(self._number(2)).decode()
            else:
                value = self._take(self._number(2))
            self.props.append((identifier, value))

    def prop(self, identifier):
        """The value of a property; None if it is not there."""
        return next((value for key, value in self.props if key == identifier), None)

    def __repr__(self):
        return f"{NAMES.get(self.kind, self.kind)} flags={self.flags:x} {self.body.hex(' ')}"


class MqttPeer(Peer):
    """A connection that speaks MQTT packet by packet."""

    version = 4

    def login(self, client_id="", version=4, reason=0, **arguments):
        """CONNECT, and the CONNACK with this reason."""
        self.version = version
        self.send(connect(client_id, version, **arguments))
        connack = self.next(CONNACK)
        assert connack.reason == reason, f"CONNACK says {connack.reason:#x}, expected {reason:#x}"
        return connack

    def next(self, kind=None):
        """The next packet, which must be of this kind if one is given."""
        what = NAMES.get(kind, "a packet")
        first = self.read(1, what)[0]
        size = shift = 0
        while True:
            byte = self.read(1, what)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        got = Packet(first >> 4, first & 15, self.read(size, what), self.version)
        assert kind is None or got.kind == kind, f"expected {what}, got {got}"
        return got

    def subscribe(self, name, options=0, packet_id=1, **arguments):
        """SUBSCRIBE, and the SUBACK that grants it."""
        self.send(subscribe(packet_id, (name, options), version=self.version, **arguments))
        suback = self.next(SUBACK)
        assert suback.packet_id == packet_id and suback.codes[0] < 0x80, f"got {suback}"
        return suback

    def publish(self, topic, payload=b"", qos=0, packet_id=1, **arguments):
        """PUBLISH, and the acknowledgements up to the last; the reason of the first one."""
        self.send(publish(topic, payload, qos, packet_id, version=self.version, **arguments))
        if qos == 0:
            return None
        first = self.next(PUBACK if qos == 1 else PUBREC)
        assert first.packet_id == packet_id
        if qos == 2 and first.reason < 0x80:
            self.send(acknowledge(PUBREL, packet_id, version=self.version))
            assert self.next(PUBCOMP).packet_id == packet_id
        return first.reason

    def receive(self, topic=None, payload=None):
        """The next PUBLISH, acknowledged up to the last as its QoS asks."""
        got = self.next(PUBLISH)
        assert topic is None or got.topic == topic, f"topic {got.topic}, expected {topic}"
        payload = payload.encode() if isinstance(payload, str) else payload
        assert payload is None or got.payload == payload, f"payload {got.payload}, expected {payload}"
        if got.qos == 1:
            self.send(acknowledge(PUBACK, got.packet_id, version=self.version))
        elif got.qos == 2:
            self.send(acknowledge(PUBREC, got.packet_id, version=self.version))
            assert self.next(PUBREL).packet_id == got.packet_id
            self.send(acknowledge(PUBCOMP, got.packet_id, version=self.version))
        return got

    def expect_disconnect(self, *codes):
        """The end of the connection: with DISCONNECT and one of these codes in MQTT 5, without a word before."""
        if self.version == 5:
            got = self.next(DISCONNECT)
            assert got.reason in codes, f"DISCONNECT says {got.reason:#x}, expected {codes}"
        self.expect_close()

    def barrier(self):
        """PINGREQ, and PINGRESP as the very next packet: what was sent before has been dealt with,
        and nothing else was sent to us."""
        self.send(PINGREQ_PACKET)
        self.next(PINGRESP)


def peer(gw, client_id, version=5, **arguments):
    """A client that is connected to the listener "mqtt"; its CONNACK is in `connack`."""
    one = gw.connect("mqtt", MqttPeer)
    one.connack = one.login(client_id, version=version, **arguments)
    return one


def dial(gw, data, version=5):
    """A connection on which these bytes were sent, and nothing is known of it yet."""
    one = gw.connect("mqtt", MqttPeer)
    one.version = version
    one.send(data)
    return one
