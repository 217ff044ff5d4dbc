# SPDX-License-Identifier: Apache-2.0
"""permessage-deflate (RFC 7692): what is agreed on, messages in every cut, bounds, back-pressure."""
import base64
import itertools
import os
import struct
import zlib

import pytest

from polygate import BUILD
from wswire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WebSocket, frame, random_cuts

TAIL = b"\0\0\xff\xff"
CONFIG = f"""
plugin "example" {{ path = "{BUILD}/plugins/example/example.so" }}
example {{ line_max = 1m }}
limits {{ frame_size = 1m  output_max = 32m }}
"""
BROWSER = "permessage-deflate; client_max_window_bits"
ids = itertools.count()


@pytest.fixture
def ws(gateway):
    """A gateway whose listener "ws" compresses and has these additional keys."""
    def start(keys="", on="yes", config=""):
        return gateway(CONFIG + config, listeners={"ws": (
            f'listener "ws" {{ bind = {{"127.0.0.1:0"}} transport = ws protocol = example deflate = {on} {keys} }}\n')})
    return start


class Deflate(WebSocket):
    """A peer that compresses, message by message or, with takeover, in one stream each way."""

    def begin(self, offer=BROWSER, takeover=False, bits=12):
        headers = self.open("/example", [], Sec_WebSocket_Extensions=offer)
        self.terms = headers.get("sec-websocket-extensions")
        self.takeover = takeover
        self.bits = bits
        self._in, self._out = zlib.decompressobj(-15), zlib.compressobj(6, zlib.DEFLATED, -bits)
        self.compressed = []
        self.send(self.message(b"HELLO %d\nSUB e/#\n" % next(ids)))
        self.expect_stream(b"OK welcome\nOK\n")
        return self

    def squeeze(self, data):
        if not self.takeover:
            self._out = zlib.compressobj(6, zlib.DEFLATED, -self.bits)
        data = self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)
        assert data.endswith(TAIL)
        return data[:-4]

    def message(self, data, opcode=TEXT, cut=None, between=b""):
        data = self.squeeze(data)
        parts = [data[at:at + cut] for at in range(0, len(data), cut)] if cut else [data]
        return between.join(frame(part, CONTINUATION if at else opcode, at == len(parts) - 1, rsv=0 if at else 4)
                            for at, part in enumerate(parts))

    def read_frame(self):
        """(opcode, payload) of the next message or control frame, decompressed."""
        message, kind, fin = b"", None, False
        while not fin:
            first, second = self.read(2)
            fin, rsv, opcode = first & 0x80, first & 0x70, first & 15
            size = second
            assert not second & 0x80
            if size == 126:
                size = struct.unpack(">H", self.read(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self.read(8))[0]
            payload = self.read(size)
            if opcode >= 8:
                assert fin and not rsv and kind is None
                return opcode, payload
            assert rsv == (0x40 if kind is None else 0) and (opcode == 0) == (kind is not None)
            kind = kind or opcode
            message += payload
        self.compressed.append(len(message))
        if not self.takeover:
            self._in = zlib.decompressobj(-15)
        return kind, self._in.decompress(message + TAIL)

    def expect_echo(self, *payloads):
        wanted = sum(len(payload) + 12 for payload in payloads)
        while len(self.stream) < wanted:
            opcode, payload = self.read_frame()
            assert opcode in (TEXT, BINARY), (opcode, payload)
            self.stream += payload
        lines = self.stream.split(b"\n")
        assert lines.pop() == b"" and lines.count(b"OK") == len(payloads)
        assert [line for line in lines if line != b"OK"] == [b"MSG e/x " + payload for payload in payloads]
        self.stream = b""


def line(payload):
    return b"PUB e/x " + payload + b"\n"


FRESH = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize("offer, agreed", [
    (BROWSER, FRESH + "; server_max_window_bits=12; client_max_window_bits=12"),
    (BROWSER + "; server_max_window_bits=10", FRESH + "; server_max_window_bits=10; client_max_window_bits=12"),
    (BROWSER + "=9", FRESH + "; server_max_window_bits=12; client_max_window_bits=9"),
    (BROWSER + '="14"; server_no_context_takeover', FRESH + "; server_max_window_bits=12; client_max_window_bits=12"),
    ("permessage-deflate", None), ("permessage-deflate; server_max_window_bits=15", None),
    ("permessage-deflate, " + BROWSER, FRESH + "; server_max_window_bits=12; client_max_window_bits=12"),
    ("x-webkit-deflate-frame, foo; bar=1 , " + BROWSER, FRESH + "; server_max_window_bits=12; client_max_window_bits=12"),
    (BROWSER + "; server_max_window_bits=8", None), (BROWSER + "; server_max_window_bits=16", None),
    (BROWSER + "; server_max_window_bits", None), (BROWSER + "; " + "client_max_window_bits", None),
    (BROWSER + "; server_no_context_takeover=1", None), (BROWSER + "; mystery", None), ("", None),
    (BROWSER + "=8", FRESH + "; server_max_window_bits=12; client_max_window_bits=8"),
    (BROWSER + "=7", None), (BROWSER + "=010", None)])
def test_deflate_what_is_agreed_on(ws, offer, agreed):
    gw = ws()
    assert gw.connect("ws", WebSocket).open("/example", [], Sec_WebSocket_Extensions=offer).get(
        "sec-websocket-extensions") == agreed


def test_deflate_is_off_unless_it_is_on(ws):
    gw = ws(on="no")
    headers = gw.connect("ws", WebSocket).open("/example", [], Sec_WebSocket_Extensions=BROWSER)
    assert "sec-websocket-extensions" not in headers


def test_deflate_connections_are_bounded(ws):
    gw = ws("deflate_connections = 2")
    peers = [gw.connect("ws", WebSocket) for _ in range(3)]
    agreed = [peer.open("/example", [], Sec_WebSocket_Extensions=BROWSER).get("sec-websocket-extensions")
              for peer in peers]
    assert agreed[0] and agreed[1] and agreed[2] is None
    peers[2].send(frame(b"HELLO plain\n", TEXT))
    peers[2].expect_stream(b"OK welcome\n")


@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_deflate_messages_in_every_cut(ws, takeover, opcode):
    gw = ws(f"deflate_takeover = {'yes' if takeover else 'no'}")
    peer = gw.connect("ws", Deflate).begin(takeover=takeover)
    assert ("no_context" in peer.terms) != takeover
    payload = "grüße, € und 😀; ".encode() * 5
    for cut in list(range(1, 40)) + [None]:
        peer.send(peer.message(line(payload), opcode, cut))
        peer.expect_echo(payload)
    data = peer.message(line(payload), opcode, 9, between=frame(b"ping", PING) + frame(b"", PONG))
    peer.send(data)
    for _ in range(data.count(frame(b"ping", PING))):
        assert peer.read_frame() == (PONG, b"ping")
    peer.expect_echo(payload)
    # Many in one piece, compressed and not, empty ones between them, and the same byte by byte.
    payloads = [b"%d " % n * n for n in range(100)]
    data = b"".join(peer.message(line(p), opcode) if n % 3 else frame(line(p), opcode) + peer.message(b"", opcode)
                    for n, p in enumerate(payloads))
    peer.send(data)
    peer.expect_echo(*payloads)
    data = b"".join(peer.message(line(p), opcode) for p in payloads)
    for piece in random_cuts(data, 200):
        peer.send(piece)
    peer.expect_echo(*payloads)


@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("bits", [9, 12, 15])
def test_deflate_messages_of_every_size(ws, bits, takeover):
    """Autobahn's groups 12 and 13: sizes, windows, both manners of context, whole and in fragments."""
    gw = ws(f"deflate_window = {bits}  deflate_takeover = {'yes' if takeover else 'no'}")
    peer = gw.connect("ws", Deflate).begin(takeover=takeover, offer=f"{BROWSER}={bits}", bits=bits)
    assert f"server_max_window_bits={bits}" in peer.terms or bits == 15
    for size in (16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072):
        for cut in (None, 256 if size < 8192 else 4096):
            payloads = [b"%d " % n + b"".join(b"%x" % (n * at) for at in range(size // 4)) for n in range(10)]
            peer.send(b"".join(peer.message(line(payload), TEXT if n % 2 else BINARY, cut)
                               for n, payload in enumerate(payloads)))
            peer.expect_echo(*payloads)


def test_deflate_long_messages(ws):
    peer = ws().connect("ws", Deflate).begin()
    for payload in (b"x" * 900_000, bytes(range(32, 127)) * 9000, b"".join(b"%d;" % (n * n) for n in range(80000))):
        payload = payload.replace(b"\\", b"/")
        peer.send(peer.message(line(payload), cut=1000))
        peer.expect_echo(payload)
        assert sum(peer.compressed) < len(payload)
        peer.compressed = []


@pytest.mark.parametrize("code, bad", [
    (1002, frame(b"", CONTINUATION, rsv=4)), (1002, frame(b"", PING, rsv=4)), (1002, frame(b"", CLOSE, rsv=4)),
    (1002, frame(b"x", TEXT, rsv=2)), (1002, frame(b"x", TEXT, rsv=6)),
    (1002, frame(b"\xaa\0", TEXT, fin=False, rsv=4) + frame(b"", CONTINUATION, rsv=4)),
    (1007, frame(b"\xff\xff\xff", TEXT, rsv=4)), (1007, frame(b"\x06garbage", BINARY, rsv=4)),
    (1002, frame(b"x", TEXT, rsv=4, mask=None))], ids=range(9))
def test_deflate_broken_frames(ws, code, bad):
    peer = ws().connect("ws", Deflate).begin()
    peer.send(bad)
    peer.expect_close_frame(code)
    peer.expect_close()


@pytest.mark.parametrize("text", [b"\xff", b"x\xc3", b"\xed\xa0\x80"])
def test_deflate_text_is_checked_when_it_is_decompressed(ws, text):
    gw = ws()
    for cut in (None, 1):
        peer = gw.connect("ws", Deflate).begin()
        peer.send(peer.message(text, TEXT, cut))
        peer.expect_close_frame(1007)
    peer = gw.connect("ws", Deflate).begin()
    peer.send(peer.message(line(text), BINARY))
    peer.expect_echo(text)


def test_deflate_a_bomb_is_cut_off(ws):
    gw = ws("deflate_message_size = 64k")
    peer = gw.connect("ws", Deflate).begin()
    peer.send(peer.message(line(b"x" * 60_000)))
    peer.expect_echo(b"x" * 60_000)
    peer.send(peer.message(b"\n" * 100_000_000, BINARY))
    peer.expect_close_frame(1009)
    gw.wait_log("closed", reason="too_large", detail=".*deflate_message_size.*")


def test_deflate_a_peer_that_does_not_read_is_not_read(ws):
    gw = ws("deflate_message_size = 64m")
    peer = gw.connect("ws", Deflate).begin()
    count, payload = 60, b"0123456789abcdef" * 50_000  # answers of 48 MB, out of a few KiB
    data = peer.message(b"".join(line(b"%d " % n + payload) for n in range(count))) + frame(b"done?", PING)
    peer.send(data)
    peer.stream, got, pong = b"", 0, False
    while got < count or not pong:
        opcode, text = peer.read_frame()
        pong = pong or opcode == PONG
        if opcode == PONG:
            continue
        peer.stream += text
        *lines, peer.stream = peer.stream.split(b"\n")
        for each in lines:
            if each != b"OK":
                assert each == b"MSG e/x %d " % got + payload
                got += 1


def test_deflate_a_close_frame_is_answered_behind_the_frame_that_is_leaving(ws):
    gw = ws("deflate_message_size = 64m", config="limits { output_high = 31m  linger = 30s }")
    peer = gw.connect("ws", Deflate).begin()
    payload = base64.b64encode(os.urandom(675_000))  # 20 of them are more than the kernel's buffers hold
    peer.send(peer.message(b"".join(line(b"%d " % n + payload[n:]) for n in range(20)))
              + frame(struct.pack(">H", 1000), CLOSE))
    gw.wait_log("closed", reason="peer_closed")
    opcode = None
    while opcode != CLOSE:
        first, size = peer.read(2)
        opcode = first & 15
        size = int.from_bytes(peer.read({126: 2, 127: 8}[size]), "big") if size > 125 else size
        payload = peer.read(size)
    assert payload == struct.pack(">H", 1000)
    peer.expect_close()


def test_deflate_draining_closes_with_1001(ws):
    gw = ws()
    peer = gw.connect("ws", Deflate).begin()
    gw.process.terminate()
    assert peer.read_frame()[1].startswith(b"BYE draining")
    opcode, payload = peer.read_frame()
    assert (opcode, payload[:2]) == (CLOSE, struct.pack(">H", 1001))
    peer.send(frame(struct.pack(">H", 1001), CLOSE))
    peer.expect_close()
