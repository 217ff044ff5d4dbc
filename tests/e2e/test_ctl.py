# SPDX-License-Identifier: Apache-2.0
"""polygatectl: the control socket, the offline commands, pub, sub and send."""
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import stat
import struct
import subprocess
import time

import pytest

import polygate
from jt808wire import LOCATION, TEXT, Terminal, frame, location_body
from mqttwire import DISCONNECT, MqttPeer

FRAME = "7e0001000500125625692761cf00038801000f7e"


def run(*arguments, stdin=None, status=0, env=None):
    """polygatectl without a gateway: (stdout, stderr)."""
    done = subprocess.run([polygate.CTL, *map(str, arguments)], input=stdin, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=polygate.TIMEOUT,
                          stdin=None if stdin is not None else subprocess.DEVNULL,
                          env=dict(os.environ, **(env or {})))
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout, done.stderr


def dial(gw, name=polygate.CONTROL):
    """A connection to the control socket. The path to its folder may be longer than an address can
    be; through an open descriptor it is short."""
    gw.wait_log("ready")
    folder = os.open(gw.folder, os.O_PATH)
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(polygate.TIMEOUT)
    s.connect(f"/proc/self/fd/{folder}/{name}")
    os.close(folder)
    return s


def api(gw, line):
    """One raw line to the control socket, one line back."""
    with dial(gw) as s:
        s.sendall(line + b"\n")
        return json.loads(s.makefile("rb").readline())


# ---- the gateway's state ---------------------------------------------------------------------


def test_status_tells_real_addresses_and_gauges(gateway):
    gw = gateway()
    gw.connect("mqtt", MqttPeer).login("a")
    got = json.loads(gw.ctl("status", "--json"))
    assert got["clients"] == got["sessions"] == got["connections"] == 1
    assert got["pid"] == gw.process.pid
    addresses = {row["name"]: row["address"] for row in got["listeners"]}
    assert addresses == {name: gw.address(name) for name in gw.listeners}
    assert got["counters"]["core.clients_admitted"] == 1
    text = gw.ctl("status")
    assert f"process {gw.process.pid}" in text and gw.address("mqtt") in text


def test_gauges_return_after_churn(gateway):
    """Pitfall A4."""
    gw = gateway()
    for i in range(30):
        peer = gw.connect("mqtt", MqttPeer)
        peer.login("same", 5)
        if i % 3 == 0:
            peer.reset()
    last = gw.connect("mqtt", MqttPeer)
    last.login("same", 5)
    gw.connect("mqtt").close()
    last.close()
    deadline = time.monotonic() + polygate.TIMEOUT
    while time.monotonic() < deadline:
        got = json.loads(gw.ctl("status", "--json"))
        if got["clients"] == got["sessions"] == got["connections"] == 0:
            break
    assert (got["clients"], got["sessions"], got["connections"]) == (0, 0, 0)
    assert got["counters"]["core.takeovers"] >= 1


def test_clients_are_listed_filtered_and_limited(gateway):
    gw = gateway()
    for name in ("b1", "a1", "a2"):
        gw.connect("mqtt", MqttPeer).login(name)
    terminal = gw.connect("jt808", Terminal).login()
    got = json.loads(gw.ctl("clients", "--json"))
    assert [row["client"] for row in got["clients"]] == sorted(["b1", "a1", "a2", terminal.phone])
    assert {row["protocol"] for row in got["clients"]} == {"mqtt", "jt808"}
    got = json.loads(gw.ctl("clients", "--json", "-f", "a", "-n", "1"))
    assert got["total"] == 2 and [row["client"] for row in got["clients"]] == ["a1"]
    text = gw.ctl("clients", "--filter=b")
    assert "b1" in text and "a1" not in text


