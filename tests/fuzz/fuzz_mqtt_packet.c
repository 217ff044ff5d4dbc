/* SPDX-License-Identifier: Apache-2.0 */

/* Any bytes as a stream of MQTT packets, in every version and from both sides. What decodes well
 * must encode, and what was encoded must decode to the same: same length of a second encoding and
 * the same bytes (the first encoding is canonical), same properties. A PUBLISH is encoded as
 * deliveries are, too: in a measured head with the payload behind it; an acknowledgement also by the
 * way of those that have no properties.
 *
 * The first byte of the input chooses: bits 0-1 the version, bit 2 the side, and bits 4-7, unless
 * they are 0, the one type of packet that the input is taken for, so that each type can be run alone
 * (corpus: one file for each type, version and side): then the rest is flags, a byte, and the body,
 * and the length of the fixed header is the right one. */

#include <assert.h>

#include "../unit/mqtt_roundtrip.h"
#include "mqtt/mqtt_text.h"

#define LIMIT 65536u

static uint8_t first_bytes[LIMIT * 2], second_bytes[LIMIT * 2];

static void check_props(const struct mqtt_packet *a, const struct mqtt_packet *b)
{
    const struct mqtt_props *pa = roundtrip_props(a);
    const struct mqtt_props *pb = roundtrip_props(b);
    if (pa == NULL || pb == NULL) {
        return;
    }
    assert(pa->present == pb->present);
    assert(pa->user_count == pb->user_count);
    assert(pa->subscription_id_count == pb->subscription_id_count);
    struct pg_property ua, ub;
    uint32_t count = 0;
    for (size_t x = 0, y = 0; mqtt_props_user_next(pa, &x, &ua); count++) {
        assert(mqtt_props_user_next(pb, &y, &ub));
        assert(roundtrip_same_bytes(ua.name, ub.name) && roundtrip_same_bytes(ua.value, ub.value));
    }
    assert(count == pa->user_count);
}

/* The properties that are no subscriber's own, as a block; user properties from a list, as messages
 * have them. */
static struct pg_bytes common_block(const struct mqtt_props *props)
{
    static uint8_t block[LIMIT * 2];
    static struct pg_property users[LIMIT];
    struct mqtt_props common = *props;
    uint32_t count = 0;
    for (size_t at = 0; mqtt_props_user_next(props, &at, &users[count]);) {
        count++;
    }
    common.user = users;
    common.present &=
        ~(UINT64_C(1) << MQTT_PROP_MESSAGE_EXPIRY | UINT64_C(1) << MQTT_PROP_TOPIC_ALIAS |
          UINT64_C(1) << MQTT_PROP_SUBSCRIPTION_ID);
    size_t len = mqtt_props_encode_block(&common, block, sizeof(block));
    assert(len <= sizeof(block));
    return (struct pg_bytes){block, len};
}

/* `canonical` is the packet encoded whole. */
static void check_delivery(const struct mqtt_publish *p, enum mqtt_version version,
                           enum mqtt_side from, struct pg_bytes canonical)
{
    static uint8_t bytes[LIMIT * 2];
    static uint32_t ids[LIMIT];
    struct mqtt_publish_head head = {
        .version = version,
        .dup = p->dup,
        .retain = p->retain,
        .qos = p->qos,
        .packet_id = p->packet_id,
        .topic = p->topic,
        .payload_len = p->payload.len,
    };
    if (version == MQTT_V5) {
        for (size_t at = 0;
             mqtt_props_subscription_id_next(&p->props, &at, &ids[head.subscription_id_count]);) {
            head.subscription_id_count++;
        }
        head.subscription_ids = ids;
        head.expires = mqtt_props_has(&p->props, MQTT_PROP_MESSAGE_EXPIRY);
        head.message_expiry_s = head.expires ? p->props.message_expiry_s : 0;
        head.topic_alias =
            mqtt_props_has(&p->props, MQTT_PROP_TOPIC_ALIAS) ? p->props.topic_alias : 0;
        head.forwarded = common_block(&p->props);
    }
    size_t len = mqtt_measure_publish_head(&head);
    assert(len > 0 && len + p->payload.len == canonical.len);
    mqtt_write_publish_head(&head, bytes);
    if (p->payload.len > 0) {
        memcpy(bytes + len, p->payload.data, p->payload.len);
    }
    struct mqtt_frame frame;
    struct mqtt_packet again;
    assert(mqtt_frame_next((struct pg_bytes){bytes, canonical.len}, version, sizeof(bytes),
                           &frame) == MQTT_WHOLE);
    assert(mqtt_decode(&frame, version, from, &again) == MQTT_E_OK);
    assert(roundtrip_encode(&again, version, second_bytes, sizeof(second_bytes)) == canonical.len);
    assert(memcmp(second_bytes, canonical.data, canonical.len) == 0);
}

