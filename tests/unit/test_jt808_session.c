/* SPDX-License-Identifier: Apache-2.0 */

/* The JT/T 808 frontend from connection to the end of the session: registration, login, uplink,
 * presence, packages, bad frames. Entries J1 to J14 of the list of pitfalls that concern the
 * frontend have a test that bears their number. */

#include <time.h>

#include "jt808/jt808_auth.h"
#include "jt808_terminal.h"

#define UP     "jt808/" PHONE "/up/"
#define STATUS "jt808/" PHONE "/status"

/* ---- registration and login ----------------------------------------------------------------- */

static void a_terminal_registers_logs_in_and_its_location_is_published(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    CU_ASSERT_EQUAL(fake_count_on(STATUS, &m), 1);
    CU_ASSERT(payload_has(m, "\"status\":\"online\"") && m->msg->retain && m->announced);
    CU_ASSERT_TRUE(fake_has_subscription(PHONE, "jt808/" PHONE "/down"));
    up(conn, PHONE, 0x0200, 2, LOCATION);
    CU_ASSERT_EQUAL(fake_count_on(UP "0200", &m), 1);
    CU_ASSERT(payload_has(m, "\"message\":\"location_report\"") && m->msg->qos == 1);
    CU_ASSERT(payload_has(m, "\"phone\":\"" PHONE "\"") && payload_has(m, "\"serial\":2"));
    CU_ASSERT_STRING_EQUAL(m->publisher, PHONE);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0200 00"));
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_end();
}

static void heartbeat_and_time_are_answered_and_not_published(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    size_t before = fake_message_count();
    up(conn, PHONE, 0x0002, 2, "");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0002 00"));
    up(conn, PHONE, 0x0002, 3, "010203"); /* surplus bytes occur */
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0003 0002 00"));
    CU_ASSERT_EQUAL(fake_message_count(), before);
    fake_end();
}

/* J12 */
static void server_time_is_utc_and_answered_before_login(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = fake_connect();
    (void)setenv("TZ", "Asia/Shanghai", 1);
    tzset();
    up(conn, "00000000013800138000", 0x0004, 7, "");
    CU_ASSERT_TRUE(down_is(conn, 0x8004, "260301000001"));
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_end();
}

/* J5 */
static void answers_have_the_header_form_the_version_and_the_phone_of_the_terminal(void)
{
    const char *phone = "00000000013800138000";

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = fake_connect();
    struct jt808_frame beat = up_frame(phone, 0x0002, 2);
    beat.protocol_version = 2;
    log_in(conn, phone);
    feed_frame(conn, &beat);
    struct down d = down(conn);
    CU_ASSERT(d.frame.header_2019 && d.frame.protocol_version == 2);
    CU_ASSERT_EQUAL(d.frame.attributes & JT808_ATTR_VERSION, JT808_ATTR_VERSION);
    CU_ASSERT_STRING_EQUAL(d.frame.phone, phone);
    /* The same terminal goes over to the old header: the next answer does, too. */
    up(conn, PHONE, 0x0002, 3, "");
    d = down(conn);
    CU_ASSERT(!d.frame.header_2019 && (d.frame.attributes & JT808_ATTR_VERSION) == 0);
    CU_ASSERT_STRING_EQUAL(d.frame.phone, PHONE);
    fake_end();
}

/* J6 */
static void a_phone_with_letters_and_zeros_is_kept_as_sent_in_topics_and_answers(void)
{
    const char *phone = "00abc0138000";

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(phone);
    up(conn, phone, 0x0200, 2, LOCATION);
    struct down d = down(conn);
    CU_ASSERT_STRING_EQUAL(d.frame.phone, phone);
    CU_ASSERT_EQUAL(fake_count_on("jt808/00abc0138000/up/0200", NULL), 1);
    fake_end();
}

/* J6 */
static void twelve_and_twenty_digits_are_the_same_terminal(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    up(conn, "00000000013800138000", 0x0200, 2, LOCATION);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0200 00"));
    CU_ASSERT_EQUAL(fake_count_on(UP "0200", NULL), 1); /* topic as at login */
    CU_ASSERT_EQUAL(fake_counter("other_phone"), 0);
    fake_end();
}

/* J7 */
static void a_code_belongs_to_the_phone_that_registered(void)
{
    enum pg_reason reason;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = fake_connect();
    char *code = registered_code(conn, "013800138001", 0);
    up(conn, "013800138002", 0x0102, 1, code);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0001 0102 01"));
    CU_ASSERT_EQUAL(fake_count_on("jt808/013800138002/status", NULL), 0);
    CU_ASSERT_EQUAL(fake_counter("logins_refused"), 1);
    /* Wrong after having been given another one. */
    free(registered_code(conn, "013800138003", 2));
    up(conn, "013800138003", 0x0102, 3, "31323334");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0003 0102 01"));
    CU_ASSERT_FALSE(fake_is_closed(conn, &reason));
    up(conn, "013800138003", 0x0102, 4, "31323334");
    CU_ASSERT_TRUE(fake_is_closed(conn, &reason) && reason == PG_BAD_CREDENTIAL);
    free(code);
    fake_end();
}

/* J7 */
static void a_code_is_not_valid_any_more_after_unregistering(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = fake_connect();
    char *old = registered_code(conn, "013800138004", 0);
    up(conn, "013800138004", 0x0102, 1, old);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0001 0102 00"));
    up(conn, "013800138004", 0x0003, 2, "");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0003 00"));
    CU_ASSERT_EQUAL(fake_count_on("jt808/013800138004/status", &m), 2);
    CU_ASSERT_TRUE(payload_has(m, "\"cause\":\"unregistered\""));
    up(conn, "013800138004", 0x0102, 3, old);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0003 0102 01"));
    char *fresh = registered_code(conn, "013800138004", 4);
    CU_ASSERT_STRING_NOT_EQUAL(old, fresh);
    up(conn, "013800138004", 0x0102, 5, fresh);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0005 0102 00"));
    free(old);
    free(fresh);
    fake_end();
}

/* The terminal is told when the store has it that its code is not valid any more, and not
 * before. */
