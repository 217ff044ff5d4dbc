# SPDX-License-Identifier: Apache-2.0
"""A fuzzing client for WebSocket, in the groups that Autobahn's test suite made known. That suite is a
program for Python 2; where one is there, $WSTEST names it (wstest), and test_autobahn runs its cases
against ws_echo.so, a frontend that sends messages back as they came.

Of the other tests, the peer is the sample plugin's protocol of lines, which takes text and binary messages: it publishes
what it is sent to itself, so every message comes back. Most frontends are binary, and a text message to
them ends with 1003 before anything else is looked at; test_ws.py has that.

  1  framing            test_1_*: lengths of each width and around each bound, text and binary, in pieces
  2  pings and pongs    test_2_*
  3  reserved bits      test_3_*: each of the seven combinations on each opcode, whole and byte by byte
  4  opcodes            test_4_*: each that is reserved, with and without a payload
  5  fragmentation      test_5_*
  6  UTF-8              test_6_*: messages cut anywhere, every kind of wrong sequence, refused at its first
                        wrong byte (Autobahn's "fail fast")
  7  closing            test_7_*: what follows a close frame, its lengths, its text, every code
  9  limits             test_9_*: messages up to 1 MB whole, in fragments and in pieces, thousands of small
                        ones; test_ws.py sends 14 MB to a slow reader
  10 fragments          test_10_*
  12, 13 compression    test_ws_deflate.py
  messages as they are  test_frames_*: the same frontend as for Autobahn

Autobahn also has what comes before a bad frame in the same packet echoed (3.2 to 3.4, 4.*.3 to 4.*.5) and
takes its absence as correct but not strict. A gateway delivers messages at the end of a turn, when the
connection is failed already: here, too, they do not come."""
import itertools
import json
import os
import struct
import subprocess

import pytest

from polygate import BUILD
from wswire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WebSocket, frame

PLUGIN = BUILD / "plugins" / "example" / "example.so"
CONFIG = f"""
plugin "example" {{ path = "{PLUGIN}" }}
example {{ line_max = 1m }}
limits {{ frame_size = 1m  output_max = 32m }}
"""
HELLO, WELCOME, SUBSCRIBE = b"HELLO %d\nSUB e/#\n", b"OK welcome\nOK\n", b"PUB e/x "
ids = itertools.count()


class Echo(WebSocket):
    """After begin() what is published comes back."""

    def begin(self):
        self.open("/example", [])
        self.send(frame(HELLO % next(ids), TEXT))
        self.expect_stream(WELCOME)
        return self

    def expect_echo(self, *payloads):
        """OK for each, and each of them, in order; answers of one turn may come before messages."""
        wanted = sum(len(echo_of(payload)) + 3 for payload in payloads)
        while len(self.stream) < wanted:
            opcode, payload = self.read_frame()
            assert opcode in (TEXT, BINARY), (opcode, payload)
            assert opcode == BINARY or payload.decode() is not None
            self.stream += payload
        lines = self.stream.split(b"\n")
        assert lines.pop() == b""
        assert lines.count(b"OK") == len(payloads)
        assert [line + b"\n" for line in lines if line != b"OK"] == [echo_of(p) for p in payloads]
        self.stream = b""

    def expect_pong(self, payload):
        opcode, got = self.read_frame()
        assert (opcode, got) == (PONG, payload)

    def drip(self, data):
        """Byte by byte, until the gateway has had enough."""
        try:
            self.send_pieces(data)
        except ConnectionError:
            pass

    def expect_alive(self):
        self.send(frame(line(b"alive"), TEXT))
        self.expect_echo(b"alive")

    def expect_failure(self, code):
        """Closed with this code, both ways."""
        self.expect_close_frame(code)
        self.expect_close()


def line(payload):
    return SUBSCRIBE + payload + b"\n"


def echo_of(payload):
    return b"MSG e/x " + payload.replace(b"\\", b"\\\\") + b"\n"


def pieces_of(data, size):
    return [data[at:at + size] for at in range(0, len(data), size)]


def fragments(data, size, opcode, between=b""):
    """A message in frames of `size` bytes, with `between` after each but the last."""
    parts = pieces_of(data, size) or [b""]
    return between.join(frame(part, CONTINUATION if at else opcode, at == len(parts) - 1)
                        for at, part in enumerate(parts))


