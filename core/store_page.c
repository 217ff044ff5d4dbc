/* SPDX-License-Identifier: Apache-2.0 */

/* Pages of a stored queue (store.h): one allocation, with a reference for each entry. */

#include "store.h"

#include <stdlib.h>

void pg_store_page_free(struct pg_store_page **where)
{
    struct pg_store_page *page = *where;
    *where = NULL;
    if (!page)
        return;
    for (uint32_t i = 0; i < page->count; i++)
        pg_msg_unref(&page->entries[i].msg);
    free(page);
}