static void an_unregistration_is_answered_when_it_is_safe(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in("013800138005");
    struct pg_client *client = fake_client(conn);
    fake_fact_result = PG_PENDING;
    up(conn, "013800138005", 0x0003, 2, "");
    CU_ASSERT_EQUAL(fake_written(conn).len, 0);
    CU_ASSERT_TRUE(fake_is_paused(conn));
    CU_ASSERT_PTR_EQUAL(fake_client(conn), client);
    jt808_protocol.remembered(client, 0, PG_STORE_FAILED);
    fake_turn();
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0003 01"));
    CU_ASSERT_FALSE(fake_is_paused(conn));
    up(conn, "013800138005", 0x0200, 3, LOCATION); /* it is there as before */
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0003 0200 00"));
    up(conn, "013800138005", 0x0003, 4, "");
    CU_ASSERT_EQUAL(fake_written(conn).len, 0);
    jt808_protocol.remembered(client, 0, PG_OK);
    fake_turn();
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0004 0003 00"));
    CU_ASSERT_FALSE(fake_is_paused(conn));
    CU_ASSERT_PTR_NULL(fake_client(conn));
    fake_end();

    fake_begin(&jt808_protocol);
    fake_fact_result = PG_QUOTA_EXCEEDED; /* at once */
    conn = logged_in("013800138006");
    up(conn, "013800138006", 0x0003, 2, "");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0003 01"));
    fake_end();
    fake_fact_result = PG_OK;
}

/* The terminal comes elsewhere while it waits for that. */
static void an_unregistration_that_is_overtaken_leaves_nothing(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in("013800138007");
    fake_fact_result = PG_PENDING;
    up(conn, "013800138007", 0x0003, 2, "");
    fake_kick("013800138007", PG_TAKEN_OVER);
    CU_ASSERT_TRUE(fake_is_closed(conn, NULL) || !fake_is_paused(conn));
    fake_end();
    fake_fact_result = PG_OK;
}

/* Unregistration, registration and login in one segment: nothing is taken in the wrong state. */
static void frames_behind_an_unregistration_wait_for_its_end(void)
{
    struct jt808_frame frame = up_frame(PHONE, 0x0003, 2);
    uint8_t wire[512];

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    size_t len = jt808_frame_encode(&frame, wire, sizeof(wire));
    frame = up_frame(PHONE, 0x0200, 3);
    frame.body = hex_bytes(LOCATION);
    len += jt808_frame_encode(&frame, wire + len, sizeof(wire) - len);
    free((void *)frame.body.data);
    fake_feed(conn, (struct pg_bytes){.data = wire, .len = len});
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0003 00"));
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0003 0200 01"));
    CU_ASSERT_EQUAL(fake_count_on(UP "0200", NULL), 0);
    CU_ASSERT_FALSE(fake_is_paused(conn));
    fake_end();
}

static void the_edition_of_2011_is_told_by_its_registration(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = fake_connect();
    up(conn, PHONE, 0x0100, 0, "002c012f 3730313131 4d31202020202020 30303030303031 01 d4c14131");
    struct down d = down(conn);
    char *code = hex_text((struct pg_bytes){.data = d.body + 3, .len = d.frame.body.len - 3});
    up(conn, PHONE, 0x0102, 1, code);
    CU_ASSERT(fake_count_on(STATUS, &m) == 1 && payload_has(m, "\"edition\":\"2011\""));
    up(conn, PHONE, 0x0200, 2, LOCATION);
    CU_ASSERT(fake_count_on(UP "0200", &m) == 1 && payload_has(m, "\"edition\":\"2011\""));
    free(code);
    fake_end();
}

/* J7 */
static void a_code_of_2019_is_read_by_its_length(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in("00000000013800138000");
    CU_ASSERT_EQUAL(fake_counter("logins"), 1);
    up(conn, "00000000013800138000", 0x0200, 2, LOCATION);
    CU_ASSERT_EQUAL(fake_count_on("jt808/00000000013800138000/up/0200", NULL), 1);
    fake_end();
}

static void registration_is_idempotent_and_codes_are_printable(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = fake_connect();
    char *first = registered_code(conn, PHONE, 0);
    char *second = registered_code(conn, "00000000013800138000", 1);
    CU_ASSERT_STRING_EQUAL(first, second); /* the same phone */
    CU_ASSERT(strlen(first) >= 2 && strlen(first) <= 64);
    struct pg_bytes code = hex_bytes(first);
    for (size_t i = 0; i < code.len; i++) {
        CU_ASSERT(code.data[i] > 0x20 && code.data[i] < 0x7f && code.data[i] != 0x7d);
    }
    CU_ASSERT_EQUAL(jt808_code_check("", PHONE, code), JT808_CODE_VALID);
    CU_ASSERT_EQUAL(jt808_code_check("other", PHONE, code), JT808_CODE_UNKNOWN);
    CU_ASSERT_EQUAL(jt808_code_check("", "013800138999", code), JT808_CODE_STALE);
    CU_ASSERT_EQUAL(jt808_code_check("", PHONE, PG_BYTES_OF("")), JT808_CODE_UNKNOWN);
    free((void *)code.data);
    free(first);
    free(second);
    fake_end();
}

static struct pg_login seen;
static char seen_user[64], seen_password[64];

static enum pg_reason only_secret(const struct pg_login *login)
{
    seen = *login;
    (void)snprintf(seen_user, sizeof(seen_user), "%.*s", (int)login->username.len,
                   login->username.data ? (const char *)login->username.data : "");
    (void)snprintf(seen_password, sizeof(seen_password), "%.*s", (int)login->password.len,
                   login->password.data ? (const char *)login->password.data : "");
    return strcmp(seen_password, "secret") == 0 ? PG_OK : PG_BAD_CREDENTIAL;
}

static void the_access_chain_decides_on_a_code_of_elsewhere(void)
{
    fake_begin(&jt808_protocol);
    fake_login = only_secret;
    struct pg_conn *conn = fake_connect();
    up(conn, PHONE, 0x0102, 0, "77726f6e67");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0000 0102 01"));
    up(conn, PHONE, 0x0102, 1, "736563726574 0000"); /* NULs behind are not of the code */
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0001 0102 00"));
    CU_ASSERT_STRING_EQUAL(seen_user, PHONE);
    CU_ASSERT_STRING_EQUAL(seen_password, "secret");
    CU_ASSERT_FALSE(seen.trusted);
    CU_ASSERT_EQUAL(((struct jt808_conn *)pg_conn_state(conn))->login_failures, 0);
    /* Again while online: the same code is fine, another is not. */
    up(conn, PHONE, 0x0102, 2, "736563726574");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0102 00"));
    up(conn, PHONE, 0x0102, 3, "77726f6e67");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0003 0102 01"));
    fake_end();
}

