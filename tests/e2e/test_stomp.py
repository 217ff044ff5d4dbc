# SPDX-License-Identifier: Apache-2.0
"""STOMP on the real daemon: Debian's stomp.py unmodified, and crossing to the other protocols. What
goes frame by frame is in test_stomp_conformance.py."""
import json
import queue
import time

import pytest
import stomp

from jt808wire import TEXT, Terminal
from mqttwire import MqttPeer
from polygate import TIMEOUT
from stompwire import StompPeer
from test_access import passwd
from test_server import build_plugin
from wswire import WebSocket
from wswire import frame as ws_frame

LISTENERS = {"mqtt": "mqtt", "stomp": "stomp", "jt808": "jt808"}
CONNECTIONS = {"1.0": stomp.Connection10, "1.1": stomp.Connection11, "1.2": stomp.Connection12}


class Listener(stomp.ConnectionListener):
    """What comes, in the order in which it comes."""

    def __init__(self):
        self.events = queue.Queue()

    def next(self, kind):
        got = self.events.get(timeout=TIMEOUT)
        assert got[0] == kind, got
        return got[1]

    def on_connected(self, frame):
        self.events.put(("connected", frame))

    def on_message(self, frame):
        self.events.put(("message", frame))

    def on_receipt(self, frame):
        self.events.put(("receipt", frame.headers["receipt-id"]))

    def on_error(self, frame):
        self.events.put(("error", frame))

    def on_disconnected(self):
        self.events.put(("disconnected", None))

    def on_heartbeat_timeout(self):
        self.events.put(("heartbeat_timeout", None))


@pytest.fixture
def connect(request):
    """A function that connects stomp.py to a gateway; all are closed at the end."""
    opened = []

    def start(gw, version="1.2", heartbeats=(0, 0), headers=None, **login):
        conn = CONNECTIONS[version](
            [("127.0.0.1", gw.port("stomp"))], reconnect_attempts_max=1,
            **({} if version == "1.0" else {"heartbeats": heartbeats}))
        conn.events = Listener()
        conn.set_listener("", conn.events)
        opened.append(conn)
        conn.connect(wait=True, headers=headers or {}, **login)
        conn.events.next("connected")
        return conn

    yield start
    for conn in opened:
        if conn.is_connected():
            conn.disconnect()


@pytest.fixture
def gw(gateway):
    return gateway(listeners=LISTENERS)


def wire(gw, version="1.2", **headers):
    peer = gw.connect("stomp", StompPeer)
    peer.login(version, **headers)
    return peer


def bye(conn):
    """DISCONNECT, and its receipt; stomp.py tells the end before it tells the receipt."""
    conn.disconnect(receipt="bye")
    while conn.events.events.get(timeout=TIMEOUT) != ("receipt", "bye"):
        pass


# ---- stomp.py ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", CONNECTIONS)
def test_stomp_py_subscribes_sends_and_disconnects(gw, connect, version):
    conn = connect(gw, version)
    conn.subscribe("/topic/news", id="1", ack="auto", headers={"receipt": "sub"})
    assert conn.events.next("receipt") == "sub"
    conn.send("/topic/news", "hello", receipt="sent", kind="greeting")
    got = [conn.events.events.get(timeout=TIMEOUT) for _ in range(2)]
    message = next(value for kind, value in got if kind == "message")
    assert ("receipt", "sent") in got
    assert message.body == "hello"
    assert message.headers["destination"] == "/topic/news"
    assert message.headers["subscription"] == "1"
    assert message.headers["kind"] == "greeting"
    conn.unsubscribe("1")
    bye(conn)


def named(message, version):
    """How ACK and NACK name a message."""
    return (message.headers["ack"],) if version == "1.2" else (message.headers["message-id"], "q")


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_stomp_py_acknowledges_and_refuses(gw, connect, version):
    """What one consumer of a queue refuses another one has."""
    first, second, sender = (connect(gw, version) for _ in range(3))
    for conn in (first, second):
        conn.subscribe("/queue/work", id="q", ack="client-individual", headers={"receipt": "s"})
        conn.events.next("receipt")
    both = queue.Queue()
    first.events.on_message = lambda frame: both.put((first, second, frame))
    second.events.on_message = lambda frame: both.put((second, first, frame))
    sender.send("/queue/work", "job")
    conn, other, message = both.get(timeout=TIMEOUT)
    conn.nack(*named(message, version))
    again = both.get(timeout=TIMEOUT)
    assert again[0] is other
    assert again[2].body == "job" and again[2].headers["redelivered"] == "true"
    other.ack(*named(again[2], version), receipt="done")
    assert other.events.next("receipt") == "done"