/* Without properties acknowledgements are written in one go. */
static void check_short_ack(const struct mqtt_packet *packet, enum mqtt_version version,
                            struct pg_bytes canonical)
{
    const struct mqtt_ack *ack = &packet->u.ack;
    uint8_t bytes[8];
    if (ack->props.present == 0) {
        size_t len = mqtt_encode_short_ack(packet->type, version, ack->packet_id, ack->code, bytes);
        assert(len == canonical.len && memcmp(bytes, canonical.data, len) == 0);
    }
}

static void check(const struct mqtt_frame *frame, enum mqtt_version version, enum mqtt_side from)
{
    struct mqtt_packet packet, again;
    enum mqtt_error error = mqtt_decode(frame, version, from, &packet);
    assert(error < MQTT_E_COUNT && mqtt_error_sentence(error) != NULL);
    if (error != MQTT_E_OK) {
        return;
    }
    version = roundtrip_version(&packet, version);
    if (packet.type == MQTT_SUBSCRIBE || packet.type == MQTT_UNSUBSCRIBE) {
        struct mqtt_filter filter;
        size_t count = 0;
        for (size_t at = 0; mqtt_filter_next(&packet.u.subscribe, packet.type, &at, &filter);) {
            assert((mqtt_text_check(filter.filter) & MQTT_TEXT_INVALID) == 0);
            count++;
        }
        assert(count > 0);
        if (count > ROUNDTRIP_FILTERS) {
            return;
        }
    }
    size_t len = roundtrip_encode(&packet, version, first_bytes, sizeof(first_bytes));
    assert(len > 0 && len <= sizeof(first_bytes));
    struct mqtt_frame second;
    assert(mqtt_frame_next((struct pg_bytes){first_bytes, len}, version, sizeof(first_bytes),
                           &second) == MQTT_WHOLE);
    assert(second.total == len);
    assert(mqtt_decode(&second, version, from, &again) == MQTT_E_OK);
    check_props(&packet, &again);
    assert(roundtrip_encode(&again, version, second_bytes, sizeof(second_bytes)) == len);
    assert(memcmp(first_bytes, second_bytes, len) == 0);
    const struct pg_bytes canonical = {first_bytes, len};
    if (packet.type == MQTT_PUBLISH) {
        check_delivery(&packet.u.publish, version, from, canonical);
    } else if (packet.type >= MQTT_PUBACK && packet.type <= MQTT_PUBCOMP) {
        check_short_ack(&packet, version, canonical);
    }
}

/* The rest of the input as the flags and the body of one packet of this type. */
static void check_one(enum mqtt_type type, struct pg_bytes in, enum mqtt_version version,
                      enum mqtt_side from)
{
    static uint8_t whole[LIMIT + MQTT_HEADER_MAX];
    if (in.len == 0) {
        return;
    }
    size_t len = 0, left = in.len - 1;
    whole[len++] = (uint8_t)((unsigned)type << 4 | (in.data[0] & 0x0fu));
    do {
        whole[len++] = (uint8_t)((left & 0x7fu) | (left > 0x7f ? 0x80u : 0));
        left >>= 7;
    } while (left > 0);
    memcpy(whole + len, in.data + 1, in.len - 1);
    struct mqtt_frame frame;
    if (mqtt_frame_next((struct pg_bytes){whole, len + in.len - 1}, version, sizeof(whole),
                        &frame) == MQTT_WHOLE) {
        assert(frame.total == len + in.len - 1);
        check(&frame, version, from);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum mqtt_version versions[] = {MQTT_V_UNKNOWN, MQTT_V31, MQTT_V311, MQTT_V5};
    if (size == 0 || size > LIMIT) {
        return 0;
    }
    enum mqtt_version version = versions[data[0] & 3];
    enum mqtt_side from = (data[0] & 4) != 0 ? MQTT_FROM_SERVER : MQTT_FROM_CLIENT;
    struct pg_bytes in = {data + 1, size - 1};
    if (data[0] >> 4 != 0) {
        check_one((enum mqtt_type)(data[0] >> 4), in, version, from);
        return 0;
    }
    struct mqtt_frame frame;
    while (mqtt_frame_next(in, version, LIMIT, &frame) == MQTT_WHOLE) {
        assert(frame.total >= 2 && frame.total <= in.len);
        check(&frame, version, from);
        in.data += frame.total;
        in.len -= frame.total;
    }
    return 0;
}