static void an_issued_code_proves_no_more_than_is_configured(void)
{
    fake_begin(&jt808_protocol);
    fake_login = only_secret;
    struct pg_conn *conn = fake_connect();
    char *code = registered_code(conn, PHONE, 0);
    up(conn, PHONE, 0x0102, 1, code);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0001 0102 01"));
    CU_ASSERT(!seen.trusted && seen.username.data == NULL && seen.password.data == NULL);
    free(code);
    fake_end();

    fake_begin(&jt808_protocol);
    struct pg_error error;
    conf()->issued_codes = JT808_ISSUED_TRUSTED;
    CU_ASSERT_FALSE(jt808_protocol.check(conf(), &error)); /* without a secret of its own */
    conf()->code_secret = "a secret";
    CU_ASSERT_TRUE(jt808_protocol.check(conf(), &error));
    fake_login = only_secret;
    conn = fake_connect();
    code = registered_code(conn, PHONE, 0);
    up(conn, PHONE, 0x0102, 1, code);
    CU_ASSERT_TRUE(seen.trusted);
    CU_ASSERT_STRING_EQUAL(seen_user, PHONE);
    free(code);
    fake_end();
}

static void unknown_codes_can_be_refused_without_asking(void)
{
    fake_begin(&jt808_protocol);
    conf()->unknown_codes = JT808_UNKNOWN_CODES_REFUSE;
    struct pg_conn *conn = fake_connect();
    up(conn, PHONE, 0x0102, 0, "736563726574");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0000 0102 01"));
    fake_end();
}

static void registration_can_count_as_login_or_be_refused(void)
{
    fake_begin(&jt808_protocol);
    conf()->registration = JT808_REGISTRATION_ADMIT;
    struct pg_conn *conn = fake_connect();
    char *code = registered_code(conn, PHONE, 0);
    up(conn, PHONE, 0x0200, 1, LOCATION);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0001 0200 00"));
    up(conn, PHONE, 0x0102, 2, code); /* and the rest of the ceremony does no harm */
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0102 00"));
    free(code);
    fake_end();

    fake_begin(&jt808_protocol);
    conf()->registration = JT808_REGISTRATION_ADMIT;
    fake_login = only_secret;
    conn = fake_connect();
    up(conn, PHONE, 0x0100, 0, "002c012f");
    CU_ASSERT_TRUE(down_is(conn, 0x8100, "0000 04"));
    fake_end();

    fake_begin(&jt808_protocol);
    conf()->registration = JT808_REGISTRATION_REFUSE;
    conn = fake_connect();
    up(conn, PHONE, 0x0100, 0, "002c012f");
    CU_ASSERT_TRUE(down_is(conn, 0x8100, "0000 04"));
    fake_end();
}

/* J8 */
static void data_before_login_has_no_effect(void)
{
    static const uint16_t ids[] = {0x0002, 0x0003, 0x0200, 0x0704, 0x0900, 0x1234};

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = fake_connect();
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        char expected[16];
        up(conn, PHONE, ids[i], 9, LOCATION);
        (void)snprintf(expected, sizeof(expected), "0009%04x01", ids[i]);
        CU_ASSERT_TRUE(down_is(conn, 0x8001, expected));
    }
    up(conn, PHONE, 0x0001, 9, "0000 8300 00");
    CU_ASSERT_TRUE(down_is_nothing(conn));
    CU_ASSERT_EQUAL(fake_message_count(), 0);
    CU_ASSERT_EQUAL(fake_counter("before_login"), 7);
    fake_end();
}

static void data_before_login_can_ask_for_admission(void)
{
    fake_begin(&jt808_protocol);
    conf()->before_login = JT808_BEFORE_LOGIN_ADMIT;
    struct pg_conn *conn = fake_connect();
    up(conn, PHONE, 0x0200, 1, LOCATION);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0001 0200 00"));
    CU_ASSERT_EQUAL(fake_count_on(UP "0200", NULL), 1); /* the very frame that asked */
    fake_end();

    fake_begin(&jt808_protocol);
    conf()->before_login = JT808_BEFORE_LOGIN_ADMIT;
    fake_login = only_secret;
    conn = fake_connect();
    up(conn, PHONE, 0x0200, 1, LOCATION);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0001 0200 01"));
    up(conn, PHONE, 0x0200, 2, LOCATION);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0200 01"));
    CU_ASSERT_EQUAL(fake_counter("logins_refused"), 1); /* asked once */
    fake_end();
}

static void nothing_overtakes_a_login_that_is_being_decided(void)
{
    struct jt808_frame first = up_frame(PHONE, 0x0102, 1), second = up_frame(PHONE, 0x0200, 2);
    uint8_t wire[512];

    fake_begin(&jt808_protocol);
    fake_hold_admissions = true;
    struct pg_conn *conn = fake_connect();
    char *code = registered_code(conn, PHONE, 0);
    first.body = hex_bytes(code);
    second.body = hex_bytes(LOCATION);
    size_t len = jt808_frame_encode(&first, wire, sizeof(wire));
    len += jt808_frame_encode(&second, wire + len, sizeof(wire) - len);
    fake_feed(conn, (struct pg_bytes){.data = wire, .len = len});
    free((void *)first.body.data);
    free((void *)second.body.data);
    CU_ASSERT_TRUE(fake_is_paused(conn));
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_admit_held();
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0001 0102 00"));
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0200 00"));
    CU_ASSERT_EQUAL(fake_count_on(UP "0200", NULL), 1);
    free(code);
    fake_end();
}

static void a_connection_that_goes_while_it_is_asked_about_leaves_nothing_behind(void)
{
    fake_begin(&jt808_protocol);
    fake_hold_admissions = true;
    struct pg_conn *conn = fake_connect();
    up(conn, PHONE, 0x0102, 1, "31");
    fake_break(conn);
    fake_admit_held();
    CU_ASSERT_EQUAL(fake_message_count(), 0);
    fake_end();
}

/* ---- other phones --------------------------------------------------------------------------- */

/* J8 */
static void a_frame_of_another_phone_is_not_published(void)
{
    enum pg_reason reason;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    up(conn, "013999999999", 0x0200, 5, LOCATION);
    struct down d = down(conn);
    CU_ASSERT(d.frame.msg_id == 0x8001 && d.body[4] == 1);
    CU_ASSERT_STRING_EQUAL(d.frame.phone, "013999999999");
    CU_ASSERT_EQUAL(fake_count_on("jt808/013999999999/up/0200", NULL), 0);
    CU_ASSERT_EQUAL(fake_count_on(UP "0200", NULL), 0);
    up(conn, PHONE, 0x0200, 6, LOCATION); /* the first one goes on */
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0006 0200 00"));
    fake_end();

    fake_begin(&jt808_protocol);
    conf()->other_phones = JT808_OTHER_PHONES_CLOSE;
    conn = logged_in(PHONE);
    up(conn, "013999999999", 0x0200, 5, LOCATION);
    CU_ASSERT_TRUE(fake_is_closed(conn, &reason) && reason == PG_PROTOCOL_ERROR);
    fake_end();
}

