# SPDX-License-Identifier: Apache-2.0
"""The gateway's WebSocket, which is our own, with a client whose WebSocket is libwebsockets'
(lws_client.c): MQTT in binary messages, the sample plugin's lines in text, over ws and wss, compressed
and not, pings, and both ends closing."""
import os

import pytest

from authority import Authority
from mqttwire import MqttPeer, disconnect
from polygate import BUILD, TIMEOUT
from wswire import WebSocket

CLIENT = os.environ.get("POLYGATE_LWS", str(BUILD / "tests" / "e2e" / "lws_client"))
PLUGIN = BUILD / "plugins" / "example" / "example.so"
CONFIG = f"""
plugin "example" {{ path = "{PLUGIN}" }}
example {{ line_max = 1m }}
limits {{ frame_size = 1m  output_max = 32m }}
"""
SIZES = [0, 1, 120, 125, 126, 65530, 65536, 200000]


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("ca"))
    authority.issue("server")
    return authority


class Lws(MqttPeer):
    """An MQTT peer whose bytes go through the client; and what the client tells of messages."""

    def __init__(self, tool):  # pylint: disable=super-init-not-called
        self.tool, self.at, self.pending = tool, 0, b""

    def tell(self, what, payload=b""):
        self.tool.send(f"{what} {payload.hex()}")

    def told(self):
        """The next thing that happened, as words; what a message or a frame holds as bytes."""
        self.at, line = self.tool.lines.wait(lambda line: line, "a line of lws_client", self.at, TIMEOUT)
        self.at += 1
        what, *words = line.split(" ")
        return [what, *words[:-1], bytes.fromhex(words[-1])] if what != "open" and words else [what, *words]

    def send(self, data):
        self.tell("binary", data)

    def _more(self, what):
        kind, *payload = self.told()
        if kind in ("close", "closed"):
            raise ConnectionError(f"waiting for {what}: {kind} {payload}")
        assert kind == "binary", f"waiting for {what}: {kind} {payload}"
        self.pending += payload[0]

    def close(self):
        self.tool.stop()


@pytest.fixture(params=["ws", "wss"])
def ws(request, gateway, ca):
    """A function that starts a gateway with these keys of its listener; dial() of it opens connections."""
    def start(keys="", config=CONFIG, protocol="auto"):
        words = []
        if request.param == "wss":
            keys += f' certificates = {{"{ca.folder}/server.pem"}} keys = {{"{ca.folder}/server.key"}}'
            words = ["--ca", ca.folder / "ca.pem"]
        gw = gateway(config, listeners={"ws": (
            f'listener "ws" {{ bind = "127.0.0.1:0" transport = {request.param} protocol = {protocol} {keys} }}\n')})

        def dial(path="/mqtt", protocol="mqtt", deflate=False, opens=True, agreed="-"):
            more = (["--protocol", protocol] if protocol else []) + (["--deflate"] if deflate else [])
            peer = Lws(gw.tool(CLIENT, *words, *more, request.param, gw.port("ws"), path, stdin=True))
            if opens:
                assert peer.told() == ["open", protocol or "-", agreed]
            return peer
        gw.dial = dial
        return gw
    return start


@pytest.fixture
def line(ws):
    """A connection that has said HELLO and SUB in lines of text."""
    peer = ws().dial("/example", None)
    peer.tell("text", b"HELLO me\nSUB e/#\n")
    peer.stream = b""
    expect(peer, b"OK welcome\nOK\n")
    return peer


def expect(peer, data, kinds=("text",)):
    """These bytes come next, in messages of these kinds cut anyhow; the kinds."""
    seen = []
    while len(peer.stream) < len(data):
        kind, payload = peer.told()
        assert kind in kinds, (kind, payload)
        seen.append(kind)
        peer.stream += payload
    assert peer.stream == data
    peer.stream = b""
    return seen


def expect_echo(peer, payload, **arguments):
    """The answer and the message may come in either order."""
    wanted = sorted([b"OK", b"MSG e/x " + payload, b""])
    seen = []
    while sorted(peer.stream.split(b"\n")) != wanted:
        kind, got = peer.told()
        assert kind in arguments.get("kinds", ("text",)), (kind, got)
        seen.append(kind)
        peer.stream += got
    peer.stream = b""
    return seen


