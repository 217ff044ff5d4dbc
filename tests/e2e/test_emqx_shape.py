# SPDX-License-Identifier: Apache-2.0
"""`payload = emqx`: an application that was written for EMQX's vehicle gateways, with its topics and
its JSON, in front of vehicles and terminals of ours."""
import base64
import json
import struct

import pytest

from gbt32960wire import CONTROL, LOGOUT, QUERY, REPORT, SET, SUCCESS, TIME, Vehicle
from gbt32960wire import position_unit
from jt808wire import LOCATION, Terminal, location_body
from mqttwire import MqttPeer

VIN, PHONE = "LPGATE00000000017", "013912345678"
GBT = """gbt32960 { payload = emqx  uplink_topic = 'gbt32960/${vin}/upstream/${message}'
                    downlink_topic = 'gbt32960/${vin}/dnstream' }"""
JT = """jt808 { payload = emqx  uplink_topic = 'jt808/${phone}/${phone}/up'
                downlink_topic = 'jt808/${phone}/${phone}/dn' }"""
CLOCK = {"Year": 26, "Month": 3, "Day": 1, "Hour": 8, "Minute": 0, "Second": 5}


def application(gw, *filters):
    app = gw.connect("mqtt", MqttPeer)
    app.login("app", 5)
    for filter_ in filters:
        app.subscribe(filter_, 1)
    return app


def got(app, topic):
    return json.loads(app.receive(topic).payload)


@pytest.mark.parametrize("edition", [2016, 2025])
def test_a_vehicle_speaks_to_an_application_of_emqx(gateway, edition):
    gw = gateway(GBT, listeners={"mqtt": "mqtt", "gbt32960": "gbt32960"})
    app = application(gw, f"gbt32960/{VIN}/upstream/#")
    vehicle = gw.connect("gbt32960", Vehicle, edition=edition).login()
    head = {"Encrypt": 1, "Vin": VIN}
    login = {"Time": CLOCK, "Seq": 1, "ICCID": "89860000000000000017"}
    login |= ({"Num": 0, "Length": 0, "Id": ""} if edition == 2016 else
              {"BmsNum": 0, "BatteryPackCounts": [], "BatteryPackEncodings": []})
    assert got(app, f"gbt32960/{VIN}/upstream/vlogin") == {"Cmd": 1, "Data": login} | head
    vehicle.say(REPORT, position_unit(edition) + b"\x85\0\x02\xca\xfe")
    place = {"Type": "Location", "Status": 0, "Longitude": 121473701, "Latitude": 31230416}
    place |= {"CoordinateSystem": 1} if edition == 2025 else {}
    own = {"Type": "CustomData", "Data": base64.b64encode(b"\x85\0\x02\xca\xfe").decode()}
    assert got(app, f"gbt32960/{VIN}/upstream/info") == {
        "Cmd": 2, "Data": {"Time": CLOCK, "Infos": [place, own]}} | head
    vehicle.say(LOGOUT, TIME + b"\0\1")
    assert got(app, f"gbt32960/{VIN}/upstream/vlogout") == {
        "Cmd": 4, "Data": {"Time": CLOCK, "Seq": 1}} | head


def test_an_application_of_emqx_commands_a_vehicle(gateway):
    gw = gateway(GBT, listeners={"mqtt": "mqtt", "gbt32960": "gbt32960"})
    app = application(gw, f"gbt32960/{VIN}/upstream/response")
    vehicle = gw.connect("gbt32960", Vehicle).login()

    def command(document):
        app.publish(f"gbt32960/{VIN}/dnstream", json.dumps(document).encode(), 1)

    command({"Action": "Query", "Total": 2, "Ids": ["0x02", "0x09"]})
    assert vehicle.next(QUERY).unit[6:] == b"\x02\x02\x09"
    vehicle.say(QUERY, TIME + b"\x02\x02\x00\x1e\x09\x3c", flag=SUCCESS)
    assert got(app, f"gbt32960/{VIN}/upstream/response") == {
        "Cmd": 128, "Encrypt": 1, "Vin": VIN,
        "Data": {"Time": CLOCK, "Total": 2, "Params": [{"0x02": 30}, {"0x09": 60}]}}
    # Lengths that an application gives, perhaps wrongly, are counted anew.
    command({"Action": "Setting", "Total": 3, "Params": [{"0x02": 10}, {"0x04": 9},
                                                        {"0x05": "ev.example"}]})
    assert vehicle.next(SET).unit[6:] == b"\x03\x02\x00\x0a\x04\x0a\x05ev.example"
    vehicle.say(SET, TIME, flag=SUCCESS)
    assert got(app, f"gbt32960/{VIN}/upstream/response")["Cmd"] == 129
    command({"Action": "Control", "Command": "0x06", "Param": {"Level": 2, "Message": "stop"}})
    assert vehicle.next(CONTROL).unit[6:] == b"\x06\x02stop"
    vehicle.say(CONTROL, TIME, flag=SUCCESS)
    assert got(app, f"gbt32960/{VIN}/upstream/response")["Cmd"] == 130
    command({"Action": "Control", "Command": "0x03"})
    assert vehicle.next(CONTROL).unit[6:] == b"\x03"