def test_a_client_shows_its_session(gateway):
    gw = gateway()
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a", 5, clean=False, props=[(0x11, 3600)])
    peer.subscribe("x/#", 1)
    got = json.loads(gw.ctl("client", "a", "--json"))
    assert got["online"] and got["session_expiry_s"] == 3600
    assert got["subscription_list"] == [{"filter": "x/#", "qos": 1}]
    peer.reset()
    gw.wait_log("closed", client="a")
    other = gw.connect("mqtt", MqttPeer)
    other.login("b")
    other.publish("x/1", b"hello", 1)
    got = json.loads(gw.ctl("client", "a", "--json"))
    assert not got["online"] and got["queued"] == 1 and got["queued_bytes"] > 5
    assert "a" not in [r["client"] for r in json.loads(gw.ctl("clients", "--json"))["clients"]]
    rows = json.loads(gw.ctl("clients", "--json", "--all"))["clients"]
    assert [r["client"] for r in rows] == ["a", "b"]
    assert "peer" in gw.ctl("client", "b")


def test_strange_identifiers_are_found_and_shown_safely(gateway):
    """Pitfall A3."""
    gw = gateway()
    names = ["a/b", "100%", "?x#", "+", "with space", "quo\"te'", "\u4e2d\u6587", "..", "12345",
             "event=x line", "--json", "x" * 10000]
    for name in names:
        gw.connect("mqtt", MqttPeer).login(name, 5)
    got = json.loads(gw.ctl("clients", "--json"))
    assert sorted(row["client"] for row in got["clients"]) == sorted(names)
    assert "event=x line" in gw.ctl("clients")
    for name in names:
        assert json.loads(gw.ctl("client", "--json", "--", name))["client"] == name
        mark = gw.mark()
        gw.ctl("kick", "--", name)
        gw.wait_log("closed", start=mark)
        assert json.loads(gw.ctl("why", "--json", "--", name))["notes"][0]["reason"] == "kicked"
    assert json.loads(gw.ctl("status", "--json"))["clients"] == 0
    assert "no client and no session" in gw.ctl("client", "nobody", status=1)


def test_kick_says_why_and_can_end_the_session(gateway):
    gw = gateway()
    peer = gw.connect("mqtt", MqttPeer)
    peer.login("a", 5, clean=False, props=[(0x11, 3600)])
    assert gw.ctl("kick", "a").strip() == "kicked"
    assert peer.next(DISCONNECT).reason == 0x98
    peer.expect_close()
    gw.wait_log("closed", client="a", reason="kicked")
    assert json.loads(gw.ctl("client", "a", "--json"))["online"] is False
    assert "not online" in gw.ctl("kick", "a", status=1)
    gw.ctl("kick", "a", "--discard")
    assert json.loads(gw.ctl("status", "--json"))["sessions"] == 0
    terminal = gw.connect("jt808", Terminal).login()
    gw.ctl("kick", terminal.phone, "--discard")
    terminal.expect_close()
    text = gw.ctl("why", "a")
    assert "kicked: closed by an administrator" in text


def test_why_remembers_refusals_and_closes(gateway):
    gw = gateway("limits { login_timeout = 20s }")
    assert "nothing was refused" in gw.ctl("why", "a")
    first = gw.connect("mqtt", MqttPeer)
    first.login("a", 5)
    second = gw.connect("mqtt", MqttPeer)
    second.login("a", 5)
    assert first.next(DISCONNECT).reason == 0x8E
    first.expect_close()
    second.send(bytes.fromhex("f000"))
    second.next(DISCONNECT)
    second.expect_close()
    gw.wait_log("closed", client="a", start=0, reason="protocol_error|malformed")
    notes = json.loads(gw.ctl("why", "a", "--json"))["notes"]
    assert [n["kind"] for n in notes] == ["closed", "closed"]
    assert notes[0]["reason"] in ("protocol_error", "malformed") and notes[0]["error"]
    assert notes[1]["reason"] == "taken_over" and not notes[1]["error"]
    assert notes[0]["last_ms"] >= notes[1]["last_ms"] > 1.7e12


def test_why_tells_of_a_terminal_whose_code_is_wrong(gateway):
    gw = gateway()
    terminal = gw.connect("jt808", Terminal, phone="013900000077")
    terminal.register()
    for _ in range(3):
        terminal.authenticate(b"not-the-code", result=1)
    gw.wait_log("closed", reason="bad_credential")
    notes = json.loads(gw.ctl("why", "013900000077", "--json"))["notes"]
    assert {note["reason"] for note in notes} == {"bad_credential"}
    assert sum(note["count"] for note in notes) == 3