def test_stomp_py_transactions(gw, connect):
    conn = connect(gw)
    conn.subscribe("/topic/t", id="1", headers={"receipt": "s"})
    conn.events.next("receipt")
    tx = conn.begin()
    conn.send("/topic/t", "one", transaction=tx)
    conn.send("/topic/t", "two", transaction=tx)
    conn.send("/topic/t", "before")
    assert conn.events.next("message").body == "before"
    conn.commit(tx)
    assert [conn.events.next("message").body for _ in range(2)] == ["one", "two"]
    tx = conn.begin()
    conn.send("/topic/t", "never", transaction=tx)
    conn.abort(tx)
    conn.send("/topic/t", "after")
    assert conn.events.next("message").body == "after"


def test_stomp_py_is_not_dropped_while_heartbeats_go(gw, connect):
    """Both directions, at the interval that the client asks for."""
    conn = connect(gw, heartbeats=(1000, 1000))
    gw.wait_log("admitted", protocol="stomp")
    peer = wire(gw, heart_beat="0,1000")
    while peer.heartbeats < 3:
        assert peer.read(1) == b"\n"
        peer.heartbeats += 1
    assert conn.is_connected()
    assert conn.events.events.empty()


def test_stomp_py_reconnects_to_its_durable_subscription(gw, connect):
    """What came meanwhile is there, and nothing twice."""
    headers = {"client-id": "me"}
    conn = connect(gw, headers=headers)
    conn.subscribe("/topic/d", id="d", ack="client", headers={"durable": "true", "receipt": "s"})
    assert conn.events.next("receipt") == "s"
    bye(conn)
    gw.wait_log("closed", client="me")
    wire(gw).receipt("SEND", "kept", destination="/topic/d")
    conn = connect(gw, headers=headers)
    conn.subscribe("/topic/d", id="d", ack="client", headers={"durable": "true"})
    message = conn.events.next("message")
    assert message.body == "kept"
    conn.ack(message.headers["ack"], receipt="a")
    assert conn.events.next("receipt") == "a"
    conn.unsubscribe("d", headers={"durable": "true"})
    bye(conn)


def test_stomp_py_is_told_why_it_may_not_come_in(folder, gateway, connect):
    passwd(folder / "passwords", "alice", "secret:\\c")
    gw = gateway(f'authfile {{ password_file = "{folder / "passwords"}" }}\n'
                 'access { allow_anonymous = no }\n', listeners=LISTENERS)
    connect(gw, username="alice", passcode="secret:\\c")
    with pytest.raises(stomp.exception.ConnectFailedException):
        connect(gw, username="alice", passcode="secret:c")
    gw.wait_log("refused", user="alice")
    peer = gw.connect("stomp", StompPeer)
    peer.put_raw(b"CONNECT\naccept-version:1.2\nhost:h\nlogin:alice\npasscode:no\n\n\0")
    peer.error("CONNECT")


# ---- crossing ------------------------------------------------------------------------------------

CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION_DATA, USER, EXPIRY, FORMAT = 0x03, 0x08, 0x09, 0x26, 0x02, 0x01


def mqtt(gw, client_id="app"):
    peer = gw.connect("mqtt", MqttPeer)
    peer.login(client_id, version=5)
    return peer


