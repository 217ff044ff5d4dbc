/* SPDX-License-Identifier: Apache-2.0 */

/* Encrypted units, signatures and exchanged keys of a connection's vehicles.
 *
 * A unit is read with the key that the vehicle has for the algorithm of the encryption flag: the
 * one that it exchanged (0b, 2025) while that is valid, else that of the key file. What the
 * platform sends is encrypted as the vehicle speaks: an answer keeps the encryption flag of its
 * request (6.3.2). RSA and SM2 need the vehicle's public key for that; without it the unit is plain
 * and the flag says so, since a flag that is not true would be worse. A key is taken from an
 * exchange only if it came encrypted itself: anything else would let whoever can send a frame
 * choose the key.
 *
 * The signed bytes of a report are those of the unit up to the marker FF, without it; those of an
 * activation up to the signature.
 *
 * threads   the worker of the connection
 * standard  GB/T 32960.3-2016, -2025: 6.3.3; -2025: Annex B (activation, key exchange)
 */

#include <stdlib.h>
#include <string.h>

#include "gbt32960_parts.h"
#include "wire/cursor.h"

/* The key of a vehicle (which may be NULL) for an encryption flag: the one that it exchanged, or
 * that of the configuration. NULL: none. */
static const struct gbt_key *key_for(struct gbt_conn *c, const struct gbt_vehicle *v,
                                     const char *vin, uint8_t encryption, bool sent)
{
    enum gbt_key_use use;

    if (!gbt_use_of(encryption, sent, &use)) {
        return NULL;
    }
    if (v && v->exchanged && v->exchanged->use == use) {
        int64_t now = pg_wall_ms();
        if (now >= v->exchanged_from_ms && now < v->exchanged_until_ms) {
            return v->exchanged;
        }
    }
    return gbt_key_find(c->keys, vin, use);
}

bool gbt_secure_open(struct gbt_conn *c, const struct gbt_vehicle *v, const struct gbt_frame *frame,
                     struct gbt_frame *plain)
{
    static _Thread_local uint8_t room[GBT_UNIT_MAX + GBT_SEALED_ROOM];
    char vin[GBT_ID_TEXT];
    size_t len;

    gbt_id_text(frame->id, vin);
    const struct gbt_key *key = key_for(c, v, vin, frame->encryption, false);
    if (!key || !gbt_decrypt(key, frame->unit, room, &len)) {
        return false;
    }
    *plain = *frame;
    plain->unit = (struct pg_bytes){.data = room, .len = len};
    plain->decrypted = true;
    gbt_count(c, GBT_COUNT_DECRYPTED);
    return true;
}

void gbt_seal(struct gbt_conn *c, const struct gbt_vehicle *v, struct gbt_frame *frame,
              uint8_t *room)
{
    char vin[GBT_ID_TEXT];
    size_t len;

    if (frame->encryption == GBT_PLAIN || frame->unit.len == 0) {
        return;
    }
    gbt_id_text(frame->id, vin);
    const struct gbt_key *key = key_for(c, v, vin, frame->encryption, true);
    if (key && gbt_encrypt(key, frame->unit, room, frame->unit.len + GBT_SEALED_ROOM, &len)) {
        frame->unit = (struct pg_bytes){.data = room, .len = len};
    } else {
        frame->encryption = GBT_PLAIN;
    }
}

/* ---- signatures ----------------------------------------------------------------------------- */

struct found {
    bool is;
    uint8_t algorithm;
    struct pg_bytes r, s;
    const uint8_t *begins; /* behind the marker */
};

static void find_signature(void *context, const struct wire_event *event)
{
    struct found *found = context;
    const struct wire_row *rows = gbt_rows_signature;

    if (event->kind != WIRE_EV_FIELD || event->row < rows || event->row > rows + 2) {
        return;
    }
    if (event->row == rows) {
        found->algorithm = (uint8_t)event->raw;
        found->begins = event->bytes.data;
    } else if (event->row == rows + 1) {
        found->r = event->bytes;
    } else {
        found->s = event->bytes;
        found->is = true;
    }
}

