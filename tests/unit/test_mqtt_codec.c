/* SPDX-License-Identifier: Apache-2.0 */

/* The codec of MQTT: every packet in every version both ways, every rule that a packet can break,
 * streams fed whole, byte by byte and cut at each offset, and the tables against the standard. */

#include <stdio.h>

#include "mqtt/mqtt_codec.h"
#include "mqtt/mqtt_text.h"
#include "mqtt_hex.h"
#include "mqtt_roundtrip.h"
#include "suite.h"

#define LIMIT        4096u
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static enum mqtt_error decode_text(const char *text, enum mqtt_version version, enum mqtt_side from,
                                   struct mqtt_packet *out)
{
    static uint8_t buffer[LIMIT];
    struct mqtt_frame frame;
    enum mqtt_result result =
        mqtt_frame_next(mqtt_hex(text, buffer, sizeof(buffer)), version, LIMIT, &frame);
    if (result == MQTT_MALFORMED) {
        return frame.error;
    }
    if (result == MQTT_MORE) {
        return MQTT_E_COUNT; /* the case itself is wrong */
    }
    return mqtt_decode(&frame, version, from, out);
}

/* ---- good packets ---------------------------------------------------------------------------- */

#define C MQTT_FROM_CLIENT
#define S MQTT_FROM_SERVER

/* Each decodes well and encodes to the same bytes. */
static const struct good {
    enum mqtt_version version;
    enum mqtt_side from;
    const char *bytes;
} good[] = {
    /* CONNECT */
    {MQTT_V31, C, "10 .. 0006'MQIsdp' 03 02 003c 0001'a'"},
    {MQTT_V311, C, "10 .. 0004'MQTT' 04 02 003c 0001'a'"},
    {MQTT_V311, C, "10 .. 0004'MQTT' 04 02 0000 0000"},
    {MQTT_V311, C, "10 .. 0004'MQTT' 04 ee ffff 0001'a' 0001't' 0002 00ff 0001'u' 0003'p' 00 ff"},
    {MQTT_V5, C, "10 .. 0004'MQTT' 05 02 003c 00 0001'a'"},
    {MQTT_V5, C, "10 .. 0004'MQTT' 05 40 003c 00 0001'a' 0002'pw'"},
    {MQTT_V5, C,
     "10 .. 0004'MQTT' 05 36 003c"
     " 23 22 000a 11 ffffffff 15 0001'm' 16 0001 00 17 00 19 01 26 0001'k' 0001'v'"
     " 27 ffffffff 21 ffff"
     " 0001'a' 10 01 01 02 00000005 03 0001'c' 18 00000009 0001't' 0001'p'"},
    /* CONNACK */
    {MQTT_V31, S, "20 .. 00 05"},
    {MQTT_V311, S, "20 .. 01 00"},
    {MQTT_V5, S, "20 .. 00 87 00"},
    {MQTT_V5, S,
     "20 .. 01 00 3f 13 0000 22 0000 11 00000000 12 0001'a' 15 0001'm' 16 0000 1a 0001'i'"
     " 1c 0001's' 1f 0001'r' 25 00 26 0000 0000 26 0000 0001'x' 28 01 29 01 2a 00"
     " 27 00000001 21 0001 24 01"},
    /* PUBLISH */
    {MQTT_V31, C, "38 .. 0001't' 'x'"},
    {MQTT_V311, C, "30 .. 0001't'"},
    {MQTT_V311, C, "3d .. 0001't' 0001 0002"},
    {MQTT_V311, S, "33 .. 0001't' ffff"},
    {MQTT_V5, C, "30 .. 0001't' 00"},
    {MQTT_V5, C, "34 .. 0000 000a 03 23 ffff 'x'"},
    {MQTT_V5, S, "30 .. 0001't' 04 0b 01 0b 02 'x'"},
    {MQTT_V5, C,
     "32 .. 0001't' 0007 25 01 01 02 0000000a 03 0001'c' 08 0001'r' 09 0002 0001 23 0001"
     " 26 0001'a' 0001'1' 26 0001'a' 0001'2' 'x'"},
    /* PUBACK, PUBREC, PUBREL, PUBCOMP */
    {MQTT_V31, C, "40 .. 0001"},
    {MQTT_V31, C, "6a .. 0001"},
    {MQTT_V311, S, "50 .. 0001"},
    {MQTT_V311, C, "62 .. ffff"},
    {MQTT_V311, S, "70 .. 0001"},
    {MQTT_V5, C, "40 .. 0001"},
    {MQTT_V5, C, "40 .. 0001 10"},
    {MQTT_V5, C, "50 .. 0001 99 05 1f 0002'no'"},
    {MQTT_V5, C, "62 .. 0001 92"},
    {MQTT_V5, S, "70 .. 0001 00 07 26 0001'k' 0001'v'"},
    /* SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK */
    {MQTT_V31, C, "8a .. 0001 0001'a' 00"},
    {MQTT_V311, C, "82 .. 0001 0001'a' 00 0002'#/' 02"},
    {MQTT_V5, C, "82 .. 0001 0a 0b ffffff7f 26 0000 0000 0001'a' 2d"},
    {MQTT_V311, S, "90 .. 0001 00 01 02 80"},
    {MQTT_V5, S, "90 .. 0001 04 1f 0001'r' 8f"},
    {MQTT_V31, C, "aa .. 0001 0001'a'"},
    {MQTT_V311, C, "a2 .. 0001 0001'a' 0001'b'"},
    {MQTT_V5, C, "a2 .. 0001 00 0001'a'"},
    {MQTT_V311, S, "b0 .. 0001"},
    {MQTT_V5, S, "b0 .. 0001 00 00 11"},
    /* PINGREQ, PINGRESP, DISCONNECT, AUTH */
    {MQTT_V311, C, "c0 .."},
    {MQTT_V5, S, "d0 .."},
    {MQTT_V31, C, "e0 .."},
    {MQTT_V5, C, "e0 .."},
    {MQTT_V5, C, "e0 .. 04"},
    {MQTT_V5, C, "e0 .. 00 05 11 00000000"},
    {MQTT_V5, S, "e0 .. 9c 04 1c 0001's'"},
    {MQTT_V5, C, "f0 .. 18 08 15 0001'm' 16 0001 00"},
    {MQTT_V5, S, "f0 .."},
};

