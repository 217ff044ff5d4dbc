# SPDX-License-Identifier: Apache-2.0
"""The STOMP specifications, clause by clause: every MUST (and in 1.0, which has no such words, every
rule) that a server can be seen to keep, as a check on the real daemon. Each check runs with frames
sent whole, and again octet by octet. Sections are named as the specifications name them."""
import time

import pytest

from polygate import BUILD, Gateway
from stompwire import StompPeer, frame

ALL, NEW = ("1.0", "1.1", "1.2"), ("1.1", "1.2")
CHECKS = []


def clause(section, rule, versions=ALL):
    """A check of one rule, in each of these versions."""
    def add(function):
        CHECKS.extend(pytest.param(function, version, id=f"{version}-{section}-{function.__name__}")
                      for version in versions)
        function.rule = rule
        return function
    return add


@pytest.fixture(scope="module")
def gw():
    gateway = Gateway(BUILD / "tests" / "e2e" / "stomp_conformance", "stomp { tries = 3 }",
                      listeners={"stomp": "stomp"}).start()
    yield gateway
    gateway.stop()


class World:
    """What a check needs: clients of its version, and names of its own."""

    used = 0

    def __init__(self, gw, version, pieces):
        self.gw, self.version, self.pieces = gw, version, pieces

    def bare(self):
        peer = self.gw.connect("stomp", StompPeer)
        peer.pieces = self.pieces
        return peer

    def client(self, **headers):
        peer = self.bare()
        peer.login(self.version, **headers)
        return peer

    def name(self, form="/topic/"):
        World.used += 1
        return f"{form}conformance/{World.used}"

    def subscribed(self, form="/topic/", **headers):
        """A client with a subscription `s`, and its destination."""
        peer, destination = self.client(), self.name(form)
        peer.receipt("SUBSCRIBE", id="s", destination=destination, **headers)
        return peer, destination

    def ack(self, message):
        """How ACK and NACK name a message in this version."""
        if self.version == "1.2":
            return {"id": message["ack"]}
        if self.version == "1.1":
            return {"message_id": message["message-id"], "subscription": message["subscription"]}
        return {"message_id": message["message-id"]}


@pytest.fixture(params=[False, True], ids=["whole", "octets"])
def world_of(request, gw):
    return lambda version: World(gw, version, request.param)


@pytest.mark.parametrize("check, version", CHECKS)
def test_clause(world_of, check, version):
    check(world_of(version))


def test_there_are_enough_of_them():
    assert len(CHECKS) >= 100


# ---- What is answered with ERROR ------------------------------------------------------------------


def refuse(section, rule, name, word, *wrong, versions=ALL):
    """A check that each of these is answered by ERROR with the word, and with the receipt that it asks
    for, on a connection of its own."""
    def check(w):
        for octets in wrong:
            peer = w.client()
            peer.put_raw(octets)
            peer.error(word, receipt="1" if b"\nreceipt:1\n" in octets else None)
    check.__name__ = name
    clause(section, rule, versions)(check)


refuse("frames", "commands are case sensitive", "a_command_in_small_letters_is_none", "command",
       b"send\ndestination:/topic/x\n\n\0")
refuse("frames", "header names are case sensitive",
       "a_header_in_capitals_is_another", "destination",
       b"SEND\nDestination:/topic/x\nreceipt:1\n\n\0")
refuse("frames", "an unknown command is answered with ERROR, and the connection closed",
       "an_unknown_command_is_an_error", "command",
       b"PUBLISH\ndestination:/topic/x\n\n\0")
refuse("frames", "the server does not take frames that only servers send",
       "frames_of_servers_are_not_taken", "server",
       *(b"%s\n\n\0" % command for command in (b"CONNECTED", b"MESSAGE", b"RECEIPT", b"ERROR")))
refuse("bnf", "a header line has a colon", "a_header_without_colon_is_malformed", "colon",
       b"SEND\ndestination\n\n\0")
refuse("bnf", "a header has at least one octet of name",
       "a_header_without_name_is_malformed", "colon",
       b"SEND\n:x\n\n\0")
refuse("bnf", "a value has no carriage return",
       "a_carriage_return_inside_a_line_is_malformed", "carriage return",
       b"SEND\ndestination:/topic/x\nx:a\rb\n\n\0", versions=("1.2",))
refuse("encoding", "commands and headers are UTF-8", "what_is_no_utf8_is_refused", "UTF-8",
       b"SEND\ndestination:/topic/x\nx:\xc3(\n\n\0", versions=NEW)
refuse("encoding", "an undefined escape sequence is a fatal protocol error",
       "an_undefined_escape_sequence_is_fatal", "escape",
       *(b"SEND\ndestination:/topic/x\nx:%s\n\n\0" % bad for bad in
         (b"a\\tb", b"\\x", b"a\\", b"\\C")), versions=NEW)
refuse("encoding", "\\r is not defined", "carriage_return_has_no_escape_in_1_1", "escape",
       b"SEND\ndestination:/topic/x\nx:a\\rb\n\n\0", versions=("1.1",))
