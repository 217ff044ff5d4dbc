# SPDX-License-Identifier: Apache-2.0
"""polygatectl store stats, export, import: all of a store out of it and into a new one."""
import base64
import json
import os
import resource
import subprocess

import pytest

import polygate
from mqttwire import MqttPeer
from test_store import EXPIRY, STORE, durable, leave, publisher

HEAD = {"kind": "store", "version": 1}
EVERYTHING = [
    {"kind": "session", "client": "a", "expiry_s": 0xffffffff, "detached": 1700000000,
     "subscriptions": [{"filter": "$share/g/t", "internal": True},
                       {"filter": "t/#", "qos": 2, "retain_handling": 2, "no_local": True,
                        "retain_as_published": True, "id": 4294967295}],
     "receipts": [7, 9]},
    {"kind": "session", "client": {"base64": "/w=="}, "expiry_s": 1, "subscriptions": [],
     "receipts": []},
    {"kind": "retained", "message": {"topic": "r", "payload": "kept", "qos": 1, "retain": True,
                                     "topic_valid": True, "publisher": "p", "protocol": "mqtt"}},
    {"kind": "will", "client": "a", "username": "u", "delay_s": 5, "due": 1700000000, "expiry_s": 0,
     "message": {"topic": "w", "payload": ""}},
    {"kind": "fact", "space": "ban", "key": "a", "value": {"base64": "AP8="}, "expires": 4000000000},
    {"kind": "message",
     "message": {"topic": "t/x", "payload": {"base64": "wIA="}, "qos": 2, "expires": 4000000000,
                 "utf8": True, "content_type": "c", "response_topic": "r", "correlation_data": "",
                 "properties": [["n", "v"], ["n", {"base64": "gA=="}]]},
     "receiver": "a", "packet_id": 7,
     "queues": [{"client": "a", "number": 2, "qos": 2, "retain": True, "expires": 4000000000,
                 "share": "$share/g/t", "ids": [1, 4294967295], "packet_id": 3, "order": 1,
                 "received": True},
                {"client": {"base64": "/w=="}, "number": 9, "direct": True, "expires": 4294967295}]},
    {"kind": "message", "message": {"topic": "t/y", "payload": "older"},
     "queues": [{"client": "a", "number": 1, "qos": 1, "expires": 4294967295}]},
]
END = {"kind": "end", "sessions": 2, "messages": 2}


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def run(*arguments, stdin=None, status=0):
    done = subprocess.run([polygate.CTL, "store", *map(str, arguments)], input=stdin, text=True,
                          capture_output=True, check=False, timeout=polygate.TIMEOUT)
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout if status == 0 else done.stderr


def lines_of(*objects):
    return "".join(json.dumps(o) + "\n" for o in objects)


def objects_of(text):
    return [json.loads(line) for line in text.splitlines()]


def as_set(objects):
    return sorted(json.dumps(o, sort_keys=True) for o in objects)


def test_everything_goes_out_and_in_unchanged(folder):
    out = run("import", folder / "one", stdin=lines_of(HEAD, *EVERYTHING, END))
    assert out == "2 sessions, 2 messages in 3 places of queues, 1 retained messages, 1 wills, 1 facts\n"
    exported = run("export", folder / "one")
    got = objects_of(exported)
    assert got[0] == HEAD and got[-1] == END
    assert as_set(got) == as_set([HEAD, *EVERYTHING, END])
    (folder / "file").write_text(exported)
    run("import", folder / "two", folder / "file")
    assert run("export", folder / "two") == exported
    stats = json.loads(run("stats", "--json", folder / "two"))
    assert (stats["sessions"], stats["queued"], stats["retained"]) == (2, 3, 1)
    assert run("stats", folder / "two").startswith("sessions ")
    assert "0 places are damaged" in run("check", folder / "two")


def test_a_message_for_many_is_written_once(folder):
    many = [{"kind": "session", "client": f"c{i}", "expiry_s": 9} for i in range(100)]
    message = {"kind": "message", "message": {"topic": "t", "payload": "x" * 10000},
               "queues": [{"client": f"c{i}", "number": 1, "qos": 1} for i in range(100)]}
    end = {"kind": "end", "sessions": 100, "messages": 1}
    run("import", folder / "one", stdin=lines_of(HEAD, *many, message, end))
    assert run("export", folder / "one").count("x" * 10000) == 1
    used = (folder / "one/log/0000000000000001.seg").read_bytes().rstrip(b"\0")
    assert len(used) < 20000