@pytest.fixture
def echo(gateway):
    """A function that opens connections to one gateway."""
    gw = gateway(CONFIG, listeners={"ws": (
        'listener "ws" { bind = {"127.0.0.1:0"} transport = ws protocol = example }\n')})

    def connect():
        return gw.connect("ws", Echo).begin()
    connect.gateway = gw
    return connect


TYPES = pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
BOUNDS = [0, 1, 117, 118, 125, 126, 127, 128, 1000, 65526, 65527, 65528, 65535, 65536]


# ---- 1, 9, 10: framing, limits, fragments of any size ----------------------------------------------


@TYPES
def test_1_payloads_of_every_width_of_length(echo, opcode):
    peer = echo()
    for size in BOUNDS:
        peer.send(frame(line(b"*" * size), opcode))
        peer.expect_echo(b"*" * size)
    peer.send_pieces(frame(line(b"*" * 65536), opcode), 997)
    peer.expect_echo(b"*" * 65536)
    for size in (0, 1, 125, 126):  # empty messages are nothing
        peer.send(frame(b"", opcode) + frame(line(b"*" * size), opcode) + frame(b"", opcode))
        peer.expect_echo(b"*" * size)


@TYPES
def test_1_masks(echo, opcode):
    peer = echo()
    for mask in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\1\2\3", bytes.fromhex("80a5117e")):
        for size in range(0, 40):  # every alignment
            payload = bytes(range(48, 48 + size))
            peer.send(frame(line(payload), opcode, mask=mask))
            peer.expect_echo(payload)
    peer.send(frame(line(b"x"), opcode, mask=None))
    peer.expect_failure(1002)


