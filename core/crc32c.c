/* SPDX-License-Identifier: Apache-2.0 */

/* CRC-32C: by the instruction of SSE 4.2 or of ARMv8 where the processor has it, else by four
 * tables, four bytes a step. Which one is asked once. It is written here because Debian has it only
 * inside large libraries (of storage systems and cloud SDKs). Any thread; the choice and the
 * tables are made once, under pthread_once. RFC 3720, 12.1 and appendix B.4. */

#include "crc32c.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41, bits reversed */

typedef uint32_t update_fn(uint32_t crc, const uint8_t *data, size_t len);

static uint32_t table[4][256];
static update_fn *fastest;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t by_table(uint32_t crc, const uint8_t *data, size_t len)
{
    for (; len >= 4; data += 4, len -= 4) {
        uint32_t word;
        memcpy(&word, data, sizeof(word));
        crc ^= le32toh(word);
        crc = table[3][crc & 0xff] ^ table[2][crc >> 8 & 0xff] ^ table[1][crc >> 16 & 0xff] ^
              table[0][crc >> 24];
    }
    for (; len > 0; data++, len--)
        crc = crc >> 8 ^ table[0][(crc ^ *data) & 0xff];
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *data,
                                                                 size_t len)
{
    uint64_t sum = crc;
    for (; len >= 8; data += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, data, sizeof(word));
        sum = __builtin_ia32_crc32di(sum, word);
    }
    crc = (uint32_t)sum;
    for (; len > 0; data++, len--)
        crc = __builtin_ia32_crc32qi(crc, *data);
    return crc;
}

static bool has_instruction(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

#define HWCAP_CRC32_BIT (1ul << 7) /* HWCAP_CRC32 of the kernel's asm/hwcap.h */

__attribute__((target("+crc"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *data,
                                                               size_t len)
{
    for (; len >= 8; data += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, data, sizeof(word));
        word = le64toh(word);
        __asm__("crc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    }
    for (; len > 0; data++, len--)
        __asm__("crc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*data));
    return crc;
}

static bool has_instruction(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32_BIT) != 0;
}
#endif

static void prepare(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? POLYNOMIAL : 0);
        table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int t = 1; t < 4; t++)
            table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 0xff];
    }
    fastest = by_table;
#if defined(__x86_64__) || defined(__aarch64__)
    if (has_instruction())
        fastest = by_instruction;
#endif
}

uint32_t pg_crc32c(uint32_t crc, struct pg_bytes bytes)
{
    pthread_once(&once, prepare);
    return ~fastest(~crc, bytes.data, bytes.len);
}

uint32_t pg_crc32c_by_table(uint32_t crc, struct pg_bytes bytes)
{
    pthread_once(&once, prepare);
    return ~by_table(~crc, bytes.data, bytes.len);
}