# ---- messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "deflate"])
def test_lws_mqtt(ws, version, compress):
    gw = ws("deflate = yes" if compress else "")
    peer, reader = (gw.dial(deflate=compress, agreed="deflate" if compress else "-") for _ in range(2))
    peer.login("lws", version)
    reader.login("reader", version)
    reader.subscribe("e/#", 2)
    for qos in (0, 1, 2):
        for size in SIZES:
            payload = bytes(n % 251 for n in range(size))
            peer.publish(f"e/{qos}", payload, qos)
            reader.receive(f"e/{qos}", payload)
    peer.send(disconnect(version=version))
    assert peer.told()[:2] == ["close", "1000"]
    assert peer.told() == ["closed"]
    gw.wait_log("closed", client="lws", reason="client_closed")


def test_lws_compression_is_only_on_request(ws):
    ws("deflate = yes").dial(deflate=False)
    ws().dial(deflate=True)


def test_lws_text_and_binary(line):
    for payload in (b"x", "grüße, € und 😀".encode(), b"*" * 100000):
        line.tell("text", b"PUB e/x " + payload + b"\n")
        assert set(expect_echo(line, payload)) == {"text"}
        line.tell("binary", b"PUB e/x " + payload + b"\n")
        assert set(expect_echo(line, payload)) == {"text"}, "what is UTF-8 comes back as text"
    line.tell("binary", b"PUB e/x \xff\n")
    assert "binary" in expect_echo(line, b"\xff", kinds=("text", "binary"))


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_lws_fragments(line, kind):
    data = "PUB e/x grüße, € und 😀\n".encode()
    for size in range(1, len(data) // 2):
        parts = [data[at:at + size] for at in range(0, len(data), size)]
        line.tell(kind + "+", parts[0])
        for part in parts[1:-1]:
            line.tell("more+", part)
        line.tell("more", parts[-1])
        expect_echo(line, data[8:-1])


def test_lws_pings(line):
    for payload in (b"", b"x", b"\0\xff" * 62):
        line.tell("ping", payload)
        what, *got = line.told()
        assert what == "pong" and b"".join(got) == payload


def test_lws_the_gateways_pings_are_answered(ws):
    gw = ws("ping_interval = 1s")
    peer = gw.dial()
    peer.login("good", keepalive=0)
    if "wss" not in gw.config_path.read_text():
        silent = gw.connect("ws", WebSocket)
        silent.open()
        gw.wait_log("closed", reason="keepalive_timeout", client="")
    peer.barrier()


# ---- the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_lws_the_clients_close_frame_is_answered(ws, code):
    gw = ws()
    peer = gw.dial()
    peer.login("lws")
    peer.tell(f"close {code}", b"good bye")
    assert peer.told() == ["closed"]
    gw.wait_log("closed", client="lws", reason="peer_closed")
    assert peer.tool.wait() is not None


@pytest.mark.parametrize("code, kind, data", [
    ("1003", "text", b"text is not for MQTT"), ("1009", "binary", b"\x30\xff\xff\xff\x7f"),
    ("1002", "binary", b"\xff\xff")])
def test_lws_the_gateway_says_why_it_closes(ws, code, kind, data):
    peer = ws().dial()
    peer.login("lws")
    peer.tell(kind, data)
    assert peer.told()[:2] == ["close", code]
    assert peer.told() == ["closed"]


def test_lws_text_that_is_not_utf8(line):
    line.tell("text", b"PUB e/x \xed\xa0\x80\n")
    what, words = line.told()
    assert what == "text" and words.startswith(b"BYE ")
    assert line.told()[:2] == ["close", "1007"]


def test_lws_draining_closes_with_1001(ws):
    gw = ws()
    peer = gw.dial()
    peer.login("lws")
    gw.process.terminate()
    assert peer.told()[:2] == ["close", "1001"]
    assert peer.told() == ["closed"]


@pytest.mark.parametrize("path, protocol", [("/nowhere", "mqtt"), ("/mqtt", "v12.stomp")])
def test_lws_what_is_not_served_does_not_come_about(ws, path, protocol):
    peer = ws().dial(path, protocol, opens=False)
    peer.tool.wait_line("^failed")
    peer.tool.wait()