refuse("content-length", "it is a count of octets", "what_is_no_count_is_refused", "content-length",
       *(b"SEND\ndestination:/topic/x\ncontent-length:%s\n\n" % bad for bad in
         (b"-1", b"+5", b"5 5", b"0x10", b"", b"99999999999999999999", b"1e3")))
refuse("content-length", "the frame still ends with NUL",
       "a_body_of_that_length_is_followed_by_nul", "NUL",
       b"SEND\ndestination:/topic/x\ncontent-length:2\n\nabc\0")
refuse("limits", "a too long body is answered with ERROR, and the connection closed",
       "a_too_long_body_is_refused_before_it_comes", "body_size",
       b"SEND\ndestination:/topic/x\ncontent-length:1500000\n\n")
refuse("send", "destination is required", "send_has_a_destination", "destination",
       b"SEND\nreceipt:1\n\nx\0")
refuse("send", "what cannot be processed is answered with ERROR, and the connection closed",
       "send_to_what_is_no_destination_is_an_error", "",
       b"SEND\ndestination:/topic/a/#\nreceipt:1\n\n\0")
refuse("subscribe", "destination is required", "subscribe_has_a_destination", "destination",
       b"SUBSCRIBE\nid:1\nreceipt:1\n\n\0")
refuse("subscribe", "id is required", "subscribe_has_an_id", "id",
       b"SUBSCRIBE\ndestination:/topic/x\nreceipt:1\n\n\0", versions=NEW)
refuse("subscribe", "what cannot be subscribed to is answered with ERROR, and the connection closed",
       "a_subscription_that_cannot_be_made_is_an_error", "",
       b"SUBSCRIBE\nid:1\ndestination:/topic/a/#/b\nreceipt:1\n\n\0")
refuse("begin", "transaction is required", "begin_names_a_transaction", "transaction",
       b"BEGIN\nreceipt:1\n\n\0")
refuse("commit", "transaction is required", "commit_names_a_transaction", "transaction",
       b"COMMIT\nreceipt:1\n\n\0")
refuse("abort", "transaction is required", "abort_names_a_transaction", "transaction",
       b"ABORT\nreceipt:1\n\n\0")


# ---- STOMP Frames --------------------------------------------------------------------------------


@clause("frames", "a frame is a command, headers, a blank line, a body and NUL")
def a_frame_is_what_the_grammar_says(w):
    peer, name = w.subscribed()
    peer.put_raw(b"SEND\ndestination:" + name.encode() + b"\n\nhello\0")
    assert peer.next("MESSAGE").body == b"hello"


@clause("frames", "ends of line may follow the NUL")
def ends_of_line_between_frames_are_nothing(w):
    peer = w.client()
    peer.put_raw(b"\n\n" + frame("SEND", destination=w.name()) + b"\n\n\n" +
                 frame("SEND", destination=w.name(), receipt="1") + b"\n")
    peer.next("RECEIPT", receipt_id="1")
    peer.barrier()


@clause("frames", "a line ends with an optional carriage return and a required line feed", ("1.2",))
def lines_may_end_with_carriage_return_and_line_feed(w):
    peer, name = w.subscribed()
    peer.put_raw(frame("SEND", "x", eol="\r\n", destination=name, receipt="1"))
    got = {peer.next().command for _ in range(2)}
    assert got == {"MESSAGE", "RECEIPT"}


@clause("frames", "carriage returns and line feeds also end the lines of CONNECT", ("1.2",))
def connect_may_have_carriage_returns(w):
    peer = w.bare()
    peer.put_raw(frame("CONNECT", eol="\r\n", accept_version="1.2", host="h"))
    peer.next("CONNECTED", version="1.2")


@clause("bnf", "a value may be empty", NEW)
def a_value_may_be_empty(w):
    peer, name = w.subscribed()
    peer.put("SEND", destination=name, empty="")
    assert peer.next("MESSAGE")["empty"] == ""


# ---- Value Encoding ------------------------------------------------------------------------------


@clause("encoding", "commands and headers are UTF-8", NEW)
def headers_are_utf8_and_come_back_so(w):
    peer, name = w.subscribed()
    peer.put("SEND", destination=name, name="京A12345 é")
    assert peer.next("MESSAGE")["name"] == "京A12345 é"


@clause("encoding", "\\n is decoded to a line feed", NEW)
def escaped_line_feed_is_decoded(w):
    peer = w.client()
    peer.put_raw(b"SEND\ndestination:/topic/x\nreceipt:a\\nb\n\n\0")
    assert peer.next("RECEIPT")["receipt-id"] == "a\nb"


@clause("encoding", "\\c is decoded to a colon", NEW)
def escaped_colon_is_decoded(w):
    peer, name = w.subscribed()
    peer.put_raw(f"SEND\ndestination:{name}\na\\cb:c\\cd\n\n\0".encode())
    assert peer.next("MESSAGE")["a:b"] == "c:d"


