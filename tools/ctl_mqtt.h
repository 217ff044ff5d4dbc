/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_MQTT_H
#define CTL_MQTT_H

/* A small MQTT 5 client for commands that talk to the gateway as an application does. Blocking,
 * with deadlines. */

#include "ctl.h"
#include "mqtt/mqtt_codec.h"

/* Rows that every command of this kind has. */
#define CTL_MQTT_OPTIONS                                                                           \
    {.letter = 'h',                                                                                \
     .name = "host",                                                                               \
     .argument = "HOST",                                                                           \
     .help = "where the gateway is (localhost)"},                                                  \
        {.letter = 'p', .name = "port", .argument = "PORT", .help = "its MQTT port (1883)"},       \
        {.letter = 'i',                                                                            \
         .name = "id",                                                                             \
         .argument = "CLIENT",                                                                     \
         .help = "own client identifier (made up)"},                                               \
        {.letter = 'u', .name = "user", .argument = "NAME", .help = "user name"},                  \
    {                                                                                              \
        .letter = 'P', .name = "password", .argument = "TEXT",                                     \
        .help = "password; $POLYGATE_PASSWORD is not seen by other users"                          \
    }

struct ctl_mqtt {
    const struct ctl_run *run;
    int fd;
    uint8_t *in;
    size_t in_len, in_used, in_room;
    int64_t sent_ms;
    uint16_t next_id;
    char id[64]; /* own client identifier, when it was made up */
};

/* Connect as the options say. CTL_OK, or an exit code after the error was told. */
int ctl_mqtt_open(struct ctl_mqtt *m, const struct ctl_run *run);
/* Say goodbye and close. Safe after a failed open. */
void ctl_mqtt_close(struct ctl_mqtt *m);

/* A packet identifier that was not used lately. */
uint16_t ctl_mqtt_id(struct ctl_mqtt *m);

/* Send one packet; false after the error was told. */
bool ctl_mqtt_publish(struct ctl_mqtt *m, const struct mqtt_publish *packet);
bool ctl_mqtt_subscribe(struct ctl_mqtt *m, uint16_t packet_id, const struct mqtt_filter *filters,
                        size_t count);
bool ctl_mqtt_ack(struct ctl_mqtt *m, enum mqtt_type type, uint16_t packet_id);

/* The next packet, lent until the next call; keeps the connection alive meanwhile.
 *
 * deadline_ms  by ctl_now_ms(), or PG_NEVER
 * returns      CTL_OK; CTL_TIMED_OUT at the deadline (nothing is told) or when ctl_mqtt_stop is
 * set; another exit code after the error was told
 */
int ctl_mqtt_next(struct ctl_mqtt *m, int64_t deadline_ms, struct mqtt_packet *out);

/* Set by SIGINT and SIGTERM once ctl_mqtt_catch_signals() was called. */
extern volatile int ctl_mqtt_stop;
void ctl_mqtt_catch_signals(void);

#endif