@pytest.mark.parametrize("edition", [2013, 2019])
def test_a_terminal_speaks_to_an_application_of_emqx(gateway, edition):
    gw = gateway(JT, listeners={"mqtt": "mqtt", "jt808": "jt808"})
    phone = PHONE if edition == 2013 else PHONE.rjust(20, "0")
    app = application(gw, f"jt808/{phone}/{phone}/up")
    terminal = gw.connect("jt808", Terminal, edition=edition, phone=phone).login()
    extra = (b"\x01\x04\x00\x01\xe2\x40" b"\x25\x04\x00\x00\x40\x11" b"\x30\x01\x1f"
             b"\x14\x04\x00\x00\x00\x01" b"\xe1\x02\xca\xfe")
    terminal.locate(extra=extra)
    signal = dict.fromkeys(["low_beam", "high_beam", "right_turn", "left_turn", "brake", "reverse",
                            "fog", "side_marker", "horn", "air_conditioner", "neutral", "retarder",
                            "abs", "heater", "cluth"], 0)
    signal |= {"low_beam": 1, "brake": 1, "cluth": 1}
    header = {"msg_id": LOCATION, "encrypt": 0, "len": len(location_body(extra=extra)),
              "phone": phone, "msg_sn": 2}
    header |= {"proto_ver": 1} if edition == 2019 else {}
    assert got(app, f"jt808/{phone}/{phone}/up") == {"header": header, "body": {
        "alarm": 0, "status": 3, "latitude": 31000000, "longitude": 121000000, "altitude": 10,
        "speed": 365, "direction": 90, "time": "260301080000",
        "extra": {"mileage": 123456, "signal": signal, "rssi": 31, "20": "AAAAAQ==",
                  "custome": {"225": "yv4="}}}}
    terminal.say(0x0F00, b"\x01\x02")
    assert got(app, f"jt808/{phone}/{phone}/up")["body"] == {"unknown_id": True, "data": "AQI="}


def test_an_application_of_emqx_commands_a_terminal(gateway):
    gw = gateway(JT, listeners={"mqtt": "mqtt", "jt808": "jt808"})
    app = application(gw, f"jt808/{PHONE}/{PHONE}/up")
    terminal = gw.connect("jt808", Terminal).login()

    def command(message, body, **header):
        document = {"header": {"msg_id": message, **header}, "body": body}
        app.publish(f"jt808/{PHONE}/{PHONE}/dn", json.dumps(document).encode(), 1)
        frame = terminal.next(message)
        terminal.answer_general(frame)
        return frame

    assert command(0x8300, {"flag": 8, "text": "车"}, phone=PHONE).body == b"\x08" + "车".encode("gbk")
    # The counts are wrong on purpose.
    parameters = {"length": 9, "params": [{"id": 1, "value": 60}, {"id": 0x13, "value": "a.example"},
                                          {"id": 0xF365, "value": "AQI="}]}
    assert command(0x8103, parameters).body == (
        b"\x03" b"\0\0\0\x01\x04\0\0\0\x3c" b"\0\0\0\x13\x09a.example" b"\0\0\xf3\x65\x02\x01\x02")
    area = {"type": 1, "length": 1, "areas": [
        {"id": 7, "flag": 2, "lt_lat": 31500000, "lt_lng": 121500000, "rb_lat": 31000000,
         "rb_lng": 122000000, "start_time": "260301000000", "end_time": "260302000000",
         "max_speed": 60, "overspeed_duration": 5}]}
    # Bit 1 alone is set: a speed and no times, whatever the application gives.
    assert command(0x8602, area).body == struct.pack("!BBIHIIIIHB", 1, 1, 7, 2, 31500000, 121500000,
                                                     31000000, 122000000, 60, 5)
    frame = command(0x8104, {}, msg_sn=4711)
    assert frame.serial == 4711
    terminal.say(0x0104, struct.pack("!HB", 4711, 2) + b"\0\0\0\x55\x04\0\0\0\x50"
                 b"\0\0\x01\x10\x08\x01\x02\x03\x04\x05\x06\x07\x08")
    answer = got(app, f"jt808/{PHONE}/{PHONE}/up")
    assert (answer["header"]["msg_id"], answer["body"]) == (0x0104, {
        "seq": 4711, "length": 2, "params": [{"id": 0x55, "value": 80},
                                             {"id": 0x110, "value": "AQIDBAUGBwg="}]})
