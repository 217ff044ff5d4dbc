/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STOMP_HEAD_H
#define STOMP_HEAD_H

/* What stomp_frame.c and the machine in stomp_head.rl say to each other. */

#include "stomp_frame.h"

void stomp_head_begin(struct stomp_frame *frame);
/* Run the machine from frame->at on. STOMP_WHOLE: frame->at is where the body begins. On
 * STOMP_MALFORMED frame->at is the byte that cannot be there, and frame->fault is set only if it is
 * not about that byte. frame->data is set. */
enum stomp_result stomp_head_run(struct stomp_frame *frame, struct pg_bytes in,
                                 const struct stomp_limits *limits);
/* A header line ends at `end`, its line feed. false: it is one too many, frame->fault says so. */
bool stomp_head_field(struct stomp_frame *frame, uint32_t end, const struct stomp_limits *limits);

#endif
