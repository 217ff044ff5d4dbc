# SPDX-License-Identifier: Apache-2.0
"""Who may come in and what he may do, with the real daemon: passwords, rules, reload."""
import signal
import subprocess

import pytest

import polygate
from jt808wire import TEXT, Terminal
from mqttwire import SUBACK, MqttPeer, connect, subscribe

BAD_CREDENTIALS, NOT_AUTHORIZED, SERVER_BUSY = 0x86, 0x87, 0x89


def passwd(path, user, password):
    subprocess.run([polygate.CTL, "passwd", str(path), user], input=f"{password}\n".encode(),
                   check=True, timeout=polygate.TIMEOUT)


@pytest.fixture
def guarded(folder, gateway):
    """A function that starts a gateway with users alice and bob and these rules (None: no file)."""
    passwords, rules = folder / "passwords", folder / "rules"
    passwd(passwords, "alice", "secret")
    passwd(passwords, "bob", "b")

    def start(text=None, access="", more="", rest=""):
        if text is not None:
            rules.write_text(text, encoding="utf-8")
            more += f' rules_file = "{rules}"'
        gw = gateway(f'authfile {{ password_file = "{passwords}"  {more} }}\n'
                     f'access {{ {access} }}\n{rest}')
        gw.passwords, gw.rules = passwords, rules
        return gw

    return start


def refused(peer, filter_, packet_id=9, options=0):
    """The SUBACK's code for one filter."""
    peer.send(subscribe(packet_id, (filter_, options), version=peer.version))
    return peer.next(SUBACK).codes[0]


def test_passwords_are_asked_and_verified(guarded):
    gw = guarded()
    gw.connect("mqtt", MqttPeer).login("a", 5, username="alice", password="secret")
    for user, password in (("alice", "Secret"), ("alice", ""), ("alice", None), ("carol", "secret"),
                           ("alice", "secret\0"), ("", ""), ("#", "x"), ("alice:x", "secret")):
        peer = gw.connect("mqtt", MqttPeer)
        peer.login("b", 5, reason=BAD_CREDENTIALS, username=user, password=password)
        peer.expect_close()
    # Nobody in the file: no name means no identity, and authfile makes anonymous clients unwelcome.
    gw.connect("mqtt", MqttPeer).login("c", 5, reason=NOT_AUTHORIZED)


def test_3_1_1_clients_get_their_own_codes(guarded):
    gw = guarded()
    gw.connect("mqtt", MqttPeer).login("a", 4, reason=4, username="alice", password="x")
    gw.connect("mqtt", MqttPeer).login("a", 4, reason=5)
    gw.connect("mqtt", MqttPeer).login("a", 4, username="alice", password="secret")


def test_a_listener_decides_about_anonymous_clients_for_itself(folder, gateway):
    passwords = folder / "passwords"
    passwd(passwords, "alice", "secret")
    listeners = {name: f'listener "{name}" {{ bind = "127.0.0.1:0"  protocol = mqtt  {word} }}\n'
                 for name, word in (("mqtt", ""), ("inside", "allow_anonymous = yes"),
                                    ("outside", "allow_anonymous = no"))}
    gw = gateway(f'authfile {{ password_file = "{passwords}" }}', listeners=listeners)
    gw.connect("mqtt", MqttPeer).login("a", 5, reason=NOT_AUTHORIZED)
    gw.connect("outside", MqttPeer).login("a", 5, reason=NOT_AUTHORIZED)
    gw.connect("inside", MqttPeer).login("a", 5)
    gw.connect("inside", MqttPeer).login("b", 5, reason=BAD_CREDENTIALS, username="alice",
                                         password="x")
    gw.connect("outside", MqttPeer).login("c", 5, username="alice", password="secret")
    gw.reload(f'authfile {{ password_file = "{passwords}" }}\naccess {{ allow_anonymous = yes }}')
    gw.connect("mqtt", MqttPeer).login("d", 5)
    gw.connect("outside", MqttPeer).login("e", 5, reason=NOT_AUTHORIZED)


def test_a_wrong_password_may_be_told_as_not_authorized(guarded):
    gw = guarded(rest="mqtt { denied_connect = not_authorized }\n")
    gw.connect("mqtt", MqttPeer).login("a", 5, reason=NOT_AUTHORIZED, username="alice", password="x")
    gw.connect("mqtt", MqttPeer).login("a", 4, reason=5, username="alice", password="x")
    gw.connect("mqtt", MqttPeer).login("a", 5, username="alice", password="secret")


