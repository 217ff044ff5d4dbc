/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_ECHO_SERVER_H
#define TEST_ECHO_SERVER_H

/* For tests of transports: real workers and connections of the core, with a line protocol on them
 * that is written like any third-party frontend. One server at a time.
 *
 * The protocol repeats every line that it gets, except for:
 *   calm    from now on there is no login deadline and the frame limit is limits.frame_size
 *   brief   from now on the peer must be heard every ECHO_IDLE_MS; every line is heard
 *   fill    write full lines of 1000 dots until there is no room for deliveries, then "full"
 *   flood   write a message of ECHO_FLOOD_MB, without asking whether there is room
 *   bye     close with PG_CLIENT_CLOSED; the goodbye writes "goodbye <reason>"
 *   hold    stop reading; every connection is resumed by echo_server_resume() */

#include <netinet/in.h>

#include "config.h"
#include "server.h"
#include "transport.h"

#define ECHO_IDLE_MS  400
#define ECHO_FLOOD_MB 16u

struct echo_server {
    struct pg_server server;
    struct pg_config config;
    struct pg_listener_conf listener;
    struct pg_listening *listening;
    const struct pg_transport *transport;
    uint16_t port; /* of the first address */
};

/* Settings with generous limits. */
void echo_server_prepare(struct echo_server *server, const struct pg_transport *transport,
                         void *transport_conf);
/* Listen and run `workers` workers. false with error->text. */
bool echo_server_start(struct echo_server *server, const char *bind_value, unsigned workers,
                       struct pg_error *error);
void echo_server_resume(struct echo_server *server);
/* Stop listening, drain and join. */
void echo_server_stop(struct echo_server *server);

/* Sum over the workers. Any thread, while the server runs. */
uint64_t echo_server_counter(struct echo_server *server, size_t index);
/* Wait until that counter is `value`; false after 20 s. */
bool echo_server_wait(struct echo_server *server, size_t index, uint64_t value);

/* ---- a client, blocking, on the test's thread; every wait ends after 20 s ---- */

int echo_connect(uint16_t port);
bool echo_send(int fd, const void *bytes, size_t n);
bool echo_send_text(int fd, const char *text);
/* Read exactly `n` bytes. */
bool echo_read(int fd, void *bytes, size_t n);
/* Read exactly this text. */
bool echo_expect(int fd, const char *text);
/* Whether the next that comes is the end (true) and not a byte or an error (errno). */
bool echo_expect_end(int fd);

#endif
