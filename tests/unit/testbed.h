/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTBED_H
#define TESTBED_H

/* The real core with real workers, without sockets: a transport whose links are memory, and a
 * frontend ("probe") that does what a test tells it and writes down what the core tells it. */

#include "polygate.h"
#include "server.h"
#include "store.h"

struct probe_message {
    char topic[64];
    char payload[64];
    char publisher[32];
    uint16_t id;
    uint8_t qos;
    bool retain, redelivered, received;
    uint8_t tries;
    uint32_t ids[4];
    size_t id_count;
};

/* One client on one connection. Fields are guarded by the testbed's lock; read them through
 * testbed_wait(), or after it. */
struct probe {
    struct testbed *bed; /* on its list, until testbed_stop() or probe_free() */
    struct probe *next;
    unsigned worker;
    struct pg_conn *conn;
    struct pg_client *client;
    bool holds;   /* set before connecting: deliveries are not settled */
    bool settle;  /* settle what is delivered at once */
    bool collect; /* take deliveries; false: leave them queued */
    bool answered, session_present;
    enum pg_reason admission, ended, closed_for;
    bool has_ended, is_closed;
    struct probe_message *messages;
    size_t message_count, message_size;
    uint64_t published_token;
    enum pg_reason published_reason;
    size_t published_count;
    bool later; /* of probe_received() */
};

struct testbed {
    struct pg_server server;
    struct probe *probes;
    struct pg_config *config;
};

/* Start `workers` workers; `store` NULL: memory alone; else it is freed at the end. Aborts the test
 * program on failure. */
void testbed_start(struct testbed *bed, unsigned workers, struct pg_store *store);
/* Ends what is there, and frees what the probes have written down. */
void testbed_stop(struct testbed *bed);
/* The settings, before testbed_start; reset by testbed_stop. */
struct pg_settings *testbed_settings(void);
/* Prefixes of the listener through which connections come from now on. Lent. */
void testbed_set_prefixes(const char *topic_prefix, const char *client_id_prefix);
void testbed_set_authenticator(const struct pg_authenticator *authenticator, void *self);

/* Run fn on a worker, and wait until it has run. */
void testbed_run(struct testbed *bed, unsigned worker, void (*fn)(void *arg), void *arg);
/* Wait until fn says yes (called with the lock held, whenever something happened); false after
 * `seconds`; 0 asks once. */
#define PATIENCE_S 20
bool testbed_wait(bool (*fn)(void *arg), void *arg, int seconds);

/* For testbed_wait(), with a probe. */
bool probe_is_answered(void *probe);
bool probe_has_published(void *probe);
bool probe_has_ended(void *probe);
bool probe_is_closed(void *probe);

/* A client without a session of its own, and one whose session outlives its connection by an hour;
 * `id` is lent as long as the login is used. */
struct pg_login probe_login(const char *id);
struct pg_login probe_login_durable(const char *id);

/* Open a connection on a worker and ask for admission; returns when that is answered. */
void probe_connect(struct testbed *bed, struct probe *probe, unsigned worker,
                   const struct pg_login *login);
/* The same with probe_login(id), and with probe_login_durable(id). */
void probe_come(struct testbed *bed, struct probe *probe, unsigned worker, const char *id);
void probe_come_durable(struct testbed *bed, struct probe *probe, unsigned worker, const char *id);
/* Do not wait for the answer. */
void probe_begin(struct testbed *bed, struct probe *probe, unsigned worker,
                 const struct pg_login *login);
void probe_close(struct testbed *bed, struct probe *probe, enum pg_reason reason);
enum pg_reason probe_subscribe(struct testbed *bed, struct probe *probe, const char *filter,
                               uint8_t qos);
enum pg_reason probe_subscribe_with(struct testbed *bed, struct probe *probe,
                                    const struct pg_subscription *sub);
enum pg_reason probe_publish(struct testbed *bed, struct probe *probe, const char *topic,
                             const char *payload, uint8_t qos, bool retain);
/* QoS 2 under an identifier, and its release. */
enum pg_reason probe_publish_once(struct testbed *bed, struct probe *probe, uint16_t id,
                                  const char *topic, const char *payload);
enum pg_reason probe_release(struct testbed *bed, struct probe *probe, uint16_t id);
enum pg_reason probe_unsubscribe(struct testbed *bed, struct probe *probe, const char *filter);
bool probe_settle(struct testbed *bed, struct probe *probe, uint16_t id);
bool probe_received(struct testbed *bed, struct probe *probe, uint16_t id);
bool probe_return(struct testbed *bed, struct probe *probe, uint16_t id);
enum pg_reason probe_send(struct testbed *bed, struct probe *probe, const char *target,
                          const char *payload, uint8_t qos);
/* Whether deliveries are taken, and settled at once, from now on. */
void probe_takes(struct testbed *bed, struct probe *probe, bool collect, bool settle);
/* Wait for so many messages. */
bool probe_got(struct probe *probe, size_t count);
/* Wait until every worker has been through a turn: what was not delivered by then is not coming. */
void testbed_settle(struct testbed *bed);
/* Before testbed_stop(): the probe's own memory goes first. It is closed. */
void probe_free(struct probe *probe);

#endif