def test_anonymous_clients_when_allowed_still_cannot_claim_a_name(guarded):
    gw = guarded("deny all anonymous private/#", "allow_anonymous = yes  otherwise = allow")
    gw.connect("mqtt", MqttPeer).login("a", 5, reason=BAD_CREDENTIALS, username="carol",
                                       password="x")
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("b", 5)
    assert refused(peer, "private/x") == NOT_AUTHORIZED
    assert refused(peer, "#") == NOT_AUTHORIZED
    assert refused(peer, "public/#") == 0


def test_rules_decide_on_publications_and_subscriptions(guarded):
    gw = guarded("allow all * own/${user}/#\n"
                 "allow subscribe user:alice reports/+\n"
                 "deny publish * reports/#\n")
    alice = gw.connect("mqtt", MqttPeer)
    alice.login("a", 5, username="alice", password="secret")
    assert refused(alice, "own/alice/#") == 0
    assert refused(alice, "own/bob/#") == NOT_AUTHORIZED
    assert refused(alice, "own/+/#") == NOT_AUTHORIZED
    assert refused(alice, "$share/g/own/bob/x") == NOT_AUTHORIZED
    assert refused(alice, "$share/g/reports/+") == 0
    assert refused(alice, "reports/#") == NOT_AUTHORIZED
    assert refused(alice, "#") == NOT_AUTHORIZED
    assert alice.publish("own/alice/x", b"1", 1) == 0
    alice.receive("own/alice/x", b"1")
    assert alice.publish("own/bob/x", b"1", 1) == NOT_AUTHORIZED
    assert alice.publish("reports/x", b"1", 1) == NOT_AUTHORIZED
    assert alice.publish("reports/x", b"1", 2) == NOT_AUTHORIZED
    alice.barrier()


def test_a_user_name_with_a_wildcard_gains_nothing(guarded, folder):
    """Pitfall M18, through the wire."""
    passwd(folder / "passwords", "+", "x")
    passwd(folder / "passwords", "a/b", "x")
    gw = guarded("allow all * own/${user}/x\nallow all * id/${client}/x")
    for user in ("+", "a/b"):
        peer = gw.connect("mqtt", MqttPeer)
        peer.login("+", 5, username=user, password="x")
        for filter_ in ("own/+/x", f"own/{user}/x", "own/alice/x", "id/+/x", "id/any/x"):
            assert refused(peer, filter_) == NOT_AUTHORIZED, filter_


def test_rules_name_what_is_allowed_unless_told_otherwise(guarded):
    """`otherwise = auto` denies as soon as there are rules, were it an empty file."""
    for text, access, code in ((None, "", 0), ("", "", NOT_AUTHORIZED),
                               ("allow all * a\n", "", NOT_AUTHORIZED),
                               ("deny all * a\n", "otherwise = allow", 0),
                               (None, "otherwise = deny", NOT_AUTHORIZED)):
        gw = guarded(text, access)
        peer = gw.connect("mqtt", MqttPeer)
        peer.login("a", 5, username="alice", password="secret")
        assert refused(peer, "b") == code, (text, access)
        assert (peer.publish("b", b"", 1) == NOT_AUTHORIZED) == (code != 0), (text, access)
        gw.stop()


def test_an_exact_rule_takes_nothing_from_what_overlaps(guarded):
    gw = guarded("deny subscribe * =test/nosubscribe\nallow all * #\n")
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a", 5, username="alice", password="secret")
    assert refused(peer, "test/nosubscribe") == NOT_AUTHORIZED
    assert refused(peer, "$share/g/test/nosubscribe") == NOT_AUTHORIZED
    assert refused(peer, "test/+") == 0
    assert peer.publish("test/nosubscribe", b"1", 1) == 0
    peer.receive("test/nosubscribe", b"1")


def test_a_will_is_judged_like_a_publication(guarded):
    """Pitfall M14."""
    gw = guarded("allow publish * mine/${client}\nallow subscribe * #")
    watcher = gw.connect("mqtt", MqttPeer)
    watcher.login("w", 5, username="alice", password="secret")
    watcher.subscribe("#", 1)
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a", 5, username="bob", password="b", will=("mine/a", b"gone", 1, False))
    peer.reset()
    watcher.receive("mine/a", b"gone")
    gw.connect("mqtt", MqttPeer).login("b", 5, reason=NOT_AUTHORIZED, username="bob", password="b",
                                       will=("mine/a", b"gone", 1, False))
    watcher.barrier()


def test_reload_changes_rules_for_those_who_are_connected(guarded):
    gw = guarded("allow all * #")
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a", 5, username="alice", password="secret")
    peer.subscribe("s", 1)
    assert peer.publish("t", b"", 1) in (0, 0x10)
    gw.rules.write_text("deny publish * t\nallow all * #\n", encoding="utf-8")
    assert gw.reload()["event"] == "reloaded"
    assert peer.publish("t", b"", 1) == NOT_AUTHORIZED
    assert peer.publish("s", b"x", 1) == 0
    peer.receive("s", b"x")