@pytest.mark.parametrize("line, change, error", [
    (0, {"version": 2}, "line 1: of a version"),
    (0, {"kind": "end"}, "line 1: the first line must be"),
    (1, {"new": 1}, "line 2: a member that this program does not know: new"),
    (1, {"kind": "fleet"}, "line 2: not a kind of line"),
    (1, {"client": 7}, "line 2: neither text nor base64: client"),
    (1, {"client": {"base64": "A"}}, "line 2: not base64: client"),
    (1, {"client": {"base64": "AB=="}}, "line 2: not base64: client"),
    (1, {"client": None}, "line 2: neither text nor base64: client"),
    (1, {"receipts": [65536]}, "line 2: not a number"),
    (1, {"receipts": 1}, "line 2: not a list"),
    (1, {"expiry_s": -1}, "line 2: not a number"),
    (1, {"subscriptions": [{"qos": 1}]}, "line 2: a member is missing: filter"),
    (2, {"client": "a"}, "line 3: the session is there twice"),
    (3, {"message": {"topic": "a/+", "payload": ""}}, "line 4: not the name of a topic"),
    (3, {"message": {"topic": "a"}}, "line 4: a member is missing: payload"),
    (6, {"receiver": "nobody"}, "line 7: an entry of a session that is not there"),
    (7, {"queues": [{"client": "a", "number": 0}]}, "line 8: not a number"),
    (7, {"queues": [{"client": "b", "number": 1}]}, "line 8: an entry of a session"),
    (8, {"messages": 3}, "line 9: lines are missing"),
])
def test_what_is_wrong_is_named_and_leaves_nothing(folder, line, change, error):
    objects = [HEAD, *EVERYTHING, END]
    objects[line] = {**objects[line], **change}
    got = run("import", folder / "one", stdin=lines_of(*objects), status=1)
    assert error in got
    assert not os.path.exists(folder / "one/data.mdb") and not os.path.exists(folder / "one/log")


def test_lines_that_are_cut_or_no_json_are_refused(folder):
    text = lines_of(HEAD, *EVERYTHING, END)
    rows = text.splitlines(keepends=True)
    for cut, error in (("".join(rows[:-1]), "the end is missing"), ("", "the end is missing"),
                       (text + rows[1], "something comes after the end"),
                       (rows[0] + "{]\n", "line 2: not JSON"),
                       (rows[0] + '{"kind":"fact","kind":"fact"}\n', "line 2: not JSON"),
                       (rows[0] + "[]\n", "line 2: not a kind")):
        assert error in run("import", folder / "one", stdin=cut, status=1)
        assert not os.path.exists(folder / "one/data.mdb")


def test_a_store_that_is_there_is_not_imported_into(folder):
    run("import", folder / "one", stdin=lines_of(HEAD, *EVERYTHING, END))
    before = run("export", folder / "one")
    assert "there is a store already" in run("import", folder / "one", stdin="", status=1)
    assert run("export", folder / "one") == before
    for word in ("export", "stats"):
        assert "there is no store" in run(word, folder / "no", status=1)
    assert not os.path.exists(folder / "no")


