/* SPDX-License-Identifier: Apache-2.0 */

/* The core's one list of reasons in the words of MQTT: which code a reason has in CONNACK (both
 * kinds), DISCONNECT, PUBACK/PUBREC and SUBACK. Where the standard has no code for a reason, or
 * does not allow it in a packet, the nearest one stands, at last 0x80 "unspecified error".
 *
 * Standard: MQTT 5.0, 2.4 with table 2-6; MQTT 3.1.1, 3.2.2.3. */

#include "mqtt_reason.h"

#include "mqtt_codec.h"

/* The quota that CONNACK can be about, limits.sessions, is the server's and not the client's: it is
 * busy, and the client may try again. */

/* clang-format off */
static const struct mqtt_reason_codes rows[PG_REASON_COUNT] = {
    /*                       CONNACK  3.x  DISCONN  ack   SUBACK */
    [PG_OK]                  = {0x00, 0,    0x00,   0x00, 0x00},
    [PG_PENDING]             = {0x80, 3,    0x80,   0x80, 0x80},
    [PG_NO_SUBSCRIBERS]      = {0x80, 3,    0x80,   0x10, 0x80},
    [PG_DUPLICATE]           = {0x80, 3,    0x80,   0x00, 0x80},
    [PG_NO_SUBSCRIPTION]     = {0x80, 3,    0x80,   0x80, 0x80},
    [PG_NO_SUCH_CLIENT]      = {0x80, 3,    0x80,   0x10, 0x80},
    [PG_NOT_AUTHORIZED]      = {0x87, 5,    0x87,   0x87, 0x87},
    [PG_QUOTA_EXCEEDED]      = {0x89, 3,    0x97,   0x97, 0x97},
    [PG_QUEUE_FULL]          = {0x97, 3,    0x97,   0x97, 0x97},
    [PG_EXPIRED]             = {0x80, 3,    0x80,   0x80, 0x80},
    [PG_STORE_FAILED]        = {0x88, 3,    0x80,   0x80, 0x80},
    [PG_TOPIC_INVALID]       = {0x90, 0,    0x90,   0x90, 0x8F},
    [PG_FILTER_INVALID]      = {0x80, 0,    0x8F,   0x80, 0x8F},
    [PG_PAYLOAD_INVALID]     = {0x99, 0,    0x99,   0x99, 0x80},
    [PG_TOO_LARGE]           = {0x95, 0,    0x95,   0x97, 0x80},
    [PG_UNSUPPORTED]         = {0x83, 5,    0x83,   0x83, 0x83},
    [PG_TIMED_OUT]           = {0x88, 3,    0x80,   0x80, 0x80},
    [PG_REJECTED]            = {0x80, 3,    0x80,   0x83, 0x80},
    [PG_NO_MEMORY]           = {0x89, 3,    0x89,   0x97, 0x97},
    [PG_INTERNAL]            = {0x80, 3,    0x80,   0x80, 0x80},
    [PG_CLIENT_CLOSED]       = {0x80, 0,    0x00,   0x80, 0x80},
    [PG_PEER_CLOSED]         = {0x80, 0,    0x80,   0x80, 0x80},
    [PG_NETWORK_ERROR]       = {0x80, 0,    0x80,   0x80, 0x80},
    [PG_MALFORMED]           = {0x81, 0,    0x81,   0x80, 0x80},
    [PG_PROTOCOL_ERROR]      = {0x82, 0,    0x82,   0x80, 0x80},
    [PG_VERSION_UNSUPPORTED] = {0x84, 1,    0x80,   0x80, 0x80},
    [PG_CLIENT_ID_INVALID]   = {0x85, 2,    0x80,   0x80, 0x80},
    [PG_BAD_CREDENTIAL]      = {0x86, 4,    0x87,   0x87, 0x87},
    [PG_BANNED]              = {0x8A, 5,    0x98,   0x87, 0x87},
    [PG_TAKEN_OVER]          = {0x89, 0,    0x8E,   0x80, 0x80},
    [PG_KICKED]              = {0x8A, 5,    0x98,   0x80, 0x80},
    [PG_UNREGISTERED]        = {0x80, 5,    0x98,   0x80, 0x80},
    [PG_HANDSHAKE_TIMEOUT]   = {0x80, 0,    0x80,   0x80, 0x80},
    [PG_HANDSHAKE_FAILED]    = {0x80, 0,    0x80,   0x80, 0x80},
    [PG_FIRST_BYTE_TIMEOUT]  = {0x80, 0,    0x80,   0x80, 0x80},
    [PG_UNTRUSTED_PROXY]     = {0x80, 0,    0x80,   0x80, 0x80},
    [PG_BAD_PROXY_HEADER]    = {0x80, 0,    0x80,   0x80, 0x80},
    [PG_UNKNOWN_PROTOCOL]    = {0x80, 0,    0x80,   0x80, 0x80},
    [PG_LOGIN_TIMEOUT]       = {0x88, 3,    0x80,   0x80, 0x80},
    [PG_KEEPALIVE_TIMEOUT]   = {0x80, 0,    0x8D,   0x80, 0x80},
    [PG_SLOW_CONSUMER]       = {0x97, 3,    0x97,   0x97, 0x97},
    [PG_RECEIVE_MAXIMUM]     = {0x82, 0,    0x93,   0x97, 0x80},
    [PG_TOPIC_ALIAS_INVALID] = {0x82, 0,    0x94,   0x80, 0x80},
    [PG_BAD_FRAMES]          = {0x81, 0,    0x81,   0x80, 0x80},
    [PG_CONNECTION_LIMIT]    = {0x9F, 3,    0x9F,   0x97, 0x97},
    [PG_STALLED]             = {0x80, 0,    0x80,   0x80, 0x80},
    [PG_CONNECTION_RATE]     = {0x9F, 3,    0x9F,   0x97, 0x97},
    [PG_BUSY]                = {0x89, 3,    0x89,   0x97, 0x97},
    [PG_DRAINING]            = {0x88, 3,    0x8B,   0x80, 0x80},
    [PG_LISTENER_REMOVED]    = {0x88, 3,    0x98,   0x80, 0x80},
    [PG_SESSION_EXPIRED]     = {0x80, 3,    0x80,   0x80, 0x80},
};
/* clang-format on */

const struct mqtt_reason_codes *mqtt_reason_codes(enum pg_reason reason)
{
    return &rows[reason < PG_REASON_COUNT ? reason : PG_INTERNAL];
}
