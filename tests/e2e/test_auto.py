# SPDX-License-Identifier: Apache-2.0
"""One port for everything: plain and over TLS, whatever way the first bytes come."""
import json
import re
import ssl
import subprocess

import pytest

import gbt32960wire
import jt808wire
from authority import Authority
from mqttwire import connect
from polygate import BIN, TIMEOUT, Peer
from proxywire import v2
from wswire import WebSocket, frame, request

CONNACK = bytes.fromhex("20020000")
PAGE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POLICY = b"<policy-file-request/>\0"
REGISTRATION = jt808wire.frame(jt808wire.REGISTER, "013912345678", 0, jt808wire.register_body())


@pytest.fixture
def ca(folder):
    authority = Authority(folder)
    authority.issue("server")
    return authority


@pytest.fixture
def everything(gateway, ca):
    """A gateway with the listener "all" of these additional keys, certificates among them."""
    def start(keys="", config="", plain=False):
        files = "" if plain else (
            f'certificates = "{ca.folder}/server.pem" keys = "{ca.folder}/server.key"')
        gw = gateway(config, listeners={
            "all": f'listener "all" {{ bind = "127.0.0.1:0"  protocol = auto  {files} {keys} }}\n'})
        gw.context = ssl.create_default_context(cafile=ca.folder / "ca.pem")
        return gw
    return start


def opened(gw, secure, kind=Peer, alpn=None):
    """A connection to the port, with TLS or without."""
    peer = gw.connect("all", kind)
    if secure:
        if alpn:
            gw.context.set_alpn_protocols(alpn)
        peer.socket = gw.context.wrap_socket(peer.socket, server_hostname="localhost")
    return peer


def counter(gw, name):
    rows = json.loads(gw.ctl("counters", "--json", "--all"))["counters"]
    return {row["name"]: row["value"] for row in rows}[name]


def either(test):
    """The same over plain TCP and over TLS, whole and byte by byte."""
    test = pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])(test)
    return pytest.mark.parametrize("piece", [1, 10000], ids=["bytes", "whole"])(test)


# ---- who is served ---------------------------------------------------------------------------------


@either
@pytest.mark.parametrize("version", [3, 4, 5])
def test_auto_mqtt(everything, secure, piece, version):
    gw = everything()
    peer = opened(gw, secure)
    peer.send_pieces(connect("probe", version) + bytes.fromhex("c000"), piece)
    assert peer.read_until(bytes.fromhex("d000"))[:4:3] == b"\x20\0"
    gw.wait_log("admitted", client="probe", protocol="mqtt", listener="all",
                peer=r"127\.0\.0\.1:\d+")


@either
def test_auto_jt808(everything, secure, piece):
    gw = everything()
    peer = opened(gw, secure, jt808wire.Terminal)
    peer.send_pieces(REGISTRATION, piece)
    peer.code = peer.next(jt808wire.REGISTER_ANSWER).body[3:]
    peer.serial = 1
    peer.authenticate()
    gw.wait_log("admitted", client=peer.phone, protocol="jt808", listener="all")


@either
@pytest.mark.parametrize("edition", [2016, 2025])
def test_auto_gbt32960(everything, secure, piece, edition):
    gw = everything()
    peer = opened(gw, secure, gbt32960wire.Vehicle)
    peer.send_pieces(gbt32960wire.frame(gbt32960wire.LOGIN, peer.vin,
                                        gbt32960wire.login_unit(edition), edition), piece)
    peer.edition = edition
    peer.expect_answer(gbt32960wire.LOGIN)
    gw.wait_log("admitted", client=peer.vin, protocol="gbt32960", listener="all")


@either
@pytest.mark.parametrize("connect_frame", [
    b"CONNECT\naccept-version:1.2\nhost:localhost\n\n\0",
    b"\r\nSTOMP\r\naccept-version:1.2\r\nhost:localhost\r\n\r\n\0",
], ids=["connect", "stomp"])
def test_auto_stomp(everything, secure, piece, connect_frame):
    gw = everything()
    peer = opened(gw, secure)
    peer.send_pieces(connect_frame, piece)
    assert peer.read_until(b"\0").startswith(b"CONNECTED\n")
    gw.wait_log("admitted", protocol="stomp", listener="all")