static void good_packet_decodes_and_encodes_to_the_same_bytes(void)
{
    for (size_t i = 0; i < COUNT(good); i++) {
        uint8_t in[LIMIT];
        uint8_t out[LIMIT];
        struct pg_bytes bytes = mqtt_hex(good[i].bytes, in, sizeof(in));
        struct mqtt_packet packet;
        enum mqtt_error error = decode_text(good[i].bytes, good[i].version, good[i].from, &packet);
        if (error != MQTT_E_OK) {
            printf("\n    %s: %s\n", good[i].bytes,
                   error < MQTT_E_COUNT ? mqtt_error_sentence(error) : "unfinished");
        }
        CU_ASSERT_EQUAL_FATAL(error, MQTT_E_OK);
        size_t len = roundtrip_encode(&packet, good[i].version, out, sizeof(out));
        bool same = len == bytes.len && memcmp(in, out, len) == 0;
        /* A DUP flag that only 3.1 knows is taken, not sent. */
        if (good[i].version == MQTT_V31 && (in[0] & 8) != 0 && packet.type != MQTT_PUBLISH) {
            same = len == bytes.len && out[0] == (in[0] & 0xF7) &&
                   memcmp(in + 1, out + 1, len - 1) == 0;
        }
        if (!same) {
            printf("\n    %s: encodes differently\n", good[i].bytes);
        }
        CU_ASSERT_TRUE(same);
        CU_ASSERT_EQUAL(roundtrip_encode(&packet, good[i].version, NULL, 0), len);
        /* One byte too little: the length, and nothing written. */
        memset(out, 0xA5, sizeof(out));
        CU_ASSERT_EQUAL(roundtrip_encode(&packet, good[i].version, out, len - 1), len);
        CU_ASSERT_EQUAL(out[0], 0xA5);
    }
}

static void shorter_packet_is_never_taken_for_the_whole(void)
{
    for (size_t i = 0; i < COUNT(good); i++) {
        uint8_t in[LIMIT];
        struct pg_bytes bytes = mqtt_hex(good[i].bytes, in, sizeof(in));
        struct mqtt_frame frame;
        struct mqtt_packet packet;
        /* Cut the body at each place and say so in the header. */
        for (uint8_t body = 0; body + 2u < bytes.len; body++) {
            uint8_t cut[LIMIT];
            memcpy(cut, in, 2u + body);
            cut[1] = body;
            /* In a block of exactly that length, so that a sanitizer sees a read behind it. */
            uint8_t *exact = malloc(2u + body);
            CU_ASSERT_PTR_NOT_NULL_FATAL(exact);
            memcpy(exact, cut, 2u + body);
            CU_ASSERT_EQUAL_FATAL(mqtt_frame_next((struct pg_bytes){exact, 2u + body},
                                                  good[i].version, LIMIT, &frame),
                                  MQTT_WHOLE);
            /* Some are packets of their own (a shorter payload); none may be misread. */
            if (mqtt_decode(&frame, good[i].version, good[i].from, &packet) == MQTT_E_OK) {
                uint8_t out[LIMIT];
                CU_ASSERT_EQUAL(roundtrip_encode(&packet, good[i].version, out, sizeof(out)) > 0,
                                true);
            }
            free(exact);
        }
    }
}

/* ---- fields ---------------------------------------------------------------------------------- */

static bool is(struct pg_bytes bytes, const char *text)
{
    return bytes.data != NULL && bytes.len == strlen(text) &&
           memcmp(bytes.data, text, bytes.len) == 0;
}

static void connect_fields_are_those_sent(void)
{
    struct mqtt_packet packet;
    CU_ASSERT_EQUAL_FATAL(
        decode_text("10 .. 0004'MQTT' 05 f6 003c 10 11 00000e10 21 0014 22 000a 27 00001000"
                    " 0002'id' 05 18 00000007 0001't' 0001'p' 0004'user' 0006'secret'",
                    MQTT_V_UNKNOWN, C, &packet),
        MQTT_E_OK);
    const struct mqtt_connect *c = &packet.u.connect;
    CU_ASSERT_EQUAL(c->version, MQTT_V5);
    CU_ASSERT_TRUE(c->clean_start);
    CU_ASSERT_TRUE(c->has_will);
    CU_ASSERT_EQUAL(c->will_qos, 2);
    CU_ASSERT_TRUE(c->will_retain);
    CU_ASSERT_EQUAL(c->keepalive_s, 60);
    CU_ASSERT_EQUAL(c->props.session_expiry_s, 3600);
    CU_ASSERT_EQUAL(c->props.receive_maximum, 20);
    CU_ASSERT_EQUAL(c->props.topic_alias_maximum, 10);
    CU_ASSERT_EQUAL(c->props.maximum_packet_size, 4096);
    CU_ASSERT_FALSE(mqtt_props_has(&c->props, MQTT_PROP_REQUEST_PROBLEM));
    CU_ASSERT_EQUAL(c->will_props.will_delay_s, 7);
    CU_ASSERT_TRUE(is(c->client_id, "id"));
    CU_ASSERT_TRUE(is(c->will_topic, "t"));
    CU_ASSERT_TRUE(is(c->will_payload, "p"));
    CU_ASSERT_TRUE(is(c->username, "user"));
    CU_ASSERT_TRUE(is(c->password, "secret"));
}

static void connect_of_3_1_may_leave_out_the_user_name_it_announced(void)
{
    struct mqtt_packet packet;
    CU_ASSERT_EQUAL(
        decode_text("10 .. 0006'MQIsdp' 03 c2 003c 0001'a'", MQTT_V_UNKNOWN, C, &packet),
        MQTT_E_OK);
    CU_ASSERT_PTR_NULL(packet.u.connect.username.data);
    CU_ASSERT_EQUAL(decode_text("10 .. 0004'MQTT' 04 c2 003c 0001'a'", MQTT_V_UNKNOWN, C, &packet),
                    MQTT_E_TRUNCATED);
}

static void version_of_a_malformed_connect_is_known(void)
{
    struct mqtt_packet packet;
    CU_ASSERT_EQUAL(
        decode_text("10 .. 0004'MQTT' 05 03 003c 00 0001'a'", MQTT_V_UNKNOWN, C, &packet),
        MQTT_E_CONNECT_FLAGS);
    CU_ASSERT_EQUAL(packet.u.connect.version, MQTT_V5);
    CU_ASSERT_EQUAL(
        decode_text("10 .. 0004'MQTT' 06 02 003c 00 0001'a'", MQTT_V_UNKNOWN, C, &packet),
        MQTT_E_PROTOCOL_LEVEL);
    CU_ASSERT_EQUAL(packet.u.connect.version, MQTT_V_UNKNOWN);
    CU_ASSERT_EQUAL(packet.u.connect.level, 6);
}

static void user_properties_keep_their_order_and_repeats(void)
{
    struct mqtt_packet packet;
    CU_ASSERT_EQUAL_FATAL(decode_text("30 .. 0001't' 17 26 0001'b' 0001'1' 01 01 26 0001'a' 0001'2'"
                                      " 26 0001'b' 0001'1' 'x'",
                                      MQTT_V5, C, &packet),
                          MQTT_E_OK);
    const struct mqtt_props *props = &packet.u.publish.props;
    CU_ASSERT_EQUAL(props->user_count, 3);
    CU_ASSERT_EQUAL(props->payload_format, 1);
    static const char *const expected[][2] = {{"b", "1"}, {"a", "2"}, {"b", "1"}};
    struct pg_property p;
    size_t at = 0;
    for (size_t i = 0; i < COUNT(expected); i++) {
        CU_ASSERT_TRUE_FATAL(mqtt_props_user_next(props, &at, &p));
        CU_ASSERT_TRUE(is(p.name, expected[i][0]));
        CU_ASSERT_TRUE(is(p.value, expected[i][1]));
    }
    CU_ASSERT_FALSE(mqtt_props_user_next(props, &at, &p));
}

