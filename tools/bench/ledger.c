/* SPDX-License-Identifier: Apache-2.0 */

/* Loss, duplicates and order. A flow remembers the last 64 numbers, so that a message which comes
 * late is told from one that comes twice; of older ones it is assumed that they came before. A
 * share remembers LEDGER_SHARE_WINDOW numbers, since members of a group run apart by as much as may
 * be outstanding. */

#include "ledger.h"

uint32_t ledger_flow_take(struct ledger_flow *flow, uint32_t number, struct ledger_sums *sums)
{
    if (number >= flow->next) {
        uint32_t gap = number - flow->next;
        flow->seen = gap < 63 ? flow->seen << (gap + 1) | 1 : 1;
        flow->next = number + 1;
        sums->lost += gap;
        return gap + 1;
    }
    uint32_t age = flow->next - 1 - number;
    if (age >= 64 || (flow->seen >> age & 1) != 0) {
        sums->duplicates++;
        return 0;
    }
    flow->seen |= (uint64_t)1 << age;
    sums->misordered++;
    sums->lost--;
    return 0;
}

void ledger_flow_close(const struct ledger_flow *flow, uint32_t sent, struct ledger_sums *sums)
{
    if (sent > flow->next)
        sums->lost += sent - flow->next;
}

static uint64_t *share_word(struct ledger_share *share, uint32_t number)
{
    return &share->seen[number % LEDGER_SHARE_WINDOW / 64];
}

uint32_t ledger_share_take(struct ledger_share *share, uint32_t *member_next, uint32_t number,
                           struct ledger_sums *sums)
{
    uint64_t bit = (uint64_t)1 << number % 64;

    if (number < share->next &&
        (share->next - number > LEDGER_SHARE_WINDOW || (*share_word(share, number) & bit) != 0)) {
        sums->duplicates++;
        return 0;
    }
    for (; share->next <= number; share->next++)
        *share_word(share, share->next) &= ~((uint64_t)1 << share->next % 64);
    *share_word(share, number) |= bit;
    share->received++;
    if (number < *member_next)
        sums->misordered++;
    else
        *member_next = number + 1;
    return 1;
}

void ledger_share_close(const struct ledger_share *share, uint32_t sent, struct ledger_sums *sums)
{
    if (sent > share->received)
        sums->lost += sent - share->received;
}
