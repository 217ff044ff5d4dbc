/* SPDX-License-Identifier: Apache-2.0 */

/* Encrypted units, signatures and key files of GB/T 32960: known answers of each cipher and mode,
 * keys made here for the asymmetric ones, the frontend with keys, and the collected vectors where
 * they are. */

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gbt32960/gbt32960_keys.h"
#include "gbt32960_vectors.h"
#include "gbt32960_vehicle.h"

#define UP "gbt32960/" VIN "/up/"

#define KEY_128 "000102030405060708090a0b0c0d0e0f"
#define KEY_256 KEY_128 "101112131415161718191a1b1c1d1e1f"
#define IV      "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
/* REPORT, encrypted by the openssl program. */
#define AES_128_ECB "ae421432b1a8ab2c0759349bbbbdbc88954f64f2e4e86e9eee82d20216684899"
#define AES_256_ECB "7960c0ad23ad1efe4a75ca439373e1c89f3b7504926f8bd36e3118e903a4cd4a"
#define SM4_ECB     "f8c3ab65f6f755df9c547a4a4295aa9f8fb9ee17ca7647452763db7bdfc4f960"
#define AES_128_CBC "7b1830bcc0e176bc21aa37d6014dd4df63412994bd6376327a9b8f560dca8f9d"
#define SM4_CBC     "89bf585c27a78235c0d2bbc9a0011dcc29ed673c71cb87da6b3604332985ac7a"

/* ---- key files ------------------------------------------------------------------------------ */

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void write_text(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    (void)fputs(text, f);
    (void)fclose(f);
    (void)chmod(path_of(name), S_IRUSR | S_IWUSR);
}

static void write_key(const char *name, EVP_PKEY *key, bool private)
{
    FILE *f = fopen(path_of(name), "w");

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    CU_ASSERT_EQUAL(private ? PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL)
                            : PEM_write_PUBKEY(f, key),
                    1);
    (void)fclose(f);
}

/* Keys of this text for what begins next. */
static void begin_with_keys(const char *text)
{
    struct pg_error error;

    fake_begin(&gbt32960_protocol);
    write_text("keys", text);
    CU_ASSERT_TRUE_FATAL(gbt_keys_load(fake_conf(), path_of("keys"), &error));
}

static void end_with_keys(void)
{
    struct pg_error error;

    CU_ASSERT_TRUE(gbt_keys_load(fake_conf(), "", &error));
    fake_end();
}

static void a_key_file_that_is_wrong_says_where(void)
{
    static const struct {
        const char *text, *told;
    } wrong[] = {{"# fine\n* aes ecb " KEY_128 "\nLPGATE aes ecb 00\n", ":3: expected a key of 32"},
                 {"LPGATE des ecb " KEY_128 "\n", ":1: expected aes, sm4"},
                 {"LPGATE aes ofb " KEY_128 "\n", ":1: expected ecb, cbc"},
                 {"LPGATE aes cbc:00 " KEY_128 "\n", ":1: expected ecb, cbc"},
                 {"LPGATE sm4 ecb " KEY_256 "\n", ":1: expected a key of 32"},
                 {"LPGATE\n", ":1: expected a VIN"},
                 {"LPGATE0000000000017 aes ecb " KEY_128 "\n", ":1: expected a VIN"},
                 {"LPGATE rsa nothing.pem\n", ":1: expected a PEM file with a private key"},
                 {"A aes ecb " KEY_128 "\nA aes cbc " KEY_128 "\n", "A has two keys"}};
    struct pg_error error;
    int conf_1;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        write_text("keys", wrong[i].text);
        CU_ASSERT_FALSE(gbt_keys_load(&conf_1, path_of("keys"), &error));
        CU_ASSERT_PTR_NOT_NULL(strstr(error.text, wrong[i].told));
    }
    CU_ASSERT_FALSE(gbt_keys_load(&conf_1, path_of("absent"), &error));
    CU_ASSERT_PTR_NULL(gbt_keys_of(&conf_1));
}