@clause("encoding", "\\\\ is decoded to a backslash", NEW)
def escaped_backslash_is_decoded(w):
    peer, name = w.subscribed()
    peer.put_raw(f"SEND\ndestination:{name}\nx:a\\\\nb\n\n\0".encode())
    assert peer.next("MESSAGE")["x"] == "a\\nb"


@clause("encoding", "\\r is decoded to a carriage return", ("1.2",))
def escaped_carriage_return_is_decoded(w):
    peer, name = w.subscribed()
    peer.put_raw(f"SEND\ndestination:{name}\nx:a\\rb\n\n\0".encode())
    assert peer.next("MESSAGE")["x"] == "a\rb"


@clause("encoding", "the reverse transformation is applied when headers are encoded", NEW)
def headers_are_escaped_when_they_are_sent(w):
    peer, name = w.subscribed()
    peer.put("SEND", destination=name, x="a:b\nc\\d")
    assert b"\nx:a\\cb\\nc\\\\d\n" in raw_message(peer)


@clause("encoding", "... also a destination and an identifier", NEW)
def no_destination_or_identifier_can_inject_a_header(w):
    peer = w.client()
    peer.receipt("SUBSCRIBE", id="i\nx:1", destination="/topic/in:jec\nt")
    peer.put("SEND", destination="/topic/in:jec\nt")
    text = raw_message(peer)
    assert b"\nsubscription:i\\nx\\c1\n" in text and b"\ndestination:/topic/in\\cjec\\nt\n" in text


def raw_message(peer):
    return peer.read_until(b"\0")


@clause("encoding", "1.0 has no escapes", ("1.0",))
def backslashes_are_backslashes_in_1_0(w):
    peer, name = w.subscribed()
    peer.put("SEND", destination=name, x="a\\nb\\t:c")
    assert peer.next("MESSAGE")["x"] == "a\\nb\\t:c"


@clause("encoding", "CONNECT is not escaped", NEW)
def connect_and_connected_have_no_escapes(w):
    peer = w.bare()
    peer.put_raw(f"CONNECT\naccept-version:{w.version}\nhost:h\nclient-id:a\\tb\\c:{w.name('')}\n\n\0".encode())
    assert peer.next("CONNECTED")["session"].startswith("a\\tb\\c:")


@clause("encoding", "headers are never trimmed or padded with spaces", ("1.1", "1.2"))
def spaces_are_kept(w):
    peer, name = w.subscribed()
    peer.put_raw(f"SEND\ndestination:{name}\n x : y \n\n\0".encode())
    assert (" x ", " y ") in peer.next("MESSAGE").pairs


@clause("encoding", "headers are written with a blank behind the colon", ("1.0",))
def a_blank_behind_the_colon_is_none_in_1_0(w):
    peer = w.client()
    name = w.name()
    peer.put_raw(f"SUBSCRIBE\ndestination: {name}\nack: auto\nreceipt: 1\n\n\0".encode())
    peer.next("RECEIPT", receipt_id="1")
    peer.put("SEND", "x", destination=name)
    assert peer.next("MESSAGE").body == b"x"


# ---- Body ----------------------------------------------------------------------------------------


@clause("body", "frames other than SEND, MESSAGE and ERROR must not have a body", NEW)
def only_send_has_a_body(w):
    for command, headers in (("SUBSCRIBE", {"id": "1", "destination": "/topic/x"}),
                             ("BEGIN", {"transaction": "t"}), ("DISCONNECT", {})):
        peer = w.client()
        peer.put(command, "body", receipt="1", **headers)
        peer.error("body", receipt="1")


@clause("subscribe", "the body of SUBSCRIBE is ignored", ("1.0",))
def the_body_of_subscribe_is_ignored(w):
    w.client().receipt("SUBSCRIBE", "body", destination=w.name())


@clause("body", "without content-length the first NUL ends the frame")
def the_first_nul_ends_a_body_without_length(w):
    peer, name = w.subscribed()
    peer.put_raw(f"SEND\ndestination:{name}\n\none\0SEND\ndestination:{name}\n\ntwo\0".encode())
    assert [peer.next("MESSAGE").body for _ in range(2)] == [b"one", b"two"]


@clause("content-length", "that many octets are read, NULs or not")
def content_length_is_taken_at_its_word(w):
    peer, name = w.subscribed()
    body = b"\0a\0\n\0SEND\n\0"
    peer.put("SEND", body, destination=name, content_length=len(body))
    assert peer.next("MESSAGE").body == body


@clause("content-length", "a frame whose body has NUL has a content-length")
def a_body_with_nul_is_sent_with_its_length(w):
    peer, name = w.subscribed()
    peer.put("SEND", b"a\0b", destination=name, content_length=3)
    got = peer.next("MESSAGE")
    assert got["content-length"] == "3" and got.body == b"a\0b"


@clause("content-length", "it counts octets, not characters", NEW)
def length_is_in_octets(w):
    peer, name = w.subscribed()
    body = "京A".encode()
    peer.put("SEND", body, destination=name, content_length=len(body))
    assert peer.next("MESSAGE")["content-length"] == "4"