static void a_forwarding_platform_carries_many_terminals(void)
{
    const char *second = "013900139000";
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    conf()->other_phones = JT808_OTHER_PHONES_ADMIT;
    conf()->phones = 2;
    struct pg_conn *conn = logged_in(PHONE);
    up(conn, second, 0x0200, 5, LOCATION); /* not by the login of the other */
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0005 0200 01"));
    log_in(conn, second);
    up(conn, second, 0x0200, 6, LOCATION);
    up(conn, PHONE, 0x0200, 6, LOCATION);
    CU_ASSERT_EQUAL(fake_count_on("jt808/013900139000/up/0200", NULL), 1);
    CU_ASSERT_EQUAL(fake_count_on(UP "0200", NULL), 1);
    struct down d = down(conn);
    CU_ASSERT_STRING_EQUAL(d.frame.phone, second);
    d = down(conn);
    CU_ASSERT_STRING_EQUAL(d.frame.phone, PHONE);
    CU_ASSERT_EQUAL(d.frame.serial, 2); /* each has its own serials: 0x8100, 0x8001, 0x8001 */
    /* More than the limit are refused. */
    up(conn, "013700137000", 0x0102, 0, "31");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0000 0102 01"));
    /* One is taken over elsewhere, the other stays. */
    struct pg_conn *elsewhere = logged_in(second);
    CU_ASSERT_FALSE(fake_is_closed(conn, NULL));
    up(conn, PHONE, 0x0200, 7, LOCATION);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0007 0200 00"));
    /* One falls silent while the other keeps the connection alive. */
    for (unsigned i = 0; i < 6; i++) {
        fake_advance(60000);
        up(elsewhere, second, 0x0002, 100, "");
        up(conn, PHONE, 0x0002, 100, "");
    }
    CU_ASSERT_EQUAL(fake_count_on(STATUS, NULL), 1);
    fake_break(conn);
    CU_ASSERT_EQUAL(fake_count_on(STATUS, &m), 2);
    CU_ASSERT_TRUE(payload_has(m, "\"cause\":\"peer_closed\""));
    fake_end();
}

static void each_of_hundreds_of_terminals_on_a_connection_is_found(void)
{
    enum { TERMINALS = 300 };
    char phone[24], topic[48];

    fake_begin(&jt808_protocol);
    conf()->other_phones = JT808_OTHER_PHONES_ADMIT;
    struct pg_conn *conn = logged_in(PHONE);
    for (unsigned i = 0; i < TERMINALS; i++) {
        (void)snprintf(phone, sizeof(phone), "0139%08u", i);
        log_in(conn, phone);
    }
    /* Every third one leaves; the others are still told apart from each other. */
    for (unsigned i = 0; i < TERMINALS; i += 3) {
        (void)snprintf(phone, sizeof(phone), "0139%08u", i);
        up(conn, phone, 0x0003, 9, "");
    }
    for (unsigned i = 0; i < TERMINALS; i++) {
        (void)snprintf(phone, sizeof(phone), "0139%08u", i);
        (void)snprintf(topic, sizeof(topic), "jt808/%s/up/0200", phone);
        up(conn, phone, 0x0200, 10, LOCATION);
        CU_ASSERT_EQUAL(fake_count_on(topic, NULL), i % 3 != 0);
    }
    fake_end();
}

static void a_silent_terminal_of_several_ends_alone(void)
{
    const char *second = "013900139000";
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    conf()->other_phones = JT808_OTHER_PHONES_ADMIT;
    struct pg_conn *conn = logged_in(PHONE);
    log_in(conn, second);
    for (uint16_t i = 0; i < 6; i++) {
        fake_advance(60000);
        up(conn, PHONE, 0x0002, i, "");
    }
    CU_ASSERT_EQUAL(fake_count_on("jt808/013900139000/status", &m), 2);
    CU_ASSERT_TRUE(payload_has(m, "\"cause\":\"keepalive_timeout\""));
    CU_ASSERT_EQUAL(fake_count_on(STATUS, NULL), 1);
    CU_ASSERT_FALSE(fake_is_closed(conn, NULL));
    CU_ASSERT_FALSE(fake_is_paused(conn));
    fake_end();
}

static void phones_without_login_do_not_pile_up(void)
{
    char phone[16];

    fake_begin(&jt808_protocol);
    conf()->other_phones = JT808_OTHER_PHONES_ADMIT;
    struct pg_conn *conn = logged_in(PHONE);
    for (unsigned i = 0; i < 500; i++) {
        (void)snprintf(phone, sizeof(phone), "0139%08u", i);
        up(conn, phone, 0x0002, 0, "");
    }
    struct jt808_conn *c = pg_conn_state(conn);
    CU_ASSERT(c->terminal_count <= 17);
    up(conn, PHONE, 0x0200, 9, LOCATION);
    CU_ASSERT_EQUAL(fake_count_on(UP "0200", NULL), 1);
    fake_end();
}

static void a_body_that_does_not_fit_is_counted_published_and_answered(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    up(conn, PHONE, 0x0200, 8, LOCATION);
    CU_ASSERT_EQUAL(fake_counter("bad_body"), 0);
    up(conn, PHONE, 0x0200, 9, "00000000 0000"); /* six bytes of twenty-eight */
    CU_ASSERT_EQUAL(fake_counter("bad_body"), 1);
    CU_ASSERT_EQUAL(fake_count_on(UP "0200", &m), 2);
    CU_ASSERT_TRUE(payload_has(m, "000000000000"));
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0008 0200 00"));
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0009 0200 00"));
    fake_end();
}

/* ---- presence ------------------------------------------------------------------------------- */