def test_a_message_from_mqtt_arrives_with_its_properties(gw):
    sub, pub = wire(gw, client_id="browser"), mqtt(gw)
    sub.receipt("SUBSCRIBE", id="1", destination="/topic/a/#")
    pub.publish("a/b:c", "caf\u00e9", 1, props=[
        (FORMAT, 1), (EXPIRY, 60), (CONTENT_TYPE, "text/plain"), (RESPONSE_TOPIC, "answers/1"),
        (CORRELATION_DATA, b"\0\x01"), (USER, ("k:1", "v\n\\")), (USER, ("destination", "forged")),
        (USER, ("k:1", "again"))])
    got = sub.next("MESSAGE", subscription="1", destination="/topic/a/b:c", content_type="text/plain",
                   reply_to="/topic/answers/1", correlation_id_hex="0001", payload_format="utf-8")
    assert got.body.decode() == "caf\u00e9"
    assert [v for k, v in got.pairs if k == "k:1"] == ["v\n\\", "again"]
    assert [v for k, v in got.pairs if k == "destination"] == ["/topic/a/b:c"]
    assert got["user.destination"] == "forged"
    assert 0 < int(got["expires"]) / 1000 - time.time() <= 61


def test_a_message_from_stomp_arrives_with_its_properties(gw):
    sub, pub = mqtt(gw), wire(gw, client_id="browser")
    sub.subscribe("a/#", 1)
    pub.receipt("SEND", b"x\0y", destination="/topic/a/b", content_type="image/png",
                content_length=3, reply_to="/p2p/browser", correlation_id="c:1", x="1",
                user_destination=None, payload_format="bytes",
                expires=int(time.time() * 1000) + 60000)
    got = sub.receive("a/b", b"x\0y")
    assert got.qos == 1
    assert got.prop(CONTENT_TYPE) in ("image/png", b"image/png")
    assert got.prop(RESPONSE_TOPIC) in ("stomp/p2p/browser", b"stomp/p2p/browser")
    assert got.prop(CORRELATION_DATA) == b"c:1"
    assert got.prop(FORMAT) == 0
    assert 55 <= got.prop(EXPIRY) <= 61
    assert [v for k, v in got.props if k == USER] == [("x", "1")]
    # The answer goes to whoever asked, without a subscription of his.
    assert sub.publish("stomp/p2p/browser", "pong", 1) == 0
    assert pub.next("MESSAGE", destination="/p2p/browser", subscription="p2p").body == b"pong"


def test_retained_messages_and_queues_are_the_same_for_all(gw):
    app, web = mqtt(gw), wire(gw)
    web.receipt("SEND", "last", destination="/topic/state", retain="true")
    app.subscribe("state", 1)
    assert app.receive("state", "last").retain
    web.receipt("SUBSCRIBE", id="s", destination="/topic/state")
    web.next("MESSAGE", retain="true", subscription="s")
    app.subscribe("$share/queue/jobs", 1, packet_id=2)
    web.receipt("SUBSCRIBE", id="q", destination="/queue/jobs")
    for n in range(2):
        wire(gw).receipt("SEND", str(n), destination="/queue/jobs")
    bodies = {app.receive("jobs").payload, web.next("MESSAGE", destination="/queue/jobs").body}
    assert bodies == {b"0", b"1"}


HELLO = json.dumps({"message": "text_message", "body": {"flag": ["display"], "text": "hello"}})


def test_a_browser_sees_a_terminal_and_talks_to_it(gw):
    """A location goes to STOMP and MQTT; a text comes from STOMP, and its answer goes back there."""
    web, app = wire(gw, client_id="browser"), mqtt(gw)
    web.receipt("SUBSCRIBE", id="up", destination="/topic/jt808/+/up/+")
    web.receipt("SUBSCRIBE", id="answers", destination="/topic/answers/browser")
    app.subscribe("jt808/+/up/0200", 1)
    terminal = gw.connect("jt808", Terminal).login()
    terminal.locate(latitude=31.5, longitude=121.25)
    while True:
        got = web.next("MESSAGE", subscription="up")
        if got["destination"].endswith("/0200"):
            break
    report = json.loads(got.body)
    assert report["body"]["latitude"] == 31.5 and report["phone"] == "013912345678"
    assert json.loads(app.receive("jt808/013912345678/up/0200").payload) == report
    web.receipt("SEND", HELLO, destination="/topic/jt808/013912345678/down",
                reply_to="/topic/answers/browser", correlation_id="42")
    command = terminal.next(TEXT)
    assert command.body.endswith(b"hello")
    terminal.answer_general(command)
    while True:
        answer = web.next("MESSAGE")
        if answer["subscription"] == "answers":
            break
    assert answer["correlation-id"] == "42" and json.loads(answer.body)["status"] == "ok"
    # By the terminal's own name, and with an answer for an application that speaks MQTT.
    app.subscribe("answers/app", 1, packet_id=3)
    web.receipt("SEND", HELLO, destination="/p2p/013912345678", reply_to="/topic/answers/app",
                correlation_id="43")
    terminal.answer_general(terminal.next(TEXT))
    assert app.receive("answers/app").prop(CORRELATION_DATA) == b"43"