@either
@pytest.mark.parametrize("alpn", [None, ["http/1.1"], ["h2", "http/1.1"]])
def test_auto_websocket(everything, secure, piece, alpn):
    gw = everything()
    peer = opened(gw, secure, WebSocket, alpn)
    peer.send_pieces(request(), piece)
    status, headers = peer.answer()
    assert status == 101 and headers["sec-websocket-protocol"] == "mqtt"
    peer.send_pieces(frame(connect("probe")), piece)
    peer.expect_stream(CONNACK)
    gw.wait_log("admitted", client="probe", protocol="mqtt", listener="all")


def test_auto_the_path_names_the_frontend(everything):
    gw = everything()
    peer = opened(gw, False, WebSocket)
    assert peer.ask(request("/jt808", protocols=()))[0] == 101
    peer.send(frame(REGISTRATION))
    _, answer = peer.read_frame()
    assert jt808wire.Frame(answer).message == jt808wire.REGISTER_ANSWER
    peer = opened(gw, False, WebSocket)
    assert peer.open("/stomp", ["v12.stomp"])["sec-websocket-protocol"] == "v12.stomp"


def test_auto_more_behind_the_first_frame(everything):
    """All of it in one packet, longer than what is looked at."""
    gw = everything()
    for number, secure in enumerate((False, True)):
        peer = opened(gw, secure)
        peer.send(connect(f"probe{number}") + bytes.fromhex("c000") * 20000)
        peer.expect(CONNACK + bytes.fromhex("d000") * 20000)


def test_auto_real_clients(everything, ca):
    gw = everything()
    for number, tls in enumerate(([], ["--cafile", ca.folder / "ca.pem"])):
        sub = gw.tool("stdbuf", "-oL", "mosquitto_sub", "-d", "-h", "localhost", "-p", gw.port("all"),
                      "-t", f"a/{number}", "-C", "1", "-F", "MSG %t %p", *tls)
        sub.wait_line(r"^Subscribed")
        gw.tool("mosquitto_pub", "-h", "localhost", "-p", gw.port("all"), "-q", "1", "-t",
                f"a/{number}", "-m", "hello", *tls).wait()
        sub.wait_line(f"^MSG a/{number} hello$")