def test_clients_of_an_imported_store_find_what_waits(gateway, folder):
    gw = gateway(STORE)
    sub = durable(gw, "away")
    sub.subscribe("a/#", 1)
    leave(gw, sub, "away")
    pub = publisher(gw)
    for i in range(50):
        assert pub.publish("a/b", str(i), 1, i + 1) == 0
    nobody_yet = 0x10  # retained for who comes later
    assert pub.publish("r", b"\xff\x00", 1, 60, retain=True) == nobody_yet
    store = gw.folder / "store"
    assert "in use by another process" in run("export", store, status=1)
    stats = json.loads(gw.ctl("store", "stats", "-j"))
    assert stats["healthy"] and stats["queued"] == 50 and stats["kind"] == "disk"
    assert "queued " in gw.ctl("store", "stats")
    pub.close()
    gw.stop()
    assert json.loads(run("stats", "-j", store))["queued"] == 50
    exported = run("export", store)
    rows = objects_of(exported)
    kept = [row["message"] for row in rows if row["kind"] == "retained"]
    assert base64.b64decode(kept[0]["payload"]["base64"]) == b"\xff\x00"
    run("import", folder / "new", stdin=exported)
    other = gateway(f'store {{ path = "{folder / "new"}" }}')
    peer = other.connect("mqtt", MqttPeer)
    assert peer.login("away", version=5, clean=False, props={EXPIRY: 3600}).session_present
    for i in range(50):
        assert peer.receive("a/b", str(i)).qos == 1
    other.tool("mosquitto_sub", "-h", "127.0.0.1", "-p", other.port("mqtt"), "-t", "r", "-C", "1",
               "-F", "%x").wait_line("^ff00$")


def test_a_log_of_another_store_is_told_and_repaired(folder):
    for name in ("one", "two"):
        run("import", folder / name, stdin=lines_of(HEAD, *EVERYTHING, END))
    os.rename(folder / "one/log", folder / "log")
    os.rename(folder / "two/log", folder / "one/log")
    for word in ("check", "export"):
        subprocess.run([polygate.CTL, "store", word, folder / "one"], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30)
    assert "not the one that belongs" in run("export", folder / "one", status=1)
    run("check", folder / "one", status=1)
    assert "it does from now on" in run("repair", folder / "one")
    assert "0 places are damaged" in run("check", folder / "one")
    run("export", folder / "one")


def limited(size, *arguments, stdin=None):
    """As run(), with files that cannot grow beyond `size` bytes; all of what it said, and the status."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = subprocess.run([polygate.CTL, "store", *map(str, arguments)], input=stdin, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          timeout=polygate.TIMEOUT, preexec_fn=limit, restore_signals=False)
    return done.returncode, done.stdout


def test_an_import_for_which_the_disk_has_no_room_leaves_nothing(folder):
    text = lines_of(HEAD, *EVERYTHING, END)
    run("import", folder / "whole", stdin=text)
    largest = max(f.stat().st_size for f in (folder / "whole").rglob("*") if f.is_file())
    sizes, size = [], 1
    while size < largest:
        sizes.append(size)
        size = max(size + 1, size * 3 // 2)
    for size in sizes:
        status, said = limited(size, "import", folder / "one", stdin=text)
        assert status == 1 and "polygatectl store import: " in said, f"{size} of {largest} bytes: {status} {said}"
        assert not os.path.exists(folder / "one/data.mdb") and not os.path.exists(folder / "one/log"), size
    run("import", folder / "one", stdin=text)  # nothing is in its way


def test_an_export_that_cannot_be_written_says_so(folder):
    run("import", folder / "one", stdin=lines_of(HEAD, *EVERYTHING, END))
    before = run("export", folder / "one")
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([polygate.CTL, "store", "export", folder / "one"], stdout=full, text=True,
                              stderr=subprocess.PIPE, check=False, timeout=polygate.TIMEOUT)
    assert done.returncode == 1 and "cannot be written" in done.stderr, done.stderr
    assert run("export", folder / "one") == before


@pytest.mark.parametrize("part", ["data.mdb", "log/0000000000000001.seg"])
def test_what_cannot_be_read_is_named(folder, part):
    """A directory in the place of a file fails at its first read, whoever asks."""
    run("import", folder / "one", stdin=lines_of(HEAD, *EVERYTHING, END))
    os.unlink(folder / "one" / part)
    os.mkdir(folder / "one" / part)
    for word in ("export", "stats", "check"):
        said = run(word, folder / "one", status=1)
        if part.startswith("log") or word != "check":  # the check is of the log
            assert os.path.basename(part) in said or str(folder / "one") in said, said
    assert os.path.isdir(folder / "one" / part)


def test_lines_that_cannot_be_read_are_no_end(folder):
    assert run("import", folder / "one", folder, status=1)
    assert not os.path.exists(folder / "one/data.mdb")