def test_a_reload_that_fails_keeps_what_was(guarded):
    """Pitfall A1: security settings are never lost on the way to new ones."""
    gw = guarded("deny publish * t\n")
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a", 5, username="alice", password="secret")
    gw.rules.write_text("allow all * #\nalow all * t\n", encoding="utf-8")
    got = gw.reload()
    assert got["event"] == "reload_failed"
    assert ':2: found "alow"; expected allow or deny' in got["error"]
    assert peer.publish("t", b"", 1) == NOT_AUTHORIZED
    gw.rules.unlink()
    got = gw.reload()
    assert got["event"] == "reload_failed" and "No such file" in got["error"]
    assert peer.publish("t", b"", 1) == NOT_AUTHORIZED
    gw.rules.write_text("", encoding="utf-8")
    gw.passwords.write_text("alice:plain\n", encoding="utf-8")
    assert gw.reload()["event"] == "reload_failed"
    gw.connect("mqtt", MqttPeer).login("b", 5, username="bob", password="b")
    passwd(gw.passwords.with_name("new"), "carol", "c")
    gw.passwords.write_text(gw.passwords.with_name("new").read_text())
    assert gw.reload()["event"] == "reloaded"
    gw.connect("mqtt", MqttPeer).login("c", 5, username="carol", password="c")
    gw.connect("mqtt", MqttPeer).login("b", 5, reason=BAD_CREDENTIALS, username="bob", password="b")


def test_checking_a_configuration_reads_its_files(guarded, folder):
    gw = guarded("allow all * #")
    gw.rules.write_text("allow all nobody #\n", encoding="utf-8")
    done = subprocess.run([polygate.BIN, "-t", "-c", str(gw.config_path)], capture_output=True,
                          text=True, timeout=polygate.TIMEOUT, check=False)
    assert done.returncode != 0
    assert f'{gw.rules}:1: found "nobody"; expected who' in done.stderr


def crowd_of(gw, count):
    """Connections whose logins are under way; every second password is right."""
    crowd = []
    for i in range(count):
        peer = gw.connect("mqtt", MqttPeer)
        peer.version = 5
        peer.send(connect(f"crowd{i}", 5, username="bob", password="b" if i % 2 else "wrong"))
        crowd.append(peer)
    return crowd


def test_logins_in_a_crowd_are_all_answered(guarded):
    """Verifying takes its time on threads of its own; the workers go on serving meanwhile."""
    gw = guarded()
    there = gw.connect("mqtt", MqttPeer)
    there.login("there", 5, username="alice", password="secret")
    crowd = crowd_of(gw, 40)
    there.barrier()
    crowd[0].reset()  # goes while its question is out
    for i, peer in enumerate(crowd[1:], 1):
        assert peer.next().reason == (0 if i % 2 else BAD_CREDENTIALS)


def test_a_reload_does_not_lose_logins_under_way(guarded):
    gw = guarded()
    crowd = crowd_of(gw, 40)
    assert gw.reload()["event"] == "reloaded"
    for i, peer in enumerate(crowd):
        assert peer.next().reason == (0 if i % 2 else BAD_CREDENTIALS)


def test_stopping_does_not_wait_for_logins_under_way(guarded):
    gw = guarded()
    crowd_of(gw, 60)
    gw.process.send_signal(signal.SIGTERM)
    gw.wait_exit(0)


def test_a_flood_of_logins_is_refused_as_busy(guarded):
    """Not as a wrong password, which would make devices forget theirs."""
    gw = guarded(more="threads = 1  pending = 1")
    reasons = {peer.next().reason for peer in crowd_of(gw, 30)}
    assert SERVER_BUSY in reasons and reasons <= {0, BAD_CREDENTIALS, SERVER_BUSY}
    gw.wait_log("authfile_queue_full")


def test_who_was_right_before_need_not_be_verified_again(guarded):
    """A crowd with the right password passes a queue that has room for one of them."""
    gw = guarded(more="threads = 1  pending = 1")
    for reload in (False, True, False):
        if reload:
            assert gw.reload()["event"] == "reloaded"
        gw.connect("mqtt", MqttPeer).login("first", 5, username="bob", password="b")
        crowd = [gw.connect("mqtt", MqttPeer) for _ in range(50)]
        for i, peer in enumerate(crowd):
            peer.version = 5
            peer.send(connect(f"crowd{i}", 5, username="bob", password="b"))
        assert [peer.next().reason for peer in crowd] == [0] * 50
    gw.connect("mqtt", MqttPeer).login("x", 5, reason=BAD_CREDENTIALS, username="bob", password="B")
    passwd(gw.passwords, "bob", "new")
    assert gw.reload()["event"] == "reloaded"
    gw.connect("mqtt", MqttPeer).login("x", 5, reason=BAD_CREDENTIALS, username="bob", password="b")