static void a_vehicle_has_its_own_key_or_that_of_all(void)
{
    struct pg_error error;
    int conf_1, conf_2;

    write_text("keys", "* aes ecb " KEY_128 "\nB aes cbc " KEY_256
                       "  # its own\n\nA sm4 ecb " KEY_128 "\n");
    CU_ASSERT_TRUE_FATAL(gbt_keys_load(&conf_1, path_of("keys"), &error));
    CU_ASSERT_TRUE_FATAL(gbt_keys_load(&conf_2, "", &error));
    struct gbt_keyring *ring = gbt_keys_of(&conf_1);
    CU_ASSERT_PTR_NULL(gbt_keys_of(&conf_2));
    CU_ASSERT_EQUAL(gbt_key_find(ring, "A", GBT_USE_AES)->len, 16);
    CU_ASSERT_EQUAL(gbt_key_find(ring, "B", GBT_USE_AES)->len, 32);
    CU_ASSERT_EQUAL(gbt_key_find(ring, "A", GBT_USE_SM4)->len, 16);
    CU_ASSERT_PTR_NULL(gbt_key_find(ring, "B", GBT_USE_SM4));
    CU_ASSERT_PTR_NULL(gbt_key_find(NULL, "B", GBT_USE_SM4));
    /* What a connection holds stays when the configuration is read again. */
    CU_ASSERT_TRUE(gbt_keys_load(&conf_1, "", &error));
    CU_ASSERT_EQUAL(gbt_key_find(ring, "B", GBT_USE_AES)->len, 32);
    gbt_keys_unref(&ring);
}

/* ---- ciphers -------------------------------------------------------------------------------- */

static void known_answers_of_every_cipher_and_mode(void)
{
    static const struct {
        enum gbt_key_use use;
        enum gbt_mode mode;
        const char *key, *cipher;
    } known[] = {{GBT_USE_AES, GBT_MODE_ECB, KEY_128, AES_128_ECB},
                 {GBT_USE_AES, GBT_MODE_ECB, KEY_256, AES_256_ECB},
                 {GBT_USE_SM4, GBT_MODE_ECB, KEY_128, SM4_ECB},
                 {GBT_USE_AES, GBT_MODE_CBC, KEY_128, AES_128_CBC},
                 {GBT_USE_AES, GBT_MODE_CBC_PREFIX, KEY_128, IV AES_128_CBC},
                 {GBT_USE_SM4, GBT_MODE_CBC, KEY_128, SM4_CBC}};
    struct pg_bytes plain = hex_bytes(REPORT), iv = hex_bytes(IV);

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct pg_bytes bytes = hex_bytes(known[i].key), cipher = hex_bytes(known[i].cipher);
        struct gbt_key key = {.use = (uint8_t)known[i].use,
                              .mode = (uint8_t)known[i].mode,
                              .len = (uint8_t)bytes.len};
        uint8_t out[128], back[128];
        size_t len = 0;
        memcpy(key.bytes, bytes.data, bytes.len);
        memcpy(key.iv, iv.data, iv.len);
        CU_ASSERT_TRUE(gbt_decrypt(&key, cipher, out, &len));
        CU_ASSERT(len == plain.len && memcmp(out, plain.data, len) == 0);
        CU_ASSERT_TRUE(gbt_encrypt(&key, plain, out, sizeof(out), &len));
        CU_ASSERT_EQUAL(len, cipher.len);
        CU_ASSERT(known[i].mode == GBT_MODE_CBC_PREFIX || memcmp(out, cipher.data, len) == 0);
        CU_ASSERT_TRUE(gbt_decrypt(&key, (struct pg_bytes){.data = out, .len = len}, back, &len));
        CU_ASSERT(len == plain.len && memcmp(back, plain.data, len) == 0);
        /* Cut, or with a wrong end. */
        CU_ASSERT_FALSE(
            gbt_decrypt(&key, (struct pg_bytes){cipher.data, cipher.len - 1}, out, &len));
        CU_ASSERT_FALSE(gbt_decrypt(&key, (struct pg_bytes){cipher.data, 0}, out, &len));
        key.bytes[0] ^= 1;
        CU_ASSERT_FALSE(gbt_decrypt(&key, cipher, out, &len) && len == plain.len);
        free((void *)(uintptr_t)bytes.data);
        free((void *)(uintptr_t)cipher.data);
    }
    free((void *)(uintptr_t)plain.data);
    free((void *)(uintptr_t)iv.data);
}