@clause("content-type", "it is passed on")
def content_type_is_passed_on(w):
    peer, name = w.subscribed()
    peer.put("SEND", "x", destination=name, content_type="text/plain;charset=utf-8")
    peer.next("MESSAGE", content_type="text/plain;charset=utf-8")


# ---- Size Limits, Repeated Header Entries --------------------------------------------------------


@clause("limits", "too many headers are answered with ERROR, and the connection closed")
def too_many_headers_are_refused(w):
    peer = w.client()
    peer.put_raw(b"SEND\n" + b"".join(b"h%d:x\n" % n for n in range(200)))
    peer.error("headers_max")


@clause("limits", "too long headers are answered with ERROR, and the connection closed")
def too_long_headers_are_refused(w):
    peer = w.client()
    peer.pieces = False
    peer.put_raw(b"SEND\nx:" + b"y" * 20000)
    peer.error("header_size")


@clause("repeated", "of repeated headers the first is the value")
def the_first_of_repeated_headers_counts(w):
    peer, name = w.subscribed()
    peer.put_raw(f"SEND\ndestination:{name}\ndestination:/topic/else\nreceipt:1\nreceipt:2\n"
                 "foo:World\nfoo:Hello\n\n\0".encode())
    got = {f.command: f for f in (peer.next(), peer.next())}
    assert got["MESSAGE"]["foo"] == "World" and got["RECEIPT"]["receipt-id"] == "1"


# ---- Connecting, Protocol Negotiation -------------------------------------------------------------


@clause("connecting", "the server answers CONNECT with CONNECTED")
def connect_is_answered(w):
    assert w.client()


@clause("connecting", "STOMP is handled as CONNECT is")
def stomp_is_the_same_as_connect(w):
    peer = w.bare()
    accept = {} if w.version == "1.0" else {"accept_version": w.version}
    peer.put_raw(frame("STOMP", version="1.0", host="h", **accept))
    assert peer.next("CONNECTED")["version"] == w.version


@clause("connecting", "CONNECTED has the version", NEW)
def connected_has_the_version(w):
    peer = w.bare()
    peer.put_raw(frame("CONNECT", accept_version=w.version, host="h"))
    peer.next("CONNECTED", version=w.version)


@clause("connecting", "CONNECTED has a session identifier, which is unique")
def sessions_are_told_apart(w):
    first, second = w.bare(), w.bare()
    assert first.login(w.version)["session"] != second.login(w.version)["session"]


@clause("connecting", "the server header begins with a name", NEW)
def the_server_names_itself(w):
    name = w.bare().login(w.version)["server"]
    assert name and not name.startswith((" ", "/"))


@clause("connecting", "no frame is taken before CONNECT")
def nothing_comes_before_connect(w):
    for command, headers in (("SEND", {"destination": "/topic/x"}), ("BEGIN", {"transaction": "t"}),
                             ("SUBSCRIBE", {"id": "1", "destination": "/topic/x"}), ("DISCONNECT", {})):
        peer = w.bare()
        peer.put(command, **headers)
        peer.error("CONNECT")


@clause("connecting", "a connection is opened once")
def connect_comes_once(w):
    peer = w.client()
    peer.put_raw(frame("CONNECT", accept_version="1.2", host="h"))
    peer.error("already open")


@clause("negotiation", "no accept-version means 1.0", ("1.0",))
def without_accept_version_it_is_1_0(w):
    peer = w.bare()
    peer.put_raw(b"CONNECT\n\n\0")
    peer.next("CONNECTED", version="1.0")
    peer.put_raw(b"SEND\ndestination:/topic/x\\t\nreceipt:\\n\n\n\0")
    peer.next("RECEIPT", receipt_id="\\n")


@clause("negotiation", "the highest version in common is used")
def the_highest_common_version_is_used(w):
    lists = {"1.0": ("1.0", "1.0,2.0", "0.9,1.0"), "1.1": ("1.0,1.1", "1.1,1.0", "1.0,1.1,2.0"),
             "1.2": ("1.0,1.1,1.2", "1.2,1.0", "1.2,1.3")}
    for accept in lists[w.version]:
        peer = w.bare()
        peer.put_raw(frame("CONNECT", version="1.0", accept_version=accept, host="h"))
        peer.next("CONNECTED", version=w.version)


@clause("negotiation", "without one, ERROR tells the versions and the connection is closed")
def no_common_version_is_an_error(w):
    peer = w.bare()
    peer.put_raw(frame("CONNECT", version="1.0", accept_version="2.1,2.2", host="h"))
    got = peer.error("version")
    assert w.version in got["version"].split(",")


# ---- SEND ----------------------------------------------------------------------------------------


@clause("send", "user defined headers are passed through in MESSAGE")
def user_headers_are_passed_through(w):
    peer, name = w.subscribed()
    peer.put("SEND", destination=name, first="1", second="two words", priority="9")
    got = peer.next("MESSAGE")
    assert [p for p in got.pairs if p[0] in ("first", "second", "priority")] == [
        ("first", "1"), ("second", "two words"), ("priority", "9")]


