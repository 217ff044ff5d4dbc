# SPDX-License-Identifier: Apache-2.0
"""GB/T 32960.3 frames for tests: framing, some units, and a vehicle that logs in.

Written from GB/T 32960.3-2016 and -2025, chapter 6 and Annex B, and independent of the gateway's codec
on purpose. `edition` is 2016 or 2025; the start mark says which.
"""
import functools
import operator
import struct

from polygate import Peer

LOGIN, REPORT, REISSUE, LOGOUT, PLATFORM_LOGIN, PLATFORM_LOGOUT, HEARTBEAT, TIME_SYNC = range(1, 9)
QUERY, SET, CONTROL = 0x80, 0x81, 0x82
SUCCESS, ERROR, COMMAND = 1, 2, 0xFE

TIME = bytes([26, 3, 1, 8, 0, 5])


def frame(command, vin, unit=b"", edition=2016, flag=COMMAND):
    content = (bytes([command, flag]) + vin.encode().ljust(17, b"\0") + b"\x01" +
               struct.pack("!H", len(unit)) + unit)
    check = functools.reduce(operator.xor, content)
    return (b"##" if edition == 2016 else b"$$") + content + bytes([check])


def login_unit(edition=2016, serial=1, iccid="89860000000000000017", time=TIME):
    tail = b"\0\0" if edition == 2016 else b"\0"
    return time + struct.pack("!H", serial) + iccid.encode() + tail


def platform_unit(user, password, serial=1, time=TIME):
    return (time + struct.pack("!H", serial) + user.encode().ljust(12, b"\0") +
            password.encode().ljust(20, b"\0") + b"\x01")


def position_unit(edition=2016, longitude=121.473701, latitude=31.230416, time=TIME):
    """A report with the position alone."""
    system = b"" if edition == 2016 else b"\x01"
    return (time + b"\x05\0" + system +
            struct.pack("!II", round(longitude * 1e6), round(latitude * 1e6)))


class Frame:
    """A frame received."""

    def __init__(self, raw):
        assert raw[:2] in (b"##", b"$$"), f"start mark of {raw.hex(' ')}"
        assert functools.reduce(operator.xor, raw[2:]) == 0, f"check code of {raw.hex(' ')}"
        self.raw = raw
        self.edition = 2016 if raw[:2] == b"##" else 2025
        self.command, self.flag = raw[2], raw[3]
        self.vin = raw[4:21].rstrip(b"\0 ").decode()
        self.unit = raw[24:-1]

    def __repr__(self):
        return f"0x{self.command:02X} flag=0x{self.flag:02X} {self.vin} {self.unit.hex(' ')}"


class Vehicle(Peer):
    """A connection that speaks as one vehicle, or as a platform for others."""

    def __init__(self, port, vin="LPGATE00000000017", edition=2016, host="127.0.0.1"):
        super().__init__(port, host)
        self.vin = vin
        self.edition = edition

    def say(self, command, unit=b"", flag=COMMAND, vin=None):
        self.send(frame(command, vin or self.vin, unit, self.edition, flag))

    def next(self, command=None):
        """The next frame, which must be this command if one is given."""
        head = self.read(24, "a frame")
        (size,) = struct.unpack_from("!H", head, 22)
        got = Frame(head + self.read(size + 1, "the rest of a frame"))
        assert command is None or got.command == command, f"expected 0x{command:02X}, got {got}"
        return got

    def expect_answer(self, command, flag=SUCCESS, unit=TIME, vin=None):
        """The answer to this command."""
        got = self.next(command)
        assert (got.flag, got.unit, got.vin) == (flag, unit, vin or self.vin), f"got {got}"
        return got

    def login(self, vin=None):
        self.say(LOGIN, login_unit(self.edition), vin=vin)
        self.expect_answer(LOGIN, vin=vin)
        return self

    def platform_login(self, user, password, flag=SUCCESS):
        self.say(PLATFORM_LOGIN, platform_unit(user, password))
        self.expect_answer(PLATFORM_LOGIN, flag)
        return self

    def barrier(self):
        """A heartbeat, and its answer as the very next frame: what was sent before has been dealt
        with, and nothing else was sent to us."""
        self.say(HEARTBEAT)
        self.expect_answer(HEARTBEAT, unit=b"")