static size_t encrypt_with(EVP_PKEY *key, bool rsa, struct pg_bytes in, uint8_t *out, size_t room)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    size_t len = room;

    CU_ASSERT_EQUAL_FATAL(EVP_PKEY_encrypt_init(ctx), 1);
    if (rsa) {
        CU_ASSERT_TRUE(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) > 0);
    }
    CU_ASSERT_EQUAL_FATAL(EVP_PKEY_encrypt(ctx, out, &len, in.data, in.len), 1);
    EVP_PKEY_CTX_free(ctx);
    return len;
}

static void rsa_goes_block_by_block(void)
{
    struct gbt_key key = {.use = GBT_USE_RSA,
                          .pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)};
    uint8_t plain[400], cipher[512], out[512];
    size_t len;

    CU_ASSERT_PTR_NOT_NULL_FATAL(key.pkey);
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)(i * 7);
    }
    size_t n = encrypt_with(key.pkey, true, (struct pg_bytes){plain, 245}, cipher, sizeof(cipher));
    n += encrypt_with(key.pkey, true, (struct pg_bytes){plain + 245, 155}, cipher + n,
                      sizeof(cipher) - n);
    CU_ASSERT_TRUE(gbt_decrypt(&key, (struct pg_bytes){cipher, n}, out, &len));
    CU_ASSERT(len == sizeof(plain) && memcmp(out, plain, len) == 0);
    CU_ASSERT_FALSE(gbt_decrypt(&key, (struct pg_bytes){cipher, n - 1}, out, &len));
    CU_ASSERT_FALSE(gbt_encrypt(&key, (struct pg_bytes){plain, 6}, out, sizeof(out), &len));
    EVP_PKEY_free(key.pkey);
}

/* DER to 04 x y, digest, cipher text. */
static size_t bare_sm2(struct pg_bytes der, uint8_t *out)
{
    const uint8_t *at = der.data + 2 + (der.data[1] > 0x80 ? der.data[1] & 3 : 0);
    size_t used = 1;

    out[0] = 4;
    for (unsigned i = 0; i < 2; i++) {
        size_t len = at[1];
        size_t skip = len > 32 ? len - 32 : 0;
        memset(out + used, 0, 32);
        memcpy(out + used + 32 - (len - skip), at + 2 + skip, len - skip);
        used += 32;
        at += 2 + len;
    }
    for (unsigned i = 0; i < 2; i++) {
        memcpy(out + used, at + 2, at[1]);
        used += at[1];
        at += 2 + at[1];
    }
    return used;
}

static void sm2_is_read_in_both_forms(void)
{
    struct gbt_key key = {.use = GBT_USE_SM2, .pkey = EVP_PKEY_Q_keygen(NULL, NULL, "SM2")};
    uint8_t der[256], bare[256], out[256];
    struct pg_bytes plain = PG_BYTES_OF("sixteen bytes or so");
    size_t len;

    CU_ASSERT_PTR_NOT_NULL_FATAL(key.pkey);
    for (unsigned i = 0; i < 8; i++) { /* numbers of different lengths */
        size_t n = encrypt_with(key.pkey, false, plain, der, sizeof(der));
        CU_ASSERT_TRUE(gbt_decrypt(&key, (struct pg_bytes){der, n}, out, &len));
        CU_ASSERT(len == plain.len && memcmp(out, plain.data, len) == 0);
        size_t m = bare_sm2((struct pg_bytes){der, n}, bare);
        CU_ASSERT_TRUE(gbt_decrypt(&key, (struct pg_bytes){bare, m}, out, &len));
        CU_ASSERT(len == plain.len && memcmp(out, plain.data, len) == 0);
        bare[m - 1] ^= 1;
        CU_ASSERT_FALSE(gbt_decrypt(&key, (struct pg_bytes){bare, m}, out, &len));
    }
    EVP_PKEY_free(key.pkey);
}

