# SPDX-License-Identifier: Apache-2.0
"""What a listener has of its own: a prefix of topics, and what identifiers must begin with."""
import subprocess

import pytest

import polygate
from mqttwire import MqttPeer, publish, unsubscribe


def listener(name, more=""):
    return f'listener "{name}" {{ bind = "127.0.0.1:0"  protocol = mqtt  {more} }}\n'


def peer(gw, name, client_id, version=5):
    p = MqttPeer(gw.port(name))
    p.login(client_id, version)
    return p


def say(p, topic, payload, props=()):
    p.send(publish(topic, payload, version=5, props=props))


def test_clients_behind_a_prefix_have_a_tree_of_their_own(gateway):
    gw = gateway(listeners={"open": listener("open"),
                            "tenant": listener("tenant", 'topic_prefix = "t/7/"')})
    inside, outside = peer(gw, "tenant", "inside"), peer(gw, "open", "outside")
    inside.subscribe("#", 1)
    outside.subscribe("#", 1)
    say(inside, "a/b", b"up", {0x08: "answer/here"})
    got = outside.receive("t/7/a/b", b"up")
    assert got.prop(0x08) == "t/7/answer/here"
    got = inside.receive("a/b", b"up")
    assert got.prop(0x08) == "answer/here"
    say(outside, "t/7/down", b"1")
    say(outside, "a/b", b"not for you")
    inside.receive("down", b"1")
    outside.receive("t/7/down")
    outside.receive("a/b")
    inside.barrier()
    inside.send(unsubscribe(2, "#", version=5))
    assert inside.next().codes == [0]
    inside.subscribe("$share/g/x/+", 1)
    say(outside, "t/7/x/y", b"2")
    say(outside, "t/7/x", b"3")
    inside.receive("x/y", b"2")
    inside.barrier()


@pytest.mark.parametrize("version", [3, 4, 5])
def test_identifiers_of_a_listener(gateway, version):
    gw = gateway(listeners={
        "open": listener("open"),
        "fleet": listener("fleet", 'client_id_prefix = "car-"'),
        "web": listener("web", 'assigned_id_prefix = "web-"')})
    peer(gw, "fleet", "car-1", version)
    gw.wait_log("admitted", client="car-1", listener="fleet")
    MqttPeer(gw.port("fleet")).login("truck-1", version, reason=0x85 if version == 5 else 2)
    gw.wait_log("refused", client="truck-1", reason="client_id_invalid")
    peer(gw, "open", "truck-1", version)
    if version == 3:
        return  # that has no clients without an identifier
    for name, begins in [("open", "auto-"), ("fleet", "car-"), ("web", "web-")]:
        peer(gw, name, "", version)
        gw.wait_log("admitted", listener=name, client=begins + r"[\da-f-]{36}")


@pytest.mark.parametrize("text, expected", [
    ('topic_prefix = "a"', "ends with '/'"),
    ('topic_prefix = "a/+/"', "without wildcards"),
    ('topic_prefix = "%s/"' % ("x" * 64), "at most 64 bytes"),
    ('client_id_prefix = "%s"' % ("x" * 65), "at most 64 bytes"),
    ('client_id_prefix = "a-" assigned_id_prefix = "b-"', "does not begin with client_id_prefix"),
])
def test_prefixes_that_cannot_be(folder, text, expected):
    path = folder / "polygate.conf"
    path.write_text(listener("x", text))
    done = subprocess.run([polygate.BIN, "-t", "-c", path], capture_output=True, text=True,
                          timeout=polygate.TIMEOUT)
    assert done.returncode != 0
    assert expected in done.stdout + done.stderr and "polygate.conf:1" in done.stdout + done.stderr
