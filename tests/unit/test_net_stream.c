/* SPDX-License-Identifier: Apache-2.0 */

/* Streams whose security layer holds bytes of which the socket knows nothing any more: they are
 * read to the end, whatever ends a turn in between, and do not keep others from theirs. The layer
 * here is a hoard: with the first byte that comes it has as many as that byte says, and asks for no
 * more. */

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../transports/net/net.h"
#include "../../transports/net/net_link.h"
#include "../../transports/tcp/tcp.h"
#include "conn.h"
#include "counter.h"
#include "echo_server.h"
#include "log.h"

/* More than a stream may give in a turn (256 KiB), in lines that are not answered. */
#define LINE        "calm\n"
#define LINE_LEN    (sizeof(LINE) - 1)
#define HOARD_BYTES (LINE_LEN * 200 * 1024)
#define RECORD_MAX  16384u

/* What the first byte asks for. */
#define NOTHING      'n'
#define A_HOARD      'h'
#define HELD_AT_ONCE 'p' /* the same, but the first line has reading stopped */
#define ENDLESS      'e' /* until `enough` is set */

static atomic_bool enough;

struct hoard {
    struct net_security security; /* first */
    size_t given, left;
    uint8_t wish;
};

static void handshake(struct net_security *security)
{
    struct hoard *hoard = (struct hoard *)security;
    struct net_stream *stream = security->stream;
    if (recv(stream->fd, &hoard->wish, 1, 0) != 1)
        abort();
    hoard->left = hoard->wish == NOTHING ? 0 : HOARD_BYTES;
    net_stream_handshake_ends(stream);
    net_stream_owner(stream)->secured(stream, PG_BYTES_NONE);
}

static bool hoard_pending(const struct net_security *security)
{
    const struct hoard *hoard = (const struct hoard *)security;
    return hoard->wish == ENDLESS ? !atomic_load(&enough) : hoard->left > 0;
}

static ssize_t hoard_read(struct net_security *security, uint8_t *buffer, size_t room,
                          struct net_trouble *trouble)
{
    struct hoard *hoard = (struct hoard *)security;
    (void)trouble;
    if (!hoard_pending(security)) {
        ssize_t n = recv(security->stream->fd, buffer, room, 0);
        return n == 0 || (n < 0 && errno != EAGAIN) ? NET_END : n < 0 ? 0 : n;
    }
    size_t n = room < RECORD_MAX ? room : RECORD_MAX;
    if (hoard->wish != ENDLESS && n > hoard->left)
        n = hoard->left;
    for (size_t i = 0; i < n; i++)
        buffer[i] = (uint8_t)LINE[(hoard->given + i) % LINE_LEN];
    if (hoard->wish == HELD_AT_ONCE && hoard->given == 0)
        memcpy(buffer, "hold\n", LINE_LEN);
    hoard->given += n;
    hoard->left -= hoard->wish == ENDLESS ? 0 : n;
    return (ssize_t)n;
}

static ssize_t hoard_write(struct net_security *security, const struct iovec *iov, int count)
{
    ssize_t n = writev(security->stream->fd, iov, count);
    return n < 0 && errno == EAGAIN ? 0 : n;
}

static bool hoard_finish(struct net_security *security)
{
    (void)security;
    return true;
}

static void hoard_free(struct net_security **security)
{
    free(*security);
    *security = NULL;
}

static const struct net_layer hoard_layer = {
    .handshake = handshake,
    .read = hoard_read,
    .write = hoard_write,
    .pending = hoard_pending,
    .finish = hoard_finish,
    .free = hoard_free,
};

static void take(struct pg_listening *listening, struct pg_worker *worker,
                 const struct pg_listener_conf *conf, const struct net_guest *guest)
{
    (void)listening;
    struct hoard *hoard = calloc(1, sizeof(*hoard));
    struct pg_conn *conn = pg_conn_open_in_place(worker, conf, guest->peer, guest->place);
    if (!hoard || !conn)
        abort();
    hoard->security.layer = &hoard_layer;
    net_stream_secure(net_link_begin(conn, guest), &hoard->security);
}

static struct pg_listening *hoard_listen(const struct pg_listener_conf *conf, unsigned workers,
                                         struct pg_error *error)
{
    return net_listen(conf, workers, take, error);
}

static struct net_conf net = {.backlog = 64, .nodelay = true, .reuse_port = true};
static struct pg_transport transport;
static struct echo_server server;

static void start(void)
{
    struct pg_error error = {.text = ""};
    transport = tcp_transport;
    transport.listen = hoard_listen;
    atomic_store(&enough, false);
    echo_server_prepare(&server, &transport, &net);
    CU_ASSERT_FATAL(echo_server_start(&server, "127.0.0.1:0", 1, &error));
}

static int wishing(char wish)
{
    int fd = echo_connect(server.port);
    CU_ASSERT_FATAL(fd >= 0 && echo_send(fd, &wish, 1));
    return fd;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void what_the_layer_holds_is_read_to_the_end(void)
{
    start();
    int fd = wishing(A_HOARD); /* and no other byte comes that would wake anybody */
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_BYTES_RECEIVED, HOARD_BYTES));
    CU_ASSERT(echo_send_text(fd, "then\n"));
    CU_ASSERT(echo_expect(fd, "then\n"));
    close(fd);
    echo_server_stop(&server);
}

static void it_is_read_on_after_a_pause(void)
{
    start();
    int fd = wishing(HELD_AT_ONCE);
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_BYTES_RECEIVED, RECORD_MAX));
    echo_server_resume(&server);
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_BYTES_RECEIVED, HOARD_BYTES));
    close(fd);
    echo_server_stop(&server);
}

static void one_that_never_ends_does_not_starve_others(void)
{
    start();
    int busy = wishing(ENDLESS), other = wishing(NOTHING);
    CU_ASSERT(echo_send_text(other, "hello\n"));
    CU_ASSERT(echo_expect(other, "hello\n"));
    atomic_store(&enough, true);
    CU_ASSERT(echo_send_text(busy, "\n"));
    close(busy);
    close(other);
    echo_server_stop(&server);
}

static void one_that_is_ready_may_be_closed(void)
{
    start();
    int busy[4];
    for (int i = 0; i < 4; i++)
        busy[i] = wishing(ENDLESS);
    CU_ASSERT(echo_server_wait(&server, PG_COUNT_CONNECTIONS_OPENED, 4));
    echo_server_stop(&server); /* while all of them have something to read */
    for (int i = 0; i < 4; i++)
        close(busy[i]);
}

int main(void)
{
    pg_log_configure(PG_LOG_TEXT, getenv("PG_TEST_LOG") ? PG_DEBUG : PG_ERROR);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite suite = CU_add_suite("net_stream", NULL, NULL);
    CU_ADD_TEST(suite, what_the_layer_holds_is_read_to_the_end);
    CU_ADD_TEST(suite, it_is_read_on_after_a_pause);
    CU_ADD_TEST(suite, one_that_never_ends_does_not_starve_others);
    CU_ADD_TEST(suite, one_that_is_ready_may_be_closed);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed > 0;
}