def test_a_password_file_for_everybody_is_told(guarded):
    gw = guarded()
    assert not gw.logged("authfile_exposed")
    gw.passwords.chmod(0o644)
    assert gw.reload()["event"] == "reloaded"
    gw.wait_log("authfile_exposed", file=str(gw.passwords))


def test_the_rules_of_the_manual_do_what_it_says(guarded):
    page = (polygate.ROOT / "man/polygate-rules.5").read_text(encoding="utf-8")
    rules = page[page.index("# nobody but alice"):page.rindex(".Ed")]
    gw = guarded(rules, rest="jt808 { code_secret = not-a-secret  issued_codes = trusted }\n")
    terminal = gw.connect("jt808", Terminal, phone="013800000001").login()
    alice, bob = gw.connect("mqtt", MqttPeer), gw.connect("mqtt", MqttPeer)
    alice.login("alice-app", 5, username="alice", password="secret")
    bob.login("bob-app", 5, username="bob", password="b")
    alice.subscribe("jt808/+/up/#", 1)
    bob.subscribe("jt808/013800000001/up/#", 1)
    for app in (alice, bob):
        assert refused(app, f"devices/{'alice' if app is bob else 'bob'}-app/#") == NOT_AUTHORIZED
        assert refused(app, "#") == NOT_AUTHORIZED
    assert refused(bob, "jt808/#") == NOT_AUTHORIZED
    assert bob.publish("jt808/013800000001/down", b"{}", 1) == NOT_AUTHORIZED
    assert bob.publish("x/p2p/013800000001", b"{}", 1) == NOT_AUTHORIZED
    terminal.locate()
    for app in (alice, bob):
        app.receive("jt808/013800000001/up/0200")


def test_the_rules_to_start_from_are_enough_for_terminals_and_their_application(guarded, folder):
    """conf/rules, with nothing else set: every uplink, commands and answers, and nothing beside."""
    passwd(folder / "passwords", "fleet", "f")
    gw = guarded((polygate.ROOT / "conf/rules").read_text(encoding="utf-8"),
                 rest="jt808 { code_secret = not-a-secret  issued_codes = trusted }\n")
    fleet, bob = gw.connect("mqtt", MqttPeer), gw.connect("mqtt", MqttPeer)
    fleet.login("app", 5, username="fleet", password="f")
    bob.login("fleet", 5, username="bob", password="b")  # the identifier gains nothing
    for filter_ in ("jt808/#", "answers/me"):
        assert refused(fleet, filter_) == 0
        assert refused(bob, filter_) == NOT_AUTHORIZED
    terminal = gw.connect("jt808", Terminal, phone="013800000001").login()
    fleet.receive("jt808/013800000001/status")
    terminal.locate()
    fleet.receive("jt808/013800000001/up/0200")
    assert bob.publish("jt808/013800000001/up/0200", b"{}", 1) == NOT_AUTHORIZED
    assert bob.publish("jt808/013800000001/down", b"{}", 1) == NOT_AUTHORIZED
    assert bob.publish("devices/fleet/x", b"", 1) == NOT_AUTHORIZED
    assert bob.publish("devices/bob/x", b"", 1) in (0, 0x10)
    # The answer comes although the terminal may not publish there.
    text = b'{"message":"text_message","body":{"flag":["display"],"text":"x"}}'
    assert fleet.publish("jt808/013800000001/down", text, 1, props={8: "answers/me"}) == 0
    fleet.receive("jt808/013800000001/down", text)  # it asked for all of jt808/#
    terminal.answer_general(terminal.next(TEXT))
    fleet.receive("answers/me")


def test_retained_and_p2p_pass_the_same_point(guarded):
    gw = guarded("deny publish * +/p2p/b\ndeny publish * kept/#\nallow all * #")
    b = gw.connect("mqtt", MqttPeer)
    b.login("b", 5, username="bob", password="b")
    a = gw.connect("mqtt", MqttPeer)
    a.login("a", 5, username="alice", password="secret")
    assert a.publish("x/p2p/b", b"1", 1) == NOT_AUTHORIZED
    assert a.publish("x/p2p/a", b"1", 1) == 0
    a.receive("x/p2p/a", b"1")
    assert a.publish("kept/1", b"1", 1, retain=True) == NOT_AUTHORIZED
    b.subscribe("kept/#")
    b.barrier()
