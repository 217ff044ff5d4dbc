/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_ERROR_H
#define MQTT_ERROR_H

/* Every rule of the wire format that a packet can break: the MQTT 5 reason code to answer with, the
 * clause of MQTT 5.0 (3.1.1 where only that has the rule), and a sentence for people. */

#include <stdint.h>

/* X(NAME, reason code, "clause", "sentence"); the enum value is MQTT_E_<NAME>. */
#define MQTT_ERRORS(X)                                                                             \
    X(OK, 0x00, "", "well formed")                                                                 \
    X(TYPE_RESERVED, 0x82, "2.1.2", "the packet type is reserved")                                 \
    X(FLAGS, 0x81, "2.1.3", "the flags of the fixed header are not those of the packet type")      \
    X(REMAINING_LENGTH, 0x81, "1.5.5", "the remaining length is longer than four bytes")           \
    X(LENGTH_NOT_MINIMAL, 0x81, "1.5.5", "a variable byte integer takes more bytes than it needs") \
    X(TOO_LARGE, 0x95, "3.1.2.11.4", "the packet is longer than the limit")                        \
    X(TRUNCATED, 0x81, "2.1.4", "the packet ends in the middle of a field")                        \
    X(TRAILING, 0x81, "2.1.4", "bytes are left behind the last field")                             \
    X(TEXT, 0x81, "1.5.4", "a string is not well-formed UTF-8, or holds U+0000")                   \
    X(CONTROL, 0x81, "1.5.4", "a name holds control characters or non-characters")                 \
    X(CLIENT_ID, 0x85, "3.1.3.1", "the client identifier is not a valid string")                   \
    X(INTEGER, 0x81, "1.5.5", "a variable byte integer is longer than four bytes")                 \
    X(PROTOCOL_NAME, 0x84, "3.1.2.1", "the protocol name is neither MQTT nor MQIsdp")              \
    X(PROTOCOL_LEVEL, 0x84, "3.1.2.2", "the protocol level is not served")                         \
    X(CONNECT_FLAGS, 0x81, "3.1.2.3", "the reserved connect flag is set")                          \
    X(WILL_FLAGS, 0x81, "3.1.2.6", "will QoS or will retain is set without a will")                \
    X(WILL_QOS, 0x81, "3.1.2.6", "the will QoS is 3")                                              \
    X(WILL_TOPIC, 0x81, "3.1.3.3", "the will topic is empty or holds wildcards")                   \
    X(PASSWORD_FLAG, 0x81, "3.1.1: 3.1.2.9", "a password without a user name")                     \
    X(CONNACK_FLAGS, 0x81, "3.2.2.1", "a reserved acknowledge flag is set")                        \
    X(SESSION_PRESENT, 0x82, "3.2.2.1.1", "session present together with a refusal")               \
    X(PACKET_ID, 0x82, "2.2.1", "the packet identifier is 0")                                      \
    X(QOS, 0x81, "3.3.1.2", "the QoS is 3")                                                        \
    X(DUP, 0x81, "3.3.1.1", "DUP is set on a message of QoS 0")                                    \
    X(TOPIC_NAME, 0x81, "3.3.2.1", "the topic name is empty or holds wildcards")                   \
    X(TOPIC_MISSING, 0x82, "3.3.2.3.4", "neither a topic name nor a topic alias")                  \
    X(TOPIC_ALIAS, 0x94, "3.3.2.3.4", "the topic alias is 0")                                      \
    X(RESPONSE_TOPIC, 0x82, "3.3.2.3.5", "the response topic is empty or holds wildcards")         \
    X(SUBSCRIPTION_ID_SENT, 0x82, "3.3.4", "a client's PUBLISH holds a subscription identifier")   \
    X(PROPERTY_UNKNOWN, 0x81, "2.2.2.2", "no property has this identifier")                        \
    X(PROPERTY_NOT_HERE, 0x81, "2.2.2.2", "this packet may not carry this property")               \
    X(PROPERTY_TWICE, 0x82, "2.2.2.2", "a property is there twice")                                \
    X(PROPERTY_VALUE, 0x82, "2.2.2.2", "a property has a value that it may not have")              \
    X(PROPERTY_LENGTH, 0x81, "2.2.2.1", "the property length does not fit the properties")         \
    X(AUTH_METHOD_MISSING, 0x82, "3.1.2.11.10", "authentication without a method")                 \
    X(AUTH_METHOD_CHANGED, 0x82, "4.12.1", "another authentication method than in CONNECT")        \
    X(REASON_CODE, 0x82, "2.4", "this packet may not carry this reason code")                      \
    X(NO_FILTER, 0x82, "3.8.3", "not one topic filter")                                            \
    X(FILTER_EMPTY, 0x81, "4.7.3", "a topic filter is empty")                                      \
    X(SUBSCRIPTION_OPTIONS, 0x81, "3.8.3.1", "a reserved subscription option is set")              \
    X(SUBSCRIPTION_QOS, 0x82, "3.8.3.1", "the maximum QoS of a subscription is 3")                 \
    X(RETAIN_HANDLING, 0x82, "3.8.3.1", "the retain handling of a subscription is 3")              \
    X(SHARED_NO_LOCAL, 0x82, "3.8.3.1", "no local on a shared subscription")                       \
    X(NO_REASON_CODE, 0x81, "3.9.3", "not one reason code")                                        \
    X(SESSION_EXPIRY_SENT, 0x82, "3.14.2.2.2", "a server's DISCONNECT holds a session expiry")     \
    X(SERVER_REFERENCE_SENT, 0x82, "3.14.2.2.5", "a client's DISCONNECT holds a server reference") \
    X(ACK_OUT_OF_PLACE, 0x82, "4.3", "the acknowledgement is not the one that is due")             \
    X(NOT_EXPECTED, 0x82, "2.1.2", "this side may not send this packet now")

enum mqtt_error {
#define MQTT_ERROR_ENUM(NAME, code, clause, sentence) MQTT_E_##NAME,
    MQTT_ERRORS(MQTT_ERROR_ENUM)
#undef MQTT_ERROR_ENUM
        MQTT_E_COUNT
};

const char *mqtt_error_name(enum mqtt_error error);     /* "TOO_LARGE"; any thread */
const char *mqtt_error_sentence(enum mqtt_error error); /* any thread */
const char *mqtt_error_clause(enum mqtt_error error);   /* "3.8.3.1"; any thread */
uint8_t mqtt_error_code(enum mqtt_error error);         /* MQTT 5 reason code; any thread */

#endif
