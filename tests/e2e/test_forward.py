# SPDX-License-Identifier: Apache-2.0
"""Vehicles forwarded to another platform: login, frames as they came, what becomes of them when the
platform is away, does not like them or does not answer, and what is told of it."""
import json
import ssl
import struct
import threading
import time

import pytest

from authority import Authority
from gbt32960upstream import Upstream
from gbt32960wire import (COMMAND, ERROR, HEARTBEAT, LOGIN, LOGOUT, PLATFORM_LOGIN, PLATFORM_LOGOUT,
                          REISSUE, REPORT, SUCCESS, TIME, Vehicle, frame, position_unit)
from mqttwire import MqttPeer
from polygate import TIMEOUT

LISTENERS = {"gbt32960": "gbt32960", "mqtt": "mqtt"}
STORE = 'store { path = "store" }\n'
VIN = "LPGATE00000000017"


def block(upstream, name="city", more=""):
    return (f'forward "{name}" {{ to = "127.0.0.1:{upstream.port}"  platform = "PGATEPLATFORM0001"\n'
            f'  username = "polygate"  password = "secret"  retry = 100ms  retry_max = 200ms\n'
            f'  {more} }}\n')


@pytest.fixture
def upstream():
    started = Upstream()
    yield started
    if started.listening:
        started.kill()