def test_a_terminal_answers_the_client_itself_that_asked_and_no_other(gw):
    """P2P there and back, with no subscription; the answer needs no permission of the terminal's."""
    web, other = wire(gw, client_id="browser"), wire(gw, client_id="other")
    terminal = gw.connect("jt808", Terminal).login()
    web.receipt("SEND", HELLO, destination="/p2p/013912345678", reply_to="/p2p/browser",
                correlation_id="44")
    terminal.answer_general(terminal.next(TEXT))
    answer = web.next("MESSAGE", subscription="p2p", destination="/p2p/browser",
                      correlation_id="44")
    assert json.loads(answer.body)["status"] == "ok"
    web.receipt("SEND", HELLO, destination="/p2p/013912345678", reply_to="/p2p/other")
    terminal.answer_general(terminal.next(TEXT))
    gw.wait_log("jt808_response_refused", topic="stomp/p2p/other")
    other.barrier()


def test_what_is_sent_to_a_client_that_is_not_there_is_told(gw):
    web = wire(gw)
    web.put("SEND", destination="/p2p/nobody", receipt="1")
    web.next("RECEIPT", receipt_id="1", reason="no_such_client")
    web.put("SEND", destination="/topic/nobody", receipt="2")
    web.next("RECEIPT", receipt_id="2", reason="no_subscribers")

# ---- transactions and access ---------------------------------------------------------------------

RULES = """
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "polygate.h"

struct late { struct pg_access_request *request; enum pg_verdict verdict; };

static void *think(void *arg)
{
    struct late *late = arg;
    pg_access_answer(late->request, late->verdict);
    free(late);
    return NULL;
}

static enum pg_verdict authorize(void *self, const struct pg_identity *who, enum pg_action action,
                                 struct pg_bytes topic, struct pg_access_request *request)
{
    (void)self;
    if (action != PG_ACTION_PUBLISH)
        return PG_ALLOW;
    enum pg_verdict verdict = memmem(topic.data, topic.len, "secret", 6) ? PG_DENY : PG_ALLOW;
    if (!pg_bytes_equal(who->client_id, PG_BYTES_OF("slow")))
        return verdict;
    struct late *late = malloc(sizeof(*late));
    *late = (struct late){.request = request, .verdict = verdict};
    pthread_t thread;
    pthread_create(&thread, NULL, think, late);
    pthread_detach(thread);
    return PG_LATER;
}

static int here;
static void *start(const void *conf, struct pg_error *error) { (void)conf; (void)error; return &here; }
static void stop(void *self) { (void)self; }
static const struct pg_authenticator authenticator = {.authorize = authorize};
static const struct pg_option options[] = {{.name = NULL}};
PG_API extern const struct pg_plugin pg_plugin_descriptor;
const struct pg_plugin pg_plugin_descriptor = {
    .abi = PG_ABI, .name = "rules", .options = options, .start = start, .stop = stop,
    .authenticator = &authenticator,
};
"""