/* ---- the frontend with keys ----------------------------------------------------------------- */

static void up_sealed(struct pg_conn *conn, unsigned edition, uint8_t command, uint8_t encryption,
                      const char *cipher)
{
    struct gbt_frame frame = up_frame(edition, command, VIN);

    frame.encryption = encryption;
    frame.unit = hex_bytes(cipher);
    feed_frame(conn, &frame);
    free((void *)(uintptr_t)frame.unit.data);
}

static void an_encrypted_report_is_read_and_answered_encrypted(void)
{
    const struct fake_message *m = NULL;

    begin_with_keys(VIN " aes cbc:" IV " " KEY_128 "\n* sm4 ecb " KEY_128 "\n");
    conf()->report_ack = GBT_REPORT_ACK_ALWAYS;
    struct pg_conn *conn = logged_in(VIN);
    up_sealed(conn, GBT_2016, GBT_REALTIME_REPORT, GBT_AES, AES_128_CBC);
    CU_ASSERT_EQUAL(fake_count_on(UP "realtime_report", &m), 1);
    CU_ASSERT(payload_has(m, "\"longitude_deg\":121.473701") &&
              payload_has(m, "\"encryption\":\"aes128\",\"decrypted\":true"));
    struct down d = down(conn);
    CU_ASSERT(d.frame.response == GBT_SUCCESS && d.frame.encryption == GBT_AES &&
              d.frame.unit.len == 16);
    CU_ASSERT_EQUAL(fake_counter("decrypted"), 1);
    up_sealed(conn, GBT_2025, GBT_REALTIME_REPORT, GBT_SM4, SM4_ECB);
    CU_ASSERT(fake_count_on(UP "realtime_report", &m) == 2 && payload_has(m, "\"sm4\""));
    /* What is no cipher text of this key is opaque. */
    up_sealed(conn, GBT_2025, GBT_REALTIME_REPORT, GBT_SM4, "00112233");
    CU_ASSERT(fake_count_on(UP "realtime_report", &m) == 3 && payload_has(m, "ciphertext_hex"));
    end_with_keys();
}

/* What a vehicle is sent under its public key, and what it is when the gateway has none. */
static void an_answer_goes_out_under_the_public_key_of_the_vehicle(void)
{
    static const struct {
        const char *algorithm, *in, *out;
        uint8_t flag;
        enum gbt_key_use use;
    } cases[] = {{"RSA", "rsa", "rsa-out", GBT_RSA, GBT_USE_RSA},
                 {"SM2", "sm2", "sm2-out", GBT_SM2, GBT_USE_SM2}};

    for (size_t i = 0; i < 4; i++) {
        bool rsa = i % 2 == 0;
        bool known = i < 2;
        EVP_PKEY *ours = rsa ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)
                             : EVP_PKEY_Q_keygen(NULL, NULL, "SM2");
        EVP_PKEY *theirs = rsa ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)
                               : EVP_PKEY_Q_keygen(NULL, NULL, "SM2");
        char keys[128];
        uint8_t plain[] = {26, 3, 1, 8, 0, 5};
        uint8_t cipher[512], out[512];
        size_t len = 0;
        write_key("ours.pem", ours, true);
        write_key("theirs.pem", theirs, false);
        (void)snprintf(keys, sizeof(keys), "* %s ours.pem\n%s* %s theirs.pem\n", cases[i % 2].in,
                       known ? "" : "#", cases[i % 2].out);
        begin_with_keys(keys);
        conf()->report_ack = GBT_REPORT_ACK_ALWAYS;
        struct pg_conn *conn = logged_in(VIN);
        struct gbt_frame frame = up_frame(GBT_2025, GBT_REALTIME_REPORT, VIN);
        frame.encryption = cases[i % 2].flag;
        frame.unit = (struct pg_bytes){
            cipher, encrypt_with(ours, rsa, (struct pg_bytes){plain, 6}, cipher, sizeof(cipher))};
        feed_frame(conn, &frame);
        struct down d = down(conn);
        CU_ASSERT_EQUAL(d.frame.response, GBT_SUCCESS);
        if (known) {
            const struct gbt_key vehicle = {.use = (uint8_t)cases[i % 2].use, .pkey = theirs};
            CU_ASSERT_EQUAL(d.frame.encryption, cases[i % 2].flag);
            CU_ASSERT_TRUE(gbt_decrypt(&vehicle, d.frame.unit, out, &len));
        } else {
            CU_ASSERT_EQUAL(d.frame.encryption, GBT_PLAIN);
            len = d.frame.unit.len;
            memcpy(out, d.frame.unit.data, len);
        }
        CU_ASSERT(len == sizeof(plain) && memcmp(out, plain, len) == 0);
        end_with_keys();
        EVP_PKEY_free(ours);
        EVP_PKEY_free(theirs);
    }
}