def test_counters_are_explained(gateway):
    gw = gateway()
    gw.connect("mqtt", MqttPeer).login("a")
    rows = json.loads(gw.ctl("counters", "--json"))["counters"]
    assert all(row["value"] > 0 and row["sentence"] for row in rows)
    every = json.loads(gw.ctl("counters", "--all", "--json"))["counters"]
    assert len(every) > len(rows) and len({row["name"] for row in every}) == len(every)
    assert "a client was admitted" in gw.ctl("counters")


def test_memory_tells_what_the_process_has(gateway):
    gw = gateway()
    status = (pathlib.Path("/proc") / str(gw.process.pid) / "status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024
    memory = json.loads(gw.ctl("memory", "--json"))
    assert peak / 2 < memory["resident_bytes"] < peak * 2
    # A sanitizer's allocator does not tell.
    assert 0 <= memory["heap_used_bytes"] <= memory["heap_bytes"]
    assert re.match(r"\d+ bytes resident, heap of \d+ bytes, \d+ of it in use$", gw.ctl("memory"))


def test_config_show_is_a_configuration(gateway, folder):
    gw = gateway("limits { frame_size = 2m }\n"
                 'forward "city" { to = "127.0.0.1:1" platform = "PGATEPLATFORM0001" '
                 'username = "polygate" password = "secret" }')
    shown = gw.ctl("config", "show")
    assert "    frame_size = 2m\n" in shown
    assert '\nforward "city" {\n' in shown and "127.0.0.1:1" in shown
    assert '"secret"' not in shown and "'secret'" not in shown
    path = folder / "shown.conf"
    path.write_text(shown, encoding="utf-8")
    done = subprocess.run([polygate.BIN, "-t", "-c", str(path)], capture_output=True, text=True,
                          timeout=polygate.TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    options = json.loads(gw.ctl("config", "show", "--json"))["options"]
    assert {"block": "limits", "name": "frame_size", "value": "2m"}.items() <= next(
        o for o in options if o["name"] == "frame_size").items()


# ---- the control socket ----------------------------------------------------------------------


def test_requests_are_checked(gateway):
    gw = gateway()
    for line, error in (
            (b"", "not JSON"), (b"[]", "expected a JSON object"), (b"{}", "expected a JSON object"),
            (b'{"command":"x"}', 'there is no command "x"'),
            (b'{"command":"kick"}', 'the argument "client" is missing; usage: kick client'),
            (b'{"command":"kick","client":7}', "must be a text"),
            (b'{"command":"kick","client":""}', "must be a text"),
            (b'{"command":"clients","limit":0}', "a whole number from 1 to 20000"),
            (b'{"command":"clients","limit":1.5}', "a whole number"),
            (b'{"command":"clients","offline":"yes"}', "true or false"),
            (b'{"command":"status","x":1}', 'there is no argument "x"'),
            (b'{"command":"status","command":"kick"}', "not JSON"),
            (b'{"command":"status"', "not JSON"), (b"\xff", "not JSON")):
        got = api(gw, line)
        assert got["ok"] is False and error in got["error"], (line, got)
    commands = [row["command"] for row in api(gw, b'{"command":"help"}')["result"]["commands"]]
    assert {"status", "clients", "why", "kick", "config", "help"} <= set(commands)


def test_the_socket_takes_many_lines_and_bounds_them(gateway):
    gw = gateway("")
    with dial(gw) as s:
        lines = s.makefile("rb")
        s.sendall(b'{"command":"retained"}\n' * 20 + b'{"command"')
        for _ in range(20):
            assert json.loads(lines.readline())["ok"]
        s.sendall(b':"retained"}\n')
        assert json.loads(lines.readline())["ok"]
        try:
            s.sendall(b"x" * 600_000)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert "longer than 512 KiB" in json.loads(lines.readline())["error"]
    # One who asks and goes before the answer, and one who asks after the end of his output.
    for how in (None, socket.SHUT_WR):
        with dial(gw) as s:
            s.sendall(b'{"command":"clients"}\n')
            if how is not None:
                s.shutdown(how)
                assert json.loads(s.makefile("rb").readline())["ok"]
    assert api(gw, b'{"command":"retained"}')["ok"]


def test_connections_to_the_socket_are_bounded(gateway):
    gw = gateway('control { socket = "few.sock"  clients = 2 }', control=False)
    held = []
    for _ in range(2):
        s = dial(gw, "few.sock")
        s.sendall(b'{"command":"retained"}\n')
        assert json.loads(s.makefile("rb").readline())["ok"]
        held.append(s)
    with dial(gw, "few.sock") as s:
        assert "too many connections" in json.loads(s.makefile("rb").readline())["error"]
    for s in held:
        s.close()


def test_only_the_owner_may_connect(gateway):
    gw = gateway()
    gw.wait_log("ready")
    assert stat.S_IMODE((gw.folder / polygate.CONTROL).stat().st_mode) == 0o600


def test_a_stale_socket_is_replaced_and_one_in_use_is_not(gateway):
    gw = gateway(name="one")
    gw.wait_log("ready")
    path = gw.folder / polygate.CONTROL
    second = gateway(f'control {{ socket = "../one/{polygate.CONTROL}" }}', control=False,
                     name="two", launch_only=True)
    second.wait_exit(1)
    assert "is in use by another gateway" in second.log_path.read_text()
    assert api(gw, b'{"command":"retained"}')["ok"]
    gw.kill()
    assert path.exists()
    gw.start()
    gw.wait_log("ready")
    assert json.loads(gw.ctl("status", "--json"))["pid"] == gw.process.pid
    gw.stop()
    assert not path.exists()


def test_the_socket_survives_a_reload(gateway):
    gw = gateway()
    with dial(gw) as s:
        s.sendall(b'{"command":"retained"}\n')
        assert json.loads(s.makefile("rb").readline())["ok"]
        for _ in range(3):
            assert gw.reload()["event"] == "reloaded"
            assert api(gw, b'{"command":"retained"}')["ok"]


def test_without_a_gateway_it_says_what_to_do(folder):
    _, error = run("-s", folder / "no.sock", "status", status=3)
    assert "no gateway at" in error
    _, error = run("-s", "/" + "x" * 200, "status", status=3)
    assert "too long" in error
    env = {"POLYGATE_SOCKET": str(folder / "no.sock")}
    _, error = run("clients", status=3, env=env)
    assert str(folder / "no.sock") in error


def test_the_command_line_is_checked():
    for arguments, error in (
            (["nonsense"], 'there is no command "nonsense"'),
            (["decode"], "expected: decode jt808"),
            (["kick"], "an argument is missing; usage: polygatectl kick CLIENT"),
            (["kick", "a", "b"], '"b" is one argument too many'),
            (["clients", "--nonsense"], "there is no such option"),
            (["clients", "-z"], "there is no such option"),
            (["clients", "--filter"], "a value must follow"),
            (["clients", "--json=1"], "takes no value"),
            (["clients", "--limit", "x"], "expected a whole number from 1 to 20000"),
            (["send", "a", "--wait", "10x"], "expected a time such as"),
            (["send", "a"], "expected --message NAME"),
            (["send", "a", "-m", "x", "-j", "[1]"], "expected a JSON object"),
            (["send", "a", "-m", "x", "-j", "{"], "--json: "),
            (["send", "a", "-t", "x/y", "--payload", "x"], "expected one topic level"),
            (["send", "a+b", "--payload", "x"], "is no topic name"),
            (["pub", "a/#", "x"], "is no topic name"),
            (["pub", "-q", "3", "a", "x"], "from 0 to 2"),
            (["decode", "jt808", "--wire", "00"], "give --json too"),
            (["decode", "jt808", "--edition", "2015", "00"], "expected 2011, 2013 or 2019")):
        _, text = run(*arguments, status=2)
        assert error in text, (arguments, text)
    for arguments in ([], ["--socket"]):
        run(*arguments, status=2)
    out, _ = run("--help")
    assert "passwd FILE USER" in out
    out, _ = run("sub", "--help")
    assert "--verbose" in out and "-C, --count N" in out
    assert re.match(r"polygatectl \d+\.\d+", run("--version")[0])


# ---- passwords -------------------------------------------------------------------------------


def test_passwd_adds_changes_and_deletes(folder):
    path = folder / "passwords"
    run("passwd", path, "alice", stdin="one\n")
    first = path.read_text()
    assert re.fullmatch(r"alice:\$y\$\S+\n", first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("# comment\n" + first.rstrip("\n"))
    run("passwd", path, "bob", stdin="two\r\n")
    run("passwd", path, "alice", stdin="three\n")
    lines = path.read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == ["# comment", "alice", "bob"]
    assert lines[1] + "\n" != first
    run("passwd", path, "alice", "--delete")
    assert "alice" not in path.read_text()
    _, error = run("passwd", path, "alice", "--delete", status=1)
    assert 'there is no user "alice"' in error
    assert [p.name for p in folder.iterdir()] == ["passwords"]


def test_passwd_refuses_what_cannot_be(folder):
    path = folder / "passwords"
    for user in ("", "a:b", "#x", "a\nb"):
        _, error = run("passwd", path, user, stdin="x\n", status=2)
        assert "a user name is" in error
    for password, why in (("\n", "empty"), ("", "expected the password"), ("x" * 512 + "\n", "longer"),
                          ("x" * 5000 + "\n", "longer")):
        _, error = run("passwd", path, "a", stdin=password, status=1)
        assert why in error
    assert not path.exists()
    _, error = run("passwd", folder / "no" / "file", "a", stdin="x\n", status=1)
    assert "No such file" in error
    link = folder / "link"
    path.write_text("")
    link.symlink_to(path)
    run("passwd", link, "a", stdin="x\n")
    assert link.is_symlink() and path.read_text().startswith("a:")


# ---- the store -------------------------------------------------------------------------------


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def segment(number, first, bodies, salt=77, version=1):
    """A segment file as core/segment_file.c describes it."""
    head = b"PGSEGLOG" + struct.pack("<IIQI", version, number, first, salt)
    head += struct.pack("<I", crc32c(head))
    out = head + head
    for sequence, body in enumerate(bodies, first):
        padded = body + bytes(-len(body) % 8)
        batch = struct.pack("<4sIQI", b"PBCH", len(body), sequence, crc32c(padded))
        out += batch + struct.pack("<I", crc32c(struct.pack("<III", salt, number, len(out)) + batch)) + padded
    return out


def test_store_check_tells_damage_and_repair_saves_the_rest(folder):
    log = folder / "log"
    log.mkdir()
    first = log / f"{1:016}.seg"
    good = segment(1, 1, [b"one", b"two", b"three" * 9])
    first.write_bytes(good)
    (log / f"{2:016}.seg").write_bytes(segment(2, 4, [b"four"]) + bytes(4096))
    for where in (folder, log):
        out, _ = run("store", "check", where)
        assert out == "2 segments, 4 batches of 55 bytes are sound; 0 places are damaged\n"
    damaged = bytearray(good)
    damaged[64 + 32 + 24] ^= 1  # the body of "two"
    first.write_bytes(damaged)
    out, _ = run("store", "check", folder, status=1)
    assert f"{first.name}: offset 96, 32 bytes: damaged" in out and "1 places are damaged" in out
    assert first.read_bytes() == damaged
    out, _ = run("store", "repair", folder)
    assert f"{first.name}: offset 96, 32 bytes: damaged" in out
    out, _ = run("store", "check", folder)
    assert "3 batches of 52 bytes are sound; 0 places" in out
    assert len(first.read_bytes()) == len(good)


def test_store_refuses_what_is_newer_in_use_or_not_there(folder):
    path = folder / f"{1:016}.seg"
    path.write_bytes(segment(1, 1, [b"one"], version=2))
    for word in ("check", "repair"):
        _, error = run("store", word, folder, status=1)
        assert "format version 2" in error
        _, error = run("store", word, folder / "no", status=1)
        assert "No such file" in error
    assert path.read_bytes() == segment(1, 1, [b"one"], version=2)
    holder = os.open(folder, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    _, error = run("store", "check", folder, status=1)
    os.close(holder)
    assert "in use by another process" in error


# ---- frames ----------------------------------------------------------------------------------


def test_decode_explains_a_frame():
    out, _ = run("decode", "jt808", FRAME)
    assert "ack_serial" in out and "0x0001" in out
    spaced = " ".join(FRAME[i:i + 2].upper() for i in range(0, len(FRAME), 2))
    assert run("decode", "jt808", *spaced.split())[0] == out
    assert run("decode", "jt808", stdin="0x" + spaced.replace(" ", ":") + "\n")[0] == out


def test_decode_and_encode_are_inverse():
    for edition, phone in ((2013, "013912345678"), (2019, "00000000013912345678")):
        sent = frame(LOCATION, phone, 7, location_body(), edition).hex()
        for shape in ([], ["--wire"]):
            out, _ = run("decode", "jt808", "--json", *shape, sent)
            assert len(out.splitlines()) == 1
            assert run("encode", "jt808", out)[0].strip() == sent
            assert run("encode", "jt808", stdin=json.dumps(json.loads(out), indent=2))[0].strip() \
                == sent
    got = json.loads(run("decode", "jt808", "--json", sent)[0])
    assert got["message"] == "location_report" and got["phone"] == phone


def test_encode_makes_a_command_and_names_what_is_wrong():
    out, _ = run("encode", "jt808", "--phone", "13912345678", "--serial", "5",
                 '{"message":"text_message","body":{"flag":["display"],"text":"hello"}}')
    got = json.loads(run("decode", "jt808", "--json", out)[0])
    assert got["message"] == "text_message" and got["serial"] == 5
    assert got["body"]["text"] == "hello"
    _, error = run("encode", "jt808", "--phone", "1", '{"message":"nonsense"}', status=1)
    assert "nonsense" in error
    _, error = run("encode", "jt808", '{"message"', status=1)
    assert "not JSON" in error
    long = json.dumps({"message": "text_message", "body": {"flag": ["display"], "text": "x" * 3000}})
    frames = run("encode", "jt808", "--phone", "1", stdin=long)[0].split()
    assert len(frames) == 3
    whole = run("decode", "jt808", "--json", "--reassemble", stdin="\n".join(frames))[0]
    assert json.loads(whole.splitlines()[-1])["body"]["text"] == "x" * 3000


def test_decode_names_what_is_no_frame():
    bad = FRAME[:-4] + "0e7e"
    out, error = run("decode", "jt808", "--json", stdin=f"{FRAME}\n{bad}\n{FRAME}\n", status=1)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row.get("error") for row in rows] == [None, "checksum", None]
    assert "checksum" in error
    _, error = run("decode", "jt808", "7e0z", status=1)
    assert "found \"z" in error
    out, _ = run("decode", "jt808", "--json", "00" + FRAME + FRAME, status=1)
    assert [json.loads(line).get("error") for line in out.splitlines()] == ["noise", None, None]
    out, _ = run("decode", "jt808", "--json", FRAME[2:-2])
    assert json.loads(out)["message"] == "terminal_general_response"


# ---- messages --------------------------------------------------------------------------------


def subscriber(gw, *arguments):
    """polygatectl sub, once it is subscribed."""
    tool = gw.tool(polygate.CTL, "sub", "-p", gw.port("mqtt"), "-i", "watcher", *arguments)
    while json.loads(gw.ctl("status", "--json"))["counters"].get(
            "core.subscriptions_added", 0) == 0:
        assert tool.process.poll() is None, tool.wait(None)
    return tool


def test_pub_and_sub(gateway):
    gw = gateway()
    port = gw.port("mqtt")
    out = gw.tool(polygate.CTL, "pub", "-p", port, "a/b", "x").wait()
    assert "nobody subscribes" in out
    sub = subscriber(gw, "-v", "-C", 4, "-q", 2, "a/#")
    for qos in (0, 1, 2):
        assert gw.tool(polygate.CTL, "pub", "-p", port, "-q", qos, "a/b", f"m{qos}").wait() == ""
    gw.tool(polygate.CTL, "pub", "-p", port, "-r", "a/c", "-", stdin=b"from stdin").wait()
    assert sub.wait().splitlines() == ["a/b m0", "a/b m1", "a/b m2", "a/c from stdin"]
    assert gw.tool(polygate.CTL, "sub", "-p", port, "-C", 1, "a/c").wait() == "from stdin"


def test_sub_ends_cleanly_at_sigint(gateway):
    gw = gateway()
    sub = subscriber(gw, "a")
    sub.process.send_signal(signal.SIGINT)
    assert sub.wait() == ""
    gw.wait_log("closed", client="watcher", reason="client_closed")


def test_refusals_are_told(gateway, folder):
    run("passwd", folder / "passwords", "alice", stdin="secret\n")
    (folder / "rules").write_text("deny publish * no/#\ndeny subscribe * no/#\n")
    gw = gateway(f'authfile {{ password_file = "{folder}/passwords" '
                 f'rules_file = "{folder}/rules" }}')
    port = gw.port("mqtt")
    out = gw.tool(polygate.CTL, "pub", "-p", port, "a", "x").wait(1)
    assert "Not authorized" in out and "-u" in out
    name = ["-u", "alice", "-P", "secret"]
    assert "Not authorized" in gw.tool(polygate.CTL, "pub", "-p", port, *name, "no/x", "x").wait(1)
    assert "Not authorized" in gw.tool(polygate.CTL, "sub", "-p", port, *name, "no/x").wait(1)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        out = gw.tool(polygate.CTL, "pub", "-p", s.getsockname()[1], "a", "x").wait(3)
    assert "Connection refused" in out


@pytest.mark.parametrize("edition", [2013, 2019])
def test_send_prints_the_terminals_answer(gateway, edition):
    gw = gateway()
    phone = {2013: "013912345678", 2019: "00000000013912345678"}[edition]
    terminal = gw.connect("jt808", Terminal, phone=phone, edition=edition).login()
    body = {"flag": ["display"], "text_type": "notice", "text": "hello"}

    def send(*more):
        return gw.tool(polygate.CTL, "send", "-p", gw.port("mqtt"), phone, "-m", "text_message",
                       "-j", json.dumps(body), *more)

    tool = send()
    command = terminal.next(TEXT)
    assert b"hello" in command.body
    terminal.answer_general(command)
    assert json.loads(tool.wait())["status"] == "ok"
    tool = send()
    terminal.answer_general(terminal.next(TEXT), 1)
    assert json.loads(tool.wait(1))["status"] == "rejected"
    tool = send("-w", "1s")
    terminal.next(TEXT)
    assert "no answer within 1 s" in tool.wait(4)
    out = gw.tool(polygate.CTL, "send", "-p", gw.port("mqtt"), "nobody", "-m", "x").wait(1)
    assert "no session has that client identifier" in out


# ---- simulated terminals ---------------------------------------------------------------------


@pytest.mark.parametrize("edition", [2011, 2013, 2019])
def test_simulated_terminals_drive_and_obey(gateway, edition):
    gw = gateway()
    app = gw.connect("mqtt", MqttPeer)
    app.login("app", 5)
    app.subscribe("jt808/+/up/0200", 1)
    tool = gw.tool(polygate.CTL, "simulate", "jt808", "-p", gw.port("jt808"), "--count", 3,
                   "--interval", "200ms", "-e", edition, "--phone", 13900000001)
    width = 20 if edition == 2019 else 12
    phones = {str(13900000001 + i).zfill(width) for i in range(3)}
    for phone in phones:
        tool.wait_line(f"^{phone} online")
    seen = set()
    while seen != phones:
        seen.add(json.loads(app.receive().payload)["phone"])
    phone = max(phones)
    out = gw.tool(polygate.CTL, "send", "-p", gw.port("mqtt"), phone, "-m", "query_parameters").wait()
    assert json.loads(out)["answer"]["body"]["params"]
    tool.wait_line(f"^{phone} <- query_parameters")
    mark = gw.mark()
    gw.ctl("kick", phone)
    tool.wait_line(f"^{phone} lost its connection")
    gw.wait_log("admitted", start=mark, client=phone)
    tool.process.send_signal(signal.SIGINT)
    out = tool.wait()
    assert re.search(r"of 3 online, \d+ frames sent", out.splitlines()[-1])


def test_a_simulation_may_have_an_end_and_needs_a_gateway(gateway):
    gw = gateway()
    out = gw.tool(polygate.CTL, "simulate", "jt808", "-p", gw.port("jt808"), "-n", 30, "--for",
                  "1500ms", "-I", "100ms").wait()
    assert "30 of 30 online" in out and "online\n" not in out
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        out = gw.tool(polygate.CTL, "simulate", "jt808", "-h", "127.0.0.1", "-p",
                      s.getsockname()[1]).wait(3)
    assert "Connection refused" in out
