/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STOMP_DESTINATION_H
#define STOMP_DESTINATION_H

/* Destinations of STOMP and topics of the core: which is which, both ways.
 *
 *   /topic/a/b   the topic a/b
 *   a/b          the same; also /a/b for the topic /a/b, unless it begins like one of the others
 *   /queue/q     the topic q; who subscribes competes with the queue's other consumers
 *   /p2p/c       the client c, whatever protocol it speaks: the topic <parent>/p2p/c
 *
 * Each topic has one destination in each form in which it can be written, and that one means the
 * topic again. No state; any thread. */

#include "stomp_frame.h"

enum stomp_form { STOMP_PLAIN, STOMP_TOPIC, STOMP_QUEUE, STOMP_P2P };

struct stomp_destination {
    enum stomp_form form;
    struct pg_bytes rest; /* behind the prefix: a topic, a queue's name, a client identifier */
};

/* Any text is a destination; what its rest is worth, the core says. `text` is lent to the
 * result. */
struct stomp_destination stomp_destination_read(struct pg_bytes text);

/* The name that is published to: the rest, or for P2P `parent`/p2p/<client> in `room`, which has
 * STOMP_TOPIC_ROOM bytes. data == NULL: too long. */
#define STOMP_TOPIC_ROOM 65535u
struct pg_bytes stomp_topic_of(const struct stomp_destination *destination, const char *parent,
                               uint8_t *room);

/* Write the destination of a topic in this form; in another one if this one cannot say it: a topic
 * with a slash in front, in plain form, and one that is no P2P topic of `parent`, as /p2p/. */
void stomp_put_destination(struct stomp_writer *w, enum stomp_form form, struct pg_bytes topic,
                           const char *parent);

/* Whether a topic is that of `parent` for one client, and which. */
bool stomp_p2p_client(struct pg_bytes topic, const char *parent, struct pg_bytes *client);

/* Copy a destination's rest as a filter: with `also_star`, a level that is `*` becomes `+`, and `>`
 * at the end `#`. `out` has room for rest.len bytes. */
void stomp_filter_copy(struct pg_bytes rest, bool also_star, uint8_t *out);

#endif
