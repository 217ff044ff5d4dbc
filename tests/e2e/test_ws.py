# SPDX-License-Identifier: Apache-2.0
"""WebSocket, plain and over TLS: the handshake, frames in every cut, what is refused and how, closing,
back-pressure. Every test that has the fixture `ws` runs with both transports."""
import ssl
import struct
import threading

import paho.mqtt.client
import pytest

from authority import Authority
from polygate import TIMEOUT
from wswire import (BINARY, CLOSE, PING, PONG, TEXT, WebSocket, accept_of, frame, random_cuts,
                    request)

CONNECT = bytes.fromhex("10 0d 00 04 4d 51 54 54 04 02 00 3c 00 01 61")
CONNACK = bytes.fromhex("20 02 00 00")
PINGREQ, PINGRESP = bytes.fromhex("c0 00"), bytes.fromhex("d0 00")
SUBSCRIBE = bytes.fromhex("82 08 00 01 00 03 61 2f 62 00")
SUBACK = bytes.fromhex("90 03 00 01 00")
PUBLISH = bytes.fromhex("30 07 00 03 61 2f 62 68 69")


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("ca"))
    authority.issue("server")
    return authority


def listener(keys="", transport="ws", protocol="mqtt"):
    return (f'listener "ws" {{ bind = {{"127.0.0.1:0"}}  transport = {transport}  '
            f'protocol = {protocol}  {keys} }}\n')


def certificate(ca):
    return f'certificates = {{"{ca.folder}/server.pem"}}  keys = {{"{ca.folder}/server.key"}}'


def trusting(ca):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca.folder / "ca.pem")
    return context


@pytest.fixture(params=["ws", "wss"])
def ws(request, gateway, ca):
    """A gateway with a listener "ws" of these additional keys and this configuration."""
    def start(keys="", config=""):
        if request.param == "wss":
            keys += certificate(ca)
        gw = gateway(config, listeners={"mqtt": "mqtt", "ws": listener(keys, request.param)})
        gw.ca = ca if request.param == "wss" else None
        return gw
    return start


def dial(gw):
    return gw.connect("ws", WebSocket, tls=gw.ca and trusting(gw.ca))


def opened(gw):
    peer = dial(gw)
    peer.open()
    return peer


def connected(gw):
    peer = opened(gw)
    peer.send(frame(CONNECT))
    peer.expect_stream(CONNACK)
    return peer


# ---- the handshake ---------------------------------------------------------------------------------


def test_ws_the_key_is_answered_and_the_sub_protocol_echoed(ws):
    gw = ws()
    headers = dial(gw).open()
    assert headers["sec-websocket-accept"] == accept_of().lower()
    assert headers["sec-websocket-protocol"] == "mqtt"


@pytest.mark.parametrize("offer, selected", [
    (["mqttv3.1"], "mqttv3.1"), (["mqttv3.1, mqtt"], "mqttv3.1"), (["foo ,  mqtt,bar"], "mqtt"),
    (["foo", "bar", "mqtt"], "mqtt"), (["v12.stomp,mqtt"], "mqtt"), ([], None)])
def test_ws_one_offered_sub_protocol_is_selected(ws, offer, selected):
    headers = dial(ws()).open("/mqtt", offer)
    assert headers.get("sec-websocket-protocol") == selected


@pytest.mark.parametrize("status, arguments", [
    (400, {"protocols": ["MQTT"]}), (400, {"protocols": ["foo, bar"]}), (400, {"protocols": [""]}),
    (404, {"path": "/"}), (404, {"path": "/mqtt/"}), (405, {"method": "POST"}),
    (426, {"drop": ["Upgrade"]}), (426, {"Connection": "keep-alive"}),
    (426, {"Sec_WebSocket_Version": "8"}), (400, {"Sec_WebSocket_Key": "short"}),
    (400, {"drop": ["Host"]}), (400, {"drop": ["Sec-WebSocket-Key"]}),
    (400, {"X_A ": "a blank in front of the colon"}), (400, {"X_A": "over\r\n several lines"}),
    (400, {"Transfer_Encoding": "chunked"}), (400, {"Transfer_Encoding": "identity"}),
    (400, {"Content_Length": "5"}), (400, {"Sec_WebSocket_Extensions": "foo;;"}),
    (400, {"Sec_WebSocket_Extensions": 'foo; bar="'}), (400, {"Sec_WebSocket_Extensions": 'foo; bar="a b"'}),
    (400, {"Sec_WebSocket_Extensions": "foo; =1"}), (400, {"Sec_WebSocket_Extensions": "foo bar"}),
    (431, {"Cookie": "x" * 9000})])