static void filters_are_walked_with_their_options(void)
{
    struct mqtt_packet packet;
    CU_ASSERT_EQUAL_FATAL(decode_text("82 .. 000a 00 0003'a/b' 2e 0001'#' 11", MQTT_V5, C, &packet),
                          MQTT_E_OK);
    struct mqtt_filter f;
    size_t at = 0;
    CU_ASSERT_TRUE_FATAL(mqtt_filter_next(&packet.u.subscribe, MQTT_SUBSCRIBE, &at, &f));
    CU_ASSERT_TRUE(is(f.filter, "a/b"));
    CU_ASSERT_EQUAL(f.qos, 2);
    CU_ASSERT_TRUE(f.no_local);
    CU_ASSERT_TRUE(f.retain_as_published);
    CU_ASSERT_EQUAL(f.retain_handling, 2);
    CU_ASSERT_TRUE_FATAL(mqtt_filter_next(&packet.u.subscribe, MQTT_SUBSCRIBE, &at, &f));
    CU_ASSERT_TRUE(is(f.filter, "#"));
    CU_ASSERT_EQUAL(f.qos, 1);
    CU_ASSERT_FALSE(f.no_local);
    CU_ASSERT_EQUAL(f.retain_handling, 1);
    CU_ASSERT_FALSE(mqtt_filter_next(&packet.u.subscribe, MQTT_SUBSCRIBE, &at, &f));
}

/* ---- broken rules ---------------------------------------------------------------------------- */