@clause("send", "a destination is opaque to the protocol")
def any_destination_can_be_sent_to(w):
    for name in ("/queue/a", "a", "/", "/a/b", "a b", "queue.a"):
        w.client().receipt("SEND", destination=name)


# ---- SUBSCRIBE, UNSUBSCRIBE -----------------------------------------------------------------------


@clause("subscribe", "what comes to the destination is delivered as MESSAGE")
def what_comes_is_delivered(w):
    peer, name = w.subscribed()
    w.client().receipt("SEND", "x", destination=name)
    peer.next("MESSAGE", destination=name)
    peer.barrier()


@clause("subscribe", "id is optional", ("1.0",))
def subscribe_needs_no_id_in_1_0(w):
    peer = w.client()
    name = w.name()
    peer.receipt("SUBSCRIBE", destination=name)
    peer.put("SEND", destination=name)
    assert peer.next("MESSAGE").get("subscription") is None


@clause("subscribe", "different subscriptions of a connection have different identifiers")
def an_identifier_is_used_once(w):
    peer, _ = w.subscribed()
    peer.put("SUBSCRIBE", id="s", destination=w.name(), receipt="1")
    peer.error("id", receipt="1")


@clause("subscribe", "an identifier is the connection's own")
def other_connections_may_use_the_same_identifier(w):
    first, name = w.subscribed()
    second = w.client()
    second.receipt("SUBSCRIBE", id="s", destination=name)
    w.client().receipt("SEND", "x", destination=name)
    assert first.next("MESSAGE").body == second.next("MESSAGE").body == b"x"


@clause("subscribe", "ack is auto, client or client-individual", NEW)
def ack_has_three_values(w):
    for mode in ("auto", "client", "client-individual"):
        w.client().receipt("SUBSCRIBE", id="1", destination=w.name(), ack=mode)
    peer = w.client()
    peer.put("SUBSCRIBE", id="1", destination=w.name(), ack="Auto", receipt="1")
    peer.error("ack", receipt="1")


@clause("subscribe", "ack is auto or client", ("1.0",))
def ack_has_two_values_in_1_0(w):
    for mode in ("auto", "client"):
        w.client().receipt("SUBSCRIBE", id="1", destination=w.name(), ack=mode)


@clause("subscribe", "ack is auto by default")
def ack_is_auto_by_default(w):
    peer, name = w.subscribed("/queue/")
    peer.put("SEND", "x", destination=name)
    assert peer.next("MESSAGE").get("ack") is None
    peer.receipt("DISCONNECT")
    other = w.client()
    other.receipt("SUBSCRIBE", id="s", destination=name)
    other.barrier()  # it was consumed when it was sent


@clause("unsubscribe", "no message comes any more")
def nothing_comes_after_unsubscribe(w):
    peer, name = w.subscribed()
    peer.receipt("UNSUBSCRIBE", id="s")
    peer.put("SEND", "x", destination=name)
    peer.barrier()


@clause("unsubscribe", "id is required", NEW)
def unsubscribe_has_an_id(w):
    peer, _ = w.subscribed()
    peer.put("UNSUBSCRIBE", receipt="1")
    peer.error("id", receipt="1")


@clause("unsubscribe", "id matches an existing subscription")
def unsubscribe_is_about_what_there_is(w):
    peer, _ = w.subscribed()
    peer.put("UNSUBSCRIBE", id="other", receipt="1")
    peer.error("subscription", receipt="1")


@clause("unsubscribe", "by destination or by id", ("1.0",))
def unsubscribe_by_destination_in_1_0(w):
    peer = w.client()
    name = w.name()
    peer.receipt("SUBSCRIBE", destination=name)
    peer.receipt("UNSUBSCRIBE", destination=name)
    peer.put("SEND", "x", destination=name)
    peer.barrier()


# ---- ACK, NACK -----------------------------------------------------------------------------------


@clause("ack", "a message is not consumed until it is acknowledged")
def what_is_not_acknowledged_comes_again(w):
    peer, name = w.subscribed("/queue/", ack="client")
    other = w.client()
    w.client().receipt("SEND", "x", destination=name)
    peer.next("MESSAGE")
    other.receipt("SUBSCRIBE", id="s", destination=name, ack="client")
    peer.close()
    assert other.next("MESSAGE", redelivered="true").body == b"x"


@clause("ack", "an acknowledged message is consumed")
def what_is_acknowledged_does_not_come_again(w):
    peer, name = w.subscribed("/queue/", ack="client")
    w.client().receipt("SEND", "x", destination=name)
    peer.receipt("ACK", **w.ack(peer.next("MESSAGE")))
    peer.receipt("DISCONNECT")
    other = w.client()
    other.receipt("SUBSCRIBE", id="s", destination=name, ack="client")
    other.barrier()