def moment(second):
    """A time of the wire, that many seconds into a day."""
    return bytes([26, 3, 1, second // 3600, second // 60 % 60, second % 60])


def vin(number):
    return f"LPGATE{number:011d}"


def status(gw, name="city"):
    rows = json.loads(gw.ctl("upstreams", "-j"))["upstreams"]
    return next(row for row in rows if row["name"] == name)


def logged_in(gw, *names):
    """From here on reports go in real time."""
    for name in names or ("city",):
        gw.wait_log("forward_login", upstream=name)


def wait_status(gw, wanted, what):
    deadline = time.monotonic() + TIMEOUT
    while not wanted(status(gw)):
        assert time.monotonic() < deadline, f"waiting for {what}: {status(gw)}"


def test_frames_go_to_the_platform_as_they_came(gateway, upstream):
    gw = gateway(block(upstream), listeners=LISTENERS)
    login = upstream.wait_for(PLATFORM_LOGIN)
    assert login.vin == "PGATEPLATFORM0001" and login.edition == 2016
    assert login.unit[8:41] == b"polygate".ljust(12, b"\0") + b"secret".ljust(20, b"\0") + b"\1"
    gw.wait_log("forward_login", upstream="city")
    for edition, number in ((2016, 1), (2025, 2)):
        vehicle = gw.connect("gbt32960", Vehicle, vin=vin(number), edition=edition).login()
        vehicle.say(REPORT, position_unit(edition))
        vehicle.say(REISSUE, position_unit(edition, time=moment(9)))
        vehicle.barrier()
        vehicle.say(LOGOUT, TIME + b"\0\1")
        vehicle.expect_answer(LOGOUT)
    upstream.wait_for(LOGOUT, 2)
    for edition, number in ((2016, 1), (2025, 2)):
        came = [f for f in upstream.of(LOGIN, REPORT, REISSUE, LOGOUT) if f.vin == vin(number)]
        assert [f.command for f in came] == [LOGIN, REPORT, REISSUE, LOGOUT]
        assert came[1].raw == frame(REPORT, vin(number), position_unit(edition), edition)
        assert came[2].raw == frame(REISSUE, vin(number), position_unit(edition, time=moment(9)),
                                    edition)
    wait_status(gw, lambda s: s["out"] == 0 and s["counters"]["acknowledged"] == 8, "settled")
    assert status(gw)["state"] == "welcomed" and status(gw)["waiting"] == 0
    gw.stop()
    logout = upstream.wait_for(PLATFORM_LOGOUT)
    assert logout.vin == login.vin and logout.unit[6:8] == login.unit[6:8]


def test_only_the_vehicles_of_the_block_are_forwarded_and_only_there(gateway, upstream):
    """A copy for the platform shows nowhere else, whatever the payload of the listener is."""
    other = Upstream()
    gw = gateway(block(upstream, "one", 'vehicles = {"LPGATE*1", "LPGATE00000000002"}') +
                 block(other, "two", 'vehicles = "LPGATE0000000000[23]"'), listeners=LISTENERS)
    app = gw.connect("mqtt", MqttPeer)
    app.login("app", 5)
    app.subscribe("#", 1)
    logged_in(gw, "one", "two")
    for number in (1, 2, 3, 4):
        vehicle = gw.connect("gbt32960", Vehicle, vin=vin(number)).login()
        vehicle.say(REPORT, position_unit())
        vehicle.barrier()
        app.receive(f"gbt32960/{vin(number)}/status")
        app.receive(f"gbt32960/{vin(number)}/up/vehicle_login")
        assert json.loads(app.receive(f"gbt32960/{vin(number)}/up/realtime_report").payload)
    app.barrier()
    upstream.wait_for(REPORT, 2)
    other.wait_for(REPORT, 2)
    assert [f.vin for f in upstream.of(REPORT)] == [vin(1), vin(2)]
    assert [f.vin for f in other.of(REPORT)] == [vin(2), vin(3)]
    gw.stop()
    other.kill()


def drive(gw, vehicles, seconds, upstream, events):
    """Vehicles that report once for each of so many seconds, as fast as it goes; `events` are functions by
    the second at which they run."""
    peers = [gw.connect("gbt32960", Vehicle, vin=vin(i)).login() for i in range(vehicles)]
    for second in range(seconds):
        if second in events:
            events[second]()
        for peer in peers:
            peer.say(REPORT, position_unit(time=moment(second)))
        if second % 8 == 7:
            for peer in peers:
                peer.barrier()
    for peer in peers:
        peer.barrier()
    return [moment(second) for second in range(seconds)]


def all_came(upstream, vehicles, times):
    def found(up):
        order, _ = up.records()
        return len(order) == vehicles and all(len(came) >= len(times) for came in order.values())
    upstream.wait(found, "every record")
    order, again = upstream.records()
    assert all(came == times for came in order.values())
    return again


@pytest.mark.parametrize("store", ["", STORE], ids=["memory", "store"])
def test_every_report_comes_once_and_in_order_though_the_platform_is_killed(gateway, upstream, store):
    """What came before the platform died and was not acknowledged comes again, marked; nothing else
    comes twice, nothing is missing, and what was late is marked."""
    gw = gateway(block(upstream, more="window = 32") + store, listeners=LISTENERS)
    logged_in(gw)
    mark = []

    def killed():
        upstream.wait_for(REPORT, 20)
        upstream.kill()

    def back():
        # Its reports were made while nobody was there.
        mark.append(len(upstream.frames))
        upstream.start()
        upstream.wait_for(PLATFORM_LOGIN, 2)

    times = drive(gw, 20, 60, upstream, {20: killed, 40: back})
    again = all_came(upstream, 20, times)
    assert again <= 32
    late = [f for f in upstream.of(REPORT, REISSUE, start=mark[0]) if f.unit[:6] < moment(40)]
    # Those of the seconds without a platform, at least.
    assert len(late) >= 20 * 19 and all(f.command == REISSUE for f in late)
    assert upstream.of(REPORT, start=mark[0])
    wait_status(gw, lambda s: s["waiting"] == 0 and s["out"] == 0, "nothing left")
    got = status(gw)["counters"]
    assert got["reissued"] >= len(late) and got["given_up"] == 0
    for command in (REISSUE, REPORT):
        for got in upstream.of(command, start=mark[0]):
            second = struct.unpack("!6B", got.unit[:6])
            seconds = second[3] * 3600 + second[4] * 60 + second[5]
            assert got.raw == frame(command, got.vin, position_unit(time=moment(seconds)))


def test_what_was_answered_is_forwarded_though_the_gateway_is_killed(gateway, upstream):
    """A success answer means that a report is with the session of the platform, in the store."""
    upstream.kill()
    gw = gateway(block(upstream) + STORE + "gbt32960 { report_ack = always }\n",
                 listeners=LISTENERS)
    peers = [gw.connect("gbt32960", Vehicle, vin=vin(i)).login() for i in range(4)]
    times = [moment(second) for second in range(10)]
    for time_ in times:
        for peer in peers:
            peer.say(REPORT, position_unit(time=time_))
        for peer in peers:
            peer.expect_answer(REPORT, unit=time_)
    gw.kill()
    gw.start()
    upstream.start()
    again = all_came(upstream, 4, times)
    assert again == 0 and not upstream.of(REPORT) and len(upstream.of(LOGIN)) == 4


def test_a_platform_whose_answer_is_lost_has_the_record_twice_and_marked(gateway, upstream):
    gw = gateway(block(upstream), listeners=LISTENERS)
    logged_in(gw)
    upstream.judge = lambda got: SUCCESS if got.command in (LOGIN, PLATFORM_LOGIN) else None
    gw.connect("gbt32960", Vehicle).login().say(REPORT, position_unit())
    upstream.wait_for(REPORT)
    upstream.kill()
    upstream.start()
    came = upstream.wait_for(REISSUE)
    assert came.raw == frame(REISSUE, VIN, position_unit())
    assert upstream.records()[1] == 1


def test_what_is_refused_or_not_answered_is_repeated_and_then_given_up(gateway, upstream):
    gw = gateway(block(upstream, more="answer_timeout = 200ms  repetitions = 2"),
                 listeners=LISTENERS)
    logged_in(gw)
    verdicts = {vin(1): ERROR, vin(2): None}
    upstream.judge = lambda got: verdicts.get(got.vin, SUCCESS) if got.command == REPORT else SUCCESS
    for number in (1, 2):
        gw.connect("gbt32960", Vehicle, vin=vin(number)).login().say(REPORT, position_unit())
    good = gw.connect("gbt32960", Vehicle, vin=vin(3)).login()
    second = 0
    # Others go on meanwhile, which also shows that the link lives.
    while len(gw.logged("forward_given_up")) < 2:
        second += 1
        good.say(REPORT, position_unit(time=moment(second)))
        good.barrier()
        upstream.wait(lambda up: any(f.vin == vin(3) and f.unit[:6] == moment(second)
                                     for f in up.of(REPORT)), "the good one's")
    refused = gw.wait_log("forward_given_up", vin=vin(1))
    assert (refused["reason"], refused["repetitions"]) == ("rejected", "2")
    assert gw.wait_log("forward_given_up", vin=vin(2))["reason"] == "timed_out"
    for number in (1, 2):
        assert len([f for f in upstream.of(REPORT) if f.vin == vin(number)]) == 3
    wait_status(gw, lambda s: s["waiting"] == 0 and s["out"] == 0, "nothing left")


def test_a_link_on_which_nothing_is_answered_any_more_is_made_anew(gateway, upstream):
    gw = gateway(block(upstream, more="answer_timeout = 300ms"), listeners=LISTENERS)
    logged_in(gw)
    vehicle = gw.connect("gbt32960", Vehicle).login()
    upstream.wait_for(LOGIN)
    wait_status(gw, lambda s: s["out"] == 0, "the login")
    upstream.judge = lambda got: None if got.command == REPORT else SUCCESS
    vehicle.say(REPORT, position_unit())
    gw.wait_log("closed", listener="city", reason="keepalive_timeout")
    upstream.wait_for(REISSUE)


def test_logins_are_repeated_then_rest_and_begin_again(gateway, upstream):
    upstream.judge = lambda got: None if got.command == PLATFORM_LOGIN else SUCCESS
    gw = gateway(block(upstream, more="login_retry = 100ms  login_tries = 3  login_rest = 400ms"),
                 listeners=LISTENERS)
    upstream.wait_for(PLATFORM_LOGIN, 3)
    gw.wait_log("closed", listener="city", reason="timed_out")
    upstream.judge = lambda got: ERROR if got.command == PLATFORM_LOGIN else SUCCESS
    upstream.wait_for(PLATFORM_LOGIN, 6)
    gw.wait_log("forward_login_refused", upstream="city", response="2", tries="1")
    upstream.judge = lambda got: SUCCESS
    gw.wait_log("forward_login", upstream="city")
    serials = [struct.unpack("!H", f.unit[6:8])[0] for f in upstream.of(PLATFORM_LOGIN)]
    # Repetitions have the serial of what they repeat; each new login has the next one.
    assert serials[0:3] == [serials[0]] * 3 and serials[3:6] == [serials[0] + 1] * 3


def test_a_link_is_kept_alive_and_dead_ones_are_seen(gateway, upstream):
    gw = gateway(block(upstream, more="heartbeat = 200ms  silence = 700ms"), listeners=LISTENERS)
    upstream.wait_for(HEARTBEAT, 2)
    upstream.judge = lambda got: None
    gw.wait_log("closed", listener="city", reason="keepalive_timeout")
    # One that never answers heartbeats is not taken for dead.
    upstream.judge = lambda got: None if got.command == HEARTBEAT else SUCCESS
    upstream.wait_for(PLATFORM_LOGIN, 2)
    count = len(upstream.of(HEARTBEAT))
    upstream.wait_for(HEARTBEAT, count + 6)
    assert len(upstream.of(PLATFORM_LOGIN)) == 2


def test_a_platform_that_does_not_answer_reports(gateway, upstream):
    upstream.judge = lambda got: SUCCESS if got.command == PLATFORM_LOGIN else None
    gw = gateway(block(upstream, more="answers = no  window = 1"), listeners=LISTENERS)
    times = drive(gw, 2, 20, upstream, {})
    all_came(upstream, 2, times)
    wait_status(gw, lambda s: s["waiting"] == 0 and s["out"] == 0, "nothing left")


def test_no_more_is_sent_than_the_rate_allows(gateway, upstream):
    upstream.kill()
    gw = gateway(block(upstream, more="rate = 50"), listeners=LISTENERS)
    drive(gw, 5, 20, upstream, {})
    upstream.start()
    upstream.wait_for(REISSUE)
    began = time.monotonic()
    upstream.wait_for(REISSUE, 100)
    # 105 frames less what may go at once, and the wheel's coarse clock.
    assert time.monotonic() - began > 1.5


def test_a_command_of_the_platform_is_refused_and_its_heartbeat_answered(gateway, upstream):
    gw = gateway(block(upstream), listeners=LISTENERS)
    upstream.wait_for(PLATFORM_LOGIN)
    gw.wait_log("forward_login", upstream="city")
    with upstream.changed:
        upstream.open[0].sendall(frame(0x80, VIN, TIME + b"\1\1") + frame(HEARTBEAT, VIN))
    upstream.wait_for(HEARTBEAT)
    got = {f.command: f for f in upstream.of(0x80, HEARTBEAT)}
    assert (got[0x80].flag, got[0x80].unit) == (ERROR, TIME)
    assert (got[HEARTBEAT].flag, got[HEARTBEAT].unit) == (SUCCESS, b"")


def test_a_reload_leaves_a_link_and_ends_one_whose_block_is_gone(gateway, upstream):
    other = Upstream()
    gw = gateway(block(upstream), listeners=LISTENERS)
    upstream.wait_for(PLATFORM_LOGIN)
    gw.wait_log("forward_login", upstream="city")
    assert gw.reload(block(upstream) + block(other, "town"))["event"] == "reloaded"
    gw.wait_log("forward_login", upstream="town")
    gw.connect("gbt32960", Vehicle).login()
    upstream.wait_for(LOGIN)
    other.wait_for(LOGIN)
    assert gw.reload(block(other, "town"))["event"] == "reloaded"
    upstream.wait_for(PLATFORM_LOGOUT)
    assert len(upstream.of(PLATFORM_LOGIN)) == 1 and len(other.of(PLATFORM_LOGIN)) == 1
    gw.wait_log("closed", listener="city", reason="listener_removed")
    gw.connect("gbt32960", Vehicle, vin=vin(2)).login()
    other.wait_for(LOGIN, 2)
    assert len(upstream.of(LOGIN)) == 1
    gw.stop()
    other.kill()


def test_a_platform_over_tls_has_to_show_who_it_is(gateway, folder):
    ca, other = Authority(folder), folder / "other"
    ca.issue("server")
    other.mkdir()
    Authority(other)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    secure = Upstream(context)

    def over_tls(name, host, authority, more=""):
        return block(secure, name, f'transport = tls  ca_file = "{authority}/ca.pem"  {more}').replace(
            "127.0.0.1:", host + ":")

    gw = gateway(over_tls("good", "localhost", folder) +
                 over_tls("untrusted", "localhost", other) +
                 over_tls("misnamed", "127.0.0.1", folder, 'server_name = "other.example"') +
                 over_tls("trial", "127.0.0.1", other, "verify = no"), listeners=LISTENERS)
    for name in ("good", "trial"):
        gw.wait_log("forward_login", upstream=name)
    for name in ("untrusted", "misnamed"):
        gw.wait_log("closed", listener=name, reason="handshake_failed")
        assert not gw.logged("forward_login", upstream=name)
    vehicle = gw.connect("gbt32960", Vehicle).login()
    vehicle.say(REPORT, position_unit())
    secure.wait_for(REPORT, 2)
    # A name that was called by its name is one that the certificate has; a lost link is made anew.
    mark = gw.mark()
    secure.kill()
    secure.start()
    gw.wait_log("forward_login", upstream="good", start=mark)
    gw.stop()
    secure.kill()


@pytest.mark.parametrize("wrong, said", [
    ("", "platform is 0 bytes long"),
    ('platform = "P" username = "u" password = "p" to = "nobody"', "HOST:PORT"),
    ('platform = "P" username = "u" password = "p"', "to is not given"),
    ('platform = "P" username = "a name too long" password = "p" to = "a:1"', "1 to 12"),
    ('platform = "P" username = "u" password = "p" to = "a:1" transport = ws', "one of"),
    ('platform = "P" username = "u" password = "p" to = "a:1" vehicles = {"A", ""}',
     "empty pattern"),
    ('platform = "P" username = "u" password = "p" to = "a:1" transport = tls ca_file = "/none"',
     "/none"),
])
def test_what_is_wrong_with_a_block_is_told(gateway, wrong, said):
    if not wrong:
        wrong = 'to = "a:1"'
    gw = gateway(f'forward "x" {{ {wrong} }}', listeners=LISTENERS, launch_only=True)
    assert said in gw.wait_log("start_failed")["error"]
    gw.wait_exit(1)


def test_a_listener_cannot_be_of_a_frontend_that_calls(gateway):
    gw = gateway(listeners={"x": "forward"}, launch_only=True)
    assert "expected one of" in gw.wait_log("start_failed")["error"]
    gw.wait_exit(1)
