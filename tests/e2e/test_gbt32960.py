# SPDX-License-Identifier: Apache-2.0
"""GB/T 32960 through the real gateway: vehicles and platforms to applications over MQTT, and back."""
import json
import signal

import pytest

import polygate
from gbt32960wire import (CONTROL, ERROR, HEARTBEAT, LOGIN, LOGOUT, PLATFORM_LOGIN, QUERY, REISSUE,
                          REPORT, SUCCESS, TIME, Vehicle, frame, login_unit, position_unit)
from mqttwire import MqttPeer
from test_access import passwd

LISTENERS = {"mqtt": "mqtt", "gbt32960": "gbt32960"}
VIN, VIN_2, PLATFORM = "LPGATE00000000017", "LPGATE00000000018", "PLATFORM000000001"


@pytest.fixture
def gw(gateway):
    return gateway(listeners=LISTENERS)


def application(gw, *filters):
    app = gw.connect("mqtt", MqttPeer)
    app.login("app", 5)
    for filter_ in filters:
        app.subscribe(filter_, 1)
    return app


def body(packet):
    return json.loads(packet.payload)


@pytest.mark.parametrize("edition", [2016, 2025])
def test_a_vehicle_reports_and_is_known_to_be_there(gw, edition):
    app = application(gw, "gbt32960/#")
    vehicle = gw.connect("gbt32960", Vehicle, edition=edition).login()
    online = body(app.receive(f"gbt32960/{VIN}/status"))
    assert (online["status"], online["edition"]) == ("online", str(edition))
    login = body(app.receive(f"gbt32960/{VIN}/up/vehicle_login"))
    assert login["body"]["iccid"] == "89860000000000000017"
    vehicle.say(REPORT, position_unit(edition))
    report = body(app.receive(f"gbt32960/{VIN}/up/realtime_report"))
    item = report["body"]["items"][0]
    assert (item["name"], item["longitude_deg"], item["latitude_deg"]) == (
        "position", 121.473701, 31.230416)
    assert report["body"]["time"] == "2026-03-01T08:00:05+08:00"
    vehicle.say(REISSUE, position_unit(edition))
    app.receive(f"gbt32960/{VIN}/up/reissue_report")
    vehicle.barrier()  # good reports are met with silence
    vehicle.say(LOGOUT, TIME + b"\0\1")
    vehicle.expect_answer(LOGOUT)
    offline = body(app.receive(f"gbt32960/{VIN}/status"))
    assert (offline["status"], offline["cause"]) == ("offline", "client_closed")


def test_a_vehicle_and_its_take_over(gw):
    first = gw.connect("gbt32960", Vehicle).login()
    second = gw.connect("gbt32960", Vehicle).login()
    first.expect_close()
    second.barrier()
    gw.wait_log("closed", client=VIN, reason="taken_over")


def test_a_request_is_answered_by_the_vehicle(gw):
    app = application(gw, "answers/me")
    vehicle = gw.connect("gbt32960", Vehicle).login()
    query = json.dumps({"message": "parameter_query",
                        "body": {"parameter_ids": ["report_period_s"]}}).encode()
    app.publish(f"gbt32960/{VIN}/down", query, 1, props={8: "answers/me", 9: b"c1"})
    got = vehicle.next(QUERY)
    assert got.unit[6:] == b"\x01\x02"
    vehicle.say(QUERY, TIME + b"\x01\x02\x00\x1e", flag=SUCCESS)
    answer = body(app.receive("answers/me"))
    assert answer["status"] == "ok"
    assert answer["answer"]["body"]["parameters"] == [{"id": 2, "name": "report_period_s",
                                                       "value": 30}]
    control = {"message": "terminal_control", "body": {"control": "reset"}}
    app.publish(f"any/p2p/{VIN}", json.dumps(control).encode(), 1, props={8: "answers/me"})
    assert vehicle.next(CONTROL).unit[6:] == b"\x03"
    vehicle.say(CONTROL, TIME, flag=ERROR)
    assert body(app.receive("answers/me"))["status"] == "rejected"


def test_a_command_waits_for_a_vehicle_that_is_away(gw):
    app = application(gw)
    vehicle = gw.connect("gbt32960", Vehicle).login()
    vehicle.close()
    gw.wait_log("closed", client=VIN)
    control = {"message": "terminal_control", "body": {"control": "factory_reset"}}
    app.publish(f"gbt32960/{VIN}/down", json.dumps(control).encode(), 1)
    vehicle = gw.connect("gbt32960", Vehicle).login()
    assert vehicle.next(CONTROL).unit[6:] == b"\x04"