@clause("ack", "in client mode it is cumulative", NEW)
def client_acknowledges_all_before(w):
    peer, name = w.subscribed("/queue/", ack="client")
    sender = w.client()
    for n in range(3):
        sender.receipt("SEND", str(n), destination=name)
    got = [peer.next("MESSAGE") for _ in range(3)]
    peer.receipt("ACK", **w.ack(got[1]))
    peer.put("NACK", **w.ack(got[2]))
    again = peer.next("MESSAGE")
    assert again.body == b"2"
    peer.receipt("ACK", **w.ack(again))
    peer.receipt("DISCONNECT")


@clause("ack", "in client mode it is about that subscription alone", NEW)
def cumulative_is_within_a_subscription(w):
    peer, name = w.subscribed(ack="client")
    other = w.name()
    peer.receipt("SUBSCRIBE", id="t", destination=other, ack="client")
    peer.put("SEND", "1", destination=name)
    peer.put("SEND", "2", destination=other)
    first, second = peer.next("MESSAGE"), peer.next("MESSAGE")
    peer.receipt("ACK", **w.ack(second))
    peer.receipt("ACK", **w.ack(first))  # it is still out


@clause("ack", "in client-individual mode no earlier message is acknowledged", NEW)
def individual_acknowledges_one(w):
    peer, name = w.subscribed(ack="client-individual")
    peer.put("SEND", "1", destination=name)
    peer.put("SEND", "2", destination=name)
    first, second = peer.next("MESSAGE"), peer.next("MESSAGE")
    peer.receipt("ACK", **w.ack(second))
    peer.receipt("ACK", **w.ack(first))
    peer.put("ACK", receipt="1", **w.ack(first))
    peer.error("message", receipt="1")


@clause("ack", "id matches the ack header of the MESSAGE", ("1.2",))
def ack_has_an_id(w):
    peer, name = w.subscribed(ack="client")
    peer.put("SEND", "1", destination=name)
    got = peer.next("MESSAGE")
    peer.put("ACK", message_id=got["message-id"], subscription="s", receipt="1")
    peer.error("id", receipt="1")


@clause("ack", "message-id and subscription are required", ("1.1",))
def ack_has_message_id_and_subscription(w):
    peer, name = w.subscribed(ack="client")
    peer.put("SEND", "1", destination=name)
    got = peer.next("MESSAGE")
    peer.put("ACK", message_id=got["message-id"], receipt="1")
    peer.error("subscription", receipt="1")


@clause("ack", "message-id is required and matches that of the MESSAGE", ("1.0", "1.1"))
def ack_names_a_message(w):
    peer, _ = w.subscribed(ack="client")
    peer.put("ACK", subscription="s", receipt="1")
    peer.error("message-id", receipt="1")


@clause("ack", "one that matches nothing is an error")
def ack_of_nothing_is_an_error(w):
    peer, _ = w.subscribed(ack="client")
    peer.put("ACK", id="77", message_id="77", subscription="s", receipt="1")
    peer.error("message", receipt="1")


@clause("nack", "the message was not consumed", NEW)
def a_refused_message_comes_again(w):
    peer, name = w.subscribed("/queue/", ack="client-individual")
    peer.put("SEND", "x", destination=name)
    peer.put("NACK", **w.ack(peer.next("MESSAGE")))
    again = peer.next("MESSAGE", redelivered="true")
    peer.receipt("ACK", **w.ack(again))
    peer.barrier()


@clause("nack", "... or goes to a dead letter queue", NEW)
def a_message_that_is_refused_too_often_is_a_dead_letter(w):
    peer, name = w.subscribed("/queue/", ack="client-individual")
    peer.receipt("SUBSCRIBE", id="d", destination="/topic/dead-letter/" + name[7:])
    peer.put("SEND", "x", destination=name)
    for _ in range(3):
        peer.put("NACK", **w.ack(peer.next("MESSAGE", subscription="s")))
    assert peer.next("MESSAGE", subscription="d").body == b"x"


@clause("nack", "id is required", ("1.2",))
def nack_has_an_id(w):
    peer, _ = w.subscribed(ack="client")
    peer.put("NACK", receipt="1")
    peer.error("id", receipt="1")


@clause("nack", "in client mode it is about all before that are unanswered", NEW)
def client_refuses_all_before(w):
    peer, name = w.subscribed("/queue/", ack="client")
    peer.put("SEND", "1", destination=name)
    peer.put("SEND", "2", destination=name)
    peer.next("MESSAGE")
    peer.put("NACK", **w.ack(peer.next("MESSAGE")))
    again = [peer.next("MESSAGE", redelivered="true") for _ in range(2)]
    assert {m.body for m in again} == {b"1", b"2"}
    peer.receipt("ACK", **w.ack(again[1]))


@clause("nack", "there is none", ("1.0",))
def there_is_no_nack_in_1_0(w):
    peer, _ = w.subscribed(ack="client")
    peer.put("NACK", message_id="1", receipt="1")
    peer.error("NACK", receipt="1")