static void a_command_is_encrypted_as_the_vehicle_speaks(void)
{
    begin_with_keys(VIN " aes ecb " KEY_128 "\n");
    struct pg_conn *conn = logged_in(VIN);
    up_sealed(conn, GBT_2016, GBT_REALTIME_REPORT, GBT_AES, AES_128_ECB);
    const struct fake_send send = {
        .client_id = VIN,
        .topic = "x",
        .payload =
            pg_bytes_str("{\"message\":\"terminal_control\",\"body\":{\"control\":\"reset\"}}"),
        .qos = 1};
    fake_send(&send);
    struct down d = down(conn);
    CU_ASSERT(d.frame.command == GBT_TERMINAL_CONTROL && d.frame.encryption == GBT_AES &&
              d.frame.unit.len == 16);
    end_with_keys();
}

static void signatures_are_verified(void)
{
    const struct fake_message *m = NULL;
    EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    struct pg_bytes unit = hex_bytes(REPORT_25);
    uint8_t whole[512];
    size_t len = 256;

    CU_ASSERT_PTR_NOT_NULL_FATAL(rsa);
    write_key("sign.pem", rsa, false);
    begin_with_keys(VIN " sign sign.pem\n");
    memcpy(whole, unit.data, unit.len);
    memcpy(whole + unit.len, "\xff\x02\x01\x00", 4);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    CU_ASSERT_EQUAL(EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, rsa), 1);
    CU_ASSERT_EQUAL(EVP_DigestSign(md, whole + unit.len + 4, &len, unit.data, unit.len), 1);
    EVP_MD_CTX_free(md);
    memcpy(whole + unit.len + 4 + len, "\0\0", 2);
    struct gbt_frame frame = up_frame(GBT_2025, GBT_REALTIME_REPORT, VIN);
    frame.unit = (struct pg_bytes){whole, unit.len + 6 + len};
    struct pg_conn *conn = logged_in(VIN);
    feed_frame(conn, &frame);
    CU_ASSERT(fake_count_on(UP "realtime_report", &m) == 1 &&
              payload_has(m, "\"signature\":\"valid\""));
    CU_ASSERT_TRUE(down_is_nothing(conn));
    whole[unit.len - 1] ^= 1;
    feed_frame(conn, &frame);
    CU_ASSERT(fake_count_on(UP "realtime_report", &m) == 2 &&
              payload_has(m, "\"signature\":\"invalid\""));
    CU_ASSERT_TRUE(down_is(conn, GBT_REALTIME_REPORT, GBT_SIGNATURE_ERROR, VIN, TIME));
    /* Somebody whose key is not known. */
    conn = logged_in(VIN_2);
    memcpy(frame.id, VIN_2, GBT_ID_LEN);
    feed_frame(conn, &frame);
    CU_ASSERT(fake_count_on("gbt32960/" VIN_2 "/up/realtime_report", &m) == 1 &&
              payload_has(m, "\"signature\":\"unverified\""));
    free((void *)(uintptr_t)unit.data);
    EVP_PKEY_free(rsa);
    end_with_keys();
}

