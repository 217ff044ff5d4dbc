/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_EMQX_H
#define GBT32960_EMQX_H

/* The shape of EMQX's gateway, for gbt32960_json.c and gbt32960_json_in.c.
 *
 * threads   any
 */

#include "gbt32960_json.h"

/* As gbt_json_write(). Of the judgement only the faults are found. */
bool gbt_emqx_write(struct json_out *out, const struct gbt_frame *frame,
                    const struct gbt_json_options *options, struct gbt_json_judgement *judgement);

/* The end of EMQX's topic for a message that comes up ("vlogin"); null: an unknown command. */
const char *gbt_emqx_topic(const struct gbt_message *message);

/* Whether a document is one of EMQX's commands: it has an "Action". */
bool gbt_emqx_is(json_t *document);

/* A command of EMQX as a document of the native shape.
 *
 * returns   given; null: *error says where and why
 */
json_t *gbt_emqx_native(json_t *document, struct wire_error *error);

#endif