static const struct bad {
    enum mqtt_error error;
    enum mqtt_version version;
    enum mqtt_side from;
    const char *bytes;
} bad[] = {
    /* fixed header */
    {MQTT_E_TYPE_RESERVED, MQTT_V_UNKNOWN, C, "00 00"},
    {MQTT_E_TYPE_RESERVED, MQTT_V311, C, "f0 00"},
    {MQTT_E_FLAGS, MQTT_V_UNKNOWN, C, "11 00"},
    {MQTT_E_FLAGS, MQTT_V311, C, "6a 02 0001"},
    {MQTT_E_FLAGS, MQTT_V5, C, "60 02 0001"},
    {MQTT_E_FLAGS, MQTT_V5, C, "80 02 0001"},
    {MQTT_E_FLAGS, MQTT_V31, C, "80 02 0001"},
    {MQTT_E_FLAGS, MQTT_V5, C, "ab 02 0001"},
    {MQTT_E_FLAGS, MQTT_V5, C, "c1 00"},
    {MQTT_E_FLAGS, MQTT_V5, C, "e2 00"},
    {MQTT_E_FLAGS, MQTT_V5, C, "41 02 0001"},
    {MQTT_E_REMAINING_LENGTH, MQTT_V311, C, "30 ff ff ff ff"},
    {MQTT_E_REMAINING_LENGTH, MQTT_V311, C, "30 80 80 80 80 00"},
    {MQTT_E_LENGTH_NOT_MINIMAL, MQTT_V5, C, "c0 80 00"},
    {MQTT_E_TOO_LARGE, MQTT_V311, C, "30 fe 1f"},
    /* CONNECT */
    {MQTT_E_TRUNCATED, MQTT_V_UNKNOWN, C, "10 .."},
    {MQTT_E_PROTOCOL_NAME, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTt' 04 02 003c 0001'a'"},
    {MQTT_E_PROTOCOL_NAME, MQTT_V_UNKNOWN, C, "10 .. 0003'MQT' 04 02 003c 0001'a'"},
    {MQTT_E_PROTOCOL_LEVEL, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 03 02 003c 0001'a'"},
    {MQTT_E_PROTOCOL_LEVEL, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 84 02 003c 0001'a'"},
    {MQTT_E_PROTOCOL_LEVEL, MQTT_V_UNKNOWN, C, "10 .. 0006'MQIsdp' 04 02 003c 0001'a'"},
    {MQTT_E_CONNECT_FLAGS, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 03 003c 0001'a'"},
    {MQTT_E_WILL_FLAGS, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 0a 003c 0001'a'"},
    {MQTT_E_WILL_FLAGS, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 22 003c 0001'a'"},
    {MQTT_E_WILL_QOS, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 1e 003c 0001'a' 0001't' 0001'p'"},
    {MQTT_E_WILL_TOPIC, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 06 003c 0001'a' 0000 0001'p'"},
    {MQTT_E_WILL_TOPIC, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 06 003c 0001'a' 0001'#' 0001'p'"},
    {MQTT_E_PASSWORD_FLAG, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 42 003c 0001'a' 0001'p'"},
    {MQTT_E_TRUNCATED, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 06 003c 0001'a'"},
    {MQTT_E_TRAILING, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 02 003c 0001'a' 00"},
    {MQTT_E_CLIENT_ID, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 02 003c 0001 00"},
    {MQTT_E_TEXT, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 82 003c 0001'a' 0001 00"},
    {MQTT_E_CONTROL, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 82 003c 0001'a' 0001 01"},
    {MQTT_E_TEXT, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 04 82 003c 0001'a' 0001 c0"},
    {MQTT_E_PROPERTY_VALUE, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 05 02 003c 03 21 0000 0001'a'"},
    {MQTT_E_PROPERTY_VALUE, MQTT_V_UNKNOWN, C,
     "10 .. 0004'MQTT' 05 02 003c 05 27 00000000 0001'a'"},
    {MQTT_E_PROPERTY_VALUE, MQTT_V_UNKNOWN, C, "10 .. 0004'MQTT' 05 02 003c 02 17 02 0001'a'"},
    {MQTT_E_PROPERTY_TWICE, MQTT_V_UNKNOWN, C,
     "10 .. 0004'MQTT' 05 02 003c 04 19 00 19 00 0001'a'"},
    {MQTT_E_AUTH_METHOD_MISSING, MQTT_V_UNKNOWN, C,
     "10 .. 0004'MQTT' 05 02 003c 04 16 0001 00 0001'a'"},
    {MQTT_E_PROPERTY_NOT_HERE, MQTT_V_UNKNOWN, C,
     "10 .. 0004'MQTT' 05 06 003c 00 0001'a' 03 21 0001 0001't' 0001'p'"},
    {MQTT_E_PROPERTY_NOT_HERE, MQTT_V_UNKNOWN, C,
     "10 .. 0004'MQTT' 05 02 003c 05 18 00000001 0001'a'"},
    {MQTT_E_PROPERTY_LENGTH, MQTT_V_UNKNOWN, C,
     "10 .. 0004'MQTT' 05 06 003c 00 0001'a' 02 02 00 0001't' 0001'p'"},
    {MQTT_E_PROPERTY_TWICE, MQTT_V_UNKNOWN, C,
     "10 .. 0004'MQTT' 05 06 003c 00 0001'a' 04 01 00 01 00 0001't' 0001'p'"},
    {MQTT_E_NOT_EXPECTED, MQTT_V_UNKNOWN, S, "10 .. 0004'MQTT' 04 02 003c 0001'a'"},
    /* CONNACK */
    {MQTT_E_NOT_EXPECTED, MQTT_V311, C, "20 .. 00 00"},
    {MQTT_E_CONNACK_FLAGS, MQTT_V311, S, "20 .. 02 00"},
    {MQTT_E_CONNACK_FLAGS, MQTT_V31, S, "20 .. 01 00"},
    {MQTT_E_SESSION_PRESENT, MQTT_V311, S, "20 .. 01 05"},
    {MQTT_E_SESSION_PRESENT, MQTT_V5, S, "20 .. 01 87 00"},
    {MQTT_E_REASON_CODE, MQTT_V311, S, "20 .. 00 06"},
    {MQTT_E_REASON_CODE, MQTT_V5, S, "20 .. 00 92 00"},
    {MQTT_E_TRUNCATED, MQTT_V5, S, "20 .. 00 00"},
    {MQTT_E_TRAILING, MQTT_V311, S, "20 .. 00 00 00"},
    {MQTT_E_PROPERTY_VALUE, MQTT_V5, S, "20 .. 00 00 02 24 02"},
    /* PUBLISH */
    {MQTT_E_QOS, MQTT_V311, C, "36 .. 0001't' 0001"},
    {MQTT_E_DUP, MQTT_V311, C, "38 .. 0001't'"},
    {MQTT_E_DUP, MQTT_V5, C, "38 .. 0001't' 00"},
    {MQTT_E_PACKET_ID, MQTT_V311, C, "32 .. 0001't' 0000"},
    {MQTT_E_PACKET_ID, MQTT_V5, C, "34 .. 0001't' 0000 00"},
    {MQTT_E_TOPIC_NAME, MQTT_V311, C, "30 .. 0000"},
    {MQTT_E_TOPIC_NAME, MQTT_V311, C, "30 .. 0001'+'"},
    {MQTT_E_TOPIC_NAME, MQTT_V5, C, "30 .. 0009'abcdefg#h' 00"},
    {MQTT_E_TOPIC_NAME, MQTT_V5, C, "30 .. 0005 e4bda0 '/+' 00"},
    {MQTT_E_TOPIC_MISSING, MQTT_V5, C, "30 .. 0000 00"},
    {MQTT_E_TOPIC_ALIAS, MQTT_V5, C, "30 .. 0001't' 03 23 0000"},
    {MQTT_E_RESPONSE_TOPIC, MQTT_V5, C, "30 .. 0001't' 06 08 0003'a/#'"},
    {MQTT_E_SUBSCRIPTION_ID_SENT, MQTT_V5, C, "30 .. 0001't' 02 0b 01"},
    {MQTT_E_PROPERTY_VALUE, MQTT_V5, S, "30 .. 0001't' 02 0b 00"},
    {MQTT_E_PROPERTY_VALUE, MQTT_V5, C, "30 .. 0001't' 02 01 02"},
    {MQTT_E_PROPERTY_UNKNOWN, MQTT_V5, C, "30 .. 0001't' 02 04 00"},
    {MQTT_E_PROPERTY_UNKNOWN, MQTT_V5, C, "30 .. 0001't' 02 7f 00"},
    {MQTT_E_PROPERTY_UNKNOWN, MQTT_V5, C, "30 .. 0001't' 02 00 00"},
    {MQTT_E_PROPERTY_LENGTH, MQTT_V5, C, "30 .. 0001't' 02 03 00"},
    {MQTT_E_LENGTH_NOT_MINIMAL, MQTT_V5, C, "30 .. 0001't' 80 00"},
    {MQTT_E_INTEGER, MQTT_V5, C, "30 .. 0001't' 80 80 80 80 00"},
    {MQTT_E_TRUNCATED, MQTT_V5, C, "30 .. 0001't' 05 01"},
    {MQTT_E_TRUNCATED, MQTT_V311, C, "30 .. 0002't'"},
    {MQTT_E_TRUNCATED, MQTT_V311, C, "32 .. 0001't' 00"},
    {MQTT_E_TEXT, MQTT_V311, C, "30 .. 0003 eda080"},
    {MQTT_E_TEXT, MQTT_V311, C, "30 .. 0009'abcdefgh' 00"},
    {MQTT_E_TEXT, MQTT_V5, C, "30 .. 0001't' 04 03 0001 80"},
    {MQTT_E_TEXT, MQTT_V5, C, "30 .. 0001't' 06 26 0001 00 0000"},
    /* acknowledgements */
    {MQTT_E_PACKET_ID, MQTT_V311, C, "40 .. 0000"},
    {MQTT_E_PACKET_ID, MQTT_V5, C, "62 .. 0000"},
    {MQTT_E_TRUNCATED, MQTT_V311, C, "50 .. 00"},
    {MQTT_E_TRAILING, MQTT_V311, C, "70 .. 0001 00"},
    {MQTT_E_REASON_CODE, MQTT_V5, C, "40 .. 0001 92"},
    {MQTT_E_REASON_CODE, MQTT_V5, C, "50 .. 0001 93"},
    {MQTT_E_REASON_CODE, MQTT_V5, C, "62 .. 0001 10"},
    {MQTT_E_REASON_CODE, MQTT_V5, C, "70 .. 0001 05"},
    {MQTT_E_PROPERTY_NOT_HERE, MQTT_V5, C, "40 .. 0001 00 03 21 0001"},
    {MQTT_E_TRAILING, MQTT_V5, C, "40 .. 0001 00 00 00"},
    /* SUBSCRIBE */
    {MQTT_E_PACKET_ID, MQTT_V311, C, "82 .. 0000 0001'a' 00"},
    {MQTT_E_FILTER_EMPTY, MQTT_V5, C, "82 .. 0001 00 0001't' 00 0000 00"},
    {MQTT_E_FILTER_EMPTY, MQTT_V311, C, "a2 .. 0001 0000"},
    {MQTT_E_NO_FILTER, MQTT_V311, C, "82 .. 0001"},
    {MQTT_E_NO_FILTER, MQTT_V5, C, "82 .. 0001 00"},
    {MQTT_E_TRUNCATED, MQTT_V311, C, "82 .. 0001 0001'a'"},
    {MQTT_E_SUBSCRIPTION_OPTIONS, MQTT_V311, C, "82 .. 0001 0001'a' 04"},
    {MQTT_E_SUBSCRIPTION_OPTIONS, MQTT_V5, C, "82 .. 0001 00 0001'a' 40"},
    {MQTT_E_SUBSCRIPTION_OPTIONS, MQTT_V5, C, "82 .. 0001 00 0001'a' 80"},
    {MQTT_E_SUBSCRIPTION_QOS, MQTT_V311, C, "82 .. 0001 0001'a' 03"},
    {MQTT_E_SUBSCRIPTION_QOS, MQTT_V5, C, "82 .. 0001 00 0001'a' 03"},
    {MQTT_E_RETAIN_HANDLING, MQTT_V5, C, "82 .. 0001 00 0001'a' 30"},
    {MQTT_E_SHARED_NO_LOCAL, MQTT_V5, C, "82 .. 0001 00 000a'$share/g/t' 04"},
    {MQTT_E_PROPERTY_TWICE, MQTT_V5, C, "82 .. 0001 04 0b 01 0b 02 0001'a' 00"},
    {MQTT_E_PROPERTY_VALUE, MQTT_V5, C, "82 .. 0001 02 0b 00 0001'a' 00"},
    {MQTT_E_PROPERTY_NOT_HERE, MQTT_V5, C, "82 .. 0001 02 01 00 0001'a' 00"},
    {MQTT_E_TEXT, MQTT_V311, C, "82 .. 0001 0001 00 00"},
    {MQTT_E_NOT_EXPECTED, MQTT_V311, S, "82 .. 0001 0001'a' 00"},
    /* SUBACK, UNSUBSCRIBE, UNSUBACK */
    {MQTT_E_NOT_EXPECTED, MQTT_V311, C, "90 .. 0001 00"},
    {MQTT_E_NO_REASON_CODE, MQTT_V311, S, "90 .. 0001"},
    {MQTT_E_REASON_CODE, MQTT_V311, S, "90 .. 0001 03"},
    {MQTT_E_REASON_CODE, MQTT_V5, S, "90 .. 0001 00 11"},
    {MQTT_E_PACKET_ID, MQTT_V311, C, "a2 .. 0000 0001'a'"},
    {MQTT_E_NO_FILTER, MQTT_V311, C, "a2 .. 0001"},
    {MQTT_E_NO_FILTER, MQTT_V5, C, "a2 .. 0001 00"},
    {MQTT_E_TRUNCATED, MQTT_V311, C, "a2 .. 0001 0002'a'"},
    {MQTT_E_PROPERTY_NOT_HERE, MQTT_V5, C, "a2 .. 0001 02 0b 01 0001'a'"},
    {MQTT_E_NOT_EXPECTED, MQTT_V311, C, "b0 .. 0001"},
    {MQTT_E_TRAILING, MQTT_V311, S, "b0 .. 0001 00"},
    {MQTT_E_NO_REASON_CODE, MQTT_V5, S, "b0 .. 0001 00"},
    {MQTT_E_REASON_CODE, MQTT_V5, S, "b0 .. 0001 00 01"},
    /* PINGREQ, PINGRESP, DISCONNECT, AUTH */
    {MQTT_E_TRAILING, MQTT_V311, C, "c0 .. 00"},
    {MQTT_E_NOT_EXPECTED, MQTT_V311, C, "d0 .."},
    {MQTT_E_TRAILING, MQTT_V311, C, "e0 .. 00"},
    {MQTT_E_NOT_EXPECTED, MQTT_V311, S, "e0 .."},
    {MQTT_E_REASON_CODE, MQTT_V5, C, "e0 .. 8e"},
    {MQTT_E_REASON_CODE, MQTT_V5, S, "e0 .. 04"},
    {MQTT_E_REASON_CODE, MQTT_V5, C, "e0 .. 01"},
    {MQTT_E_SESSION_EXPIRY_SENT, MQTT_V5, S, "e0 .. 00 05 11 00000000"},
    {MQTT_E_SERVER_REFERENCE_SENT, MQTT_V5, C, "e0 .. 00 04 1c 0001's'"},
    {MQTT_E_TRAILING, MQTT_V5, C, "e0 .. 00 00 00"},
    {MQTT_E_AUTH_METHOD_MISSING, MQTT_V5, C, "f0 .. 18 00"},
    {MQTT_E_AUTH_METHOD_MISSING, MQTT_V5, S, "f0 .. 00 04 16 0001 00"},
    {MQTT_E_REASON_CODE, MQTT_V5, C, "f0 .. 00 04 15 0001'm'"},
    {MQTT_E_REASON_CODE, MQTT_V5, S, "f0 .. 19 04 15 0001'm'"},
};

static void broken_rule_is_refused_by_its_name(void)
{
    /* What belongs to the state of a connection is not the codec's matter. */
    bool seen[MQTT_E_COUNT] = {
        [MQTT_E_OK] = true, [MQTT_E_ACK_OUT_OF_PLACE] = true, [MQTT_E_AUTH_METHOD_CHANGED] = true};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct mqtt_packet packet;
        enum mqtt_error error = decode_text(bad[i].bytes, bad[i].version, bad[i].from, &packet);
        if (error != bad[i].error) {
            printf("\n    %s: %s, not %s\n", bad[i].bytes,
                   error < MQTT_E_COUNT ? mqtt_error_name(error) : "unfinished",
                   mqtt_error_name(bad[i].error));
        }
        CU_ASSERT_EQUAL(error, bad[i].error);
        seen[bad[i].error] = true;
    }
    for (unsigned i = 0; i < MQTT_E_COUNT; i++) {
        if (!seen[i]) {
            printf("\n    no case for %s\n", mqtt_error_name((enum mqtt_error)i));
        }
        CU_ASSERT_TRUE(seen[i]);
        CU_ASSERT_PTR_NOT_NULL(mqtt_error_clause((enum mqtt_error)i));
        CU_ASSERT_TRUE(strlen(mqtt_error_sentence((enum mqtt_error)i)) > 0);
        CU_ASSERT_TRUE(i == MQTT_E_OK || mqtt_error_code((enum mqtt_error)i) >= 0x80);
    }
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void remaining_length_takes_one_to_four_bytes(void)
{
    static const struct {
        const char *bytes;
        size_t total;
    } cases[] = {
        {"30 00", 2},
        {"30 7f", 2 + 127},
        {"30 80 01", 3 + 128},
        {"30 ff 7f", 3 + 16383},
        {"30 80 80 01", 4 + 16384},
        {"30 ff ff 7f", 4 + 2097151},
        {"30 80 80 80 01", 5 + 2097152},
        {"30 ff ff ff 7f", 5 + 268435455},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t buffer[8];
        struct mqtt_frame frame;
        struct pg_bytes in = mqtt_hex(cases[i].bytes, buffer, sizeof(buffer));
        enum mqtt_result result = mqtt_frame_next(in, MQTT_V311, MQTT_PACKET_MAX, &frame);
        CU_ASSERT_EQUAL(result, cases[i].total == 2 ? MQTT_WHOLE : MQTT_MORE);
        CU_ASSERT_EQUAL(frame.total, cases[i].total);
        for (size_t len = 0; len < in.len; len++) {
            CU_ASSERT_EQUAL(mqtt_frame_next((struct pg_bytes){in.data, len}, MQTT_V311,
                                            MQTT_PACKET_MAX, &frame),
                            MQTT_MORE);
            CU_ASSERT_EQUAL(frame.total, 0);
        }
    }
}

static void limit_is_judged_as_soon_as_the_length_is_known(void)
{
    uint8_t buffer[8];
    struct mqtt_frame frame;
    struct pg_bytes in = mqtt_hex("10 fd 7f", buffer, sizeof(buffer)); /* 3 + 16381 */
    CU_ASSERT_EQUAL(mqtt_frame_next(in, MQTT_V_UNKNOWN, 16384, &frame), MQTT_MORE);
    CU_ASSERT_EQUAL(mqtt_frame_next(in, MQTT_V_UNKNOWN, 16383, &frame), MQTT_MALFORMED);
    CU_ASSERT_EQUAL(frame.error, MQTT_E_TOO_LARGE);
}

/* What a stream gave: enough to compare two ways of feeding it. */
struct seen {
    size_t packets;
    size_t total;
    uint64_t hash;
};

static size_t feed(struct pg_bytes in, enum mqtt_version version, struct seen *seen)
{
    size_t used = 0;
    struct mqtt_frame frame;
    for (;;) {
        struct pg_bytes rest = {in.data + used, in.len - used};
        enum mqtt_result result = mqtt_frame_next(rest, version, LIMIT, &frame);
        if (result != MQTT_WHOLE) {
            CU_ASSERT_EQUAL(result, MQTT_MORE);
            return used;
        }
        struct mqtt_packet packet;
        CU_ASSERT_EQUAL(mqtt_decode(&frame, version, C, &packet), MQTT_E_OK);
        seen->packets++;
        seen->total += frame.total;
        for (size_t i = 0; i < frame.total; i++) {
            seen->hash = (seen->hash ^ rest.data[i]) * UINT64_C(1099511628211);
        }
        used += frame.total;
    }
}

static void stream_gives_the_same_whole_byte_by_byte_and_cut(void)
{
    static const enum mqtt_version versions[] = {MQTT_V31, MQTT_V311, MQTT_V5};
    for (size_t v = 0; v < COUNT(versions); v++) {
        static uint8_t stream[LIMIT];
        size_t len = 0;
        size_t packets = 0;
        for (size_t i = 0; i < COUNT(good); i++) {
            if (good[i].version == versions[v] && good[i].from == C) {
                len += mqtt_hex(good[i].bytes, stream + len, sizeof(stream) - len).len;
                packets++;
            }
        }
        struct seen whole = {0};
        CU_ASSERT_EQUAL(feed((struct pg_bytes){stream, len}, versions[v], &whole), len);
        CU_ASSERT_EQUAL(whole.packets, packets);

        struct seen trickle = {0};
        size_t start = 0;
        for (size_t end = 1; end <= len; end++) {
            start += feed((struct pg_bytes){stream + start, end - start}, versions[v], &trickle);
        }
        CU_ASSERT_EQUAL(memcmp(&trickle, &whole, sizeof(whole)), 0);

        for (size_t cut = 0; cut <= len; cut++) {
            struct seen two = {0};
            size_t used = feed((struct pg_bytes){stream, cut}, versions[v], &two);
            used += feed((struct pg_bytes){stream + used, len - used}, versions[v], &two);
            CU_ASSERT_EQUAL(used, len);
            CU_ASSERT_EQUAL(memcmp(&two, &whole, sizeof(whole)), 0);
        }
    }
}

/* ---- text ------------------------------------------------------------------------------------ */

static void text_is_strict_utf8(void)
{
    static const struct {
        const char *bytes;
        unsigned found;
    } cases[] = {
        {"", 0},
        {"'plain ascii, more than eight'", 0},
        {"'a/+/b'", MQTT_TEXT_WILDCARD},
        {"'12345678#'", MQTT_TEXT_WILDCARD},
        {"'#2345678'", MQTT_TEXT_WILDCARD},
        {"'1234567+' c3a9", MQTT_TEXT_WILDCARD},
        {"c3a9 '+'", MQTT_TEXT_WILDCARD},
        {"01", MQTT_TEXT_CONTROL}, /* control characters are well formed */
        {"1f", MQTT_TEXT_CONTROL},
        {"'12345678' 0a", MQTT_TEXT_CONTROL},
        {"7f", MQTT_TEXT_CONTROL},
        {"c280", MQTT_TEXT_CONTROL},
        {"c29f", MQTT_TEXT_CONTROL},
        {"c2a0 dfbf e0a080 efbfbd", 0}, /* first and last of two and three bytes */
        {"efbbbf", 0},                  /* U+FEFF is kept */
        {"efbfbe", MQTT_TEXT_CONTROL},  /* non-characters, too */
        {"efbfbf", MQTT_TEXT_CONTROL},
        {"efb78f efb7b0", 0},
        {"efb790", MQTT_TEXT_CONTROL},
        {"efb7af", MQTT_TEXT_CONTROL},
        {"f09fbfbe", MQTT_TEXT_CONTROL},
        {"f48fbfbf", MQTT_TEXT_CONTROL},
        {"f0908080 f48fbfbd f09ebfbf", 0}, /* ... and of four */
        {"ed9fbf ee8080", 0},              /* both sides of the surrogates */
        {"00", MQTT_TEXT_INVALID},
        {"'1234567' 00", MQTT_TEXT_INVALID},
        {"'12345678' 00", MQTT_TEXT_INVALID},
        {"80", MQTT_TEXT_INVALID},
        {"c0 80", MQTT_TEXT_INVALID}, /* overlong U+0000 */
        {"c1bf", MQTT_TEXT_INVALID},
        {"e09fbf", MQTT_TEXT_INVALID},
        {"f08fbfbf", MQTT_TEXT_INVALID},
        {"eda080", MQTT_TEXT_INVALID},   /* U+D800 */
        {"edbfbf", MQTT_TEXT_INVALID},   /* U+DFFF */
        {"f4908080", MQTT_TEXT_INVALID}, /* U+110000 */
        {"f5808080", MQTT_TEXT_INVALID},
        {"ff", MQTT_TEXT_INVALID},
        {"c3", MQTT_TEXT_INVALID}, /* cut short */
        {"e4bd", MQTT_TEXT_INVALID},
        {"f09f98", MQTT_TEXT_INVALID},
        {"c3 '('", MQTT_TEXT_INVALID},
        {"e4bd '('", MQTT_TEXT_INVALID},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t buffer[64];
        struct pg_bytes text = mqtt_hex(cases[i].bytes, buffer, sizeof(buffer));
        CU_ASSERT_EQUAL(mqtt_text_check(text), cases[i].found);
    }
    /* Each single byte at each place of a text, as long as a word and its neighbours. */
    for (unsigned i = 0; i < 256 * 24 * 24; i++) {
        uint8_t text[24], byte = (uint8_t)(i % 256);
        size_t at = i / 256 % 24, len = i / 256 / 24 + 1;
        if (at >= len) {
            continue;
        }
        memset(text, 'a', sizeof(text));
        text[at] = byte;
        unsigned expected = byte == 0 || byte >= 0x80     ? MQTT_TEXT_INVALID
                            : byte == '+' || byte == '#'  ? MQTT_TEXT_WILDCARD
                            : byte < 0x20 || byte == 0x7F ? MQTT_TEXT_CONTROL
                                                          : 0;
        CU_ASSERT_EQUAL(mqtt_text_check((struct pg_bytes){text, len}), expected);
    }
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* MQTT 5.0, table 2-4: identifier and the packets that may carry it (bit 0: will). */
static void property_table_is_that_of_the_standard(void)
{
    enum { WILL = 1, CON = 1 << 1, CAK = 1 << 2, PUB = 1 << 3, PAK = 1 << 4, PRC = 1 << 5 };
    enum { PRL = 1 << 6, PCP = 1 << 7, SUB = 1 << 8, SAK = 1 << 9, UNS = 1 << 10, UAK = 1 << 11 };
    enum { DIS = 1 << 14, AUT = 1 << 15, ACKS = PAK | PRC | PRL | PCP | SAK | UAK };
    static const struct {
        unsigned id;
        unsigned packets;
        const char *value; /* one that is valid */
    } table[] = {
        {0x01, PUB | WILL, "01"},
        {0x02, PUB | WILL, "00000001"},
        {0x03, PUB | WILL, "0001'x'"},
        {0x08, PUB | WILL, "0001'x'"},
        {0x09, PUB | WILL, "0001 00"},
        {0x0B, PUB | SUB, "01"},
        {0x11, CON | CAK | DIS, "00000001"},
        {0x12, CAK, "0001'x'"},
        {0x13, CAK, "0001"},
        {0x15, CON | CAK | AUT, "0001'x'"},
        {0x16, CON | CAK | AUT, "0001 00"},
        {0x17, CON, "01"},
        {0x18, WILL, "00000001"},
        {0x19, CON, "01"},
        {0x1A, CAK, "0001'x'"},
        {0x1C, CAK | DIS, "0001'x'"},
        {0x1F, CAK | ACKS | DIS | AUT, "0001'x'"},
        {0x21, CON | CAK, "0001"},
        {0x22, CON | CAK, "0001"},
        {0x23, PUB, "0001"},
        {0x24, CAK, "01"},
        {0x25, CAK, "01"},
        {0x26, CON | CAK | PUB | WILL | ACKS | SUB | UNS | DIS | AUT, "0001'k' 0001'v'"},
        {0x27, CON | CAK, "00000001"},
        {0x28, CAK, "01"},
        {0x29, CAK, "01"},
        {0x2A, CAK, "01"},
    };
    /* Every packet with room for properties: what stands before and behind them. */
    static const struct {
        unsigned bit;
        enum mqtt_side from;
        const char *first, *before, *behind;
    } packets[] = {
        {CON, C, "10", "0004'MQTT' 05 02 0000", "0000"},
        {WILL, C, "10", "0004'MQTT' 05 06 0000 00 0000", "0001't' 0000"},
        {CAK, S, "20", "00 00", ""},
        {PUB, S, "30", "0001't'", ""},
        {PAK, C, "40", "0001 00", ""},
        {PRC, C, "50", "0001 00", ""},
        {PRL, C, "62", "0001 00", ""},
        {PCP, C, "70", "0001 00", ""},
        {SUB, C, "82", "0001", "0001't' 00"},
        {SAK, S, "90", "0001", "00"},
        {UNS, C, "a2", "0001", "0001't'"},
        {UAK, S, "b0", "0001", "00"},
        {DIS, C, "e0", "00", ""},
        {DIS, S, "e0", "00", ""},
        {AUT, S, "f0", "00", ""},
    };
    size_t in_table = 0;
    for (unsigned id = 0; id < 256; id++) {
        const bool known = in_table < COUNT(table) && table[in_table].id == id;
        CU_ASSERT_EQUAL(mqtt_prop_name(id) != NULL, known);
        in_table += known;
    }
    CU_ASSERT_EQUAL(in_table, COUNT(table));
    for (size_t i = 0; i < COUNT(table); i++) {
        for (size_t j = 0; j < COUNT(packets); j++) {
            for (int copies = 1; copies <= 2; copies++) {
                uint8_t value[32], bytes[128];
                struct pg_bytes v = mqtt_hex(table[i].value, value, sizeof(value));
                size_t at = mqtt_hex(packets[j].first, bytes, 1).len;
                size_t len_at = at++;
                at += mqtt_hex(packets[j].before, bytes + at, 64).len;
                bytes[at++] = (uint8_t)((1 + v.len) * (size_t)copies);
                for (int k = 0; k < copies; k++) {
                    bytes[at++] = (uint8_t)table[i].id;
                    memcpy(bytes + at, v.data, v.len);
                    at += v.len;
                }
                at += mqtt_hex(packets[j].behind, bytes + at, 16).len;
                bytes[len_at] = (uint8_t)(at - 2);
                struct mqtt_frame frame;
                struct mqtt_packet packet;
                CU_ASSERT_EQUAL_FATAL(
                    mqtt_frame_next((struct pg_bytes){bytes, at}, MQTT_V5, LIMIT, &frame),
                    MQTT_WHOLE);
                enum mqtt_error error = mqtt_decode(&frame, MQTT_V5, packets[j].from, &packet);
                enum mqtt_error expected = MQTT_E_OK;
                if ((table[i].packets & packets[j].bit) == 0) {
                    expected = MQTT_E_PROPERTY_NOT_HERE;
                } else if (copies == 2 && table[i].id != 0x26 &&
                           !(table[i].id == 0x0B && packets[j].bit == PUB)) {
                    expected = MQTT_E_PROPERTY_TWICE;
                } else if (table[i].id == 0x16) {
                    expected = packets[j].bit == CAK ? MQTT_E_OK : MQTT_E_AUTH_METHOD_MISSING;
                } else if (packets[j].bit == DIS && table[i].id == 0x11 && packets[j].from == S) {
                    expected = MQTT_E_SESSION_EXPIRY_SENT;
                } else if (packets[j].bit == DIS && table[i].id == 0x1C && packets[j].from == C) {
                    expected = MQTT_E_SERVER_REFERENCE_SENT;
                }
                if (error != expected) {
                    printf("\n    property %02x in %s: %s\n", table[i].id, packets[j].first,
                           mqtt_error_name(error));
                }
                CU_ASSERT_EQUAL(error, expected);
            }
        }
    }
}

static void packet_types_have_their_senders(void)
{
    static const char client_only[] = {1, 8, 10, 12};
    static const char server_only[] = {2, 9, 11, 13};
    for (size_t i = 0; i < sizeof(client_only); i++) {
        CU_ASSERT_TRUE(mqtt_type_allowed((unsigned)client_only[i], MQTT_V5, C));
        CU_ASSERT_FALSE(mqtt_type_allowed((unsigned)client_only[i], MQTT_V5, S));
        CU_ASSERT_TRUE(mqtt_type_allowed((unsigned)server_only[i], MQTT_V311, S));
        CU_ASSERT_FALSE(mqtt_type_allowed((unsigned)server_only[i], MQTT_V311, C));
    }
    CU_ASSERT_FALSE(mqtt_type_allowed(0, MQTT_V5, C));
    CU_ASSERT_TRUE(mqtt_type_allowed(15, MQTT_V5, C));
    CU_ASSERT_FALSE(mqtt_type_allowed(15, MQTT_V311, C));
    CU_ASSERT_FALSE(mqtt_type_allowed(14, MQTT_V311, S));
    CU_ASSERT_TRUE(mqtt_type_allowed(14, MQTT_V311, C));
    CU_ASSERT_STRING_EQUAL(mqtt_type_name(10), "UNSUBSCRIBE");
    CU_ASSERT_STRING_EQUAL(mqtt_code_name(0x8E), "Session taken over");
    CU_ASSERT_STRING_EQUAL(mqtt_code_name(0x50), "unknown");
}

/* ---- encoding -------------------------------------------------------------------------------- */

static void publish_head_and_payload_make_the_packet(void)
{
    static const uint32_t ids[] = {1, 268435455};
    const struct pg_property user[] = {{PG_BYTES_OF("a"), PG_BYTES_OF("1")},
                                       {PG_BYTES_OF("a"), PG_BYTES_OF("2")}};
    struct mqtt_props common = MQTT_PROPS_NONE;
    common.payload_format = 1;
    common.user = user;
    common.user_count = 2;
    mqtt_props_set(&common, MQTT_PROP_PAYLOAD_FORMAT);
    mqtt_props_set(&common, MQTT_PROP_USER);
    uint8_t block[64];
    size_t block_len = mqtt_props_encode_block(&common, block, sizeof(block));
    CU_ASSERT_EQUAL(block_len, 2 + 7 + 7);
    const struct pg_bytes payload = PG_BYTES_OF("payload");
    struct mqtt_publish_head head = {
        .version = MQTT_V5,
        .dup = true,
        .retain = true,
        .qos = 1,
        .packet_id = 0x1234,
        .topic = PG_BYTES_OF("topic"),
        .topic_alias = 3,
        .expires = true,
        .message_expiry_s = 9,
        .subscription_ids = ids,
        .subscription_id_count = 2,
        .forwarded = {block, block_len},
        .payload_len = payload.len,
    };
    uint8_t bytes[128];
    size_t len = mqtt_measure_publish_head(&head);
    mqtt_write_publish_head(&head, bytes);
    memcpy(bytes + len, payload.data, payload.len);
    struct mqtt_frame frame;
    struct mqtt_publish p;
    CU_ASSERT_EQUAL_FATAL(
        mqtt_frame_next((struct pg_bytes){bytes, len + payload.len}, MQTT_V5, LIMIT, &frame),
        MQTT_WHOLE);
    CU_ASSERT_EQUAL(frame.total, len + payload.len);
    CU_ASSERT_EQUAL_FATAL(mqtt_decode_publish(&frame, MQTT_V5, S, &p), MQTT_E_OK);
    CU_ASSERT_TRUE(p.dup && p.retain);
    CU_ASSERT_EQUAL(p.qos, 1);
    CU_ASSERT_EQUAL(p.packet_id, 0x1234);
    CU_ASSERT_TRUE(is(p.topic, "topic"));
    CU_ASSERT_TRUE(is(p.payload, "payload"));
    CU_ASSERT_EQUAL(p.props.topic_alias, 3);
    CU_ASSERT_EQUAL(p.props.message_expiry_s, 9);
    CU_ASSERT_EQUAL(p.props.payload_format, 1);
    CU_ASSERT_EQUAL(p.props.user_count, 2);
    uint32_t id;
    size_t at = 0;
    CU_ASSERT_TRUE(mqtt_props_subscription_id_next(&p.props, &at, &id) && id == 1);
    CU_ASSERT_TRUE(mqtt_props_subscription_id_next(&p.props, &at, &id) && id == 268435455);
    CU_ASSERT_FALSE(mqtt_props_subscription_id_next(&p.props, &at, &id));
}

static void what_cannot_be_sent_is_not_encoded(void)
{
    static uint8_t long_text[65536];
    struct mqtt_publish p = {.qos = 1, .topic = PG_BYTES_OF("t"), .props = {0}};
    CU_ASSERT_EQUAL(mqtt_encode_publish(&p, MQTT_V311, NULL, 0), 0); /* identifier 0 */
    p.packet_id = 1;
    CU_ASSERT_EQUAL(mqtt_encode_publish(&p, MQTT_V311, NULL, 0), 7);
    p.topic = (struct pg_bytes){long_text, 65535};
    CU_ASSERT_EQUAL(mqtt_encode_publish(&p, MQTT_V311, NULL, 0), 4 + 2 + 65535 + 2);
    p.topic.len = 65536;
    CU_ASSERT_EQUAL(mqtt_encode_publish(&p, MQTT_V311, NULL, 0), 0);
    struct mqtt_publish_head h = {.version = MQTT_V311, .topic = PG_BYTES_OF("t")};
    h.payload_len = MQTT_LENGTH_MAX - 3;
    CU_ASSERT_EQUAL(mqtt_measure_publish_head(&h), 5 + 3);
    h.payload_len++;
    CU_ASSERT_EQUAL(mqtt_measure_publish_head(&h), 0);
    h.payload_len = SIZE_MAX;
    CU_ASSERT_EQUAL(mqtt_measure_publish_head(&h), 0);
}

static void short_acknowledgement_is_the_long_one(void)
{
    static const enum mqtt_version versions[] = {MQTT_V31, MQTT_V311, MQTT_V5};
    for (size_t v = 0; v < COUNT(versions); v++) {
        for (unsigned type = MQTT_PUBACK; type <= MQTT_PUBCOMP; type++) {
            static const uint8_t codes[] = {0, 0x10, 0x92};
            for (size_t i = 0; i < COUNT(codes); i++) {
                uint8_t a[MQTT_SHORT_ACK_MAX], b[MQTT_SHORT_ACK_MAX];
                const struct mqtt_ack ack = {.packet_id = 0xABCD, .code = codes[i]};
                size_t len = mqtt_encode_ack(&ack, type, versions[v], a, sizeof(a));
                CU_ASSERT_EQUAL(mqtt_encode_short_ack(type, versions[v], 0xABCD, codes[i], b), len);
                CU_ASSERT_EQUAL(memcmp(a, b, len), 0);
            }
        }
    }
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(good_packet_decodes_and_encodes_to_the_same_bytes),
        TEST(shorter_packet_is_never_taken_for_the_whole),
        TEST(connect_fields_are_those_sent),
        TEST(connect_of_3_1_may_leave_out_the_user_name_it_announced),
        TEST(version_of_a_malformed_connect_is_known),
        TEST(user_properties_keep_their_order_and_repeats),
        TEST(filters_are_walked_with_their_options),
        TEST(broken_rule_is_refused_by_its_name),
        TEST(remaining_length_takes_one_to_four_bytes),
        TEST(limit_is_judged_as_soon_as_the_length_is_known),
        TEST(stream_gives_the_same_whole_byte_by_byte_and_cut),
        TEST(text_is_strict_utf8),
        TEST(property_table_is_that_of_the_standard),
        TEST(packet_types_have_their_senders),
        TEST(publish_head_and_payload_make_the_packet),
        TEST(what_cannot_be_sent_is_not_encoded),
        TEST(short_acknowledgement_is_the_long_one),
        CU_TEST_INFO_NULL,
    };
    return run_suite("mqtt_codec", tests);
}