def test_auto_openssl_and_a_terminal(everything, ca):
    """A frame of a terminal through openssl s_client."""
    gw = everything()
    client = subprocess.Popen(["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile",
                               ca.folder / "ca.pem", "-connect", f"127.0.0.1:{gw.port('all')}"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, bufsize=0)
    try:
        client.stdin.write(REGISTRATION)
        answer = b""
        while answer.count(b"\x7e") < 2:
            more = client.stdout.read(1000)
            assert more, answer
            answer += more
        assert jt808wire.Frame(answer).message == jt808wire.REGISTER_ANSWER
    finally:
        client.kill()
        client.communicate()


def test_auto_behind_a_proxy(everything):
    gw = everything('proxy = v2 proxy_from = {"127.0.0.1"} allow_anonymous = yes')
    for number, secure in enumerate((False, True)):
        peer = gw.connect("all")
        peer.send(v2())
        if secure:
            peer.socket = gw.context.wrap_socket(peer.socket, server_hostname="localhost")
        peer.send(connect(f"probe{number}"))
        peer.expect(CONNACK)
        gw.wait_log("admitted", client=f"probe{number}", peer=re.escape("192.0.2.7:40000"))
    web = gw.connect("all", WebSocket)
    assert web.ask(v2() + request())[0] == 101


def test_auto_the_name_of_a_certificate_is_the_user(everything, ca):
    ca.issue("device")
    gw = everything(f'verify = optional ca_file = "{ca.folder}/ca.pem" identity = cn')
    gw.context.load_cert_chain(ca.folder / "device.pem", ca.folder / "device.key")
    for secure in (False, True):
        peer = opened(gw, secure)
        peer.send(connect("probe", username="somebody"))
        peer.expect(CONNACK)
        gw.wait_log("admitted", client="probe", user="device" if secure else "somebody")
    web = opened(gw, True, WebSocket)
    assert web.ask(request())[0] == 101
    web.send(frame(connect("web")))
    gw.wait_log("admitted", client="web", user="device")


def test_auto_one_protocol_on_every_transport(gateway):
    gw = gateway(listeners={
        "all": 'listener "all" { bind = "127.0.0.1:0" transport = auto protocol = mqtt }\n'})
    peer = gw.connect("all")
    peer.send(connect("probe"))
    peer.expect(CONNACK)
    web = gw.connect("all", WebSocket)
    assert web.ask(request())[0] == 101
    other = gw.connect("all", jt808wire.Terminal)
    other.send(REGISTRATION)
    other.expect_close()
    gw.wait_log("connection_refused", reason="unknown_protocol")


def test_auto_websocket_alone(gateway):
    """transport = ws with protocol = auto: each frontend below its own name."""
    gw = gateway(listeners={
        "ws": 'listener "ws" { bind = "127.0.0.1:0" transport = ws protocol = auto }\n'})
    for path, names in (("/mqtt", ("mqtt",)), ("/jt808", ())):
        assert gw.connect("ws", WebSocket).ask(request(path, protocols=names))[0] == 101
    assert gw.connect("ws", WebSocket).ask(request("/auto", protocols=()))[0] == 404


# ---- who is not ------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_auto_a_request_for_a_page_gets_one(everything, secure):
    gw = everything()
    peer = opened(gw, secure)
    peer.send_pieces(PAGE, 1)
    page = peer.read_until(b"path.")
    assert page.startswith(b"HTTP/1.1 404 ")
    gw.wait_log("connection_refused", reason="protocol_error", detail="404: .*")


def test_auto_curl_gets_a_page(everything, ca):
    gw = everything()
    for url, words in ((f"http://localhost:{gw.port('all')}/mqtt", []),
                       (f"https://localhost:{gw.port('all')}/mqtt",
                        ["--http1.1", "--cacert", ca.folder / "ca.pem"])):
        status = gw.tool("curl", "-s", "-o", "page", "-w", "%{http_code}", *words, url).wait()
        assert status == "426" and (gw.folder / "page").read_text()


@pytest.mark.parametrize("data", [
    b"garbage\r\n", b"\0" * 1000, b"\xff", connect("x")[1:], b"\x30\x05\0\3a/bx", b"SSH-2.0-x\r\n",
    b"\x10\xff\xff\xff\xff\xff", POLICY,
])
@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
def test_auto_garbage_is_closed_and_counted(everything, secure, data):
    gw = everything()
    peer = opened(gw, secure)
    peer.send(data)
    peer.expect_close()
    peer.close()
    gw.wait_log("connection_refused", reason="unknown_protocol", listener="all")
    assert counter(gw, "refuse.unknown_protocol") == 1
    good = opened(gw, secure)
    good.send(connect("probe"))
    good.expect(CONNACK)


def test_auto_garbage_is_no_reset(everything):
    """Who sends more than is looked at still sees an end, and no error."""
    gw = everything()
    peer = opened(gw, False)
    peer.send(b"?" * 100000)
    assert peer.socket.recv(1) == b""  # and no ConnectionResetError


def test_auto_tls_without_certificates(everything):
    gw = everything(plain=True)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        opened(gw, True)
    gw.wait_log("connection_refused", reason="unknown_protocol", detail="TLS.*")


def test_auto_tls_may_be_required(everything):
    gw = everything("require_tls = yes")
    good = opened(gw, True)
    good.send(connect("probe"))
    good.expect(CONNACK)
    peer = opened(gw, False)
    peer.send(connect("plain"))
    peer.expect_close()
    gw.wait_log("connection_refused", reason="unknown_protocol", detail=".*require_tls.*")
    page = opened(gw, False)
    page.send(PAGE)
    answer = page.read_until(b"wss://.\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    head, body = answer.split(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_auto_silence_and_dripping_have_deadlines(everything):
    gw = everything(config="limits { first_byte_timeout = 300ms  login_timeout = 600ms }")
    silent, slow, tls = opened(gw, False), opened(gw, False), opened(gw, True)
    slow.send(b"\x10")
    for peer in (silent, slow, tls):
        peer.expect_close()
    gw.wait_log("connection_refused", reason="first_byte_timeout")
    gw.wait_log("connection_refused", reason="login_timeout")
    assert counter(gw, "refuse.first_byte_timeout") == 2


def test_auto_a_handshake_has_a_deadline(everything):
    gw = everything("handshake_timeout = 300ms")
    peer = opened(gw, False)
    peer.send(b"\x16\x03\x01")
    peer.expect_close()
    gw.wait_log("connection_refused", reason="handshake_timeout")


def test_auto_newcomers_count_as_connections_and_not_as_openings(everything):
    gw = everything("openings = 1", config="workers = 1  limits { connections = 5 }")
    waiting = [opened(gw, False) for _ in range(5)]
    opened(gw, False).expect_close()
    gw.wait_log("connection_refused", reason="connection_limit")
    for number, peer in enumerate(waiting):
        peer.send(connect(f"c{number}"))
        peer.expect(CONNACK)


def test_auto_openings_are_bounded(everything):
    gw = everything("openings = 1", config="workers = 1")
    half, other = opened(gw, False), opened(gw, False)
    half.send(b"GET /mqtt HTTP/1.1\r\n")
    mqtt = opened(gw, False)
    mqtt.send(connect("a"))
    mqtt.expect(CONNACK)
    other.send(b"GET /mqtt HTTP/1.1\r\n")
    other.expect_close()
    gw.wait_log("connection_refused", reason="busy", detail="see openings of the listener")


def test_auto_newcomers_end_with_their_listener(everything, gateway):
    gw = everything()
    silent, half, tls = opened(gw, False), opened(gw, False), opened(gw, True)
    kept = opened(gw, True)
    kept.send(connect("kept"))
    kept.expect(CONNACK)
    half.send(b"GET /mqtt HTTP/1.1\r\n")
    gw.listeners = {"mqtt": "mqtt"}
    gw.reload("")
    gw.wait_log("listener_closed", name="all")
    for peer in (silent, half, tls):
        peer.expect_close()
    kept.send(bytes.fromhex("c000"))
    kept.expect(bytes.fromhex("d000"))


# ---- policy files of Flash -------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1, 100])
def test_auto_the_policy_file(everything, piece):
    gw = everything('flash_policy = {"*.example.com", "localhost"}')
    peer = opened(gw, False)
    peer.send_pieces(POLICY, piece)
    policy = peer.read_until(b"\0")
    assert b"<cross-domain-policy>" in policy and policy.count(b"<allow-access-from ") == 2
    port = gw.port("all")
    assert f'domain="*.example.com" to-ports="{port}"'.encode() in policy
    peer.expect_close()


# ---- the configuration -----------------------------------------------------------------------------


@pytest.mark.parametrize("keys, expected", [
    ("transport = tcp protocol = auto", "leave the transport out"),
    ("transport = tls protocol = auto", "leave the transport out"),
    ("protocol = auto require_tls = yes", "there are no certificates"),
    ('protocol = auto flash_policy = "a\\"b"', "flash_policy: found"),
    ('protocol = auto paths = "/x"', "does not tell which frontend"),
    ('protocol = auto certificates = "nowhere.pem"', "nowhere.pem"),
    ("protocol = aut", "auto"),
])
def test_auto_wrong_blocks_are_refused_by_the_check(folder, keys, expected):
    path = folder / "polygate.conf"
    path.write_text(f'listener "m" {{ bind = "127.0.0.1:0" {keys} }}\n')
    done = subprocess.run([BIN, "-t", "-c", path], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 1 and expected in done.stderr, done.stderr


def test_auto_certificates_are_read_again(everything, ca):
    gw = everything()
    before = opened(gw, True)
    before.send(connect("before"))
    before.expect(CONNACK)
    ca.issue("server", cn="another")
    gw.reload()
    after = opened(gw, True)
    names = dict(pair[0] for pair in after.socket.getpeercert()["subject"])
    assert names["commonName"] == "another"
    before.send(bytes.fromhex("c000"))
    before.expect(bytes.fromhex("d000"))
