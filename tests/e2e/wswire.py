# SPDX-License-Identifier: Apache-2.0
"""A raw WebSocket client (RFC 6455), independent of the gateway's code: it sends what it is told,
right or wrong, and returns frames as they come."""
import base64
import hashlib
import os
import struct

from polygate import Peer

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = base64.b64encode(b"0123456789abcdef").decode()
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(payload=b"", opcode=BINARY, fin=True, mask=b"\x11\x22\x33\x44", rsv=0, width=None):
    """One frame; `mask` None leaves it out, `width` forces the size of the extended length."""
    size = len(payload)
    if width is None:
        width = 0 if size < 126 else 2 if size < 65536 else 8
    short, extended = {0: (size, b""), 2: (126, struct.pack(">H", size & 0xffff)),
                       8: (127, struct.pack(">Q", size))}[width]
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode, (0x80 if mask else 0) | short]) + extended
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def request(path="/mqtt", protocols=("mqtt",), method="GET", drop=(), **replaced):
    """The opening handshake; a header is replaced by naming it with _ for -, or left out by `drop`."""
    headers = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade",
               "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13"}
    headers.update({name.replace("_", "-"): value for name, value in replaced.items()})
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name not in drop]
    lines += [f"Sec-WebSocket-Protocol: {value}" for value in protocols]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class WebSocket(Peer):
    """After open() the connection is open, and what is in `stream` are payload bytes not yet read. With
    `tls`, a context, it is one over TLS."""

    stream = b""

    def __init__(self, port, tls=None, name="localhost"):
        super().__init__(port)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=name)

    def ask(self, text):
        """Send a request; (status, headers by lower-case name)."""
        self.send(text)
        return self.answer()

    def answer(self):
        lines = self.read_until(b"\r\n\r\n").decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), headers

    def open(self, *arguments, **replaced):
        status, headers = self.ask(request(*arguments, **replaced))
        assert status == 101, (status, self.pending)
        return headers

    def read_frame(self):
        """(opcode, payload) of the next frame; servers send whole ones without a mask."""
        first, second = self.read(2)
        assert first & 0x70 == 0 and first & 0x80 and not second & 0x80
        size = second
        if size == 126:
            size = struct.unpack(">H", self.read(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.read(8))[0]
        return first & 15, self.read(size)

    def expect_stream(self, data):
        """These bytes come next, in messages cut anyhow."""
        while len(self.stream) < len(data):
            opcode, payload = self.read_frame()
            assert opcode == BINARY, (opcode, payload)
            self.stream += payload
        got, self.stream = self.stream[:len(data)], self.stream[len(data):]
        assert got == data, (got.hex(" "), data.hex(" "))

    def expect_close_frame(self, code):
        """A close frame with this status comes, possibly after messages."""
        opcode, payload = self.read_frame()
        while opcode == BINARY:
            opcode, payload = self.read_frame()
        assert opcode == CLOSE, (opcode, payload)
        assert struct.unpack(">H", payload[:2])[0] == code, payload


def accept_of(key=KEY):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def random_cuts(data, count):
    cuts = sorted({0, len(data), *(int.from_bytes(os.urandom(4), "big") % len(data)
                                   for _ in range(count))})
    return [data[a:b] for a, b in zip(cuts, cuts[1:])]
