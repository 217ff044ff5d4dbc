# SPDX-License-Identifier: Apache-2.0
"""The sample plugin: a protocol of somebody else, built against the public header alone, loaded into
the real daemon, meeting the built-in ones."""
import json
import shutil
import signal
import subprocess

import pytest

import polygate
from mqttwire import MqttPeer

PLUGIN = polygate.BUILD / "plugins" / "example" / "example.so"


def config(path=PLUGIN, block="", listener=True):
    text = f'plugin "example" {{ path = "{path}" }}\nexample {{ {block} }}\n'
    if listener:
        text += 'listener "lines" { bind = "127.0.0.1:0" transport = tcp protocol = example }\n'
    return text


class LinePeer(polygate.Peer):
    def say(self, line):
        self.send(line.encode() + b"\n")

    def next(self):
        return self.read_until(b"\n").decode().rstrip("\n")

    def ask(self, line, answer="OK"):
        self.say(line)
        got = self.next()
        assert got == answer, f"{line}: {got}"

    def hello(self, name, greeting="welcome", password=None):
        self.ask(f"HELLO {name}" + (f" {password}" if password else ""), f"OK {greeting}")
        return self


@pytest.fixture
def lines(gateway):
    gw = gateway(config())
    gw.port("lines")
    return gw


def test_lines_in_any_pieces(lines):
    script = b"HELLO a\r\nSUB t/#\nPUB t/1 one\nPUB t/2 two words\nNONSENSE\n"
    expected = (b"OK welcome\nOK\nOK\nMSG t/1 one\nOK\nMSG t/2 two words\n"
                b"ERR expected PUB topic text, SUB filter or BYE\n")
    for size in (len(script), 1, 7):
        peer = lines.connect("lines", LinePeer)
        peer.send_pieces(script, size)
        got = peer.read(len(expected))
        # A delivery may come before or after the answers of the same loop turn.
        assert sorted(got.splitlines()) == sorted(expected.splitlines())
        peer.ask("BYE", "BYE client_closed: the client said goodbye")
        peer.expect_close()


def test_it_meets_the_other_protocols(lines):
    mqtt = lines.connect("mqtt", MqttPeer)
    mqtt.login("m", 5)
    mqtt.subscribe("from/lines", 1)
    peer = lines.connect("lines", LinePeer).hello("a")
    peer.ask("SUB from/mqtt")
    peer.ask("PUB from/lines hello there")
    mqtt.receive("from/lines", "hello there")
    assert mqtt.publish("from/mqtt", b"two\nlines\\", 2) == 0
    assert peer.next() == "MSG from/mqtt two\\nlines\\\\"
    mqtt.publish("x/p2p/a", b"y" * 5000, 1)
    assert peer.next() == "MSG x/p2p/a " + "y" * 5000
    row = json.loads(lines.ctl("client", "a", "--json"))
    assert row["protocol"] == "example" and row["subscription_list"][0]["filter"] == "from/mqtt"
    names = {c["name"]: c["value"] for c in json.loads(lines.ctl("counters", "--json"))["counters"]}
    assert names["example.lines"] == 3


def test_refusals_have_reasons(lines):
    peer = lines.connect("lines", LinePeer)
    peer.ask("SUB a", "ERR expected HELLO id [password]")
    peer.ask("HELLO", "ERR usage: HELLO id [password], once")
    peer.hello("a")
    peer.ask("HELLO a", "ERR usage: HELLO id [password], once")
    peer.ask("SUB a/#/b", "ERR filter_invalid: the topic filter is not valid")
    peer.ask("PUB a/+ x", "ERR topic_invalid: the topic name is not valid here")
    second = lines.connect("lines", LinePeer).hello("a")
    assert peer.next() == "BYE taken_over: the same client connected again"
    peer.expect_close()
    lines.ctl("kick", "a")
    assert second.next() == "BYE kicked: closed by an administrator"
    third = lines.connect("lines", LinePeer).hello("a")
    third.send(b"x" * 5000)
    assert third.next().startswith("BYE too_large")


def test_passwords_and_rules_hold_for_it(gateway, folder):
    subprocess.run([polygate.CTL, "passwd", str(folder / "passwords"), "alice"], input=b"secret\n",
                   check=True, timeout=polygate.TIMEOUT)
    (folder / "rules").write_text("allow all protocol:example own/${client}/#\n")
    gw = gateway(config() + f'access {{ otherwise = deny }}\nauthfile {{ '
                 f'password_file = "{folder}/passwords" rules_file = "{folder}/rules" }}\n')
    peer = gw.connect("lines", LinePeer)
    # Verifying takes a while; what is sent meanwhile waits its turn.
    peer.send(b"HELLO alice secret\nSUB own/alice/#\nSUB own/#\nPUB own/alice/x 1\n")
    got = [peer.next() for _ in range(5)]
    assert got[:3] == ["OK welcome", "OK", "ERR not_authorized: the access rules do not allow it"]
    assert sorted(got[3:]) == ["MSG own/alice/x 1", "OK"]
    peer = gw.connect("lines", LinePeer)
    peer.ask("HELLO alice wrong",
             "ERR bad_credential: the credential does not belong to this identity")
    assert peer.next().startswith("BYE bad_credential")
    peer.expect_close()


def test_options_are_checked_and_reloaded(lines):
    lines.connect("lines", LinePeer).hello("a")
    assert lines.reload(config(block="greeting = 'good evening'"))["event"] == "reloaded"
    lines.connect("lines", LinePeer).hello("b", "good evening")
    got = lines.reload(config(block="line_max = 3"))
    assert got["event"] == "reload_failed" and "line_max" in got["error"]
    lines.connect("lines", LinePeer).hello("c", "good evening")


def test_shutdown_says_goodbye(lines):
    peer = lines.connect("lines", LinePeer).hello("a")
    lines.process.send_signal(signal.SIGTERM)
    assert peer.next() == "BYE draining: the server is shutting down"
    peer.expect_close()
    lines.wait_exit(0)


def refused_start(gateway, text, error):
    gw = gateway(text, launch_only=True)
    gw.wait_exit(1)
    log = gw.log_path.read_text()
    assert error in log, log


def test_a_file_that_is_no_plugin_is_refused(gateway, folder):
    refused_start(gateway, config(folder / "nothing.so", listener=False), "nothing.so")
    (folder / "text.so").write_text("not an object")
    refused_start(gateway, config(folder / "text.so", listener=False), "text.so")


def test_another_abi_is_refused(gateway, folder):
    """The loader compares the number before it looks at anything else."""
    source = (polygate.ROOT / "plugins/example/example.c").read_text()
    source = source.replace(".abi = PG_ABI,\n    .name = \"example\",\n    .protocol",
                            ".abi = PG_ABI + 1,\n    .name = \"example\",\n    .protocol")
    (folder / "other.c").write_text(source)
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    subprocess.run([compiler, "-std=gnu11", "-D_GNU_SOURCE", "-fPIC", "-shared",
                    f"-I{polygate.ROOT}/core", "-o", str(folder / "other.so"),
                    str(folder / "other.c")], check=True, timeout=polygate.TIMEOUT)
    refused_start(gateway, config(folder / "other.so", listener=False), "ABI")