def test_ws_what_is_no_handshake_gets_a_page(ws, status, arguments):
    gw = ws()
    peer = dial(gw)
    got, headers = peer.ask(request(**arguments))
    assert got == status
    assert peer.read(int(headers["content-length"])).endswith(b".\n")
    peer.expect_close()
    gw.wait_log("connection_refused", detail=f"{status}: .*")


def test_ws_header_names_in_any_case_and_bytes_one_by_one(ws):
    peer = dial(ws())
    peer.send_pieces(request().replace(b"Upgrade: websocket", b"UPGRADE: WebSocket")
                     .replace(b"Sec-WebSocket", b"sec-websocket"))
    assert peer.answer()[0] == 101
    peer.send_pieces(frame(CONNECT, width=0))
    peer.expect_stream(CONNACK)


def test_ws_frames_right_behind_the_request_are_served(ws):
    peer = dial(ws())
    peer.send(request() + frame(CONNECT)[:5])
    assert peer.answer()[0] == 101
    peer.send(frame(CONNECT)[5:])
    peer.expect_stream(CONNACK)


def test_ws_paths_and_origins(ws):
    gw = ws('paths = {"/mqtt", "/iot=mqtt", "/car=jt808"}  origins = {"https://good.example"}')
    assert dial(gw).open("/iot?x=1")["sec-websocket-protocol"] == "mqtt"
    dial(gw).open("/car", [])
    assert dial(gw).ask(request("/car"))[0] == 400
    dial(gw).open(Origin="https://good.example")
    assert dial(gw).ask(request(Origin="https://bad.example"))[0] == 403


def test_ws_handshakes_have_deadlines(ws):
    gw = ws("", "limits { first_byte_timeout = 100ms  login_timeout = 200ms }")
    dial(gw).expect_close()
    slow = dial(gw)
    slow.send(b"GET /mqtt")
    slow.expect_close()


def test_ws_opening_handshakes_are_bounded_and_count_as_connections(ws):
    gw = ws("openings = 2 ", "workers = 1  limits { connections = 3 }")
    waiting = [dial(gw) for _ in range(2)]
    over = gw.connect("ws")
    gw.wait_log("connection_refused", reason="busy", detail="see openings of the listener")
    over.expect_close()
    last = gw.connect("mqtt")
    last.send(CONNECT)
    last.expect(CONNACK)
    gw.connect("mqtt").expect_close()
    gw.wait_log("connection_refused", reason="connection_limit")
    for peer in waiting:
        peer.open()
    last.close()
    gw.wait_log("closed", reason="peer_closed")
    assert dial(gw).ask(request("/"))[0] == 404


def test_ws_a_longer_request_is_an_option(ws):
    gw = ws("request_size = 64k ")
    assert dial(gw).open(Cookie="x" * 60000)
    assert dial(gw).ask(request(Cookie="x" * 66000))[0] == 431


def test_wss_asks_for_certificates_and_negotiates_http(gateway, ca):
    ca.issue("device")
    keys = f'{certificate(ca)} verify = require ca_file = "{ca.folder}/ca.pem" identity = cn'
    gw = gateway("workers = 1\n", listeners={"ws": listener(keys, "wss")})
    context = trusting(ca)
    context.set_alpn_protocols(["http/1.1"])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        gw.connect("ws", WebSocket, tls=context).open()
    gw.wait_log("connection_refused", reason="handshake_failed", detail=".*certificate.*")
    context.load_cert_chain(ca.folder / "device.pem", ca.folder / "device.key")
    peer = gw.connect("ws", WebSocket, tls=context)
    assert peer.socket.selected_alpn_protocol() == "http/1.1"
    peer.open()
    peer.send(frame(CONNECT))
    peer.expect_stream(CONNACK)
    gw.wait_log("admitted", client="a", user="device")
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError):
        gw.connect("ws", WebSocket, tls=context)
    # A plain client, and one that says nothing.
    gw.provoke(lambda: gw.connect("ws", WebSocket).send(request()), "connection_refused",
               reason="handshake_failed", detail="http request")


def test_wss_the_handshake_has_a_deadline(gateway, ca):
    gw = gateway(listeners={"ws": listener(f"{certificate(ca)} handshake_timeout = 100ms", "wss")})
    gw.connect("ws").expect_close()
    gw.wait_log("connection_refused", reason="handshake_timeout")


