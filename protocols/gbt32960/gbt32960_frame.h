/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_FRAME_H
#define GBT32960_FRAME_H

/* One GB/T 32960.3 frame with its header taken apart and the data unit as bytes. Plain data: no
 * function here allocates, reads a clock or does I/O.
 *
 * standard  GB/T 32960.3-2016 and -2025: 6.2 (packet structure)
 */

#include <stdbool.h>
#include <stdint.h>

#include "polygate.h"

/* Editions; the start mark of each frame says which: ## is 2016, $$ is 2025. */
enum gbt_edition { GBT_2016 = 2016, GBT_2025 = 2025 };

#define GBT_ID_LEN   17u    /* VIN, or the code of a platform */
#define GBT_HEAD_LEN 24u    /* start mark to length */
#define GBT_UNIT_MAX 65531u /* bytes of the data unit */
#define GBT_WIRE_MAX (GBT_HEAD_LEN + GBT_UNIT_MAX + 1u)

/* Commands (6.3.1, Annex B). */
enum gbt_command {
    GBT_VEHICLE_LOGIN = 0x01,
    GBT_REALTIME_REPORT = 0x02,
    GBT_REISSUE_REPORT = 0x03,
    GBT_VEHICLE_LOGOUT = 0x04,
    GBT_PLATFORM_LOGIN = 0x05,
    GBT_PLATFORM_LOGOUT = 0x06,
    GBT_HEARTBEAT = 0x07,
    GBT_TIME_SYNC = 0x08,
    GBT_ACTIVATION = 0x09,          /* 2025 */
    GBT_ACTIVATION_RESPONSE = 0x0a, /* 2025, down */
    GBT_KEY_EXCHANGE = 0x0b,        /* 2025, both ways */
    GBT_PARAMETER_QUERY = 0x80,     /* 80 to bf: down */
    GBT_PARAMETER_SET = 0x81,
    GBT_TERMINAL_CONTROL = 0x82,
};

/* The response flag: what is not GBT_COMMAND is an answer (6.3.2). 04 to 07 came with 2025. */
enum gbt_response {
    GBT_SUCCESS = 0x01,
    GBT_ERROR = 0x02,
    GBT_VIN_DUPLICATE = 0x03,
    GBT_VIN_UNKNOWN = 0x04,
    GBT_SIGNATURE_ERROR = 0x05,
    GBT_STRUCTURE_ERROR = 0x06,
    GBT_DECRYPTION_ERROR = 0x07,
    GBT_COMMAND = 0xfe,
};

/* The encryption flag of the data unit. SM2 and SM4 exist in 2025 only. */
enum gbt_encryption {
    GBT_PLAIN = 0x01,
    GBT_RSA = 0x02,
    GBT_AES = 0x03,
    GBT_SM2 = 0x04,
    GBT_SM4 = 0x05,
};

struct gbt_frame {
    uint16_t edition; /* enum gbt_edition */
    uint8_t command;  /* enum gbt_command, or another code */
    uint8_t response; /* enum gbt_response */
    uint8_t id[GBT_ID_LEN];
    uint8_t encryption; /* enum gbt_encryption, or another code */
    /* Lent: as transmitted, or decrypted if `decrypted` says so. */
    struct pg_bytes unit;
    bool decrypted;
    /* Lent: the whole frame as it came; empty in one that was not decoded from bytes. Decoders
     * only: encoding does not read it. */
    struct pg_bytes wire;
};

/* Whether the unit is cipher text, which nobody here can read. */
static inline bool gbt_frame_is_opaque(const struct gbt_frame *frame)
{
    return frame->encryption != GBT_PLAIN && !frame->decrypted && frame->unit.len > 0;
}

/* Rule 1 of 6.3.2: what is not a command is an answer, and is never answered. */
static inline bool gbt_frame_is_answer(const struct gbt_frame *frame)
{
    return frame->response != GBT_COMMAND;
}

/* The id as text, without the NULs and blanks at its end; NUL-terminated. */
#define GBT_ID_TEXT (GBT_ID_LEN + 1u)
static inline void gbt_id_text(const uint8_t id[GBT_ID_LEN], char text[GBT_ID_TEXT])
{
    size_t len = GBT_ID_LEN;

    while (len > 0 && (id[len - 1] == 0 || id[len - 1] == ' ')) {
        len--;
    }
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)id[i];
    }
    text[len] = '\0';
}

/* Whether an id can be a client identifier and a level of a topic: printable ASCII, not empty, no
 * characters that topics or access rules give a meaning. */
static inline bool gbt_id_usable(const uint8_t id[GBT_ID_LEN])
{
    char text[GBT_ID_TEXT];
    size_t len = 0;

    gbt_id_text(id, text);
    for (const char *at = text; *at != '\0'; at++, len++) {
        if (*at <= ' ' || *at >= 0x7f || *at == '/' || *at == '+' || *at == '#' || *at == '$') {
            return false;
        }
    }
    /* A NUL inside ends the text early. */
    for (size_t i = len; i < GBT_ID_LEN; i++) {
        if (id[i] != 0 && id[i] != ' ') {
            return false;
        }
    }
    return len > 0;
}

#endif