# ---- transactions --------------------------------------------------------------------------------


@clause("begin", "identifiers of transactions are unique in a connection")
def a_transaction_is_begun_once(w):
    peer = w.client()
    peer.receipt("BEGIN", transaction="t")
    w.client().receipt("BEGIN", transaction="t")
    peer.put("BEGIN", transaction="t", receipt="1")
    peer.error("transaction", receipt="1")


@clause("begin", "what is sent in a transaction is processed with it")
def nothing_is_seen_before_commit(w):
    peer, name = w.subscribed()
    peer.receipt("BEGIN", transaction="t")
    peer.receipt("SEND", "1", destination=name, transaction="t")
    peer.receipt("SEND", "2", destination=name, transaction="t")
    peer.barrier()
    peer.put("COMMIT", transaction="t")
    assert [peer.next("MESSAGE").body for _ in range(2)] == [b"1", b"2"]


@clause("begin", "what is acknowledged in a transaction is processed with it")
def acknowledgements_wait_for_commit(w):
    peer, name = w.subscribed(ack="client")
    peer.put("SEND", "1", destination=name)
    got = peer.next("MESSAGE")
    peer.receipt("BEGIN", transaction="t")
    peer.receipt("ACK", transaction="t", **w.ack(got))
    peer.receipt("ABORT", transaction="t")
    peer.receipt("ACK", **w.ack(got))  # it is still out


@clause("begin", "DISCONNECT aborts what is open")
def disconnect_aborts(w):
    watcher, name = w.subscribed()
    peer = w.client()
    peer.receipt("BEGIN", transaction="t")
    peer.receipt("SEND", "1", destination=name, transaction="t")
    peer.receipt("DISCONNECT")
    watcher.barrier()


@clause("begin", "the end of the connection aborts what is open")
def a_broken_connection_aborts(w):
    watcher, name = w.subscribed()
    mine = w.name("")
    peer = w.client(client_id=mine)
    peer.receipt("BEGIN", transaction="t")
    peer.receipt("SEND", "1", destination=name, transaction="t")
    peer.close()
    w.client(client_id=mine)  # in any case the other connection is over now
    watcher.barrier()


@clause("commit", "it is one that is in progress")
def commit_is_about_what_is_open(w):
    peer = w.client()
    peer.receipt("BEGIN", transaction="t")
    peer.receipt("COMMIT", transaction="t")
    peer.put("COMMIT", transaction="t", receipt="1")
    peer.error("transaction", receipt="1")


@clause("abort", "it is one that is in progress, and is rolled back")
def abort_rolls_back(w):
    peer, name = w.subscribed()
    peer.receipt("BEGIN", transaction="t")
    peer.receipt("SEND", "1", destination=name, transaction="t")
    peer.receipt("ABORT", transaction="t")
    peer.barrier()
    peer.put("ABORT", transaction="t", receipt="1")
    peer.error("transaction", receipt="1")


@clause("send", "a transaction that is named is open")
def a_frame_of_no_transaction_is_an_error(w):
    peer = w.client()
    peer.put("SEND", destination=w.name(), transaction="none", receipt="1")
    peer.error("transaction", receipt="1")


# ---- DISCONNECT, receipts, server frames ----------------------------------------------------------


@clause("disconnect", "a receipt is sent, and what came before was received")
def disconnect_is_graceful(w):
    watcher, name = w.subscribed()
    peer = w.client()
    for n in range(10):
        peer.put("SEND", str(n), destination=name)
    peer.receipt("DISCONNECT")
    peer.expect_close()
    assert [watcher.next("MESSAGE").body for _ in range(10)] == [b"%d" % n for n in range(10)]


@clause("disconnect", "nothing is taken behind it")
def nothing_is_taken_behind_disconnect(w):
    watcher, name = w.subscribed()
    peer = w.client()
    peer.put_raw(frame("DISCONNECT", version=w.version, receipt="1") +
                 frame("SEND", "x", version=w.version, destination=name))
    peer.next("RECEIPT", receipt_id="1")
    peer.expect_close()
    watcher.barrier()


@clause("receipt", "every client frame but CONNECT is acknowledged if it asks")
def every_frame_has_its_receipt(w):
    peer, name = w.subscribed(ack="client")
    peer.put("SEND", "x", destination=name)
    message = peer.next("MESSAGE")
    peer.receipt("BEGIN", transaction="t")
    peer.receipt("ACK", transaction="t", **w.ack(message))
    peer.receipt("COMMIT", transaction="t")
    peer.receipt("BEGIN", transaction="t")
    peer.receipt("ABORT", transaction="t")
    peer.receipt("SEND", destination=w.name())
    peer.receipt("UNSUBSCRIBE", id="s")
    peer.receipt("DISCONNECT")


@clause("receipt", "receipt-id is the value of the frame's receipt, whatever it is")
def receipt_id_is_the_receipt(w):
    peer = w.client()
    for value in ("1", "a b", "x" * 500, "é" if w.version != "1.0" else "e"):
        peer.put("SEND", destination=w.name(), receipt=value)
        peer.next("RECEIPT", receipt_id=value)