static void presence_is_told_once_each_with_the_cause(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    up(conn, PHONE, 0x0102, 5, "31"); /* again, wrongly */
    CU_ASSERT_EQUAL(fake_count_on(STATUS, &m), 1);
    CU_ASSERT(payload_has(m, "\"edition\":\"2013\"") && payload_has(m, "\"peer\":\"127.0.0.1"));
    fake_break(conn);
    CU_ASSERT_EQUAL(fake_count_on(STATUS, &m), 2);
    CU_ASSERT(payload_has(m, "\"status\":\"offline\"") &&
              payload_has(m, "\"cause\":\"peer_closed\""));

    conn = logged_in(PHONE);
    fake_advance(299000);
    CU_ASSERT_FALSE(fake_is_closed(conn, NULL));
    fake_advance(2000);
    CU_ASSERT_TRUE(fake_is_closed(conn, NULL));
    CU_ASSERT_EQUAL(fake_count_on(STATUS, &m), 4);
    CU_ASSERT_TRUE(payload_has(m, "\"cause\":\"keepalive_timeout\""));

    conn = logged_in(PHONE);
    fake_kick(PHONE, PG_KICKED);
    CU_ASSERT_TRUE(fake_is_closed(conn, NULL));
    CU_ASSERT_EQUAL(fake_count_on(STATUS, &m), 6);
    CU_ASSERT_TRUE(payload_has(m, "\"cause\":\"kicked\""));
    fake_end();
}

static void a_take_over_does_not_flap(void)
{
    enum pg_reason reason;
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    struct pg_conn *first = logged_in(PHONE);
    struct pg_conn *second = logged_in(PHONE);
    CU_ASSERT_TRUE(fake_is_closed(first, &reason) && reason == PG_TAKEN_OVER);
    CU_ASSERT_EQUAL(fake_count_on(STATUS, &m), 2);
    CU_ASSERT_TRUE(payload_has(m, "\"status\":\"online\""));
    up(second, PHONE, 0x0200, 2, LOCATION);
    CU_ASSERT_TRUE(down_is(second, 0x8001, "0002 0200 00"));
    fake_end();
}

/* ---- uplink --------------------------------------------------------------------------------- */

static void success_is_answered_only_when_the_core_has_taken_it(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    fake_publish_result = PG_PENDING;
    up(conn, PHONE, 0x0200, 2, LOCATION);
    up(conn, PHONE, 0x0200, 3, LOCATION);
    up(conn, PHONE, 0x0200, 3, LOCATION); /* repeated meanwhile: one answer will do */
    CU_ASSERT_TRUE(down_is_nothing(conn));
    size_t last = fake_message_count() - 1;
    fake_decide(fake_message(last)->token, PG_STORE_FAILED);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0003 0200 01"));
    fake_decide(fake_message(last - 1)->token, PG_NO_SUBSCRIBERS);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0200 00"));
    CU_ASSERT_TRUE(down_is_nothing(conn));
    /* What was refused is tried again when it is repeated. */
    fake_publish_result = PG_OK;
    size_t before = fake_message_count();
    up(conn, PHONE, 0x0200, 3, LOCATION);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0003 0200 00"));
    CU_ASSERT_EQUAL(fake_message_count(), before + 1);
    fake_end();
}

static void refusals_of_the_core_are_answered_with_failure(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    fake_publish_result = PG_NOT_AUTHORIZED;
    up(conn, PHONE, 0x0200, 2, LOCATION);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0200 01"));
    CU_ASSERT_EQUAL(fake_counter("publish_refused"), 1);
    fake_end();
}

static void too_many_undecided_publications_stop_the_reading(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    size_t first = fake_message_count();
    fake_publish_result = PG_PENDING;
    for (uint16_t i = 0; i < 300; i++) {
        up(conn, PHONE, 0x0200, i, LOCATION);
    }
    CU_ASSERT_TRUE(fake_is_paused(conn));
    CU_ASSERT_EQUAL(fake_message_count() - first, 256);
    for (size_t i = 0; i < 200; i++) {
        fake_decide(fake_message(first + i)->token, PG_OK);
    }
    CU_ASSERT_FALSE(fake_is_paused(conn));
    CU_ASSERT_EQUAL(fake_message_count() - first, 300);
    CU_ASSERT_EQUAL(fake_kept(conn), 0);
    fake_end();
}

static void a_repeated_frame_is_answered_again_and_published_once(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    for (unsigned i = 0; i < 3; i++) {
        up(conn, PHONE, 0x0200, 2, LOCATION);
        CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0200 00"));
    }
    CU_ASSERT_EQUAL(fake_count_on(UP "0200", NULL), 1);
    CU_ASSERT_EQUAL(fake_counter("duplicates"), 2);
    /* Another serial, other bytes, or much later: not the same. */
    up(conn, PHONE, 0x0200, 3, LOCATION);
    up(conn, PHONE, 0x0200, 2, LOCATION "0104 00000001");
    fake_advance(61000);
    up(conn, PHONE, 0x0200, 2, LOCATION);
    CU_ASSERT_EQUAL(fake_count_on(UP "0200", NULL), 4);
    fake_end();
}

/* J13 */
static void unknown_and_encrypted_messages_are_passed_on_as_they_are(void)
{
    const struct fake_message *m = NULL;
    struct jt808_frame frame = up_frame(PHONE, 0x0200, 3);

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    up(conn, PHONE, 0x0f42, 2, "c0ffee");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0f42 00"));
    CU_ASSERT(fake_count_on(UP "0f42", &m) == 1 && payload_has(m, "c0ffee"));
    CU_ASSERT_EQUAL(fake_counter("unknown_messages"), 1);
    frame.attributes |= 0x0400;
    frame.body = hex_bytes("deadbeef");
    feed_frame(conn, &frame);
    free((void *)frame.body.data);
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0003 0200 00"));
    CU_ASSERT(fake_count_on(UP "0200", &m) == 1 && payload_has(m, "deadbeef"));
    CU_ASSERT_FALSE(payload_has(m, "latitude"));
    fake_end();

    fake_begin(&jt808_protocol);
    conf()->unknown_messages = JT808_UNKNOWN_MESSAGES_REJECT;
    conn = logged_in(PHONE);
    up(conn, PHONE, 0x0f42, 2, "c0ffee");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0f42 03"));
    CU_ASSERT_EQUAL(fake_count_on(UP "0f42", NULL), 1);
    fake_end();
}

/* J11 */
static void a_batch_with_a_broken_item_loses_nothing_else_and_is_answered_once(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    up(conn, PHONE, 0x0704, 2, "0005 01 001c" LOCATION "0004 11223344 001c" LOCATION "ffff 0102");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0704 00"));
    CU_ASSERT_TRUE(down_is_nothing(conn));
    CU_ASSERT_EQUAL(fake_count_on(UP "0704", &m), 1);
    CU_ASSERT(payload_has(m, "11223344") && payload_has(m, "latitude"));
    fake_end();
}

