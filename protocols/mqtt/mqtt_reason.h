/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_REASON_H
#define MQTT_REASON_H

/* The core's one list of reasons in the words of MQTT. */

#include "polygate.h"

/* The code of a reason in each packet that can carry one. */
struct mqtt_reason_codes {
    uint8_t connack;    /* MQTT 5 */
    uint8_t connack_3x; /* return code of 3.1 and 3.1.1; 0: close without CONNACK */
    uint8_t disconnect; /* MQTT 5 */
    uint8_t ack;        /* MQTT 5: PUBACK, PUBREC */
    uint8_t suback;     /* MQTT 5 */
};

/* Every reason has a row. Any thread. */
const struct mqtt_reason_codes *mqtt_reason_codes(enum pg_reason reason);

#endif
