# SPDX-License-Identifier: Apache-2.0
"""A protocol that is not built in: plugins/example, loaded from its .so."""
import subprocess

import pytest

import polygate
from mqttwire import MqttPeer

LINES = polygate.BUILD / "plugins" / "example" / "lines.so"


class LinesPeer(polygate.Peer):
    def say(self, text):
        self.send(text.encode() + b"\n")

    def expect_line(self, text):
        self.expect(text.encode() + b"\n")

    def ask(self, text, answer="OK"):
        self.say(text)
        self.expect_line(answer)


@pytest.fixture
def gw(gateway):
    return gateway(f'plugin "lines" {{ path = "{LINES}" }}\nlines {{ line_size = 1k }}\n',
                   listeners={"mqtt": "mqtt", "lines": "lines"})


@pytest.fixture
def peer(gw):
    lines = gw.connect("lines", LinesPeer)
    lines.ask("HELLO a")
    return lines


def test_its_messages_reach_other_protocols_and_theirs_reach_it(gw, peer):
    app = gw.connect("mqtt", MqttPeer)
    app.login("app")
    app.subscribe("up/#")
    peer.ask("SUB down/+")
    peer.ask("PUB up/1 two words")
    app.receive("up/1", "two words")
    app.publish("down/1", "100%\n", 1)
    peer.expect_line("MSG down/1 100%25%0a")


def test_words_may_hold_any_byte(peer):
    peer.ask("SUB a%20b/#")
    peer.ask("PUB a%20b/%25 x%00y")
    peer.expect_line("MSG a%20b/%25 x%00y")


def test_one_byte_at_a_time_is_the_same(gw):
    lines = gw.connect("lines", LinesPeer)
    lines.send_pieces(b"HELLO b\nSUB t\nPUB t x\n")
    for expected in ("OK", "OK", "OK", "MSG t x"):
        lines.expect_line(expected)
    lines.ask("BYE", "BYE client_closed")
    lines.expect_close()


def test_commands_in_one_segment_are_answered_in_order(gw):
    lines = gw.connect("lines", LinesPeer)
    lines.send(b"HELLO b\nPUB t x\nSUB bad/#/filter\nPUB +/bad x\nPUB t y\n")
    for expected in ("OK", "OK", "NO filter_invalid", "NO topic_invalid", "OK"):
        lines.expect_line(expected)


@pytest.mark.parametrize("text, reason", [
    ("PUB t x", "protocol_error"),   # before HELLO
    ("HELLO %zz", "malformed"),
])
def test_what_is_wrong_before_login_closes_with_its_reason(gw, text, reason):
    lines = gw.connect("lines", LinesPeer)
    lines.say(text)
    lines.expect_line(f"BYE {reason}")
    gw.wait_log("closed", reason=reason)


def test_a_client_identifier_over_its_limit_is_refused(gw):
    lines = gw.connect("lines", LinesPeer)
    lines.ask("HELLO " + 257 * "a", "NO client_id_invalid")
    lines.ask("HELLO " + 256 * "a")


def test_a_line_over_its_limit_closes(peer):
    peer.send(b"PUB t " + 2000 * b"x")
    peer.expect_line("BYE too_large")


def test_the_same_client_elsewhere_takes_over(gw, peer):
    other = gw.connect("lines", LinesPeer)
    other.ask("HELLO a")
    peer.expect_line("BYE taken_over")
    peer.expect_close()


def test_what_is_not_a_plugin_is_refused(folder):
    config = folder / "polygate.conf"
    config.write_text('plugin "lines" { path = "/lib/x86_64-linux-gnu/libm.so.6" }\n',
                      encoding="utf-8")
    done = subprocess.run([polygate.BIN, "-t", "-c", str(config)], timeout=polygate.TIMEOUT,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode != 0
    assert "not a plugin" in done.stdout