@clause("receipt", "a frame without receipt has none")
def no_receipt_is_sent_unasked(w):
    peer = w.client()
    peer.put("SEND", destination=w.name())
    peer.barrier()


@clause("message", "destination is that of the message")
def message_has_the_destination(w):
    peer, name = w.subscribed()
    peer.put("SEND", destination=name)
    peer.next("MESSAGE", destination=name)


@clause("message", "message-id is unique")
def message_has_a_unique_identifier(w):
    peer, name = w.subscribed()
    for _ in range(20):
        peer.put("SEND", destination=name)
    assert len({peer.next("MESSAGE")["message-id"] for _ in range(20)}) == 20


@clause("message", "subscription is the identifier of the subscription", NEW)
def message_has_the_subscription(w):
    peer, name = w.subscribed()
    peer.receipt("SUBSCRIBE", id="other one", destination=name)
    peer.put("SEND", destination=name)
    assert {peer.next("MESSAGE")["subscription"] for _ in range(2)} == {"s", "other one"}


@clause("message", "subscription is there if an id was given", ("1.0",))
def message_has_the_subscription_in_1_0(w):
    peer, name = w.subscribed()
    peer.put("SEND", destination=name)
    peer.next("MESSAGE", subscription="s")


@clause("message", "ack is there if an acknowledgement is asked for", ("1.2",))
def message_has_ack_if_it_is_to_be_acknowledged(w):
    for mode in ("client", "client-individual"):
        peer, name = w.subscribed(ack=mode)
        peer.put("SEND", destination=name)
        assert peer.next("MESSAGE")["ack"]
    peer, name = w.subscribed(ack="auto")
    peer.put("SEND", destination=name)
    assert peer.next("MESSAGE").get("ack") is None


@clause("message", "the body is the message's")
def message_has_the_body(w):
    peer, name = w.subscribed()
    body = bytes(range(256)) * 3
    peer.put("SEND", body, destination=name, content_length=len(body))
    assert peer.next("MESSAGE").body == body


@clause("error", "the connection is closed just after ERROR")
def nothing_follows_an_error(w):
    peer = w.client()
    peer.put_raw(b"NONE\n\n\0" + frame("SEND", destination=w.name(), receipt="1"))
    peer.error("command")


@clause("error", "it has a message, a type, a length, and the receipt of the frame", NEW)
def an_error_is_helpful(w):
    peer = w.client()
    peer.put("SEND", "x", receipt="r:1")
    got = peer.error("destination", receipt="r:1")
    assert got["message"] and got["content-type"] == "text/plain"
    assert int(got["content-length"]) == len(got.body) > 0


@clause("lingering", "clients that come and go quickly are served")
def clients_may_come_and_go(w):
    for _ in range(20):
        peer = w.bare()
        peer.pieces = False
        accept = "" if w.version == "1.0" else f"accept-version:{w.version}\n"
        peer.put_raw(f"CONNECT\n{accept}host:h\n\n\0DISCONNECT\nreceipt:1\n\n\0".encode())
        peer.next("CONNECTED")
        peer.next("RECEIPT")
        peer.expect_close()


# ---- Heart-beating -------------------------------------------------------------------------------


@clause("heart-beat", "it is two integers with a comma between", NEW)
def heart_beat_is_two_numbers(w):
    for bad in ("1", "1,", ",1", "a,b", "-1,0", "1,2,3", "1.5,0"):
        peer = w.bare()
        peer.put_raw(frame("CONNECT", version="1.0", accept_version=w.version, host="h", heart_beat=bad))
        peer.error("heart-beat")


@clause("heart-beat", "CONNECTED has two integers with a comma between", NEW)
def connected_tells_what_the_server_can_and_wants(w):
    sends, wants = w.bare().login(w.version, heart_beat="0,0")["heart-beat"].split(",")
    assert int(sends) > 0 and int(wants) > 0


@clause("heart-beat", "a missing one is 0,0: nothing is sent", NEW)
def without_the_header_nothing_is_sent(w):
    silent, other = w.client(), w.client(heart_beat="0,1000")
    while other.heartbeats < 2:
        assert other.read(1) == b"\n"
        other.heartbeats += 1
    silent.barrier()
    assert silent.heartbeats == 0


@clause("heart-beat", "something is sent at least every n milliseconds, an end of line if nothing else", NEW)
def heart_beats_come_in_time(w):
    peer = w.client(heart_beat="0,1000")
    last = time.monotonic()
    for _ in range(3):
        assert peer.read(1) == b"\n"
        now = time.monotonic()
        assert now - last < 1.0 + 0.1  # as a client does that allows for 100 ms
        last = now


@clause("heart-beat", "any data is a sign of life", NEW)
def heart_beats_of_the_client_are_taken(w):
    peer = w.client(heart_beat="1000,0")
    for _ in range(5):
        peer.put_raw(b"\n")
    peer.barrier()