@pytest.mark.parametrize("client_id", ["quick", "slow"])
def test_a_transaction_is_published_whole_or_not_at_all(folder, gateway, client_id):
    """The rules are asked about all of it first, whether they answer at once or later."""
    made = build_plugin(folder, "rules", RULES)
    gw = gateway(f'plugin "rules" {{ path = "{made}" }}\naccess {{ allow_anonymous = yes }}\n',
                 listeners=LISTENERS)
    reader = wire(gw, client_id="reader")
    reader.receipt("SUBSCRIBE", id="1", destination="/topic/#")

    def transaction(sender, *topics):
        sender.put("BEGIN", transaction="t")
        for topic in topics:
            sender.put("SEND", topic, destination="/topic/" + topic, transaction="t")
        sender.put("COMMIT", transaction="t", receipt="c")

    sender = wire(gw, client_id=client_id)
    transaction(sender, "a", "b", "secret", "c")
    got = sender.error(receipt="c")
    assert got["reason"] == "not_authorized"
    sender = wire(gw, client_id=client_id)
    transaction(sender, "d", "e")
    sender.put("SEND", "f", destination="/topic/f")
    sender.next("RECEIPT", receipt_id="c")
    assert [reader.next("MESSAGE").body for _ in range(3)] == [b"d", b"e", b"f"]


# ---- the connection ------------------------------------------------------------------------------


def test_the_sub_protocols_of_websocket_are_served(gateway):
    gw = gateway(listeners={"ws": 'listener "ws" { bind = {"127.0.0.1:0"}  transport = ws  '
                                  'protocol = mqtt  paths = {"/mqtt", "/stomp=stomp"} }\n'})
    for offered, chosen in (("v12.stomp, v11.stomp, v10.stomp", "v12.stomp"),
                            ("v11.stomp", "v11.stomp"), ("v10.stomp,v11.stomp", "v10.stomp")):
        ws = gw.connect("ws", WebSocket)
        headers = ws.open("/stomp", (offered,))
        assert headers["sec-websocket-protocol"] == chosen
        data = b"CONNECT\naccept-version:1.2\nhost:h\nclient-id:%s\n\n\0" % chosen.encode()
        ws.send(ws_frame(data[:20], fin=False) + ws_frame(data[20:], opcode=0))
        ws.expect_stream(b"CONNECTED\nversion:1.2\nsession:" + chosen.encode())


def test_a_slow_reader_keeps_its_queue_and_not_the_gateways_memory(gateway):
    gw = gateway("limits { output_high = 8k }\nsession { queue_messages = 100000 }",
                 listeners=LISTENERS)
    slow, fast = wire(gw), wire(gw)
    slow.receipt("SUBSCRIBE", id="1", destination="/topic/t", ack="client")
    for n in range(2000):
        fast.put("SEND", b"%05d" % n + b"x" * 2000, destination="/topic/t")
    fast.barrier()
    last = None
    for n in range(2000):
        got = slow.next("MESSAGE")
        assert got.body[:5] == b"%05d" % n
        last = got["ack"]
        if n % 50 == 49:
            slow.put("ACK", id=last)
    slow.barrier()


def test_an_error_can_be_read_although_more_was_sent(gw):
    """The gateway takes what comes behind the frame that it refuses, and closes when it was read."""
    peer = wire(gw)
    peer.send(b"NONSENSE\n\n\0" + b"SEND\ndestination:/topic/a\n\nxxxxxxxx\0" * 20000)
    peer.error("no command of STOMP")


def test_durable_subscriptions_and_what_came_for_them_survive_a_crash(gateway):
    gw = gateway('store { path = "store" }\n', listeners=LISTENERS)
    me = wire(gw, client_id="me")
    me.receipt("SUBSCRIBE", id="d", destination="/topic/d", ack="client", durable="true")
    me.receipt("SUBSCRIBE", id="n", destination="/topic/n")
    me.receipt("DISCONNECT")
    sender = wire(gw)
    for n in range(3):
        sender.receipt("SEND", str(n), destination="/topic/d")
    gw.kill()
    gw.start()
    me = wire(gw, client_id="me")
    me.receipt("SUBSCRIBE", id="again", destination="/topic/d", ack="client", durable="true")
    for n in range(3):
        assert me.next("MESSAGE", subscription="again").body == str(n).encode()
    me.receipt("SEND", destination="/topic/n")  # nobody is subscribed to it any more


def test_a_client_id_that_comes_again_takes_over(gw):
    first = wire(gw, client_id="me")
    wire(gw, client_id="me")
    assert first.next("ERROR")["reason"] == "taken_over"
    first.expect_close()
