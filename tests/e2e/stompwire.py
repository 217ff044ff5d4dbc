# SPDX-License-Identifier: Apache-2.0
"""STOMP frames made and read by hand, independent of the gateway's code and of client libraries."""
import re

from polygate import Peer

ESCAPES = {"1.0": {}, "1.1": {"\\": "\\\\", "\n": "\\n", ":": "\\c"},
           "1.2": {"\\": "\\\\", "\n": "\\n", ":": "\\c", "\r": "\\r"}}


def escape(text, version="1.2"):
    return "".join(ESCAPES[version].get(c, c) for c in text)


def unescape(text, version="1.2"):
    back = {pair: c for c, pair in ESCAPES[version].items()}
    return re.sub(r"\\.", lambda m: back[m.group(0)], text) if back else text


def frame(command, body=b"", eol="\n", version="1.2", raw=(), **headers):
    """One frame; a header is named with _ for -. `raw` are whole header lines in front."""
    lines = [command, *raw]
    lines += [f"{escape(k.replace('_', '-'), version)}:{escape(str(v), version)}"
              for k, v in headers.items() if v is not None]
    body = body.encode() if isinstance(body, str) else body
    return eol.join(lines + ["", ""]).encode() + body + b"\0"


class Frame:
    """One frame that came; `headers` has the first of each name, `pairs` all of them."""

    def __init__(self, command, pairs, body):
        self.command, self.pairs, self.body = command, pairs, body
        self.headers = {}
        for name, value in pairs:
            self.headers.setdefault(name, value)

    def __getitem__(self, name):
        return self.headers[name]

    def get(self, name):
        return self.headers.get(name)

    def __repr__(self):
        return f"{self.command} {self.pairs} {self.body!r}"


class StompPeer(Peer):
    """`pieces`: what is sent goes octet by octet."""

    version = "1.0"
    pieces = False
    heartbeats = 0

    def put(self, command, body=b"", **headers):
        self.put_raw(frame(command, body, version=self.version, **headers))

    def put_raw(self, data):
        if self.pieces:
            self.send_pieces(data)
        else:
            self.send(data)

    def next(self, command=None, **headers):
        """The next frame, which must be of this command and have these headers."""
        octet = self.read(1, f"a frame {command or ''}")
        while octet == b"\n":
            self.heartbeats += 1
            octet = self.read(1, f"a frame {command or ''}")
        head = (octet + self.read_until(b"\n\n")).decode()[:-2].split("\n")
        plain = head[0] == "CONNECTED" or self.version == "1.0"
        pairs = [tuple(part if plain else unescape(part, self.version)
                       for part in line.split(":", 1)) for line in head[1:]]
        length = dict(reversed(pairs)).get("content-length")
        if length is None:
            body = self.read_until(b"\0")[:-1]
        else:
            body = self.read(int(length))
            assert self.read(1) == b"\0", "no NUL behind the body"
        got = Frame(head[0], pairs, body)
        assert command in (None, got.command), got
        for name, value in headers.items():
            assert got.get(name.replace("_", "-")) == value, got
        return got

    def login(self, version="1.2", **headers):
        """CONNECT, and the CONNECTED that answers it."""
        headers.setdefault("host", "localhost")
        asked = None if version == "1.0" else version
        self.put_raw(frame("CONNECT", version="1.0", accept_version=asked, **headers))
        connected = self.next("CONNECTED")
        self.version = connected.get("version") or "1.0"
        assert self.version == version, connected
        return connected

    def receipt(self, command, body=b"", **headers):
        """Send a frame and have its receipt, which must come next."""
        self.put(command, body, receipt="r-" + command, **headers)
        return self.next("RECEIPT", receipt_id="r-" + command)

    def barrier(self):
        """Everything sent so far has been handled, and nothing else has come."""
        self.receipt("SEND", destination="/topic/barrier")

    def error(self, *words, receipt=None):
        """ERROR with these words in its body comes next, then the end."""
        got = self.next("ERROR")
        assert got.get("receipt-id") == receipt, got
        assert got.get("message"), got
        for word in words:
            assert word in got.body.decode(), got
        self.expect_close()
        return got
