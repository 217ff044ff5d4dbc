/* SPDX-License-Identifier: Apache-2.0 */

/* Cell voltages of a subsystem that came in several frames, put together.
 *
 * An edition-2016 frame has room for 200 cells of a subsystem; longer ones go on in frames of the
 * same time, which say with which cell they begin. Each frame is published as it is; when the parts
 * cover all cells, the whole vector is published as well, as the message "cell_voltages". Parts are
 * matched by command, time and number of the subsystem. What is not complete within `join_timeout`
 * is given up, and so is the oldest when too many are open.
 *
 * threads   the worker of the connection
 * standard  GB/T 32960.3-2016: 7.2.4 (0x08)
 */

#include <stdlib.h>
#include <string.h>

#include "gbt32960_parts.h"

/* Subsystems of one vehicle that may be incomplete at a time. */
#define OPEN_MAX 8u
/* The largest JSON of a vector: 65531 voltages. */
#define JSON_LIMIT ((size_t)2 << 20)

/* What stands in front of the voltages in `unit`: time, number, cell count. */
#define UNIT_HEAD 9u

struct gbt_joining {
    struct gbt_joining *next; /* older ones */
    int64_t deadline_ms;
    uint8_t command;
    uint16_t total;
    uint32_t have;
    uint8_t *seen; /* a bit for each cell; behind the unit */
    size_t unit_len;
    uint8_t unit[];
};

static void free_one(struct gbt_joining **link)
{
    struct gbt_joining *gone = *link;

    *link = gone->next;
    free(gone);
}

void gbt_join_free(struct gbt_vehicle *v)
{
    while (v->joining) {
        free_one(&v->joining);
    }
}

static void give_up(struct gbt_vehicle *v, struct gbt_joining **link)
{
    gbt_count(v->conn, GBT_COUNT_CELLS_INCOMPLETE);
    PG_LOG(PG_INFO, "gbt32960_cells_incomplete", PG_F_REASON(PG_TIMED_OUT),
           PG_F_TEXT("client", v->vin), PG_F_INT("subsystem", (*link)->unit[6]),
           PG_F_INT("cells", (*link)->have), PG_F_INT("total", (*link)->total));
    free_one(link);
}

static struct gbt_joining **find(struct gbt_vehicle *v, const struct gbt_frame *frame,
                                 const struct gbt_cell_part *part)
{
    struct gbt_joining **at = &v->joining;

    while (*at &&
           !((*at)->command == frame->command && (*at)->total == part->total &&
             (*at)->unit[6] == part->number && memcmp((*at)->unit, frame->unit.data, 6) == 0)) {
        at = &(*at)->next;
    }
    return at;
}

static struct gbt_joining **begin(struct gbt_vehicle *v, const struct gbt_frame *frame,
                                  const struct gbt_cell_part *part)
{
    size_t len = UNIT_HEAD + 2u * part->total;
    struct gbt_joining *joining = calloc(1, sizeof(*joining) + len + part->total / 8u + 1);
    unsigned open = 0;

    if (!joining) {
        return NULL;
    }
    joining->command = frame->command;
    joining->total = part->total;
    joining->deadline_ms = pg_now_ms() + gbt_conf_of(v->conn)->join_ms;
    joining->unit_len = len;
    joining->seen = joining->unit + len;
    memcpy(joining->unit, frame->unit.data, 6);
    joining->unit[6] = part->number;
    joining->unit[7] = (uint8_t)(part->total >> 8);
    joining->unit[8] = (uint8_t)part->total;
    joining->next = v->joining;
    v->joining = joining;
    for (struct gbt_joining **at = &v->joining; *at; at = &(*at)->next) {
        if (++open > OPEN_MAX) {
            give_up(v, at);
            break;
        }
    }
    return &v->joining;
}

static void add(struct gbt_joining *joining, const struct gbt_cell_part *part)
{
    size_t first = part->start - 1u;

    memcpy(joining->unit + UNIT_HEAD + 2 * first, part->voltages.data, part->voltages.len);
    for (size_t cell = first; cell < first + part->voltages.len / 2; cell++) {
        uint8_t bit = (uint8_t)(1u << cell % 8);
        joining->have += (joining->seen[cell / 8] & bit) == 0;
        joining->seen[cell / 8] |= bit;
    }
}

static void put_text(struct json_out *out, const char *key, const char *value)
{
    json_out_key(out, key);
    json_out_text(out, value, strlen(value));
}

static void publish(struct gbt_vehicle *v, const struct gbt_joining *joining)
{
    const struct pg_bytes unit = {.data = joining->unit, .len = joining->unit_len};
    struct json_out out = json_out_heap(JSON_LIMIT);
    struct wire_json json;
    struct wire_walked walked;
    char time[GBT_TIME_TEXT];

    gbt_time_text(pg_wall_ms(), true, time);
    json_out_open(&out, '{');
    put_text(&out, "protocol", "gbt32960");
    put_text(&out, "edition", "2016");
    put_text(&out, "message", "cell_voltages");
    put_text(&out, "of",
             joining->command == GBT_REISSUE_REPORT ? "reissue_report" : "realtime_report");
    put_text(&out, "vin", v->vin);
    put_text(&out, "time", time);
    json_out_key(&out, "body");
    json_out_open(&out, '{');
    wire_json_begin(&json, &out, WIRE_SHAPE_NATIVE, WIRE_GBK);
    bool fine = wire_walk(gbt_rows_joined_cells, unit, GBT_2016, wire_json_visit, &json, &walked) &&
                wire_json_end(&json);
    json_out_close(&out, '}');
    json_out_close(&out, '}');
    if (fine && !out.failed) {
        gbt_count(v->conn, GBT_COUNT_CELLS_JOINED);
        gbt_uplink_extra(v, "cell_voltages",
                         (struct pg_bytes){.data = (const uint8_t *)out.data, .len = out.len});
    }
    json_out_free(&out);
}

void gbt_join_take(struct gbt_vehicle *v, const struct gbt_frame *frame,
                   const struct gbt_cells *cells)
{
    for (unsigned i = 0; i < cells->count; i++) {
        const struct gbt_cell_part *part = &cells->part[i];
        struct gbt_joining **at = find(v, frame, part);
        if (!*at) {
            at = begin(v, frame, part);
        }
        if (!at) {
            return; /* no memory: the parts have been published */
        }
        add(*at, part);
        if ((*at)->have == (*at)->total) {
            publish(v, *at);
            free_one(at);
        }
    }
    gbt_timer_update(v);
}

int64_t gbt_join_deadline(const struct gbt_vehicle *v)
{
    int64_t earliest = PG_NEVER;

    for (const struct gbt_joining *j = v->joining; j; j = j->next) {
        earliest = j->deadline_ms < earliest ? j->deadline_ms : earliest;
    }
    return earliest;
}

void gbt_join_due(struct gbt_vehicle *v)
{
    int64_t now = pg_now_ms();

    for (struct gbt_joining **at = &v->joining; *at;) {
        if ((*at)->deadline_ms <= now) {
            give_up(v, at);
        } else {
            at = &(*at)->next;
        }
    }
}