const char *gbt_secure_signature(struct gbt_conn *c, const struct gbt_frame *frame)
{
    bool report = frame->command == GBT_REALTIME_REPORT || frame->command == GBT_REISSUE_REPORT;
    struct found found = {.is = false};
    struct wire_walked walked;
    char vin[GBT_ID_TEXT];

    if (frame->edition != GBT_2025 || gbt_frame_is_answer(frame) || gbt_frame_is_opaque(frame) ||
        (!report && frame->command != GBT_ACTIVATION)) {
        return NULL;
    }
    (void)wire_walk(gbt_rows_of(frame, true), frame->unit, frame->edition, find_signature, &found,
                    &walked);
    if (!found.is) {
        return NULL;
    }
    gbt_id_text(frame->id, vin);
    const struct gbt_key *key = gbt_key_find(c->keys, vin, GBT_USE_SIGN);
    if (!key) {
        return "unverified";
    }
    size_t len = (size_t)(found.begins - frame->unit.data) - (report ? 1 : 0);
    bool holds =
        gbt_verify(key, found.algorithm, (struct pg_bytes){.data = frame->unit.data, .len = len},
                   found.r, found.s);
    gbt_count(c, holds ? GBT_COUNT_SIGNATURES_VALID : GBT_COUNT_SIGNATURES_BAD);
    return holds ? "valid" : "invalid";
}

/* ---- exchanged keys ------------------------------------------------------------------------- */

/* Milliseconds since 1970 of six plain numbers of UTC+8; 0: no date. */
static int64_t wall_of(const uint8_t bytes[6])
{
    struct wire_time t;

    if (wire_time_parse(bytes, true, &t) != NULL) {
        return 0;
    }
    unsigned month = (t.month + 9) % 12;
    unsigned year = t.year - 2000 + (t.month < 3 ? 399 : 400);
    int64_t days = (int64_t)365 * year + year / 4 - year / 100 + year / 400 +
                   (month * 306 + 5) / 10 + t.day - 1 + 11017 - 146097;
    return ((days * 24 + t.hour - 8) * 60 + t.minute) * 60000 + (int64_t)t.second * 1000;
}

void gbt_secure_free(struct gbt_vehicle *v)
{
    if (v->exchanged) {
        explicit_bzero(v->exchanged, sizeof(*v->exchanged));
    }
    free(v->exchanged);
    v->exchanged = NULL;
}

/* The key of the unit, if it is one that can be used. */
static struct gbt_key *key_of(const struct gbt_frame *frame, int64_t *from, int64_t *until)
{
    struct cursor c = cursor_of(frame->unit);
    uint8_t type = cursor_u8(&c);
    struct pg_bytes bytes = cursor_take(&c, cursor_u16(&c));
    struct pg_bytes start = cursor_take(&c, 6), end = cursor_take(&c, 6);
    enum gbt_key_use use;

    if (c.failed || !gbt_use_of(type, false, &use) || (use != GBT_USE_AES && use != GBT_USE_SM4) ||
        !(bytes.len == 16 || (use == GBT_USE_AES && (bytes.len == 24 || bytes.len == 32)))) {
        return NULL;
    }
    *from = wall_of(start.data);
    *until = wall_of(end.data);
    struct gbt_key *key = *until > *from ? calloc(1, sizeof(*key)) : NULL;
    if (key) {
        key->use = (uint8_t)use;
        key->mode = GBT_MODE_CBC_PREFIX;
        key->len = (uint8_t)bytes.len;
        memcpy(key->bytes, bytes.data, bytes.len);
    }
    return key;
}

void gbt_secure_exchange(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    struct gbt_conn *c = v->conn;
    char vin[GBT_ID_TEXT];
    int64_t from, until;
    struct gbt_key *key = frame->decrypted ? key_of(frame, &from, &until) : NULL;
    enum gbt_key_use use;

    if (!key) {
        gbt_answer_frame(c, frame, gbt_frame_is_opaque(frame) ? GBT_DECRYPTION_ERROR : GBT_ERROR);
        return;
    }
    /* Modes were agreed on with the key that it replaces. */
    gbt_id_text(frame->id, vin);
    use = (enum gbt_key_use)key->use;
    const struct gbt_key *before = gbt_key_find(c->keys, vin, use);
    if (before) {
        key->mode = before->mode;
        memcpy(key->iv, before->iv, sizeof(key->iv));
    }
    gbt_secure_free(v);
    v->exchanged = key;
    v->exchanged_from_ms = from;
    v->exchanged_until_ms = until;
    PG_LOG(PG_INFO, "gbt32960_key_exchanged", PG_F_TEXT("client", v->vin),
           PG_F_TEXT("algorithm", use == GBT_USE_SM4 ? "sm4" : "aes"));
    gbt_answer_frame(c, frame, GBT_SUCCESS);
}
