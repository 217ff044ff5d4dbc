/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_WHY_H
#define PG_WHY_H

/* What `polygatectl why CLIENT` tells: the latest refusals, drops and closes of each client
 * identifier, in memory of a fixed size. Equal ones in a row are counted, not repeated. */

#include "polygate.h"

#define PG_WHY_CLIENTS 2048u /* identifiers remembered; the longest silent makes room */
#define PG_WHY_NOTES   8u    /* notes per identifier; the oldest makes room */
#define PG_WHY_DETAIL  88u   /* bytes of a detail kept, with its NUL */

enum pg_why_kind {
    PG_WHY_REFUSED, /* a login, publication or subscription was refused */
    PG_WHY_DROPPED, /* a message for it was dropped */
    PG_WHY_CLOSED,  /* its connection was closed, or the client ended */
};

/* Remember that something happened to this client. `detail` (may be NULL) is a short text for
 * people: a topic, the peer's address; it is cut to PG_WHY_DETAIL. An empty identifier is not
 * noted. Any thread; cheap enough for every refusal, not meant for each message that is well. */
void pg_why_note(struct pg_bytes client_id, enum pg_why_kind kind, enum pg_reason reason,
                 const char *detail);
/* The same with a detail of bytes, for instance a topic. */
void pg_why_note_bytes(struct pg_bytes client_id, enum pg_why_kind kind, enum pg_reason reason,
                       struct pg_bytes detail);

struct pg_why {
    enum pg_why_kind kind;
    enum pg_reason reason;
    uint32_t count;   /* how often in a row */
    int64_t first_ms; /* pg_wall_ms() of the first and of the last */
    int64_t last_ms;
    char detail[PG_WHY_DETAIL]; /* of the last; "" when there was none */
};
/* Copy out what is remembered of this client, the newest first; how many there are, at most
 * PG_WHY_NOTES. Any thread. */
size_t pg_why_list(struct pg_bytes client_id, struct pg_why out[PG_WHY_NOTES]);

const char *pg_why_kind_name(enum pg_why_kind kind); /* "refused", "dropped", "closed" */

#endif
