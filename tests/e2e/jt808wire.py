# SPDX-License-Identifier: Apache-2.0
"""JT/T 808 frames for tests: framing, header and a terminal that logs in.

Written from JT/T 808-2013 and -2019, chapters 4 and 8, and independent of the gateway's codec on
purpose. `edition` is 2011, 2013 or 2019; the first two have the same header.
"""
import struct

from polygate import Peer

GENERAL_UP, HEARTBEAT, REGISTER, UNREGISTER, AUTHENTICATE = 0x0001, 0x0002, 0x0100, 0x0003, 0x0102
PARAMETERS_ANSWER, LOCATION, LOCATION_BATCH = 0x0104, 0x0200, 0x0704
GENERAL_DOWN, REGISTER_ANSWER, SET_PARAMETERS, GET_PARAMETERS, TEXT = (
    0x8001, 0x8100, 0x8103, 0x8104, 0x8300)


def checksum(data):
    result = 0
    for byte in data:
        result ^= byte
    return result


def escape(data):
    return data.replace(b"\x7d", b"\x7d\x01").replace(b"\x7e", b"\x7d\x02")


def unescape(data):
    return data.replace(b"\x7d\x02", b"\x7e").replace(b"\x7d\x01", b"\x7d")


def wrap(content):
    """Check code, escaping and flags around header and body."""
    return b"\x7e" + escape(content + bytes([checksum(content)])) + b"\x7e"


def header(message, phone, serial, size, edition=2013, part=None, encryption=0):
    """part: (total, number) of a sub-package"""
    properties = size | encryption << 10 | (0x2000 if part else 0)
    if edition == 2019:
        out = struct.pack("!HHB", message, properties | 0x4000, 1) + bytes.fromhex(phone.zfill(20))
    else:
        out = struct.pack("!HH", message, properties) + bytes.fromhex(phone.zfill(12))
    out += struct.pack("!H", serial)
    return out + (struct.pack("!HH", *part) if part else b"")


def frame(message, phone, serial=0, body=b"", edition=2013, part=None):
    return wrap(header(message, phone, serial, len(body), edition, part) + body)


def register_body(edition=2013, plate="A12345", terminal="T000001", maker="TEST1", model="MODEL"):
    """Message body of 0x0100: province, county, maker, model, terminal id, colour, plate."""
    sizes = {2011: (5, 8, 7), 2013: (5, 20, 7), 2019: (11, 30, 30)}[edition]
    fields = b"".join(value.encode().ljust(size, b"\0")
                      for value, size in zip((maker, model, terminal), sizes))
    return struct.pack("!HH", 31, 100) + fields + b"\x01" + plate.encode("gbk")


def location_body(latitude=31.0, longitude=121.0, altitude=10, speed=36.5, direction=90, alarm=0,
                  status=3, time="260301080000", extra=b""):
    """Message body of 0x0200; time is BCD text yymmddhhmmss, extra the additional items."""
    return struct.pack("!IIIIHHH", alarm, status, round(latitude * 1e6), round(longitude * 1e6),
                       altitude, round(speed * 10), direction) + bytes.fromhex(time) + extra


class Frame:
    """A frame received."""

    def __init__(self, raw):
        self.raw = raw
        content = unescape(raw[1:-1])
        assert checksum(content) == 0, f"check code of {raw.hex(' ')}"
        content = content[:-1]
        self.message, properties = struct.unpack_from("!HH", content)
        at = 4
        if properties & 0x4000:
            self.edition, self.phone, at = 2019, content[5:15].hex(), 15
        else:
            self.edition, self.phone, at = 2013, content[4:10].hex(), 10
        (self.serial,) = struct.unpack_from("!H", content, at)
        at += 2
        self.part = None
        if properties & 0x2000:
            self.part = struct.unpack_from("!HH", content, at)
            at += 4
        self.body = content[at:]
        assert len(self.body) == properties & 0x3FF, f"length of {raw.hex(' ')}"

    def __repr__(self):
        return f"0x{self.message:04X} serial={self.serial} {self.body.hex(' ')}"


class Terminal(Peer):
    """A connection that speaks as one terminal."""

    def __init__(self, port, phone="013912345678", edition=2013, host="127.0.0.1"):
        super().__init__(port, host)
        self.phone = phone
        self.edition = edition
        self.serial = 0
        self.code = b""

    def say(self, message, body=b"", part=None):
        """Send one message under the next serial number, which is returned."""
        serial = self.serial
        self.serial = serial + 1 & 0xFFFF
        self.send(frame(message, self.phone, serial, body, self.edition, part))
        return serial

    def next(self, message=None):
        """The next frame, which must be this message if one is given."""
        start = self.read(1, "a frame")
        assert start == b"\x7e", f"expected a frame, got {start.hex()}"
        got = Frame(start + self.read_until(b"\x7e", "the rest of a frame"))
        assert message is None or got.message == message, f"expected 0x{message:04X}, got {got}"
        return got

    def expect_general(self, message, serial, result=0):
        """The platform's general answer to this message, with this result."""
        got = self.next(GENERAL_DOWN)
        expected = struct.pack("!HHB", serial, message, result)
        assert got.body == expected, f"expected {expected.hex(' ')}, got {got}"
        return got

    def answer_general(self, command, result=0):
        """The terminal's general answer to a frame received."""
        return self.say(GENERAL_UP, struct.pack("!HHB", command.serial, command.message, result))

    def register(self, result=0):
        """0x0100, and 0x8100 with this result; keeps the code."""
        serial = self.say(REGISTER, register_body(self.edition))
        got = self.next(REGISTER_ANSWER)
        assert got.body[:3] == struct.pack("!HB", serial, result), f"got {got}"
        self.code = got.body[3:]
        return self.code

    def authenticate(self, code=None, result=0):
        """0x0102, and its general answer."""
        code = self.code if code is None else code
        if self.edition == 2019:
            body = bytes([len(code)]) + code + b"123456789012345" + b"V1.0".ljust(20, b"\0")
        else:
            body = code
        self.expect_general(AUTHENTICATE, self.say(AUTHENTICATE, body), result)

    def login(self):
        self.register()
        self.authenticate()
        return self

    def locate(self, **fields):
        """0x0200, and its general answer."""
        self.expect_general(LOCATION, self.say(LOCATION, location_body(**fields)))

    def barrier(self):
        """A heartbeat, and its answer as the very next frame: what was sent before has been dealt
        with, and nothing else was sent to us."""
        self.expect_general(HEARTBEAT, self.say(HEARTBEAT))