def test_wss_a_reload_shows_the_new_certificate_and_keeps_connections(gateway, ca):
    own = Authority(ca.folder, "own")
    own.issue("site")
    keys = f'certificates = {{"{ca.folder}/site.pem"}} keys = {{"{ca.folder}/site.key"}}'
    gw = gateway(listeners={"ws": listener(keys, "wss")})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca.folder / "own.pem")
    peer = gw.connect("ws", WebSocket, tls=context)
    waiting = gw.connect("ws", WebSocket, tls=context)
    first = peer.socket.getpeercert()["serialNumber"]
    peer.open()
    peer.send(frame(CONNECT))
    peer.expect_stream(CONNACK)
    own.issue("site")
    assert gw.reload()["event"] == "reloaded"
    peer.send(frame(PINGREQ))
    peer.expect_stream(PINGRESP)
    waiting.open()
    assert gw.connect("ws", WebSocket, tls=context).socket.getpeercert()["serialNumber"] != first


# ---- frames ----------------------------------------------------------------------------------------


def test_ws_frames_may_be_cut_and_joined_anyhow(ws):
    gw = ws()
    stream = CONNECT + SUBSCRIBE + PUBLISH * 2
    answer = CONNACK + SUBACK + PUBLISH * 2
    for size in range(1, len(stream) + 1):
        peer = opened(gw)
        pieces = [stream[i:i + size] for i in range(0, len(stream), size)]
        sent = b"".join(frame(piece, BINARY if i == 0 else 0, i == len(pieces) - 1)
                        + frame(b"", PING) * (i == 0) for i, piece in enumerate(pieces))
        peer.send(sent)
        assert peer.read_frame() == (PONG, b"")
        peer.expect_stream(answer)
        peer.close()


def test_ws_headers_may_come_byte_by_byte_with_lengths_of_8_bytes(ws):
    peer = connected(ws())
    big = b"\x30" + b"\x83\xa2\x04" + b"\0\3a/b" + b"x" * (3 + 0x22 * 128 + 4 * 16384 - 5)
    data = frame(SUBSCRIBE) + frame(big)
    peer.send_pieces(data[:40])
    for piece in random_cuts(data[40:], 20):
        peer.send(piece)
    peer.expect_stream(SUBACK)
    peer.expect_stream(big)


def test_ws_pings_are_answered_in_order_and_pongs_ignored(ws):
    peer = connected(ws())
    peer.send(b"".join(frame(bytes([i]) * i, PING) for i in (0, 1, 125)) + frame(b"x", PONG))
    for i in (0, 1, 125):
        assert peer.read_frame() == (PONG, bytes([i]) * i)
    peer.send(frame(PINGREQ))
    peer.expect_stream(PINGRESP)


@pytest.mark.parametrize("code, bad", [
    (1003, frame(b"hello", TEXT)), (1002, frame(PINGREQ, mask=None)), (1002, frame(PINGREQ, rsv=4)),
    (1002, frame(PINGREQ, rsv=1)), (1002, frame(b"", 3)), (1002, frame(b"", 11)),
    (1002, frame(b"", 0)), (1002, frame(b"", BINARY, fin=False) + frame(b"")),
    (1002, frame(b"", PING, fin=False)), (1002, frame(b"x" * 126, PING)),
    (1002, frame(PINGREQ, width=2)), (1002, frame(PINGREQ, width=8)),
    (1002, b"\x82\xff" + b"\xff" * 12), (1002, frame(b"x", CLOSE)),
    (1002, frame(struct.pack(">H", 1005), CLOSE)), (1002, frame(struct.pack(">H", 999), CLOSE)),
    (1007, frame(struct.pack(">H", 1000) + b"\xff", CLOSE))])
def test_ws_bad_frames_are_closed_with_a_code(ws, code, bad):
    gw = ws()
    peer = connected(gw)
    peer.send(frame(PINGREQ) + bad)
    peer.expect_stream(PINGRESP)
    peer.expect_close_frame(code)
    peer.expect_close()
    gw.wait_log("closed", client="a", reason="protocol_error|unsupported")


def test_ws_a_peer_that_answers_no_ping_is_closed(ws):
    gw = ws("ping_interval = 1s ")
    good, silent = connected(gw), opened(gw)
    for _ in range(2):
        assert good.read_frame() == (PING, b"")
        good.send(frame(b"", PONG))
    assert silent.read_frame() == (PING, b"")
    silent.expect_close_frame(1008)
    gw.wait_log("closed", reason="keepalive_timeout", detail=".*ping_interval.*")
    good.send(frame(PINGREQ))
    opcode, payload = good.read_frame()
    while opcode == PING:
        opcode, payload = good.read_frame()
    assert (opcode, payload) == (BINARY, PINGRESP)