static void a_body_that_does_not_fit_is_answered_and_passed_on(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    up(conn, PHONE, 0x0200, 2, "00112233");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0002 0200 00"));
    CU_ASSERT(fake_count_on(UP "0200", &m) == 1 && payload_has(m, "00112233"));
    fake_end();
}

/* J12 */
static void times_that_are_no_times_do_no_harm(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    up(conn, PHONE, 0x0200, 2, "00000000 00000003 02625a00 06ef0d80 0032 0258 005a ffffffffffff");
    up(conn, PHONE, 0x0200, 3, "00000000 00000003 02625a00 06ef0d80 0032 0258 005a 261300990000");
    up(conn, PHONE, 0x0200, 4, "00000000 00000003 02625a00 06ef0d80 0032 0258 005a 000000000000");
    CU_ASSERT_EQUAL(fake_count_on(UP "0200", NULL), 3);
    fake_end();
}

static void raw_payloads_are_the_unescaped_frame(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    conf()->payload = JT808_PAYLOAD_RAW;
    struct pg_conn *conn = logged_in(PHONE);
    up(conn, PHONE, 0x0900, 0x7e7d, "41 7e 7d");
    CU_ASSERT_EQUAL(fake_count_on(UP "0900", &m), 1);
    char *hex = hex_text(m->msg->payload);
    CU_ASSERT(strncmp(hex, "090000030138001380007e7d417e7d", 30) == 0 && strlen(hex) == 32);
    free(hex);
    fake_end();
}

static void topics_follow_their_templates(void)
{
    struct pg_error error;

    fake_begin(&jt808_protocol);
    conf()->uplink_topic = "fleet/${message}/${id}/${phone}";
    conf()->downlink_topic = "fleet/cmd/${phone}";
    CU_ASSERT_TRUE(jt808_protocol.check(conf(), &error));
    struct pg_conn *conn = logged_in(PHONE);
    up(conn, PHONE, 0x0200, 2, LOCATION);
    CU_ASSERT_EQUAL(fake_count_on("fleet/location_report/0200/" PHONE, NULL), 1);
    CU_ASSERT_TRUE(fake_has_subscription(PHONE, "fleet/cmd/" PHONE));
    conf()->downlink_topic = "fleet/cmd";
    CU_ASSERT_FALSE(jt808_protocol.check(conf(), &error));
    conf()->downlink_topic = "fleet/+/${phone}";
    CU_ASSERT_FALSE(jt808_protocol.check(conf(), &error));
    conf()->downlink_topic = "fleet/${imei}/${phone}";
    CU_ASSERT_FALSE(jt808_protocol.check(conf(), &error));
    fake_end();
}

/* ---- packages ------------------------------------------------------------------------------- */

static void packages_are_answered_each_and_published_as_one(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    up_package(conn, 0x0900, 11, 2, 2, "4344");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "000b 0900 00"));
    up_package(conn, 0x0900, 10, 2, 1, "f04142");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "000a 0900 00"));
    CU_ASSERT(fake_count_on(UP "0900", &m) == 1 && payload_has(m, "41424344"));
    /* Again, as the answer was lost. */
    up_package(conn, 0x0900, 11, 2, 2, "4344");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "000b 0900 00"));
    CU_ASSERT_EQUAL(fake_count_on(UP "0900", NULL), 1);
    up_package(conn, 0x0900, 12, 2, 3, "00");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "000c 0900 02"));
    fake_end();
}

static void missing_packages_are_asked_for_and_given_up(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    up_package(conn, 0x0900, 20, 4, 1, "f0");
    up_package(conn, 0x0900, 22, 4, 3, "42");
    fake_taken(conn, fake_written(conn).len);
    fake_advance(4900);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_advance(200);
    CU_ASSERT_TRUE(down_is(conn, 0x8003, "0014 02 0002 0004")); /* BYTE count up to 2013 */
    for (unsigned i = 0; i < 4; i++) {
        fake_advance(5100);
        CU_ASSERT_TRUE(down_is(conn, 0x8003, "0014 02 0002 0004"));
    }
    fake_advance(60000);
    CU_ASSERT_TRUE(down_is_nothing(conn));
    CU_ASSERT_EQUAL(fake_counter("packages_asked"), 5);
    CU_ASSERT_EQUAL(fake_counter("messages_incomplete"), 1);
    fake_end();
}

static void missing_packages_are_counted_in_a_word_in_2019(void)
{
    struct jt808_frame frame = up_frame("00000000013800138000", 0x0900, 20);

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in("00000000013800138000");
    frame.attributes |= JT808_ATTR_SUBPACKAGE;
    frame.package_total = 2;
    frame.package_index = 2;
    feed_frame(conn, &frame);
    (void)down(conn);
    fake_advance(5100);
    CU_ASSERT_TRUE(down_is(conn, 0x8003, "0013 0001 0001"));
    fake_end();
}

static void raw_payloads_carry_packages_as_they_come(void)
{
    const struct fake_message *m = NULL;

    fake_begin(&jt808_protocol);
    conf()->payload = JT808_PAYLOAD_RAW;
    struct pg_conn *conn = logged_in(PHONE);
    up_package(conn, 0x0900, 10, 2, 1, "f0aaaa");
    CU_ASSERT_EQUAL(fake_count_on(UP "0900", &m), 1);
    CU_ASSERT(payload_has(m, "\xaa\xaa"));
    up_package(conn, 0x0900, 11, 2, 2, "bbbb");
    CU_ASSERT_EQUAL(fake_count_on(UP "0900", &m), 2);
    CU_ASSERT(payload_has(m, "\xbb\xbb") && !payload_has(m, "\xaa\xaa"));
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "000a 0900 00"));
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "000b 0900 00"));
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_end();
}

#define MEDIA "0000002a 00 00 01 01" LOCATION

static void a_photo_is_closed_by_0x8800_and_its_gaps_are_asked_for_with_it(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    up_package(conn, 0x0801, 30, 3, 1, MEDIA "ffd8");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "001e 0801 00"));
    up_package(conn, 0x0801, 32, 3, 3, "ffd9");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0020 0801 00"));
    fake_advance(5100);
    CU_ASSERT_TRUE(down_is(conn, 0x8800, "0000002a 01 0002"));
    up_package(conn, 0x0801, 31, 3, 2, "0102");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "001f 0801 00"));
    CU_ASSERT_TRUE(down_is(conn, 0x8800, "0000002a"));
    CU_ASSERT_EQUAL(fake_count_on(UP "0801", NULL), 1);
    up_package(conn, 0x0801, 32, 3, 3, "ffd9"); /* it did not hear that */
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0020 0801 00"));
    CU_ASSERT_TRUE(down_is(conn, 0x8800, "0000002a"));
    CU_ASSERT_EQUAL(fake_count_on(UP "0801", NULL), 1);
    fake_end();
}

