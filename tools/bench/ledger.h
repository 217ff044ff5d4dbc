/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_LEDGER_H
#define BENCH_LEDGER_H

/* Which messages came: loss, duplicates and order, from the number that each message carries. No
 * I/O, no clock. One thread. */

#include <stdbool.h>
#include <stdint.h>

struct ledger_sums {
    uint64_t lost;       /* did not come */
    uint64_t duplicates; /* came again */
    uint64_t misordered; /* came after a later one of the same publisher and topic */
    uint64_t damaged;    /* not what was sent, or for another subscriber */
};

/* ---- one publisher's topic at one subscriber, which gets every message ----------------------- */

struct ledger_flow {
    uint32_t next; /* the number that should come */
    uint64_t seen; /* bit i: number next - 1 - i came */
};

/* A message came. Returns how many messages are settled by it, those counted as lost included: 0
 * for a duplicate or one that was counted as lost before. */
uint32_t ledger_flow_take(struct ledger_flow *flow, uint32_t number, struct ledger_sums *sums);

/* Nothing comes any more, and `sent` messages were sent: what is missing at the end is lost. */
void ledger_flow_close(const struct ledger_flow *flow, uint32_t sent, struct ledger_sums *sums);

/* ---- one publisher at a group of subscribers, of which one gets each message ----------------- */

#define LEDGER_SHARE_WINDOW 65536u

struct ledger_share {
    uint32_t next;                           /* above the highest number that came */
    uint32_t received;                       /* different numbers */
    uint64_t seen[LEDGER_SHARE_WINDOW / 64]; /* ring: bit of the number modulo the window */
};

/* As above. `member_next` is kept by the caller for each member and publisher, 0 at first: a member
 * must get the numbers of one publisher in ascending order. */
uint32_t ledger_share_take(struct ledger_share *share, uint32_t *member_next, uint32_t number,
                           struct ledger_sums *sums);
void ledger_share_close(const struct ledger_share *share, uint32_t sent, struct ledger_sums *sums);

#endif