# ---- closing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload, echo", [
    (b"", b""), (struct.pack(">H", 1000), struct.pack(">H", 1000)),
    (struct.pack(">H", 4999) + "grüße".encode(), struct.pack(">H", 4999))])
def test_ws_the_peers_close_frame_is_answered(ws, payload, echo):
    gw = ws()
    peer = connected(gw)
    peer.send(frame(payload, CLOSE) + frame(PINGREQ))
    assert peer.read_frame() == (CLOSE, echo)
    peer.expect_close()
    gw.wait_log("closed", client="a", reason="peer_closed")


def test_ws_a_goodbye_of_the_client_closes_with_1000(ws):
    peer = connected(ws())
    peer.send(frame(bytes.fromhex("e0 00")))
    peer.expect_close_frame(1000)
    peer.send(frame(struct.pack(">H", 1000), CLOSE))
    peer.expect_close()


def test_ws_a_packet_that_is_too_long_closes_with_1009(ws):
    peer = connected(ws("", "limits { frame_size = 64k }"))
    peer.send(frame(b"\x30\xff\xff\x7f"))
    peer.expect_close_frame(1009)


def test_ws_draining_closes_with_1001(ws):
    gw = ws()
    peer = connected(gw)
    waiting = dial(gw)
    waiting.send(b"GET /mqtt")
    stopping = threading.Thread(target=gw.process.terminate)
    stopping.start()
    peer.expect_close_frame(1001)
    peer.send(frame(struct.pack(">H", 1001), CLOSE))
    peer.expect_close()
    stopping.join()


# ---- back-pressure and clients ---------------------------------------------------------------------


def remaining_length(size):
    out = b""
    while True:
        size, low = size >> 7, size & 127
        out += bytes([low | 0x80 if size else low])
        if not size:
            return out


BIG = b"\x30" + remaining_length(5 + 14_000_000) + b"\0\3a/b" + bytes(range(250)) * 56000


def slow_reader(gw):
    """A subscriber to whom more is under way than the kernel's buffers hold."""
    slow, fast = connected(gw), dial(gw)
    slow.send(frame(SUBSCRIBE))
    slow.expect_stream(SUBACK)
    fast.open()
    fast.send(frame(CONNECT.replace(b"\0\1a", b"\0\1b")))
    fast.expect_stream(CONNACK)
    fast.send(frame(BIG))
    slow.pending = slow.read(1) + slow.pending  # it is under way
    return slow


def test_ws_a_slow_reader_gets_every_byte_in_whole_messages(ws):
    slow = slow_reader(ws("", "limits { frame_size = 16m  output_max = 32m }  mqtt { max_packet_size = 16m }"))
    slow.send(frame(b"a ping in the middle", PING))
    slow.send(frame(PINGREQ))
    wanted = BIG + PINGRESP
    got, pongs = [], 0
    while sum(map(len, got)) < len(wanted):
        opcode, payload = slow.read_frame()
        pongs += opcode == PONG
        got += [payload] if opcode == BINARY else []
    assert b"".join(got) == wanted
    assert pongs == 1


def test_ws_a_close_frame_is_answered_behind_the_frame_that_is_leaving(ws):
    gw = ws("", "limits { frame_size = 16m  output_high = 16m  output_max = 32m  linger = 30s }"
                "mqtt { max_packet_size = 16m }")
    slow = slow_reader(gw)
    slow.send(frame(struct.pack(">H", 1000), CLOSE))
    gw.wait_log("closed", reason="peer_closed", client="a")
    slow.expect_close_frame(1000)
    slow.expect_close()


def test_ws_paho_publishes_and_receives(ws):
    gw = ws()
    got, changed = [], threading.Condition()

    def on_message(_client, _data, message):
        with changed:
            got.append(message.payload)
            changed.notify_all()

    client = paho.mqtt.client.Client("paho", transport="websockets")
    client.on_message = on_message
    client.on_connect = lambda c, *_: c.subscribe("big/#", 2)
    client.on_subscribe = lambda c, *_: [c.publish("big/1", b"x" * n, 2) for n in (0, 1, 125, 126, 65535, 100000)]
    if gw.ca:
        client.tls_set(str(gw.ca.folder / "ca.pem"))
    client.connect("localhost", gw.port("ws"))
    client.loop_start()
    with changed:
        assert changed.wait_for(lambda: len(got) == 6, TIMEOUT)
    client.disconnect()
    client.loop_stop()
    assert [len(payload) for payload in got] == [0, 1, 125, 126, 65535, 100000]
    gw.wait_log("closed", client="paho", reason="client_closed")