static void no_success_for_a_photo_that_the_core_refused(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    fake_publish_result = PG_QUOTA_EXCEEDED;
    up(conn, PHONE, 0x0801, 30, MEDIA "ffd8ffd9");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "001e 0801 01"));
    CU_ASSERT_TRUE(down_is_nothing(conn));
    fake_end();
}

static void a_registration_in_packages_is_answered_once(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = fake_connect();
    up_package(conn, 0x0100, 3, 2, 1, "002c012f 3730313131 4d310000000000000000000000000000");
    CU_ASSERT_TRUE(down_is_nothing(conn));
    up_package(conn, 0x0100, 4, 2, 2, "00000000 30303030303031 01 d4c14131");
    struct down d = down(conn);
    CU_ASSERT(d.frame.msg_id == 0x8100 && d.body[2] == 0);
    /* Others may not fill the memory before login. */
    up_package(conn, 0x0801, 5, 2, 1, "00");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0005 0801 01"));
    up_package(conn, 0x0100, 6, 9000, 1, "00");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0006 0100 01"));
    fake_end();
}

/* ---- bad frames ----------------------------------------------------------------------------- */

/* J14 */
static void a_frame_with_a_wrong_length_is_answered_as_wrong_and_has_no_effect(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    struct pg_bytes bytes = hex_bytes("7e 0900 0003 013800138000 0005 1122 93 7e");
    uint8_t wire[64];
    memcpy(wire, bytes.data, bytes.len);
    wire[15] = 0;
    for (size_t i = 1; i < 15; i++) {
        wire[15] ^= wire[i];
    }
    fake_feed(conn, (struct pg_bytes){.data = wire, .len = bytes.len});
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0005 0900 02"));
    CU_ASSERT_EQUAL(fake_count_on(UP "0900", NULL), 0);
    CU_ASSERT_EQUAL(fake_counter("bad_length"), 1);
    free((void *)bytes.data);
    fake_end();
}

/* J2, J4, J14 */
static void bad_frames_are_counted_by_kind_and_the_connection_stays_in_step(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    struct pg_bytes bytes =
        hex_bytes("0d0a 7e 0002 0000 013800138000 7d09 a9 7e 7e 0002 0000 013800138000 0001 00 7e"
                  "7e 0002 7e");
    fake_feed(conn, bytes);
    free((void *)bytes.data);
    up(conn, PHONE, 0x0002, 9, "");
    CU_ASSERT_TRUE(down_is(conn, 0x8001, "0009 0002 00"));
    CU_ASSERT_EQUAL(fake_counter("bad_escape"), 1);
    CU_ASSERT_EQUAL(fake_counter("bad_checksum"), 1);
    CU_ASSERT_EQUAL(fake_counter("bad_short"), 2); /* 0d0a behind a frame is one, too */
    fake_end();
}

/* J4 */
static void a_run_of_bad_frames_or_noise_closes_with_a_reason(void)
{
    enum pg_reason reason;

    fake_begin(&jt808_protocol);
    struct pg_conn *conn = logged_in(PHONE);
    for (unsigned i = 0; i < 63; i++) {
        fake_feed(conn, PG_BYTES_OF("\x7exx\x7e"));
    }
    up(conn, PHONE, 0x0002, 9, ""); /* a good one in time */
    for (unsigned i = 0; i < 63; i++) {
        fake_feed(conn, PG_BYTES_OF("\x7exx\x7e"));
    }
    CU_ASSERT_FALSE(fake_is_closed(conn, &reason));
    fake_feed(conn, PG_BYTES_OF("\x7exx\x7e"));
    CU_ASSERT_TRUE(fake_is_closed(conn, &reason) && reason == PG_BAD_FRAMES);
    fake_end();

    fake_begin(&jt808_protocol);
    conn = fake_connect();
    for (unsigned i = 0; i < 200 && !fake_is_closed(conn, &reason); i++) {
        fake_feed(conn, PG_BYTES_OF("GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"));
    }
    CU_ASSERT_TRUE(fake_is_closed(conn, &reason) && reason == PG_BAD_FRAMES);
    CU_ASSERT(fake_counter("noise_bytes") <= 4200);
    CU_ASSERT_EQUAL(fake_kept(conn), 0);
    fake_end();
}

/* J1, J3, J10 */
static void a_stream_cut_anywhere_gives_the_same_answers(void)
{
    struct jt808_frame frame = up_frame(PHONE, 0x0900, 0x7e7d);
    uint8_t body[200], wire[1024];
    size_t len;

    memset(body, 0x7e, sizeof(body));
    frame.body = (struct pg_bytes){.data = body, .len = sizeof(body)};
    len = jt808_frame_encode(&frame, wire, sizeof(wire));
    /* A heartbeat whose check code is escaped and whose first 7e is the last one before. */
    struct jt808_frame second = up_frame(PHONE, 0x0002, 0x00f7);
    uint8_t more[64];
    size_t more_len = jt808_frame_encode(&second, more, sizeof(more));
    memcpy(wire + len, more + 1, more_len - 1);
    len += more_len - 1;
    for (size_t cut = 0; cut <= len; cut++) {
        fake_begin(&jt808_protocol);
        struct pg_conn *conn = logged_in(PHONE);
        fake_feed(conn, (struct pg_bytes){.data = wire, .len = cut});
        fake_feed(conn, (struct pg_bytes){.data = wire + cut, .len = len - cut});
        CU_ASSERT_TRUE(down_is(conn, 0x8001, "7e7d 0900 00"));
        CU_ASSERT_TRUE(down_is(conn, 0x8001, "00f7 0002 00"));
        CU_ASSERT_EQUAL(fake_count_on(UP "0900", NULL), 1);
        fake_end();
    }
}

/* J9 */
static void serials_begin_at_zero_and_wrap(void)
{
    fake_begin(&jt808_protocol);
    struct pg_conn *conn = fake_connect();
    free(registered_code(conn, PHONE, 0)); /* serial 0 */
    struct jt808_conn *c = pg_conn_state(conn);
    up(conn, PHONE, 0x0002, 1, "");
    CU_ASSERT_EQUAL(down(conn).frame.serial, 1);
    c->terminals->serial = 65535;
    up(conn, PHONE, 0x0002, 2, "");
    up(conn, PHONE, 0x0002, 3, "");
    CU_ASSERT_EQUAL(down(conn).frame.serial, 65535);
    CU_ASSERT_EQUAL(down(conn).frame.serial, 0);
    fake_end();
}