def test_a_platform_brings_its_vehicles(gateway, folder):
    """The access chain knows the platform, and the rules what its vehicles may."""
    passwd(folder / "passwords", "plat", "secret")
    passwd(folder / "passwords", "fleet", "f")
    (folder / "rules").write_text(
        "allow publish    user:plat   gbt32960/${vin}/up/#\n"
        "allow subscribe  user:fleet  gbt32960/#\n"
        "allow publish    user:fleet  gbt32960/+/down\n", encoding="utf-8")
    gw = gateway(f'authfile {{ password_file = "{folder}/passwords"  rules_file = "{folder}/rules" }}\n',
                 listeners=LISTENERS)
    app = gw.connect("mqtt", MqttPeer)
    app.login("app", 5, username="fleet", password="f")
    app.subscribe("gbt32960/+/up/#", 1)
    stranger = gw.connect("gbt32960", Vehicle, vin=PLATFORM)
    stranger.platform_login("plat", "wrong", ERROR)
    platform = gw.connect("gbt32960", Vehicle, vin=PLATFORM).platform_login("plat", "secret")
    login = app.receive(f"gbt32960/{PLATFORM}/up/platform_login")
    assert b"secret" not in login.payload
    platform.say(LOGIN, login_unit(), vin=VIN)
    platform.expect_answer(LOGIN, vin=VIN)
    app.receive(f"gbt32960/{VIN}/up/vehicle_login")
    for vin in (VIN, VIN_2):  # the second without a login of its own
        platform.say(REPORT, position_unit(), vin=vin)
        platform.expect_answer(REPORT, vin=vin)
        app.receive(f"gbt32960/{vin}/up/realtime_report")
    clients = json.loads(gw.ctl("clients", "--json"))["clients"]
    assert {VIN, VIN_2, PLATFORM} <= {row["client"] for row in clients}
    # A command goes to one of them, over the one connection.
    control = {"message": "terminal_control", "body": {"control": "reset"}}
    app.publish(f"gbt32960/{VIN_2}/down", json.dumps(control).encode(), 1)
    got = platform.next(CONTROL)
    assert got.vin == VIN_2
    # One that comes by itself, elsewhere, is taken from the platform, which keeps the other.
    gw.connect("gbt32960", Vehicle, vin=VIN_2).say(LOGIN, login_unit())
    platform.say(HEARTBEAT, vin=VIN)
    platform.expect_answer(HEARTBEAT, unit=b"", vin=VIN)


def test_many_vehicles_come_over_one_platform_link(gw):
    app = application(gw, "gbt32960/+/up/realtime_report")
    platform = gw.connect("gbt32960", Vehicle, vin=PLATFORM).platform_login("plat", "x")
    vins = [f"LPGATE{number:011}" for number in range(300)]
    platform.send(b"".join(frame(REPORT, vin, position_unit()) for vin in vins))
    for vin in vins:
        platform.expect_answer(REPORT, vin=vin)
    assert {body(app.receive())["vin"] for _ in vins} == set(vins)
    platform.close()
    gw.wait_log("closed", reason="peer_closed", listener="gbt32960")


def test_the_port_for_everything_knows_vehicles(gateway):
    gw = gateway(listeners={
        "all": 'listener "all" { bind = "127.0.0.1:0"  protocol = auto }\n'})
    for edition in (2016, 2025):
        vehicle = gw.connect("all", Vehicle, edition=edition)
        vehicle.send_pieces(frame(LOGIN, VIN, login_unit(edition), edition))
        vehicle.expect_answer(LOGIN)
        gw.wait_log("admitted", client=VIN, protocol="gbt32960", listener="all")


def test_a_platform_is_refused_where_there_are_none(gateway):
    gw = gateway("gbt32960 { platforms = refuse }", listeners=LISTENERS)
    gw.connect("gbt32960", Vehicle, vin=PLATFORM).platform_login("plat", "x", ERROR)
    notes = json.loads(gw.ctl("why", PLATFORM, "--json"))["notes"]
    assert notes[0]["reason"] == "unsupported"
    assert PLATFORM_LOGIN == 5


@pytest.mark.parametrize("edition", [2016, 2025])
def test_simulated_vehicles_drive_and_obey(gw, edition):
    app = application(gw, "gbt32960/+/up/realtime_report", "gbt32960/+/up/cell_voltages")
    tool = gw.tool(polygate.CTL, "simulate", "gbt32960", "-p", gw.port("gbt32960"), "--count", 3,
                   "--interval", "200ms", "-e", edition, "--first", 7, "--cells", 250)
    vins = {f"LSIMULAT{number:09}" for number in (7, 8, 9)}
    for vin in vins:
        tool.wait_line(f"^{vin} online")
    seen, whole = set(), edition == 2025
    while seen != vins or not whole:
        packet = app.receive()
        got = body(packet)
        seen.add(got["vin"])
        if got["message"] == "cell_voltages":
            whole = len(got["body"]["cell_voltages_v"]) == 250
        assert "faults" not in got and "out_of_range" not in json.dumps(got)
    vin = max(vins)
    out = gw.tool(polygate.CTL, "send", "-p", gw.port("mqtt"), vin, "-m", "parameter_query", "-j",
                  '{"parameter_ids":["hardware_version"]}').wait()
    assert json.loads(out)["answer"]["body"]["parameters"][0]["value"] == "SIM.1"
    tool.wait_line(f"^{vin} <- parameter_query")
    mark = gw.mark()
    gw.ctl("kick", vin)
    tool.wait_line(f"^{vin} lost its connection")
    gw.wait_log("admitted", start=mark, client=vin)
    tool.process.send_signal(signal.SIGINT)
    assert "of 3 online" in tool.wait().splitlines()[-1]
