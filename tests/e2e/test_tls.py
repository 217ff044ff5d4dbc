# SPDX-License-Identifier: Apache-2.0
"""The TLS transport with real clients: who is let in, what a reload changes, what a bad peer costs."""
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

from authority import EC_KEY, Authority, openssl
from polygate import TIMEOUT, Tool, raise_descriptors, resident_bytes, sanitized

CONNECT = bytes.fromhex("10 11 00 04 4d 51 54 54 04 02 00 3c 00 05") + b"probe"
CONNACK = bytes.fromhex("20020000")
PING, PONG = bytes.fromhex("c000"), bytes.fromhex("d000")


@pytest.fixture
def ca(folder):
    authority = Authority(folder)
    authority.issue("server")
    return authority


def listener(ca, more="", certificates=("server",)):
    files = ", ".join(f'"{ca.folder}/{c}.pem"' for c in certificates)
    keys = ", ".join(f'"{ca.folder}/{c}.key"' for c in certificates)
    return ('listener "mqtt" { bind = {"127.0.0.1:0"} transport = tls protocol = mqtt '
            f'certificates = {{{files}}} keys = {{{keys}}} {more} }}\n')


def mutual(ca, more=""):
    return listener(ca, f'verify = require ca_file = "{ca.folder}/ca.pem" {more}')


def context(ca, certificate=None, trusted="ca"):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.load_verify_locations(ca.folder / f"{trusted}.pem")
    if certificate:
        c.load_cert_chain(ca.folder / f"{certificate}.pem", ca.folder / f"{certificate}.key")
    return c


def connect(gw, c, name="localhost", session=None):
    raw = socket.create_connection(("127.0.0.1", gw.port("mqtt")), TIMEOUT)
    return c.wrap_socket(raw, server_hostname=name, session=session)


def read(s, size):
    data = b""
    while len(data) < size:
        more = s.recv(size - len(data))
        assert more, f"the end after {data.hex()}"
        data += more
    return data


def serves(s, packet=CONNECT, answer=CONNACK):
    s.sendall(packet)
    return read(s, len(answer)) == answer


def client_tool(name, gw, *words):
    return Tool("stdbuf", "-oL", name, "-h", "localhost", "-p", gw.port("mqtt"), "-V", "mqttv311", *words)


def refuses(gw, c, reason="handshake_failed", **fields):
    """No service for this client, and the log says why."""
    def attempt():
        try:
            with connect(gw, c) as s:
                s.sendall(CONNECT)
                assert not s.recv(1)
        except (ssl.SSLError, ConnectionError):
            pass
    return gw.provoke(attempt, "closed", reason=reason, **fields)


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_mosquitto_clients(gateway, ca, version):
    gw = gateway(listeners={"mqtt": listener(ca)})
    tls = ["--cafile", ca.folder / "ca.pem", "--tls-version", version]
    sub = client_tool("mosquitto_sub", gw, *tls, "-t", "a/#", "-C", "1", "-d", "-W", "20")
    sub.wait_line("SUBACK")
    client_tool("mosquitto_pub", gw, *tls, "-t", "a/b", "-q", "1", "-m", "hello").wait()
    assert "hello" in sub.wait()


def test_wrong_authority_and_old_versions_are_refused(gateway, ca):
    Authority(ca.folder, "other")
    gw = gateway(listeners={"mqtt": listener(ca)})
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(gw, context(ca, trusted="other"))
    gw.wait_log("closed", reason="handshake_failed", detail=".*unknown ca.*")
    old = context(ca)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    refuses(gw, old, detail=".*unsupported protocol.*", peer="127.0.0.1:.*")


def test_the_chain_is_shown(gateway, ca):
    ca.issue_below("leaf")
    gw = gateway(listeners={"mqtt": listener(ca, certificates=("leaf",))})
    with connect(gw, context(ca)) as s:  # which knows the root alone
        assert serves(s)