static void the_first_byte_tells_the_protocol(void)
{
    CU_ASSERT_EQUAL(jt808_protocol.sniff(PG_BYTES_OF("")), PG_SNIFF_MORE);
    CU_ASSERT_EQUAL(jt808_protocol.sniff(PG_BYTES_OF("\x7e")), PG_SNIFF_YES);
    CU_ASSERT_EQUAL(jt808_protocol.sniff(PG_BYTES_OF("GET ")), PG_SNIFF_NO);
}

int main(void)
{
    CU_TestInfo tests[] = {
        {"a terminal registers, logs in, and its location is published",
         a_terminal_registers_logs_in_and_its_location_is_published},
        {"heartbeat and time are answered and not published",
         heartbeat_and_time_are_answered_and_not_published},
        {"J12: server time is UTC and answered before login",
         server_time_is_utc_and_answered_before_login},
        {"J5: answers have the header form, the version and the phone of the terminal",
         answers_have_the_header_form_the_version_and_the_phone_of_the_terminal},
        {"J6: a phone with letters and zeros is kept as sent in topics and answers",
         a_phone_with_letters_and_zeros_is_kept_as_sent_in_topics_and_answers},
        {"J6: twelve and twenty digits are the same terminal",
         twelve_and_twenty_digits_are_the_same_terminal},
        {"J7: a code belongs to the phone that registered",
         a_code_belongs_to_the_phone_that_registered},
        {"J7: a code is not valid any more after unregistering",
         a_code_is_not_valid_any_more_after_unregistering},
        {"an unregistration is answered when it is safe",
         an_unregistration_is_answered_when_it_is_safe},
        {"an unregistration that is overtaken leaves nothing",
         an_unregistration_that_is_overtaken_leaves_nothing},
        {"frames behind an unregistration wait for its end",
         frames_behind_an_unregistration_wait_for_its_end},
        {"the edition of 2011 is told by its registration",
         the_edition_of_2011_is_told_by_its_registration},
        {"J7: a code of 2019 is read by its length", a_code_of_2019_is_read_by_its_length},
        {"registration is idempotent and codes are printable",
         registration_is_idempotent_and_codes_are_printable},
        {"the access chain decides on a code of elsewhere",
         the_access_chain_decides_on_a_code_of_elsewhere},
        {"an issued code proves no more than is configured",
         an_issued_code_proves_no_more_than_is_configured},
        {"unknown codes can be refused without asking",
         unknown_codes_can_be_refused_without_asking},
        {"registration can count as login or be refused",
         registration_can_count_as_login_or_be_refused},
        {"J8: data before login has no effect", data_before_login_has_no_effect},
        {"data before login can ask for admission", data_before_login_can_ask_for_admission},
        {"nothing overtakes a login that is being decided",
         nothing_overtakes_a_login_that_is_being_decided},
        {"a connection that goes while it is asked about leaves nothing behind",
         a_connection_that_goes_while_it_is_asked_about_leaves_nothing_behind},
        {"J8: a frame of another phone is not published",
         a_frame_of_another_phone_is_not_published},
        {"a forwarding platform carries many terminals",
         a_forwarding_platform_carries_many_terminals},
        {"each of hundreds of terminals on a connection is found",
         each_of_hundreds_of_terminals_on_a_connection_is_found},
        {"a silent terminal of several ends alone", a_silent_terminal_of_several_ends_alone},
        {"a body that does not fit is counted, published and answered",
         a_body_that_does_not_fit_is_counted_published_and_answered},
        {"phones without login do not pile up", phones_without_login_do_not_pile_up},
        {"presence is told once each with the cause", presence_is_told_once_each_with_the_cause},
        {"a take-over does not flap", a_take_over_does_not_flap},
        {"success is answered only when the core has taken it",
         success_is_answered_only_when_the_core_has_taken_it},
        {"refusals of the core are answered with failure",
         refusals_of_the_core_are_answered_with_failure},
        {"too many undecided publications stop the reading",
         too_many_undecided_publications_stop_the_reading},
        {"a repeated frame is answered again and published once",
         a_repeated_frame_is_answered_again_and_published_once},
        {"J13: unknown and encrypted messages are passed on as they are",
         unknown_and_encrypted_messages_are_passed_on_as_they_are},
        {"J11: a batch with a broken item loses nothing else and is answered once",
         a_batch_with_a_broken_item_loses_nothing_else_and_is_answered_once},
        {"a body that does not fit is answered and passed on",
         a_body_that_does_not_fit_is_answered_and_passed_on},
        {"J12: times that are no times do no harm", times_that_are_no_times_do_no_harm},
        {"raw payloads are the unescaped frame", raw_payloads_are_the_unescaped_frame},
        {"topics follow their templates", topics_follow_their_templates},
        {"packages are answered each and published as one",
         packages_are_answered_each_and_published_as_one},
        {"missing packages are asked for and given up",
         missing_packages_are_asked_for_and_given_up},
        {"missing packages are counted in a WORD in 2019",
         missing_packages_are_counted_in_a_word_in_2019},
        {"raw payloads carry packages as they come", raw_payloads_carry_packages_as_they_come},
        {"a photo is closed by 0x8800 and its gaps are asked for with it",
         a_photo_is_closed_by_0x8800_and_its_gaps_are_asked_for_with_it},
        {"no success for a photo that the core refused",
         no_success_for_a_photo_that_the_core_refused},
        {"a registration in packages is answered once",
         a_registration_in_packages_is_answered_once},
        {"J14: a frame with a wrong length is answered as wrong and has no effect",
         a_frame_with_a_wrong_length_is_answered_as_wrong_and_has_no_effect},
        {"J2, J4, J14: bad frames are counted by kind and the connection stays in step",
         bad_frames_are_counted_by_kind_and_the_connection_stays_in_step},
        {"J4: a run of bad frames or noise closes with a reason",
         a_run_of_bad_frames_or_noise_closes_with_a_reason},
        {"J1, J3, J10: a stream cut anywhere gives the same answers",
         a_stream_cut_anywhere_gives_the_same_answers},
        {"J9: serials begin at zero and wrap", serials_begin_at_zero_and_wrap},
        {"the first byte tells the protocol", the_first_byte_tells_the_protocol},
        CU_TEST_INFO_NULL,
    };
    return run_suite("jt808_session", tests);
}
