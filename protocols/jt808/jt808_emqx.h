/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_EMQX_H
#define JT808_EMQX_H

/* The shape of EMQX's gateway, for jt808_json.c: the contracts are those of jt808_json_write() and
 * jt808_json_encode(). A document of this shape has a "header".
 *
 * threads   any
 */

#include "jt808_json.h"

bool jt808_emqx_write(struct json_out *out, const struct jt808_frame *frame,
                      const struct jt808_json_options *options, unsigned *faults);
bool jt808_emqx_is(json_t *document);
/* `out` is zeroed. */
bool jt808_emqx_encode(json_t *document, const struct jt808_json_defaults *defaults,
                       struct wire_out *body, struct jt808_json_message *out,
                       struct wire_error *error);

#endif
