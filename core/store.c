/* SPDX-License-Identifier: Apache-2.0 */

/* What every store has in common; see store.h. */

#include "store.h"

#include <stdlib.h>

void pg_store_page_free(struct pg_store_page **where)
{
    struct pg_store_page *page = *where;
    *where = NULL;
    if (!page)
        return;
    for (uint32_t i = 0; i < page->count; i++)
        if (page->entries[i].msg)
            pg_msg_unref(&page->entries[i].msg);
    free(page);
}

void pg_store_free(struct pg_store **store)
{
    if (*store)
        (*store)->ops->free(*store);
    *store = NULL;
}
