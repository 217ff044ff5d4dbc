/* SPDX-License-Identifier: Apache-2.0 */

/* Pages of a stored queue, read from the log for the session that asks. A message that cannot be
 * read (a bad sector, say) is left out with a line in the log, so that those behind it are
 * delivered; it stays in the store, where the next start may read it. The store's thread. */

#include "store_disk_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pg_msg *pg_disk_read_msg(struct pg_disk *disk, struct pg_disk_place place, int *error)
{
    struct pg_log_position position = {.segment = place.segment, .offset = place.offset};
    *error = -EIO;
    if (!pg_seglog_holds(disk->log, position, place.size))
        return NULL;
    disk->scratch.len = 0;
    if (disk->scratch.cap < place.size) {
        uint8_t *data = realloc(disk->scratch.data, place.size);
        *error = -ENOMEM;
        if (!data)
            return NULL;
        disk->scratch.data = data;
        disk->scratch.cap = place.size;
    }
    *error = pg_seglog_read(disk->log, position, disk->scratch.data, place.size);
    if (*error != 0)
        return NULL;
    struct pg_disk_reader reader =
        pg_disk_reader((struct pg_bytes){.data = disk->scratch.data, .len = place.size});
    *error = -EBADMSG;
    if (pg_disk_get_u8(&reader) != PG_DISK_MESSAGE || pg_disk_get_u32(&reader) != place.size)
        return NULL;
    struct pg_msg *msg = pg_disk_get_msg(&reader);
    if (msg)
        *error = 0;
    else if (!reader.failed)
        *error = -ENOMEM;
    return msg;
}

struct pg_disk_chosen {
    uint32_t count;
    size_t text;
    uint32_t end;
};

static struct pg_disk_chosen choose(struct pg_store_session *session,
                                    const struct pg_disk_request *r, uint32_t from, uint32_t now)
{
    struct pg_disk_chosen chosen = {.end = from};
    size_t bytes = 0;
    for (; chosen.end < session->tail; chosen.end++) {
        const struct pg_disk_entry *entry = &session->entries[chosen.end];
        if ((entry->flags & PG_DISK_DEAD) || entry->expires <= now)
            continue;
        if (chosen.count == r->count || (bytes >= r->bytes && chosen.count > 0))
            break;
        if (entry->via > 0) {
            const struct pg_disk_via *via = &session->vias[entry->via - 1];
            chosen.text += via->id_count * 4u + via->share_len + 4u;
        }
        bytes += entry->size;
        chosen.count++;
    }
    return chosen;
}

/* Room for `text` is behind the entries; identifiers are kept aligned. */
static uint8_t *fill_entry(struct pg_store_entry *out, struct pg_store_session *session,
                           const struct pg_disk_entry *entry, uint8_t *text)
{
    *out = (struct pg_store_entry){
        .number = pg_disk_full_number(session, entry->number),
        .qos = entry->flags & PG_DISK_QOS,
        .retain = (entry->flags & PG_DISK_RETAIN) != 0,
        .direct = (entry->flags & PG_DISK_DIRECT) != 0,
    };
    if (entry->via == 0)
        return text;
    const struct pg_disk_via *via = &session->vias[entry->via - 1];
    uint32_t *ids = (uint32_t *)(void *)text;
    struct pg_disk_reader reader =
        pg_disk_reader((struct pg_bytes){.data = via->data, .len = via->id_count * 4u});
    for (uint16_t i = 0; i < via->id_count; i++)
        ids[i] = pg_disk_get_u32(&reader);
    out->ids = ids;
    out->id_count = via->id_count;
    text += via->id_count * 4u;
    if (via->share_len > 0)
        memcpy(text, via->data + via->id_count * 4u, via->share_len);
    out->share = (struct pg_bytes){.data = text, .len = via->share_len};
    return text + (via->share_len + 3u) / 4u * 4u;
}

static void unreadable(struct pg_disk *disk, const struct pg_store_session *session,
                       const struct pg_disk_entry *entry, int error)
{
    struct pg_bytes client = {.data = session->client_id, .len = session->client_id_len};
    disk->stats.unreadable++;
    PG_LOG(PG_ERROR, "store_unreadable", PG_F_BYTES("client", client),
           PG_F_INT("number", pg_disk_full_number(session, entry->number)),
           PG_F_INT("segment", entry->segment), PG_F_INT("offset", entry->offset),
           PG_F_TEXT("detail", strerror(-error)));
}

void pg_disk_fetch(struct pg_disk *disk, struct pg_disk_request *r)
{
    struct pg_store_session *session = r->session;
    uint32_t now = pg_disk_now_s(), from = pg_disk_lower_bound(session, r->number);
    struct pg_disk_chosen chosen = choose(session, r, from, now);
    struct pg_store_page *page =
        malloc(sizeof(*page) + chosen.count * sizeof(struct pg_store_entry) + chosen.text);
    if (!page) {
        r->fetch->fn(r->fetch, NULL, PG_NO_MEMORY);
        return;
    }
    *page = (struct pg_store_page){
        .entries = (struct pg_store_entry *)(page + 1),
        .at_end = chosen.end == session->tail,
        .next = chosen.end == session->tail
                    ? session->next_number
                    : pg_disk_full_number(session, session->entries[chosen.end].number),
    };
    if (page->next < r->number)
        page->next = r->number;
    uint8_t *text = (uint8_t *)(page->entries + chosen.count);
    for (uint32_t i = from; i < chosen.end; i++) {
        const struct pg_disk_entry *entry = &session->entries[i];
        if ((entry->flags & PG_DISK_DEAD) || entry->expires <= now)
            continue;
        struct pg_store_entry *out = &page->entries[page->count];
        text = fill_entry(out, session, entry, text);
        struct pg_disk_place place = {entry->segment, entry->offset, entry->size};
        int error;
        out->msg = pg_disk_read_msg(disk, place, &error);
        if (error == -ENOMEM) {
            pg_store_page_free(&page);
            r->fetch->fn(r->fetch, NULL, PG_NO_MEMORY);
            return;
        }
        if (out->msg)
            page->count++;
        else
            unreadable(disk, session, entry, error);
    }
    r->fetch->fn(r->fetch, page, PG_OK);
}
