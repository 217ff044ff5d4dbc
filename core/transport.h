/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TRANSPORT_H
#define PG_TRANSPORT_H

/* What a transport is to the core: a small table of functions and nothing of any protocol.
 *
 * A transport owns sockets. It accepts, makes a connection with pg_conn_open(), reads into the
 * room that pg_conn_read_room() gives, and reports with pg_conn_received(), pg_conn_eof() and
 * pg_conn_broken(). The core hands iovecs down once per loop turn through `writev` and asks for a
 * call of pg_conn_writable() only after the transport took less than it was given. */

#include <sys/types.h>
#include <sys/uio.h>

#include "config.h"
#include "polygate.h"

struct pg_worker;
struct pg_listening; /* defined by each transport */

/* One listening socket address, for the log, tests and the API. */
struct pg_listening_info {
    char address[120]; /* with the real port */
};

struct pg_transport {
    const char *name;
    bool any_protocol; /* it finds out which frontend serves, and takes pg_any_protocol */
    const struct pg_option *options; /* additional keys of its listener blocks; NULL: none */
    size_t conf_size;
    size_t link_size;   /* bytes of the transport's own state per connection, zeroed by the core */
    bool ends_by_close; /* its streams have no ending of their own that a peer waits for */

    /* Whether the values of one listener make sense, by looking at them alone (for `polygate -t`).
     * false with error->text, in which file and line are not named. Main thread. (optional) */
    bool (*check)(const struct pg_listener_conf *conf, struct pg_error *error);
    /* Whether those who connect to the listener are proxies, so that its clients may be anywhere.
     * Main thread, after `check`. (optional) */
    bool (*hands_on)(const struct pg_listener_conf *conf);
    /* Read what the block of one listener names (certificates) and keep it in conf->transport_conf,
     * for `workers` workers. Called at every load, for each address; files may have changed while
     * the configuration has not. false with error->text, which names file and line of the block.
     * Main thread. (optional, with `release`) */
    bool (*prepare)(const struct pg_listener_conf *conf, unsigned workers, struct pg_error *error);
    /* Free what was kept there, if anything. No connection uses it any more. */
    void (*release)(void *transport_conf);
    /* Make ready everything that can fail for one listener on `workers` workers: sockets bound
     * and listening, nothing accepted. NULL with error->text on failure. Main thread. */
    struct pg_listening *(*listen)(const struct pg_listener_conf *conf, unsigned workers,
                                   struct pg_error *error);
    /* Fill in up to `room` addresses; returns how many there are. Any thread. */
    size_t (*addresses)(const struct pg_listening *listening, struct pg_listening_info *out,
                        size_t room);
    /* Accept on this worker from now on; `config` is shared. Called again, it only replaces the
     * configuration of what is accepted afterwards. On that worker's thread. */
    void (*start)(struct pg_listening *listening, struct pg_worker *worker,
                  struct pg_config *config, const struct pg_listener_conf *conf);
    /* Accept no more on this worker; closes its sockets. On that worker's thread. */
    void (*stop)(struct pg_listening *listening, struct pg_worker *worker);
    /* Free, after every worker has stopped, or if it never started. Main thread. */
    void (*close_listening)(struct pg_listening **listening);

    /* ---- of blocks that call out (conf->call is set); without `dial` it calls nobody ---- */

    const struct pg_option *call_options; /* additional keys of such blocks; NULL: none */
    size_t call_conf_size;                /* of their values, in conf->transport_conf */
    /* Whether conf->call->to is an address that can be called, and the values make sense. false
     * with error->text, in which file and line are not named. Main thread. */
    bool (*check_call)(const struct pg_listener_conf *conf, struct pg_error *error);
    /* As prepare and release above. (both optional) */
    bool (*prepare_call)(const struct pg_listener_conf *conf, struct pg_error *error);
    void (*release_call)(void *transport_conf);
    /* Call it for this connection, which has just been opened and may be closing already, in the
     * time that pg_conn_expect_handshake() is told of; then pg_conn_handshaken(), or the connection
     * ends. */
    void (*dial)(struct pg_conn *conn, const struct pg_listener_conf *conf);

    /* Link operations; `link` is the state of link_size bytes. On the connection's worker. */

    /* Bytes taken (may be fewer than given, 0 if the kernel is full), or -1 with errno. */
    ssize_t (*writev)(void *link, const struct iovec *iov, int count);
    /* Call pg_conn_writable() when more can be written. Idempotent. */
    void (*want_write)(void *link, bool on);
    /* Read, or leave the peer's bytes in the kernel. Idempotent. */
    void (*want_read)(void *link, bool on);
    /* No more output; goes on reading and discarding until the peer closes or `close`. */
    void (*shutdown)(void *link);
    /* Whether bytes of its own are still to leave to a peer that has sent its last: `shutdown` is called
     * then, and pg_conn_eof() once more when they have left. (optional: there never are any) */
    bool (*owes)(const void *link);
    /* Stop all watchers and close. The core frees the memory later in the turn. */
    void (*close)(void *link);
};

#endif
