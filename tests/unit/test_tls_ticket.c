/* SPDX-License-Identifier: Apache-2.0 */

/* Session tickets under keys that change every hour: who resumes, with which key a ticket is
 * sealed, and when a ticket is of no use any more. Handshakes are made in memory, and the clock is
 * the test's. */

#include <CUnit/CUnit.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>

#include "../../transports/tls/tls_parts.h"
#include "suite.h"

#define HOUR ((int64_t)60 * 60 * 1000)

static int64_t now_ms = 1000;

int64_t pg_now_ms(void)
{
    return now_ms;
}

static SSL_CTX *server, *client;

static void certify(SSL_CTX *ctx)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    CU_ASSERT_TRUE_FATAL(key && certificate);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    CU_ASSERT_TRUE_FATAL(X509_sign(certificate, key, EVP_sha256()) > 0);
    CU_ASSERT_EQUAL_FATAL(SSL_CTX_use_certificate(ctx, certificate), 1);
    CU_ASSERT_EQUAL_FATAL(SSL_CTX_use_PrivateKey(ctx, key), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static SSL_CTX *serving(int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    CU_ASSERT_PTR_NOT_NULL_FATAL(ctx);
    certify(ctx);
    SSL_CTX_set_max_proto_version(ctx, version);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"test", 4);
    CU_ASSERT_TRUE_FATAL(tls_tickets_use(ctx));
    return ctx;
}

static void begin(int version)
{
    server = serving(version);
    client = SSL_CTX_new(TLS_client_method());
    CU_ASSERT_PTR_NOT_NULL_FATAL(client);
}

static void end(void)
{
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

/* One handshake, with a session or without. The client's session afterwards (given). */
static SSL_SESSION *shake(SSL_SESSION *session, bool *resumed)
{
    SSL *s = SSL_new(server), *c = SSL_new(client);
    BIO *near_end, *far_end;
    CU_ASSERT_EQUAL_FATAL(BIO_new_bio_pair(&near_end, 0, &far_end, 0), 1);
    SSL_set_bio(s, near_end, near_end);
    SSL_set_bio(c, far_end, far_end);
    SSL_set_accept_state(s);
    SSL_set_connect_state(c);
    if (session)
        CU_ASSERT_EQUAL(SSL_set_session(c, session), 1);
    char byte;
    for (int i = 0; i < 10; i++) {
        (void)SSL_do_handshake(c);
        (void)SSL_do_handshake(s);
    }
    CU_ASSERT_TRUE_FATAL(SSL_is_init_finished(c) && SSL_is_init_finished(s));
    CU_ASSERT_EQUAL(SSL_write(s, "x", 1), 1);
    CU_ASSERT_EQUAL(SSL_read(c, &byte, 1), 1); /* the tickets of TLS 1.3 come before it */
    *resumed = SSL_session_reused(s) == 1;
    SSL_SESSION *made = SSL_get1_session(c);
    SSL_shutdown(c);
    SSL_shutdown(s);
    SSL_free(s);
    SSL_free(c);
    return made;
}

/* The name of the key with which its ticket is sealed. */
static void key_name(const SSL_SESSION *session, uint8_t name[16])
{
    const unsigned char *ticket;
    size_t len;
    SSL_SESSION_get0_ticket(session, &ticket, &len);
    CU_ASSERT_TRUE_FATAL(len > 16);
    memcpy(name, ticket, 16);
}

static bool same_key(const SSL_SESSION *a, const SSL_SESSION *b)
{
    uint8_t one[16], other[16];
    key_name(a, one);
    key_name(b, other);
    return memcmp(one, other, sizeof(one)) == 0;
}

static void change_every_hour(int version)
{
    bool resumed;
    begin(version);
    SSL_SESSION *first = shake(NULL, &resumed);
    CU_ASSERT_FALSE(resumed);

    now_ms += HOUR - 1;
    SSL_SESSION *same = shake(first, &resumed);
    CU_ASSERT_TRUE(resumed);
    CU_ASSERT_TRUE(same_key(first, same));

    now_ms += 1; /* resumed, and renewed under a new key */
    SSL_SESSION *second = shake(first, &resumed);
    CU_ASSERT_TRUE(resumed);
    CU_ASSERT_FALSE(same_key(first, second));

    now_ms += HOUR;
    SSL_SESSION *third = shake(first, &resumed);
    CU_ASSERT_TRUE(resumed);
    CU_ASSERT_FALSE(same_key(second, third));

    now_ms += HOUR; /* the key of the first is the fourth now, and forgotten */
    SSL_SESSION *fourth = shake(NULL, &resumed);
    SSL_SESSION *fresh = shake(first, &resumed);
    CU_ASSERT_FALSE(resumed);
    SSL_SESSION *kept = shake(second, &resumed);
    CU_ASSERT_TRUE(resumed);

    SSL_SESSION *all[] = {first, same, second, third, fourth, fresh, kept};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        SSL_SESSION_free(all[i]);
    end();
    now_ms += 4 * HOUR;
}

static void keys_change_every_hour_in_tls_1_2(void)
{
    change_every_hour(TLS1_2_VERSION);
}

static void keys_change_every_hour_in_tls_1_3(void)
{
    change_every_hour(TLS1_3_VERSION);
}

/* Another worker, or the contexts of another load of the configuration. */
static void a_ticket_of_one_context_is_good_for_another(void)
{
    bool resumed;
    begin(TLS1_3_VERSION);
    SSL_SESSION *first = shake(NULL, &resumed);
    SSL_CTX *before = server;
    server = serving(TLS1_3_VERSION);
    SSL_SESSION *second = shake(first, &resumed);
    CU_ASSERT_TRUE(resumed);
    SSL_SESSION_free(first);
    SSL_SESSION_free(second);
    SSL_CTX_free(before);
    end();
}

static void a_ticket_that_was_changed_is_none(void)
{
    bool resumed;
    begin(TLS1_2_VERSION);
    SSL_SESSION *first = shake(NULL, &resumed);
    unsigned char *bytes = NULL;
    const unsigned char *ticket, *at;
    size_t ticket_len;
    SSL_SESSION_get0_ticket(first, &ticket, &ticket_len);
    int len = i2d_SSL_SESSION(first, &bytes);
    CU_ASSERT_TRUE_FATAL(len > 0);
    unsigned char *found = memmem(bytes, (size_t)len, ticket, ticket_len);
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    found[ticket_len / 2] ^= 1; /* under the name of a key that is there */
    at = bytes;
    SSL_SESSION *changed = d2i_SSL_SESSION(NULL, &at, len);
    SSL_SESSION *fresh = shake(changed, &resumed);
    CU_ASSERT_FALSE(resumed);
    SSL_SESSION_free(first);
    SSL_SESSION_free(changed);
    SSL_SESSION_free(fresh);
    OPENSSL_free(bytes);
    end();
}

int main(void)
{
    CU_TestInfo tests[] = {
        TEST(keys_change_every_hour_in_tls_1_2),
        TEST(keys_change_every_hour_in_tls_1_3),
        TEST(a_ticket_of_one_context_is_good_for_another),
        TEST(a_ticket_that_was_changed_is_none),
        CU_TEST_INFO_NULL,
    };
    return run_suite("tls_ticket", tests);
}
