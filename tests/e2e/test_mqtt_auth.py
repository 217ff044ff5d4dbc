# SPDX-License-Identifier: Apache-2.0
"""Enhanced authentication of MQTT 5 with an authenticator that is built here: it sends a word, and
lets those in who send it back spelled backwards; its method `slow` answers from a thread of its
own."""
import pytest

from mqttwire import AUTH, CONNACK, DISCONNECT, MqttPeer, connect, packet, properties
from test_server import build_plugin

METHOD, DATA = 0x15, 0x16

PLUGIN = r"""
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "polygate.h"

static int here;
static void *start(const void *conf, struct pg_error *error)
{
    (void)conf; (void)error;
    return &here;
}
static void stop(void *self) { (void)self; }

static enum pg_verdict decide(struct pg_bytes data, struct pg_access_request *request)
{
    char *word = pg_access_state(request);
    if (!word) {
        if (data.data && pg_bytes_equal(data, PG_BYTES_OF("no")))
            return PG_DENY;
        word = strdup("abc");
        pg_access_set_state(request, word, free);
        return pg_access_reply(request, pg_bytes_str(word)) ? PG_CONTINUE : PG_UNAVAILABLE;
    }
    if (!pg_bytes_equal(data, PG_BYTES_OF("cba")))
        return PG_DENY;
    return pg_access_reply(request, PG_BYTES_OF("welcome")) ? PG_ALLOW : PG_UNAVAILABLE;
}

struct late { struct pg_access_request *request; struct pg_bytes data; char text[16]; };

static void *think(void *arg)
{
    struct late *late = arg;
    pg_access_answer(late->request, decide(late->data, late->request));
    free(late);
    return NULL;
}

static enum pg_verdict exchange(void *self, const struct pg_identity *who, struct pg_bytes method,
                                struct pg_bytes data, struct pg_access_request *request)
{
    (void)self; (void)who;
    if (pg_bytes_equal(method, PG_BYTES_OF("backwards")))
        return decide(data, request);
    if (!pg_bytes_equal(method, PG_BYTES_OF("slow")) || data.len > 16)
        return PG_NEXT;
    struct late *late = calloc(1, sizeof(*late));
    late->request = request;
    late->data = (struct pg_bytes){.data = data.data ? (uint8_t *)late->text : NULL, .len = data.len};
    if (data.len)
        memcpy(late->text, data.data, data.len);
    pthread_t thread;
    pthread_create(&thread, NULL, think, late);
    pthread_detach(thread);
    return PG_LATER;
}

static const struct pg_authenticator authenticator = {.exchange = exchange};
static const struct pg_option options[] = {{.name = NULL}};
PG_API extern const struct pg_plugin pg_plugin_descriptor;
const struct pg_plugin pg_plugin_descriptor = {
    .abi = PG_ABI, .name = "words", .options = options, .start = start, .stop = stop,
    .authenticator = &authenticator,
};
"""


@pytest.fixture
def gw(gateway, folder):
    made = build_plugin(folder, "words", PLUGIN)
    return gateway(f'plugin "words" {{ path = "{made}" }}\n')


def auth(reason, *props):
    return packet(AUTH, 0, bytes([reason]) + properties(props))


def begin(gw, method, *data):
    one = gw.connect("mqtt", MqttPeer)
    one.version = 5
    one.send(connect("a", 5, props=[(METHOD, method), *((DATA, d) for d in data)]))
    return one


def exchange(one, method, word="cba", reason=0x18):
    challenge = one.next(AUTH)
    assert challenge.reason == 0x18
    assert challenge.prop(METHOD) == method and challenge.prop(DATA) == b"abc"
    one.send(auth(reason, (METHOD, method), (DATA, word)))


@pytest.mark.parametrize("method", ["backwards", "slow"])
def test_an_exchange_lets_in_and_may_be_repeated(gw, method):
    one = begin(gw, method)
    exchange(one, method)
    connack = one.next(CONNACK)
    assert connack.reason == 0
    assert connack.prop(METHOD) == method and connack.prop(DATA) == b"welcome"
    one.subscribe("t", 1)
    one.send(auth(0x19, (METHOD, method)))
    exchange(one, method)
    done = one.next(AUTH)
    assert done.reason == 0 and done.prop(DATA) == b"welcome"
    one.publish("t", "still here", qos=1)
    one.receive("t", "still here")
    one.send(auth(0x19, (METHOD, method)))
    exchange(one, method, "wrong")
    assert one.next(DISCONNECT).reason == 0x87
    one.expect_close()
    gw.wait_log("closed", client="a", reason="bad_credential")


@pytest.mark.parametrize("method", ["backwards", "slow"])
def test_a_failed_exchange_is_refused(gw, method):
    one = begin(gw, method)
    exchange(one, method, "wrong")
    assert one.next(CONNACK).reason == 0x87
    one.expect_close()
    two = begin(gw, method, "no")
    assert two.next(CONNACK).reason == 0x87
    two.expect_close()


def test_methods_that_nobody_knows_and_logins_without_one(gw):
    assert begin(gw, "GS2-KRB5").next(CONNACK).reason == 0x8C
    # Whoever names no method is not asked for one; with an authenticator there, nobody vouches.
    plain = gw.connect("mqtt", MqttPeer)
    plain.version = 5
    plain.send(connect("b", 5))
    assert plain.next(CONNACK).reason == 0x87


def test_clients_that_go_during_an_exchange_leave_nothing(gw):
    for number in range(20):
        one = begin(gw, "slow" if number % 2 else "backwards")
        if number % 3:
            one.next(AUTH)
        one.socket.close()
    last = begin(gw, "slow")
    exchange(last, "slow")
    assert last.next(CONNACK).reason == 0
