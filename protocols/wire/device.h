/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_DEVICE_H
#define WIRE_DEVICE_H

/* What frontends of devices have in common: topics made from templates of the configuration, and
 * the answers to messages that were sent to a device and have a response topic.
 *
 * threads   any, but for wire_response_publish(), which is for a worker */

#include "polygate.h"

struct json_out;
struct wire_error;

/* ---- topics --------------------------------------------------------------------------------- */

/* A placeholder of a template, with its braces, and what stands for it. */
struct wire_fill {
    const char *name, *value;
};

/* Fill in a template.
 *
 * room      `size` bytes, lent; the topic lies in it
 * returns   PG_BYTES_NONE if the topic is longer
 */
struct pg_bytes wire_topic(const char *pattern, const struct wire_fill *fills, size_t count,
                           char *room, size_t size);

/* Check a template that an option holds.
 *
 * topic     the template, filled in as for some device
 * device    the placeholder that is the device, "${phone}"
 * shared    all devices may have one topic
 * returns   false with error->text
 */
bool wire_topic_check(const char *option, const char *pattern, struct pg_bytes topic,
                      const char *device, bool shared, struct pg_error *error);

/* ---- responses ------------------------------------------------------------------------------ */

/* Whether somebody waits for what becomes of a message. */
bool wire_response_wanted(const struct pg_msg *request);

/* Whether the gateway may answer there in its own name, which no access rule is asked for: not in
 * its own namespaces ($...), not where devices are sent commands, and P2P to nobody but the client
 * that sent the request, who may have what it asked for.
 *
 * commands  a filter that matches the topics of all devices' commands
 */
bool wire_response_allowed(const struct pg_msg *request, struct pg_bytes commands);

/* Answer with this JSON, with the request's correlation data, QoS 1.
 *
 * protocol  of the device; static text
 * device    its client identifier
 * response  complete, or nothing is published
 * returns   false: it was not complete, or there is no memory
 */
bool wire_response_publish(const struct pg_msg *request, const char *protocol,
                           struct pg_bytes device, const struct json_out *response) PG_CHECKED;

/* Write `"error":{"field":...,"sentence":...}` into the object of a response. */
void wire_response_error(struct json_out *out, const struct wire_error *error);

#endif