@TYPES
def test_9_big_messages_in_frames_and_pieces(echo, opcode):
    peer = echo()
    for size, cut, chop in [(1_000_000, 1_000_100, 1 << 20), (1_000_000, 64, 1 << 20), (1_000_000, 1000, 1333),
                            (500_000, 250_000, 4096), (200_000, 16, 1 << 20), (65_536, 65_600, 64)]:
        payload = "grüße ".encode() * (size // 8)
        peer.send_pieces(fragments(line(payload), cut, opcode), chop)
        peer.expect_echo(payload)


@TYPES
def test_9_many_messages(echo, opcode):
    peer = echo()
    for size in (0, 16, 64, 256, 1024):
        payloads = [b"%d" % n + b"*" * size for n in range(1000)]
        for some in pieces_of(payloads, 100):
            peer.send(b"".join(frame(line(payload), opcode) for payload in some))
            peer.expect_echo(*some)


@TYPES
def test_10_fragments_of_every_size(echo, opcode):
    peer = echo()
    payload = "aπ€😀\\".encode() * 3
    for size in range(1, len(line(payload)) + 1):
        peer.send(fragments(line(payload), size, opcode))
        peer.expect_echo(payload)
    peer.send(fragments(line(b"*" * 65536), 1300, opcode))
    peer.expect_echo(b"*" * 65536)


# ---- 2: pings and pongs ----------------------------------------------------------------------------


def test_2_pings(echo):
    peer = echo()
    for payload in (b"", b"Hello, world!", b"\0\xff\xfe\xfd\xfc\xfb\0\xff", b"\xfe" * 125):
        peer.send(frame(payload, PING))
        peer.expect_pong(payload)
        peer.send_pieces(frame(payload, PING))
        peer.expect_pong(payload)
    peer.send(frame(b"unsolicited", PONG) + frame(b"", PONG))
    peer.send(b"".join(frame(b"payload-%d" % n, PING) for n in range(10)))
    for n in range(10):
        peer.expect_pong(b"payload-%d" % n)
    peer.send_pieces(b"".join(frame(b"payload-%d" % n, PING) for n in range(10)))
    for n in range(10):
        peer.expect_pong(b"payload-%d" % n)
    peer.send(frame(b"", PONG) + frame(b"ping", PING))
    peer.expect_pong(b"ping")
    peer.send(frame(b"\xfe" * 126, PING))
    peer.expect_failure(1002)


# ---- 3, 4: reserved bits and opcodes ---------------------------------------------------------------


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, PING, PONG, CLOSE])
def test_3_reserved_bits(echo, opcode):
    for rsv in range(1, 8):
        peer = echo()
        peer.expect_alive()
        peer.send(frame(b"x", opcode, rsv=rsv) + frame(line(b"behind"), TEXT))
        peer.expect_failure(1002)
        peer = echo()
        peer.drip(frame(b"x", opcode, rsv=rsv))
        peer.expect_failure(1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_4_opcodes_that_mean_nothing(echo, opcode):
    for payload in (b"", b"payload"):
        peer = echo()
        peer.expect_alive()
        peer.send(frame(payload, opcode) + frame(b"", PING))
        peer.expect_failure(1002)


# ---- 5: fragmentation ------------------------------------------------------------------------------


@TYPES
def test_5_control_frames_between_fragments(echo, opcode):
    peer = echo()
    for size in (1, 5, 100):
        data = line(b"fragment after fragment")
        peer.send(fragments(data, size, opcode, between=frame(b"ping!", PING) + frame(b"pong", PONG)))
        for _ in range(len(pieces_of(data, size)) - 1):
            peer.expect_pong(b"ping!")
        peer.expect_echo(b"fragment after fragment")
    peer.send(frame(line(b"one")[:4], opcode, fin=False))
    peer.send(frame(b"", CONTINUATION, fin=False) + frame(b"", CONTINUATION, fin=False))
    peer.send(frame(line(b"one")[4:], CONTINUATION))
    peer.expect_echo(b"one")


@pytest.mark.parametrize("bad", [
    frame(b"x", PING, fin=False), frame(b"x", PONG, fin=False),
    frame(struct.pack(">H", 1000), CLOSE, fin=False), frame(b"x", CONTINUATION), frame(b"x", CONTINUATION, fin=False),
    frame(b"x", TEXT, fin=False) + frame(b"x", TEXT), frame(b"x", TEXT, fin=False) + frame(b"x", BINARY),
    frame(b"x", BINARY, fin=False) + frame(b"x", TEXT, fin=False),
    fragments(b"xy", 1, TEXT) + frame(b"x", CONTINUATION),
    fragments(b"xy", 1, TEXT) + frame(b"x", CONTINUATION, fin=False) + frame(b"x", TEXT),
    frame(b"", CONTINUATION, fin=False) + frame(b"x", TEXT)], ids=range(11))
def test_5_broken_fragmentation(echo, bad):
    peer = echo()
    peer.expect_alive()
    peer.send(bad)
    peer.expect_failure(1002)
    peer = echo()
    peer.drip(bad)
    peer.expect_failure(1002)


# ---- 6: UTF-8 --------------------------------------------------------------------------------------

GOOD = ["", "κόσμε", "Hello-µ@ßöäüàá-UTF-8!!", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd",
        "\uffff", "\U00010000", "\U0010ffff", "\U0001f600 ok", "\ufffe", "\ufdd0", "퟿", "\ufff9\ufffa\ufffb\ufffc",
        "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xfffe, 0xffff))]
BAD = ["80", "bf", "8080", "c0", "c1", "c080", "c1bf", "e08080", "e09fbf", "f0808080", "f08fbfbf", "c220", "c2", "e1",
       "e180", "e18020", "eda080", "edafbf", "edb080", "edbfbf", "eda080edb080", "f4908080", "f5808080", "f8808080a0",
       "fc808080a0a0", "fe", "ff", "fffe", "cebae1bdb9cf83cebcceb5eda080656469746564", "f09f98", "f09f9820", "7ff1",
       "c0af", "e080af", "f08080af", "f8808080af", "fc80808080af", "f7bfbfbf", "edadbf", "edae80", "edb080",
       "cebae1bdb9cf83cebcceb5f4908080656469746564"] + [
           data.hex() for text in ("κόσμε", "\U0010ffff", "\uffff") for data in [text.encode()]
           for data in [data[:at] for at in range(1, len(data))] if not data.decode(errors="ignore").encode() == data]


def test_6_empty_fragments(echo):
    peer = echo()
    peer.send(frame(b"", TEXT, fin=False) + frame(b"", CONTINUATION, fin=False) + frame(b"", CONTINUATION))
    peer.send(frame(b"", TEXT, fin=False) + frame(line(b"middle"), CONTINUATION, fin=False) + frame(b"", CONTINUATION))
    peer.expect_echo(b"middle")


def test_6_good_text_in_every_cut(echo):
    peer = echo()
    for text in GOOD:
        for size in (1, 2, 3, 5, 100):
            peer.send(fragments(line(text.encode()), size, TEXT))
            peer.expect_echo(text.encode())
        peer.send_pieces(frame(line(text.encode()), TEXT))
        peer.expect_echo(text.encode())


@pytest.mark.parametrize("bad", BAD)
def test_6_bad_text_is_refused(echo, bad):
    bad = bytes.fromhex(bad)
    for data in (frame(line(b"x" + bad), TEXT), fragments(line(bad), 1, TEXT), frame(bad, TEXT)):
        peer = echo()
        peer.send(data)
        peer.expect_failure(1007)
    # As a binary message it is as good as any, and comes back as one.
    peer = echo()
    peer.send(frame(line(bad), BINARY))
    peer.expect_echo(bad)


def test_6_bad_text_is_refused_at_its_first_wrong_byte(echo):
    for end in ("f490", "eda0", "c0", "fe"):
        peer = echo()
        data = "κόσμε".encode() + bytes.fromhex(end)
        # Neither the frame nor the message is whole.
        peer.send(frame(data + b"x" * 100, TEXT, fin=False)[:-100])
        peer.expect_failure(1007)


def test_6_what_is_sent_is_text_if_it_can_be(echo):
    peer = echo()
    for payload, opcode in [("grüße".encode(), TEXT), (b"\xff", BINARY), (b"x", TEXT)]:
        peer.send(frame(line(payload), BINARY))
        got = []
        while sum(len(data) for _, data in got) < len(echo_of(payload)) + 3:
            got.append(peer.read_frame())
        assert opcode in [kind for kind, _ in got]
        assert all(kind == TEXT or b"\xff" in data for kind, data in got)


# ---- 7: closing ------------------------------------------------------------------------------------


def close(code, text=b""):
    return frame(struct.pack(">H", code) + text, CLOSE)


@pytest.mark.parametrize("data, code", [(frame(b"", CLOSE), None), (close(1000), 1000),
                                        (close(1000, b"x" * 123), 1000), (close(1000, "grüße".encode()), 1000)]
                         + [(close(code), code) for code in (1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011,
                                                             1012, 1013, 1014, 3000, 3999, 4000, 4999)],
                         ids=range(19))
def test_7_a_close_frame_is_answered(echo, data, code):
    peer = echo()
    peer.expect_alive()
    peer.send(data + frame(line(b"behind"), TEXT) + frame(b"", PING) + data)
    assert peer.read_frame() == (CLOSE, b"" if code is None else struct.pack(">H", code))
    peer.expect_close()


@pytest.mark.parametrize("code, bad", [(1002, frame(b"\3", CLOSE)), (1002, frame(b"\3\xe8" + b"x" * 124, CLOSE)),
                                       (1007, close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0"))]
                         + [(1002, close(code)) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999,
                                                             5000, 65535)], ids=range(15))
def test_7_bad_close_frames(echo, code, bad):
    peer = echo()
    peer.send(bad)
    peer.expect_failure(code)


def test_7_what_follows_a_close_frame_is_nothing(echo):
    for behind in (frame(b"x" * 262144, TEXT) + frame(b"", PING), frame(b"ping", PING), frame(b"x", CONTINUATION),
                   frame(b"", 3), frame(b"\xff", TEXT), b"\xff" * 100):
        peer = echo()
        peer.send(close(1000) + behind)
        assert peer.read_frame() == (CLOSE, struct.pack(">H", 1000))
        peer.expect_close()
    peer = echo()
    peer.send(frame(line(b"x" * 262144), TEXT) + close(1000) + frame(b"", PING))
    peer.expect_close_frame(1000)
    peer.expect_close()


@TYPES
def test_7_a_message_that_was_begun_is_given_up(echo, opcode):
    peer = echo()
    peer.send(frame(line(b"begun"), opcode, fin=False)[:-3] + b"")
    peer.socket.shutdown(1)
    peer.expect_close()
    peer = echo()
    peer.send(frame(b"PUB e/x", opcode, fin=False) + close(1000))
    peer.expect_close_frame(1000)
    peer.expect_close()


# ---- frontends whose stream is frames --------------------------------------------------------------

FRAMES = f"""
plugin "ws_echo" {{ path = "{BUILD}/tests/e2e/ws_echo.so" }}
limits {{ frame_size = 17m  output_high = 17m  output_max = 64m }}
"""


@pytest.fixture
def frames(gateway):
    """A gateway with a listener "ws" where messages come back as they came."""
    return gateway(FRAMES, listeners={"ws": (
        'listener "ws" { bind = {"127.0.0.1:0"} transport = ws protocol = ws_echo deflate = yes }\n')})


class Whole(WebSocket):
    """A peer that puts messages together."""

    pongs = ()

    def begin(self, **headers):
        self.terms = self.open("/ws_echo", [], **headers).get("sec-websocket-extensions")
        self.pongs = []
        return self

    def read_frame(self):
        kind, message = None, b""
        while True:
            first, second = self.read(2)
            assert first & 0x70 == 0 and not second & 0x80
            width = {126: 2, 127: 8}.get(second, 0)
            payload = self.read(int.from_bytes(self.read(width), "big") if width else second)
            opcode = first & 15
            if opcode == PONG:
                self.pongs.append(payload)
                continue
            if opcode >= 8:
                return opcode, payload
            assert (opcode == CONTINUATION) == (kind is not None)
            kind, message = kind or opcode, message + payload
            if first & 0x80:
                return kind, message


@TYPES
def test_frames_messages_come_back_as_they_came(frames, opcode):
    peer = frames.connect("ws", Whole).begin()
    for size in BOUNDS:
        peer.send(frame(b"*" * size, opcode))
        assert peer.read_frame() == (opcode, b"*" * size)
        peer.send_pieces(frame(b"*" * min(size, 200), opcode) * 2)
        assert peer.read_frame() == peer.read_frame() == (opcode, b"*" * min(size, 200))
    peer.send(fragments(b"*" * 100_000, 1000, opcode, frame(b"ping", PING)))
    assert peer.read_frame() == (opcode, b"*" * 100_000)
    assert peer.pongs == [b"ping"] * 99
    for cut in (1, 3, 100):
        peer.send_pieces(fragments("grüße".encode(), cut, opcode, frame(b"", PING)))
        assert peer.read_frame() == (opcode, "grüße".encode())


def test_frames_are_handed_on_when_they_are_judged(frames):
    for code, bad in [(1007, frame(b"\xce", TEXT)), (1007, frame(b"x\xff", TEXT)), (1002, frame(b"", 3)),
                      (1007, frame(b"\xce", TEXT, fin=False) + frame(b"", CONTINUATION)),
                      (1002, frame(b"", TEXT, width=2)), (1002, frame(b"", BINARY, mask=None)),
                      (1002, frame(b"", CONTINUATION)), (1002, frame(b"", BINARY, rsv=4))]:
        for pieces in (False, True):
            peer = frames.connect("ws", Whole).begin()
            peer.send(frame(b"good", BINARY))
            assert peer.read_frame() == (BINARY, b"good")
            if pieces:
                peer.send_pieces(bad)
            else:
                peer.send(bad)
            first = b"\x01\x01\xce" if bad.startswith(b"\x01") else b""
            assert peer.read(len(first)) == first  # of what came back, all that may
            peer.expect_close_frame(code)
            peer.expect_close()


def test_frames_are_not_cut_by_control_frames(frames):
    peer = frames.connect("ws", Whole).begin()
    data = b"*" * 14_000_000
    peer.send(b"\x82\xff" + struct.pack(">Q", len(data)) + b"\0\0\0\0" + data)
    peer.pending = peer.read(1) + peer.pending  # it is under way
    peer.send(frame(b"later", PING) + frame(b"", BINARY) + frame(struct.pack(">H", 1000), CLOSE))
    assert peer.read_frame() == (BINARY, data)
    opcode, payload = peer.read_frame()
    if opcode == BINARY:  # it left before the close frame came
        opcode, payload = peer.read_frame()
    assert opcode == CLOSE and payload == struct.pack(">H", 1000)
    peer.expect_close()


def test_frames_are_not_compressed(frames):
    peer = frames.connect("ws", Whole).begin(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits")
    assert peer.terms is None
    peer.send(frame(b"x", TEXT, rsv=4))
    peer.expect_close_frame(1002)


@pytest.mark.skipif("WSTEST" not in os.environ, reason="WSTEST does not name Autobahn's wstest")
def test_autobahn(frames, tmp_path):
    report = tmp_path / "report"
    (tmp_path / "spec").write_text(json.dumps({
        "outdir": str(report), "exclude-cases": [], "exclude-agent-cases": {},
        "servers": [{"agent": "polygate", "url": f"ws://127.0.0.1:{frames.port('ws')}/ws_echo"}],
        "cases": [f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 9, 10)]}))
    subprocess.run([os.environ["WSTEST"], "-m", "fuzzingclient", "-s", str(tmp_path / "spec")], check=True, timeout=1200)
    cases = json.loads((report / "index.json").read_text())["polygate"]
    bad = {case: got for case, got in cases.items()
           if got["behavior"] not in ("OK", "INFORMATIONAL") or got["behaviorClose"] not in ("OK", "INFORMATIONAL")}
    assert len(cases) > 250 and not bad, bad