@pytest.mark.parametrize("keys, version, suite", [
    ('ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305"', ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ('ciphersuites = "TLS_AES_128_GCM_SHA256"', ssl.TLSVersion.TLSv1_3, "TLS_AES_128_GCM_SHA256"),
    ("ktls = yes", ssl.TLSVersion.TLSv1_2, None), ("ktls = yes", ssl.TLSVersion.TLSv1_3, None)])
def test_suites_are_those_of_the_listener(gateway, ca, keys, version, suite):
    gw = gateway(listeners={"mqtt": listener(ca, keys)})
    c = context(ca)
    c.minimum_version = c.maximum_version = version
    with connect(gw, c) as s:
        assert serves(s) and serves(s, PING * 1000, PONG * 1000)
        assert suite in (None, s.cipher()[0])


@pytest.mark.parametrize("version, wishes, suite", [
    (ssl.TLSVersion.TLSv1_2, None, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256",
     "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256",
     "ECDHE-ECDSA-CHACHA20-POLY1305"),
    (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (ssl.TLSVersion.TLSv1_3, None, "TLS_AES_128_GCM_SHA256")])
def test_the_cheapest_good_suite_is_chosen(gateway, ca, version, wishes, suite):
    gw = gateway(listeners={"mqtt": listener(ca)})
    c = context(ca)
    c.minimum_version = c.maximum_version = version
    if wishes:
        c.set_ciphers(wishes)
    with connect(gw, c) as s:
        assert s.cipher()[0] == suite and serves(s)


def test_curves_and_versions_are_those_of_the_listener(gateway, ca):
    gw = gateway(listeners={"mqtt": listener(ca, 'curves = "P-384"  min_version = 1.3')})
    c = context(ca)
    c.set_ecdh_curve("secp384r1")
    with connect(gw, c) as s:
        assert serves(s) and s.version() == "TLSv1.3"
    c = context(ca)
    c.set_ecdh_curve("prime256v1")
    refuses(gw, c, detail=".*")
    c = context(ca)
    c.maximum_version = ssl.TLSVersion.TLSv1_2
    refuses(gw, c, detail=".*unsupported protocol.*")


def test_server_name_picks_the_certificate(gateway, ca):
    ca.issue("second", san="DNS:second.example,DNS:*.wild.example")
    gw = gateway(listeners={"mqtt": listener(ca, certificates=("server", "second"))})
    c = context(ca)
    for name, cn in [("localhost", "server"), ("second.example", "second"),
                     ("x.wild.example", "second")]:
        with connect(gw, c, name) as s:
            assert dict(x[0] for x in s.getpeercert()["subject"])["commonName"] == cn
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(gw, c, "nobody.example")


def test_mutual(gateway, ca):
    Authority(ca.folder, "other").issue("stranger")
    ca.issue("device")
    ca.issue("expired", end="20210101000000Z")
    gw = gateway(listeners={"mqtt": mutual(ca, "identity = cn")})
    with connect(gw, context(ca, "device")) as s:
        assert serves(s)
    gw.wait_log("admitted", client="probe", user="device")
    refuses(gw, context(ca), detail=".*peer did not return a certificate.*")
    refuses(gw, context(ca, "stranger"), detail=".*certificate verify failed.*")
    refuses(gw, context(ca, "expired"), detail=".*expired.*")


def test_identities(gateway, ca):
    ca.issue("device", cn="common", san="DNS:name.example")
    text = subprocess.run(["openssl", "x509", "-in", ca.folder / "device.pem", "-noout",
                           "-fingerprint", "-sha256"], check=True, capture_output=True,
                          text=True, timeout=TIMEOUT).stdout
    digest = text.strip().split("=")[1].replace(":", "").lower()
    for kind, user in [("cn", "common"), ("san_dns", "name.example"), ("fingerprint", digest),
                       ("subject", "CN=common")]:
        gw = gateway(listeners={"mqtt": mutual(ca, f"identity = {kind}")})
        with connect(gw, context(ca, "device")) as s:
            assert serves(s)
        gw.wait_log("admitted", client="probe", user=user)
    ca.issue("nameless", san="IP:127.0.0.1")
    gw = gateway(listeners={"mqtt": mutual(ca, "identity = san_dns")})
    refuses(gw, context(ca, "nameless"), detail=".*no usable name.*")


def test_revoked_by_a_reload_and_no_session_saves_it(gateway, ca):
    ca.issue("device")
    gw = gateway(listeners={"mqtt": mutual(ca, f'crl_file = "{ca.folder}/ca.crl"')})
    c = context(ca, "device")
    with connect(gw, c) as s:
        assert serves(s)
        session = s.session
        s.sendall(PING)
        assert read(s, 2) == PONG
        ca.revoke("device")
        assert gw.reload()["event"] == "reloaded"
        assert serves(s, PING, PONG), "live connections stay"
    mark = gw.mark()
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        with connect(gw, c, session=session) as s:
            serves(s)
    gw.wait_log("closed", start=mark, reason="handshake_failed", detail=r".*certificate revoked \(of CN=device\)")


@pytest.mark.parametrize("tickets", ["yes", "no"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_resume_over_a_reload(gateway, ca, version, tickets):
    gw = gateway(listeners={"mqtt": listener(ca, f"session_tickets = {tickets}")})
    c = context(ca)
    c.minimum_version = c.maximum_version = version
    with connect(gw, c) as s:
        assert serves(s)
        session = s.session
    gw.reload()
    with connect(gw, c, session=session) as s:
        assert serves(s) and s.session_reused == (tickets == "yes")


KEY = "00112233445566778899aabbccddeeff"


def psk_listener(folder):
    (folder / "psk").write_text(f"# devices\ndevice-1:{KEY}\n")
    return ('listener "mqtt" { bind = {"127.0.0.1:0"} transport = tls protocol = mqtt '
            f'psk_file = "{folder}/psk" }}\n')


def test_pre_shared_keys(gateway, folder):
    gw = gateway(listeners={"mqtt": psk_listener(folder)})

    def publish(identity, key, status):
        client_tool("mosquitto_pub", gw, "-i", "probe", "-t", "a", "-m", "b", "-q", "1",
                    "--psk-identity", identity, "--psk", key).wait(status)

    publish("device-1", KEY, 0)
    gw.wait_log("admitted", user="device-1")
    for identity, key in [("device-1", KEY[::-1]), ("device-2", KEY)]:
        gw.provoke(lambda: publish(identity, key, None), "closed", reason="handshake_failed",
                   detail=rf".* \(of {identity}\)")
    # No way around the key by another version.
    for version in ["-tls1_2", "-tls1_3"]:
        done = subprocess.run(["openssl", "s_client", version, "-connect",
                               f"127.0.0.1:{gw.port('mqtt')}"], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=TIMEOUT)
        assert done.returncode != 0


def test_short_keys_are_refused_unless_told_otherwise(gateway, folder):
    short = f"device-1:{KEY[:8]}\n"
    gw = gateway(listeners={"mqtt": psk_listener(folder)})
    (folder / "psk").write_text(short)
    assert "psk_key_min" in gw.reload()["error"]
    gw.listeners["mqtt"] = gw.listeners["mqtt"].replace("transport", "psk_key_min = 4 transport")
    assert gw.reload("")["event"] == "reloaded"
    client_tool("mosquitto_pub", gw, "-i", "probe", "-t", "a", "-m", "b", "-q", "1",
                "--psk-identity", "device-1", "--psk", KEY[:8]).wait(0)


def test_keys_are_read_again_and_live_connections_stay(gateway, folder):
    gw = gateway(listeners={"mqtt": psk_listener(folder)})
    other = KEY[::-1]
    words = ["-t", "a", "-q", "1", "--psk-identity", "device-1"]
    sub = client_tool("mosquitto_sub", gw, *words, "--psk", KEY, "-d", "-C", "1")
    sub.wait_line("SUBACK")
    (folder / "psk").write_text(f"device-1:{other}\n")
    assert gw.reload()["event"] == "reloaded"
    gw.provoke(lambda: client_tool("mosquitto_pub", gw, *words, "-m", "old", "--psk", KEY).wait(None), "closed",
               reason="handshake_failed")
    client_tool("mosquitto_pub", gw, *words, "-m", "new", "--psk", other).wait()
    assert "new" in sub.wait()


def test_dates_of_certificates_can_be_left_out(gateway, ca):
    ca.issue("old", end="20210101000000Z")
    gw = gateway(listeners={"mqtt": mutual(ca)})
    refuses(gw, context(ca, "old"), detail=r"certificate verify failed: certificate has expired \(of CN=old\)")
    gw = gateway(listeners={"mqtt": mutual(ca, "verify_dates = no")})
    with connect(gw, context(ca, "old")) as s:
        assert serves(s)
    other = Authority(ca.folder, "other")
    other.issue("stranger", end="20210101000000Z")
    refuses(gw, context(ca, "stranger"))


def test_secrets_are_logged_where_asked_for(gateway, ca, folder):
    gw = gateway(listeners={"mqtt": listener(ca, f'keylog_file = "{folder}/secrets"')})
    gw.wait_log("tls_secrets_logged", listener="mqtt")
    with connect(gw, context(ca)) as s:
        assert serves(s)
        wanted = s.version()
    lines = (folder / "secrets").read_text().splitlines()
    assert wanted == "TLSv1.3" and any(x.startswith("CLIENT_TRAFFIC_SECRET_0 ") for x in lines)
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o600


def test_alpn(gateway, ca):
    gw = gateway(listeners={"mqtt": listener(ca, 'alpn = {"mqtt", "x-amzn-mqtt-ca"}')})
    for offered, chosen in [(["http/1.1", "x-amzn-mqtt-ca"], "x-amzn-mqtt-ca"), ([], None)]:
        c = context(ca)
        if offered:
            c.set_alpn_protocols(offered)
        with connect(gw, c) as s:
            assert s.selected_alpn_protocol() == chosen
    c = context(ca)
    c.set_alpn_protocols(["h2"])
    refuses(gw, c)


class Traffic:
    """1,000 clients, each of which gets back what it publishes, all the time."""

    def __init__(self, gw, c):
        raise_descriptors()
        self.live = []
        for n in range(1000):
            self.live.append(connect(gw, c))
            self.live[n].sendall(CONNECT[:-5] + b"p%04d" % n + bytes.fromhex("820a000100056d2f") + b"%03d\1" % n)
        for s in self.live:
            assert read(s, 9) == CONNACK + bytes.fromhex("9003000101")
        self.rounds, self.failure, self.over = 0, None, False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.go_round)
        self.thread.start()

    def go_round(self):
        try:
            while not self.over:
                for n, s in enumerate(self.live):  # QoS 1: acknowledged, and sent back
                    s.sendall(bytes.fromhex("320a00056d2f") + b"%03d" % n + b"\0\1x")
                for n, s in enumerate(self.live):
                    got = read(s, 16)
                    assert b"m/%03d" % n in got and bytes.fromhex("40020001") in got, got
                    s.sendall(bytes.fromhex("4002") + got[got.index(b"/") + 4:][:2])
                with self.changed:
                    self.rounds += 1
                    self.changed.notify_all()
        except (AssertionError, OSError) as error:
            with self.changed:
                self.failure = error
                self.changed.notify_all()

    def wait_round(self):
        """Everybody is served once more from now on."""
        with self.changed:
            wanted = self.rounds + 2
            assert self.changed.wait_for(lambda: self.failure or self.rounds >= wanted, TIMEOUT)
            assert not self.failure, self.failure

    def end(self):
        self.over = True
        self.thread.join(TIMEOUT)
        for s in self.live:
            s.close()


def shown(gw, c):
    with connect(gw, c) as s:
        assert serves(s)
        return s.getpeercert()["serialNumber"]


def test_reload_under_1000_live_connections_with_traffic(gateway, ca):
    gw = gateway(listeners={"mqtt": listener(ca)})
    c = context(ca)
    traffic = Traffic(gw, c)
    try:
        seen = [traffic.live[0].getpeercert()["serialNumber"]]
        for _ in range(3):
            ca.issue("server")
            assert gw.reload()["event"] == "reloaded"
            seen.append(shown(gw, c))
            traffic.wait_round()
        assert len(set(seen)) == 4
        assert gw.counters()["core.connections_closed"] == 3  # those that looked
    finally:
        traffic.end()
    assert not traffic.failure


def counted(gw, counter, times):
    deadline = time.monotonic() + TIMEOUT
    while gw.counters().get(counter) != times:
        assert time.monotonic() < deadline


def test_a_bad_file_keeps_what_is_there_and_is_named(gateway, ca):
    gw = gateway(listeners={"mqtt": listener(ca)})
    c = context(ca)
    live = [connect(gw, c) for _ in range(5)]
    for n, s in enumerate(live):
        assert serves(s, CONNECT[:-5] + b"p%04d" % n)
    second, good = shown(gw, c), (ca.folder / "server.pem").read_text()
    for bad, says in [("", "there is no certificate in it"), ("-----BEGIN CERTIFICATE-----\nMIIB", "server.pem: "),
                      ((ca.folder / "ca.pem").read_text(), "server.key: the key is not that of the certificate")]:
        (ca.folder / "server.pem").write_text(bad)
        failed = gw.reload()
        assert failed["event"] == "reload_failed" and says in failed["error"], failed
        assert failed["error"].startswith(f'{gw.config_path}:2: listener "mqtt": {ca.folder}/server.'), failed
    counted(gw, "core.reloads_failed", 3)
    with connect(gw, c) as s:
        assert s.getpeercert()["serialNumber"] == second
    for s in live:
        assert serves(s, PING, PONG)
        s.close()
    (ca.folder / "server.pem").write_text(good)
    assert gw.reload()["event"] == "reloaded"
    counted(gw, "core.reloads_done", 1)


ENCRYPT = {"as PKCS #8": ["pkcs8", "-topk8"], "as it used to be": ["ec", "-aes128"]}


@pytest.mark.parametrize("form", ENCRYPT)
def test_a_key_with_a_password_is_refused_and_nobody_is_asked(gateway, ca, form):
    """Of listeners, and of blocks by which the gateway calls."""
    openssl(ca.folder, *ENCRYPT[form], "-in", "server.key", "-passout", "pass:secret", "-out", "locked.key")
    own = f'certificate = "{ca.folder}/server.pem"  key = "{ca.folder}/locked.key"'
    for name, block in {
        "listener": listener(ca).replace("server.key", "locked.key"),
        "forward": f'listener "mqtt" {{ bind = "127.0.0.1:0"  protocol = gbt32960 }}\nforward "out" {{ '
                   f'to = "127.0.0.1:9"  platform = "PGATEPLATFORM0001"  username = "u"  password = "p"  transport = tls  {own} }}\n'}.items():
        gw = gateway(listeners={"mqtt": block}, launch_only=True)
        gw.wait_exit(1)
        assert any("locked.key: the key has a password" in line for line in gw.lines.all()), (name, gw.lines.all())


@pytest.mark.parametrize("keys, says", {
    'certificates = "{0}/none"': "/none: No such file or directory",
    'certificates = "{0}"': ": it is a folder, expected a file",
    'certificates = "{0}/server.key"': "/server.key: there is no certificate in it",
    'certificates = "{0}/server.pem"': "/server.pem: there is no private key in it",
    'certificates = "{0}/server.pem"  keys = "{0}/other.key"': "/other.key: the key is not that of the certificate",
    'certificates = "{0}/short.pem"  keys = "{0}/short.key"': "/short.pem: its key is too short",
    '{1}  verify = require  ca_file = "{0}/none"': "/none: No such file or directory",
    '{1}  verify = require  ca_file = "{0}/server.key"': "/server.key: ",
    '{1}  verify = require  ca_dir = "{0}/none"': "/none: No such file or directory",
    '{1}  verify = require  ca_dir = "{0}/ca.pem"': "/ca.pem: it is no folder",
    '{1}  verify = require  ca_file = "{0}/ca.pem"  crl_file = "{0}/none"': "/none: No such file or directory",
    '{1}  verify = require  ca_file = "{0}/ca.pem"  crl_file = "{0}/ca.pem"':
        "/ca.pem: there is no list of revoked certificates in it",
    '{1}  curves = "none"': "curves: expected groups that OpenSSL knows",
    '{1}  curves = "SM2"': "curves: OpenSSL has no TLS suites with SM2",
    '{1}  keylog_file = "{0}/none/x"': "keylog_file: No such file or directory",
}.items())
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(gateway, ca, keys, says):
    ca.issue("other")
    openssl(ca.folder, "req", "-x509", "-newkey", "rsa:512", "-nodes", "-keyout", "short.key", "-out", "short.pem",
            "-subj", "/CN=x")
    good = f'certificates = "{ca.folder}/server.pem"  keys = "{ca.folder}/server.key"'
    block = keys.format(ca.folder, good)
    gw = gateway(listeners={"mqtt": f'listener "mqtt" {{ bind = "127.0.0.1:0"  transport = tls  protocol = mqtt  {block} }}\n'},
                 launch_only=True)
    gw.wait_exit(1)
    error = next(line for line in gw.lines.all() if "start_failed" in line)
    assert says in error and "polygate.conf:2: listener" in error, error


def test_slow_handshakes_end_and_their_number_is_bounded(gateway, ca):
    gw = gateway("workers = 1\n",
                 listeners={"mqtt": listener(ca, "handshake_timeout = 1s handshakes = 3")})
    with connect(gw, context(ca)) as good:
        assert serves(good)
        slow = [socket.create_connection(("127.0.0.1", gw.port("mqtt"))) for _ in range(3)]
        slow[0].sendall(b"\x16\x03\x01")
        over = socket.create_connection(("127.0.0.1", gw.port("mqtt")))
        gw.wait_log("connection_refused", reason="busy")
        assert serves(good, PING, PONG)
        gw.wait_log("closed", reason="handshake_timeout")
        for s in [*slow, over]:
            s.settimeout(TIMEOUT)
            assert s.recv(1) == b""
            s.close()
        with connect(gw, context(ca)) as s:
            assert serves(s)


def silent_for(s, seconds):
    """Nothing comes for so long."""
    s.settimeout(seconds)
    with pytest.raises(socket.timeout):
        s.recv(1)
    s.settimeout(TIMEOUT)


def test_the_time_to_log_in_begins_after_the_handshake(gateway, ca):
    gw = gateway("limits { first_byte_timeout = 2s  login_timeout = 2s }\n", listeners={"mqtt": listener(ca)})
    raw = socket.create_connection(("127.0.0.1", gw.port("mqtt")), TIMEOUT)
    silent_for(raw, 2.2)
    with context(ca).wrap_socket(raw, server_hostname="localhost") as s:
        s.sendall(CONNECT[:5])
        silent_for(s, 0.3)
        assert serves(s, CONNECT[5:])


def test_garbage_and_plain_text(gateway, ca):
    gw = gateway(listeners={"mqtt": listener(ca)})
    with gw.connect("mqtt") as peer:
        peer.send(CONNECT)
        line = gw.wait_log("closed", reason="handshake_failed")
        assert line["detail"] and line["peer"].startswith("127.0.0.1:")


def publish_packet(size, byte):
    body = struct.pack(">H", 1) + b"t" + bytes([byte]) * size
    length, head = len(body), b""
    while True:
        digit, length = length % 128, length // 128
        head += bytes([digit | (0x80 if length else 0)])
        if not length:
            return b"\x30" + head + body


def test_big_messages_and_a_slow_reader(gateway, ca):
    gw = gateway("limits { frame_size = 1m }\n", listeners={"mqtt": listener(ca)})
    subscribe = bytes.fromhex("8206000100017400")
    sub, pub = connect(gw, context(ca)), connect(gw, context(ca))
    assert serves(sub) and serves(sub, subscribe, bytes.fromhex("9003000100"))
    assert serves(pub, CONNECT[:-1] + b"2")
    packets = [publish_packet(size, 65 + n) for n, size in
               enumerate([1, 16383, 16384, 16385, 300000, 900000, 7])]
    for packet in packets:
        pub.sendall(packet)  # nobody reads meanwhile: more than the kernel's buffers take
    assert serves(pub, PING, PONG)
    for packet in packets:
        assert read(sub, len(packet)) == packet
    sub.sendall(bytes.fromhex("e000"))
    assert sub.recv(1) == b"", "close_notify comes"
    pub.close()


class ByHand:
    """TLS whose records go into segments as the test wants."""

    def __init__(self, gw, c):
        self.raw = socket.create_connection(("127.0.0.1", gw.port("mqtt")), TIMEOUT)
        self.came, self.goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = c.wrap_bio(self.came, self.goes, server_hostname="localhost")
        self.wait(self.tls.do_handshake)

    def wait(self, what, *arguments):
        while True:
            try:
                return what(*arguments)
            except ssl.SSLWantReadError:
                self.raw.sendall(self.goes.read())
                data = self.raw.recv(65536)
                assert data, "the end"
                self.came.write(data)

    def records(self, *payloads):
        for payload in payloads:
            self.tls.write(payload)
        return self.goes.read()

    def expect(self, data):
        got = b""
        while len(got) < len(data):
            got += self.wait(self.tls.read, len(data) - len(got))
        assert got == data


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_records_may_be_joined_and_cut_anyhow(gateway, ca, version):
    gw = gateway("limits { frame_size = 1m }\n", listeners={"mqtt": listener(ca)})
    c = context(ca)
    c.minimum_version = c.maximum_version = version
    peer = ByHand(gw, c)
    peer.raw.sendall(peer.records(CONNECT, PING))  # with TLS 1.3, right behind the handshake
    peer.expect(CONNACK + PONG)
    data = peer.records(*[PING] * 300)
    for cut in (-1, -10, 3, 1000):
        peer.raw.sendall(data[:cut])
        if cut < 0:
            peer.expect(PONG * 299)  # what is whole does not wait for what is not
        peer.raw.sendall(data[cut:])
        peer.expect(PONG if cut < 0 else PONG * 300)
        data = peer.records(*[PING] * 300)
    peer.raw.sendall(data)
    peer.expect(PONG * 300)
    # As much as is read in one turn, and a little, all of which is there when the gateway looks.
    full = publish_packet(16378, 65)
    assert len(full) == 16384
    peer.raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    gw.process.send_signal(signal.SIGSTOP)
    peer.raw.sendall(peer.records(*[full] * 16, PING))
    gw.process.send_signal(signal.SIGCONT)
    peer.expect(PONG)
    peer.raw.close()


# ---- what is left of a handshake ------------------------------------------------------------------

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_resumes_is_who_it_was(gateway, ca, version):
    """The ticket has the certificate, though the connection that gave it has let it go."""
    ca.issue("device")
    gw = gateway(listeners={"mqtt": mutual(ca, "identity = cn")})
    c = context(ca, "device")
    c.minimum_version = c.maximum_version = version
    session = None
    for reused in (False, True, True):
        mark = gw.mark()
        with connect(gw, c, session=session) as s:
            assert serves(s) and s.session_reused == reused
            session = s.session
        gw.wait_log("admitted", start=mark, client="probe", user="device")


class Client:
    """openssl s_client: a line R renegotiates, K changes the keys of both sides; the rest is sent."""

    def __init__(self, gw, ca, *words, port=None):
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port or gw.port('mqtt')}", "-brief",
             "-cert", ca.folder / "device.pem", "-key", ca.folder / "device.key", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def __enter__(self):
        self.until(b"Verification")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def send(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def until(self, end):
        data = b""
        while end not in data:
            more = self.process.stdout.read1(65536)
            assert more, data
            data += more
        return data


def test_keys_change_both_ways_and_certificates_are_gone_by_then(gateway, ca):
    ca.issue("device")
    gw = gateway(listeners={"mqtt": mutual(ca, "identity = cn")})
    with Client(gw, ca, "-tls1_3") as client:
        client.send(CONNECT)
        client.until(CONNACK)
        for _ in range(3):
            client.send(b"K\n")
            client.until(b"KEYUPDATE")
            client.send(PING)
            client.until(PONG)


def test_renegotiation_is_refused(gateway, ca):
    ca.issue("device")
    gw = gateway(listeners={"mqtt": mutual(ca)})
    with Client(gw, ca, "-tls1_2") as client:
        client.send(CONNECT)
        client.until(CONNACK)
        client.send(b"R\n")
        client.until(b"no renegotiation")
    gw.wait_log("closed", client="probe")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_fragments_are_as_short_as_a_client_asked(gateway, ca, version):
    """RFC 6066, 4: a device with little memory breaks on longer ones."""
    ca.issue("device")
    gw = gateway(listeners={"mqtt": mutual(ca)})
    with socket.create_server(("127.0.0.1", 0)) as between:
        lengths = []

        def carry():
            near, _ = between.accept()
            far = socket.create_connection(("127.0.0.1", gw.port("mqtt")), TIMEOUT)
            there = threading.Thread(target=carry_on, args=(near, far, []))
            there.start()
            carry_on(far, near, lengths)
            there.join()
            near.close()
            far.close()

        carrier = threading.Thread(target=carry)
        carrier.start()
        with Client(gw, ca, version, "-maxfraglen", "512", port=between.getsockname()[1]) as client:
            client.send(CONNECT)
            client.until(CONNACK)
            client.send(bytes.fromhex("8206000100017400"))
            client.until(bytes.fromhex("9003000100"))
            packet = publish_packet(3000, 66)
            mark = len(lengths)
            client.send(packet)
            client.until(packet)
        carrier.join(TIMEOUT)
        assert len(lengths) - mark >= 6 and max(lengths[mark:]) <= 512 + 64


def carry_on(come, go, lengths):
    """Bytes from one socket to the other, until the end; `lengths` are those of their records."""
    stream = b""
    try:
        while data := come.recv(65536):
            go.sendall(data)
            stream += data
            while len(stream) >= 5 and len(stream) >= 5 + int.from_bytes(stream[3:5], "big"):
                lengths.append(int.from_bytes(stream[3:5], "big"))
                stream = stream[5 + lengths[-1]:]
        go.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_ends_of_mutual_connections(gateway, ca, version):
    ca.issue("device")
    gw = gateway(listeners={"mqtt": mutual(ca)})
    c = context(ca, "device")
    c.minimum_version = c.maximum_version = version
    with connect(gw, c) as s:
        assert serves(s)
        s.unwrap()  # raises unless close_notify answers ours
    with connect(gw, c) as s:
        assert serves(s)
        s.suppress_ragged_eofs = False
        s.sendall(bytes.fromhex("e000"))
        assert s.recv(1) == b"", "close_notify comes"

    def bad_record():
        peer = ByHand(gw, c)
        peer.raw.sendall(peer.records(CONNECT))
        peer.expect(CONNACK)
        data = bytearray(peer.records(PING))
        data[-1] ^= 1
        peer.raw.sendall(data)
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):  # a fatal alert says so
            peer.wait(peer.tls.read, 1)
        peer.raw.close()
    gw.provoke(bad_record, "closed", client="probe", detail="TLS: .*bad record mac")

    def alert():
        peer = ByHand(gw, c)
        peer.raw.sendall(peer.records(CONNECT))
        peer.expect(CONNACK)
        peer.raw.sendall(peer.records(PING))
        data = bytearray(peer.raw.recv(65536))
        data[-1] ^= 1
        peer.came.write(data)
        with pytest.raises(ssl.SSLError):
            peer.tls.read(1)
        peer.raw.sendall(peer.goes.read())
        assert peer.raw.recv(65536) == b""
        peer.raw.close()
    gw.provoke(alert, "closed", client="probe", detail="TLS: .*alert bad record mac")


@pytest.mark.parametrize("kind, version, curve", [
    ("plain", ssl.TLSVersion.TLSv1_3, None), ("plain", ssl.TLSVersion.TLSv1_3, "prime256v1"),
    ("plain", ssl.TLSVersion.TLSv1_2, None), ("ec", ssl.TLSVersion.TLSv1_3, "prime256v1"),
    ("ec", ssl.TLSVersion.TLSv1_2, None), ("rsa", ssl.TLSVersion.TLSv1_3, None),
    ("chain", ssl.TLSVersion.TLSv1_3, None)])
def test_memory_of_idle_connections(gateway, ca, kind, version, curve):
    """16 KiB each, whatever the client's certificate, and whatever the keys were exchanged with."""
    if sanitized():
        pytest.skip("a sanitizer's heap has other sizes")
    if kind == "chain":
        ca.issue_below("device")
    elif kind != "plain":
        ca.issue("device", key=("rsa:2048",) if kind == "rsa" else EC_KEY)
    gw = gateway("workers = 1\n", listeners={"mqtt": listener(ca) if kind == "plain" else mutual(ca)})
    c = context(ca, None if kind == "plain" else "device")
    c.minimum_version = c.maximum_version = version
    if curve:
        c.set_ecdh_curve(curve)
    live, used = [], []
    for upto in (150, 550):
        while len(live) < upto:
            live.append(connect(gw, c))
            assert serves(live[-1], CONNECT[:-5] + b"%05d" % len(live))
        used.append(resident_bytes(gw, "RssAnon"))
    for s in live:
        s.close()
    assert (used[1] - used[0]) / 400 < 16 * 1024


@pytest.mark.parametrize("text, says", [
    ('ciphers = "ECC-SM4-SM3"', "SM2, SM3 or SM4"),
    ('ciphersuites = "TLS_SM4_GCM_SM3"', "ciphersuites: OpenSSL has no TLS suites with SM2, SM3 or SM4"),
    ('ciphers = "NOSUCH"', "ciphers: no cipher match"),
    ("verify = require", "ca_file or ca_dir"),
    ("identity = cn", "set verify"),
    ('psk_file = "x"', "make two listeners"),
])
def test_bad_blocks_are_refused(gateway, ca, text, says):
    gw = gateway(listeners={"mqtt": listener(ca, text)}, launch_only=True)
    gw.wait_exit(1)
    assert any(says in line.replace('\\"', '"') for line in gw.lines.all())


def test_a_certificate_with_sm2_is_refused_by_the_check(gateway, ca):
    openssl(ca.folder, "ecparam", "-genkey", "-name", "SM2", "-out", "server.key")
    openssl(ca.folder, "req", "-x509", "-new", "-key", "server.key", "-sm3", "-out", "server.pem", "-subj", "/CN=sm")
    gw = gateway(listeners={"mqtt": listener(ca)}, launch_only=True)
    gw.wait_exit(1)
    assert any("server.pem: " in line and "SM2" in line for line in gw.lines.all()), gw.lines.all()