static void a_key_is_exchanged_only_under_another_key(void)
{
    const struct fake_message *m = NULL;
    struct gbt_key key = {.use = GBT_USE_AES, .mode = GBT_MODE_ECB, .len = 16};
    struct pg_bytes bytes = hex_bytes(KEY_128);
    /* sm4, 16 bytes, from 2026-01-01 to 2027-01-01. */
    struct pg_bytes unit = hex_bytes("05 0010" KEY_128 "1a0101000000 1b0101000000");
    uint8_t sealed[128];
    struct gbt_frame frame = up_frame(GBT_2025, GBT_KEY_EXCHANGE, VIN);

    begin_with_keys(VIN " aes ecb " KEY_128 "\n");
    struct pg_conn *conn = logged_in(VIN);
    frame.unit = unit;
    feed_frame(conn, &frame);
    CU_ASSERT_TRUE(down_is(conn, GBT_KEY_EXCHANGE, GBT_ERROR, VIN, ""));
    memcpy(key.bytes, bytes.data, bytes.len);
    size_t len;
    CU_ASSERT_TRUE(gbt_encrypt(&key, unit, sealed, sizeof(sealed), &len));
    frame.unit = (struct pg_bytes){sealed, len};
    frame.encryption = GBT_AES;
    feed_frame(conn, &frame);
    CU_ASSERT_TRUE(down_is(conn, GBT_KEY_EXCHANGE, GBT_SUCCESS, VIN, ""));
    up_sealed(conn, GBT_2025, GBT_REALTIME_REPORT, GBT_SM4, IV SM4_CBC);
    CU_ASSERT(fake_count_on(UP "realtime_report", &m) == 1 && payload_has(m, "\"decrypted\":true"));
    CU_ASSERT_EQUAL(fake_count_on(UP "key_exchange", NULL), 0);
    free((void *)(uintptr_t)unit.data);
    free((void *)(uintptr_t)bytes.data);
    end_with_keys();
}

/* ---- vectors -------------------------------------------------------------------------------- */

static bool decrypts(const json_t *v, const struct gbt_frame *frame)
{
    const json_t *cipher = json_object_get(v, "cipher");
    struct pg_bytes bytes = hex_bytes(gbt_text(cipher, "key_hex"));
    struct pg_bytes iv = hex_bytes(gbt_text(cipher, "iv_hex"));
    struct gbt_key key = {.len = (uint8_t)bytes.len};
    static uint8_t room[GBT_UNIT_MAX];
    struct gbt_frame plain = *frame;
    size_t len = 0;

    key.use = strcmp(gbt_text(cipher, "algorithm"), "sm4") == 0 ? GBT_USE_SM4 : GBT_USE_AES;
    key.mode = strcmp(gbt_text(cipher, "mode"), "ecb") == 0 ? GBT_MODE_ECB : GBT_MODE_CBC;
    memcpy(key.bytes, bytes.data, bytes.len);
    memcpy(key.iv, iv.data, iv.len);
    bool good = gbt_decrypt(&key, frame->unit, room, &len);
    plain.unit = (struct pg_bytes){room, len};
    plain.decrypted = true;
    const struct gbt_json_options options = {.shape = WIRE_SHAPE_NATIVE};
    json_t *document = gbt_document(&plain, &options, NULL);
    json_t *body = json_object_get(document, "body");
    json_t *want = json_deep_copy(json_object_get(json_object_get(v, "expect"), "data"));
    gbt_align(body, want);
    good = good && gbt_covers(body, want, NULL, NULL, gbt_text(v, "name"));
    json_decref(want);
    json_decref(document);
    free((void *)(uintptr_t)bytes.data);
    free((void *)(uintptr_t)iv.data);
    return good;
}

