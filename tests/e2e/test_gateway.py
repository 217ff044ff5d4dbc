# SPDX-License-Identifier: Apache-2.0
"""What the gateway is for: a terminal's frames reach an application as messages, and the
application's command reaches the terminal and is answered."""
import json

import pytest

from jt808wire import (GET_PARAMETERS, LOCATION, PARAMETERS_ANSWER, TEXT, UNREGISTER, Terminal,
                       frame, location_body)
from mqttwire import MqttPeer

PHONES = {2013: "013912345678", 2019: "00000000013912345678"}

RESPONSE_TOPIC, CORRELATION_DATA = 0x08, 0x09


@pytest.fixture(params=[2013, 2019])
def world(request, gateway):
    """A gateway with one application that listens to everything, and one terminal that logged in."""
    gw = gateway()
    app = gw.connect("mqtt", MqttPeer)
    app.login("app", version=5)
    app.subscribe("jt808/#", 1)
    edition = request.param
    terminal = gw.connect("jt808", Terminal, phone=PHONES[edition], edition=edition).login()
    up = f"jt808/{terminal.phone}/up/"
    return gw, app, terminal, up


def receive_json(app, topic):
    """The next message on this topic; others (presence, the login's own messages) are passed over."""
    while True:
        got = app.receive()
        if got.topic == topic:
            return json.loads(got.payload)


def test_presence_is_published(world):
    _, app, terminal, _ = world
    topic = f"jt808/{terminal.phone}/status"
    assert receive_json(app, topic)["status"] == "online"
    terminal.reset()
    assert receive_json(app, topic)["status"] == "offline"


def test_a_location_reaches_the_application_in_physical_units(world):
    _, app, terminal, up = world
    terminal.locate(latitude=31.230416, longitude=121.473701, speed=36.5, altitude=12,
                    extra=bytes.fromhex("01040000019a"))
    got = receive_json(app, up + "0200")
    assert (got["protocol"], got["message"], got["id"]) == ("jt808", "location_report", "0x0200")
    assert got["phone"] == terminal.phone
    body = got["body"]
    assert body["latitude"] == pytest.approx(31.230416)
    assert body["longitude"] == pytest.approx(121.473701)
    assert body["speed"] == pytest.approx(36.5)
    assert body["altitude"] == 12


def test_many_frames_in_one_segment_all_arrive_in_order(world):
    _, app, terminal, up = world
    first = terminal.serial
    terminal.send(b"".join(
        frame(LOCATION, terminal.phone, first + n, location_body(altitude=n), terminal.edition)
        for n in range(200)))
    for n in range(200):
        terminal.expect_general(LOCATION, first + n)
        assert receive_json(app, up + "0200")["body"]["altitude"] == n


@pytest.fixture
def requester(world):
    """An application that asks and waits for answers."""
    peer = world[0].connect("mqtt", MqttPeer)
    peer.login("requester", version=5)
    peer.subscribe("answers/requester", 1)
    return peer


def ask(requester, terminal, command, correlation=b"42"):
    """Send a command to the terminal as a request that is to be answered."""
    assert requester.publish(
        f"jt808/{terminal.phone}/down", json.dumps(command), 1, 77,
        props=[(RESPONSE_TOPIC, "answers/requester"), (CORRELATION_DATA, correlation)]) == 0


def answer_of(requester, correlation=b"42"):
    got = requester.receive("answers/requester")
    assert got.prop(CORRELATION_DATA) == correlation
    return json.loads(got.payload)


HELLO = {"message": "text_message", "body": {"flag": ["display"], "text": "hello"}}


def test_a_text_is_shown_and_the_answer_comes_back(world, requester):
    _, _, terminal, _ = world
    ask(requester, terminal, HELLO)
    command = terminal.next(TEXT)
    assert command.body.endswith(b"hello")
    terminal.answer_general(command, 0)
    got = answer_of(requester)
    assert got["status"] == "ok" and got["result"] == 0 and got["serial"] == command.serial


def test_a_rejection_comes_back_as_one(world, requester):
    _, _, terminal, _ = world
    ask(requester, terminal, HELLO)
    terminal.answer_general(terminal.next(TEXT), 3)
    got = answer_of(requester)
    assert got["status"] == "rejected" and got["result"] == 3


def test_silence_comes_back_as_a_timeout_after_repetitions(gateway):
    gw = gateway("jt808 { answer_timeout = 100ms  repetitions = 2 }\n")
    requester = gw.connect("mqtt", MqttPeer)
    requester.login("requester", version=5)
    requester.subscribe("answers/requester", 1)
    terminal = gw.connect("jt808", Terminal).login()
    ask(requester, terminal, HELLO)
    first = terminal.next(TEXT)
    assert [terminal.next(TEXT).raw for _ in range(2)] == [first.raw] * 2
    assert answer_of(requester)["status"] == "timed_out"


def test_parameters_are_asked_for_and_come_back(world, requester):
    _, _, terminal, _ = world
    ask(requester, terminal, {"message": "query_parameters", "body": {}})
    command = terminal.next(GET_PARAMETERS)
    # Heartbeat interval (0x0001), four bytes: 60 s
    terminal.say(PARAMETERS_ANSWER,
                 command.serial.to_bytes(2, "big") + bytes.fromhex("01 00000001 04 0000003c"))
    got = answer_of(requester)
    assert got["status"] == "ok"
    assert got["answer"]["id"] == "0x0104"


def test_a_payload_that_makes_no_frame_is_answered_with_what_is_wrong(world, requester):
    _, _, terminal, _ = world
    ask(requester, terminal, {"message": "text_message", "body": {"flag": ["no such"], "text": "x"}})
    got = answer_of(requester)
    assert got["status"] == "invalid"
    assert got["error"]["sentence"]
    terminal.barrier()


@pytest.mark.parametrize("how", ["reset", "unregister", "kick"])
def test_a_request_under_way_is_told_when_its_terminal_goes_and_is_not_sent_again(world, requester,
                                                                                 how):
    gw, _, terminal, _ = world
    ask(requester, terminal, HELLO)
    terminal.next(TEXT)
    if how == "reset":
        terminal.reset()
    elif how == "unregister":
        terminal.expect_general(UNREGISTER, terminal.say(UNREGISTER))
    else:
        gw.ctl("kick", terminal.phone)
    assert answer_of(requester)["status"] == "connection_lost"
    again = gw.connect("jt808", Terminal, phone=terminal.phone, edition=terminal.edition).login()
    again.barrier()
