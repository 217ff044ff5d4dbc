/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_TLS_STREAM_H
#define PG_TLS_STREAM_H

/* TLS on a stream, for every transport that has it; on the stream's worker. */

#include "tls_conf.h"

struct net_stream;
struct pg_worker;

/* Whether one more handshake may begin; see the option `handshakes`. */
bool tls_has_room(const struct pg_worker *worker, const struct tls_conf *conf);
/* Put TLS on a plain stream: the handshake begins. `conf`, which is prepared, is to live as long as
 * the stream. The owner has to end a handshake that takes longer than handshake_timeout. false: out
 * of memory. */
bool tls_begin(struct net_stream *stream, const struct tls_conf *conf) PG_CHECKED;
/* The same where the gateway has called, by a block that is prepared. Its handshake is not one of those that
 * `handshakes` bounds. */
bool tls_begin_call(struct net_stream *stream, const struct pg_listener_conf *conf) PG_CHECKED;

#endif