static bool signature_holds(const json_t *v, const struct gbt_frame *frame)
{
    const json_t *check = json_object_get(v, "signature_check");
    FILE *f = fopen(path_of("vector.pem"), "w");
    const struct fake_message *m = NULL;
    char line[64], vin[GBT_ID_TEXT];

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    (void)fputs(gbt_text(check, "public_key_pem"), f);
    (void)fclose(f);
    gbt_id_text(frame->id, vin);
    (void)snprintf(line, sizeof(line), "%s sign vector.pem\n", vin);
    begin_with_keys(line);
    conf()->before_login = GBT_BEFORE_LOGIN_ADMIT;
    conf()->activation = GBT_ACTIVATION_PUBLISH;
    struct pg_conn *conn = fake_connect();
    fake_feed(conn, frame->wire);
    for (size_t i = 0; i < fake_message_count(); i++) {
        m = fake_message(i);
    }
    bool holds = payload_has(m, "\"signature\":\"valid\"");
    end_with_keys();
    return holds;
}

static void collected_vectors_decrypt_and_verify(void)
{
    static char line[1 << 20];
    const char *where = getenv("POLYGATE_VECTORS");
    char path[4096];
    unsigned ciphers = 0, signatures = 0;

    (void)snprintf(path, sizeof(path), "%s/gbt32960.jsonl", where ? where : "../shared/vectors");
    FILE *f = fopen(path, "r");
    if (!f) {
        printf("skip: no %s\n", path);
        return;
    }
    while (fgets(line, sizeof(line), f) != NULL) {
        json_t *v = json_loads(line, JSON_ALLOW_NUL, NULL);
        bool cipher = json_object_get(v, "cipher") != NULL;
        bool signature = json_object_get(v, "signature_check") != NULL;
        if (cipher || signature) {
            struct pg_bytes wire = hex_bytes(gbt_text(v, "hex"));
            struct gbt_frame frame;
            CU_ASSERT_EQUAL_FATAL(gbt_frame_decode(wire, &frame), GBT_ERROR_NONE);
            bool good = cipher ? decrypts(v, &frame) : signature_holds(v, &frame);
            if (!good) {
                printf("    %s\n", gbt_text(v, "name"));
            }
            CU_ASSERT_TRUE(good);
            ciphers += cipher;
            signatures += signature;
            free((void *)(uintptr_t)wire.data);
        }
        json_decref(v);
    }
    (void)fclose(f);
    printf("    %s: %u encrypted, %u signed\n", path, ciphers, signatures);
    CU_ASSERT(ciphers > 0 && signatures > 0);
}

int main(void)
{
    static const char *const files[] = {"keys", "sign.pem", "vector.pem"};
    CU_TestInfo tests[] = {
        TEST(a_key_file_that_is_wrong_says_where),
        TEST(a_vehicle_has_its_own_key_or_that_of_all),
        TEST(known_answers_of_every_cipher_and_mode),
        TEST(rsa_goes_block_by_block),
        TEST(sm2_is_read_in_both_forms),
        TEST(an_answer_goes_out_under_the_public_key_of_the_vehicle),
        TEST(an_encrypted_report_is_read_and_answered_encrypted),
        TEST(a_command_is_encrypted_as_the_vehicle_speaks),
        TEST(signatures_are_verified),
        TEST(a_key_is_exchanged_only_under_another_key),
        TEST(collected_vectors_decrypt_and_verify),
        CU_TEST_INFO_NULL,
    };

    (void)snprintf(folder, sizeof(folder), "/tmp/polygate-keys-XXXXXX");
    if (!mkdtemp(folder)) {
        return 2;
    }
    int status = run_suite("gbt32960_cipher", tests);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        (void)unlink(path_of(files[i]));
    }
    (void)rmdir(folder);
    return status;
}
