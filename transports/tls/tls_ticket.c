/* SPDX-License-Identifier: Apache-2.0 */

/* Keys of session tickets (RFC 5077, 4; RFC 8446, 4.6.1).
 *
 * A new key is made when the newest is KEY_LIFE_MS old; tickets of the two before it are still
 * opened, and renewed. They live as long as the process and never leave it: after a restart every
 * client makes one full handshake. A stolen key opens recorded TLS 1.2 sessions of its time only.
 *
 * Any thread; the lock is held for copying a key. */

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>

#include "tls_parts.h"

#define KEYS        3
#define KEY_LIFE_MS (60 * 60 * 1000)

struct key {
    uint8_t name[16], cipher[32], mac[32];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct key keys[KEYS]; /* newest first; under the lock, with the next two */
static size_t key_count;
static int64_t made_ms;

static bool rotate(void)
{
    struct key fresh;
    if (RAND_priv_bytes((unsigned char *)&fresh, sizeof(fresh)) != 1)
        return false;
    memmove(&keys[1], &keys[0], sizeof(keys) - sizeof(keys[0]));
    keys[0] = fresh;
    OPENSSL_cleanse(&fresh, sizeof(fresh));
    if (key_count < KEYS)
        key_count++;
    made_ms = pg_now_ms();
    return true;
}

static bool newest(struct key *out)
{
    pthread_mutex_lock(&lock);
    bool ok = (key_count > 0 && pg_now_ms() - made_ms < KEY_LIFE_MS) || rotate();
    if (ok)
        *out = keys[0];
    pthread_mutex_unlock(&lock);
    return ok;
}

/* 0 is the newest; KEYS: unknown. */
static size_t find(const uint8_t name[16], struct key *out)
{
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < key_count && memcmp(keys[i].name, name, sizeof(keys[i].name)) != 0)
        i++;
    bool found = i < key_count;
    if (found)
        *out = keys[i];
    bool is_old = found && i == 0 && pg_now_ms() - made_ms >= KEY_LIFE_MS;
    pthread_mutex_unlock(&lock);
    return !found ? KEYS : is_old ? 1 : i;
}

static bool set_mac(EVP_MAC_CTX *mac, struct key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof(key->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* Returns as SSL_CTX_set_tlsext_ticket_key_evp_cb(3) says: -1 fails the handshake, 0 has a full one
 * made, 1 takes the ticket, 2 takes and renews it. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int seal)
{
    (void)ssl;
    struct key key;
    int result = -1;
    if (seal) {
        if (!newest(&key))
            return -1;
        memcpy(name, key.name, sizeof(key.name));
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
            EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) == 1 &&
            set_mac(mac, &key))
            result = 1;
    } else {
        size_t age = find(name, &key);
        if (age == KEYS)
            return 0;
        if (EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) == 1 &&
            set_mac(mac, &key))
            result = age == 0 ? 1 : 2;
    }
    OPENSSL_cleanse(&key, sizeof(key));
    return result;
}

bool tls_tickets_use(SSL_CTX *ctx)
{
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) == 1;
}
