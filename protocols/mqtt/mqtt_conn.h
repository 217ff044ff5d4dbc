/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MQTT_CONN_H
#define MQTT_CONN_H

/* The state that the frontend keeps of a connection, and what its parts call each other for.
 * Everything runs on the connection's worker. */

#include "mqtt_alias.h"
#include "mqtt_codec.h"
#include "polygate.h"

/* The block `mqtt { }`; what each means stands in the rows in mqtt.c. */
struct mqtt_conf {
    int64_t connect_packet_size;
    int64_t max_packet_size;
    int64_t receive_maximum;
    int64_t keepalive_max; /* milliseconds */
    int64_t max_payload;   /* bytes; 0: the packet's limit alone */
    int64_t topic_alias_max;
    int64_t topic_alias_send;
    int64_t max_qos;
    bool allow_31;
    bool allow_311;
    bool allow_5;
    bool retain_available;
    bool wildcard_available;
    bool shared_available;
    bool subscription_id_available;
    bool check_payload_format;
    bool reason_strings;
    int empty_client_id;   /* enum mqtt_empty_id */
    int denied_publish_3x; /* enum mqtt_denied */
    int denied_subscribe;  /* enum mqtt_denied_subscribe */
    int invalid_topic;     /* enum mqtt_invalid_topic */
    int denied_connect;    /* enum mqtt_denied_connect */
    int long_keepalive_3x; /* enum mqtt_long_keepalive */
    const char *assigned_id_prefix;
    const char *response_information;
    const char *server_reference;
};

enum mqtt_empty_id { MQTT_EMPTY_ID_ASSIGN, MQTT_EMPTY_ID_REFUSE };
enum mqtt_denied { MQTT_DENIED_ACKNOWLEDGE, MQTT_DENIED_CLOSE };
enum mqtt_denied_subscribe {
    MQTT_DENIED_EXPLAINED,
    MQTT_DENIED_UNSPECIFIED,
    MQTT_DENIED_CONCEALED
};
enum mqtt_invalid_topic { MQTT_INVALID_REFUSE, MQTT_INVALID_CLOSE };
enum mqtt_denied_connect { MQTT_DENIED_CREDENTIAL, MQTT_DENIED_AUTHORITY };
enum mqtt_long_keepalive { MQTT_LONG_KEEPALIVE_KEEP, MQTT_LONG_KEEPALIVE_REFUSE };

/* Longest mqtt.assigned_id_prefix, in bytes. */
#define MQTT_ID_PREFIX_MAX 64u

/* Rows of the counters, in the order of mqtt_counters[]. */
enum mqtt_counter {
    MQTT_COUNT_MALFORMED,
    MQTT_COUNT_OVERSIZE,
    MQTT_COUNT_DUPLICATES,
    MQTT_COUNT_STRAY_ACKS,
    MQTT_COUNT_ALIASED_RECEIVED,
    MQTT_COUNT_ALIASED_SENT,
    MQTT_COUNT_PINGS,
    MQTT_COUNT_LONG_PAYLOADS,
};

/*              CONNECT                 admitted
 *  MQTT_FRESH ---------> MQTT_CONNECTING -----> MQTT_ONLINE <------> MQTT_SUBSCRIBING
 *      |                   |   ^    | AUTH           |    SUBSCRIBE        |
 *      |         challenge v   |    |                |  all answered       |
 *      |          MQTT_AUTHENTICATING                |                     |
 *      |                        |                    |                     |
 *      +--- pg_conn_close() ----+--------------------+---------------------+---> MQTT_CLOSED
 *           says nothing          says CONNACK         says DISCONNECT (5.0)
 */
enum mqtt_state {
    MQTT_FRESH,      /* version unknown; only CONNECT may come; the core's login deadline runs */
    MQTT_CONNECTING, /* CONNECT is judged, or admission is out: reading is off; closing cancels it
                      */
    MQTT_AUTHENTICATING, /* AUTH is out: only AUTH or DISCONNECT may come */
    MQTT_ONLINE,         /* there is a client; every packet is allowed; the keep-alive runs */
    MQTT_SUBSCRIBING,    /* ONLINE, and an answer about a subscription is out: reading is off */
    MQTT_CLOSED,         /* last words are said; nothing more is read or written */
};

/* An exchange of AUTH packets. */
enum mqtt_exchange {
    MQTT_EXCHANGE_NONE,
    MQTT_EXCHANGE_JUDGED,     /* the authenticator's turn */
    MQTT_EXCHANGE_CHALLENGED, /* the client's turn */
};

/* The authentication method of CONNECT. */
struct mqtt_method {
    uint16_t len;
    uint8_t text[];
};

/* An acknowledgement that waits for the result of its publication, or for one before it. */
struct mqtt_due {
    uint16_t packet_id;
    uint8_t qos; /* 1: PUBACK, 2: PUBREC */
    bool known;
    uint8_t reason; /* enum pg_reason, once known */
};

/* Acknowledgements in the order of their PUBLISH packets: a ring. The token of a publication is its
 * number since the connection began, counting those that wait. */
struct mqtt_dues {
    uint64_t first; /* token of the oldest */
    uint32_t at;    /* ... and its place */
    uint32_t count;
    uint32_t size; /* a power of two */
    struct mqtt_due ring[];
};

/* A SUBSCRIBE whose filters are not all answered. The token of a subscription is its index. */
struct mqtt_subscribing {
    uint16_t packet_id;
    bool ends; /* UNSUBSCRIBE */
    size_t count, open;
    const char *why; /* the first refusal, for the reason string; NULL: none */
    uint8_t codes[];
};

/* What few connections have, or only for moments. */
struct mqtt_extras {
    struct mqtt_dues *dues;               /* NULL: no acknowledgement had to wait so far */
    struct mqtt_subscribing *subscribing; /* NULL unless MQTT_SUBSCRIBING */
    struct mqtt_aliases *aliases_in;
    struct mqtt_aliases *aliases_out;
    struct mqtt_method *method; /* NULL: no enhanced authentication */
};

#define MQTT_CONN_MAGIC 0x4d515454u

/* Its size matters: it exists once per connection. */
struct mqtt_conn {
    uint32_t magic;
    uint8_t state;   /* enum mqtt_state */
    uint8_t version; /* enum mqtt_version */
    uint8_t code;    /* what the last words say instead of the reason's own code; 0: nothing else */
    uint8_t error;   /* enum mqtt_error that is being closed for, for the reason string */
    bool assigned_id : 1;     /* CONNACK tells the client its identifier */
    bool resumed : 1;         /* the session was there before this connection */
    bool no_problem_info : 1; /* no reason strings outside CONNACK and DISCONNECT */
    bool wants_response : 1;  /* CONNACK tells the response information */
    bool session_ends : 1;    /* the session expiry of CONNECT was 0: DISCONNECT may not raise it */
    bool server_keepalive : 1;  /* keepalive_s is ours: CONNACK tells it */
    bool dues_full : 1;         /* reading is off until some of `dues` are sent */
    uint8_t exchange;           /* enum mqtt_exchange */
    uint16_t keepalive_s;       /* as used */
    uint16_t alias_send;        /* aliases that may be assigned to the client's topics */
    uint16_t open_receipts;     /* PUBLISH of QoS 1 and 2 not yet acknowledged to their end */
    uint32_t max_packet_size;   /* that the client takes */
    uint32_t session_expiry_s;  /* as asked for */
    struct mqtt_extras *extras; /* NULL: there is nothing of them */
};
_Static_assert(sizeof(struct mqtt_conn) <= 32, "the state of a silent connection is small");

extern const struct pg_protocol mqtt_protocol;

static inline const struct mqtt_conf *mqtt_conf_of(const struct pg_conn *conn)
{
    return pg_conn_conf(conn);
}

struct mqtt_conn *mqtt_conn_of(struct pg_conn *conn); /* checks the magic */
/* The client, while MQTT_ONLINE or MQTT_SUBSCRIBING. */
static inline struct pg_client *mqtt_client_of(const struct mqtt_conn *m)
{
    return pg_conn_client(pg_conn_of_state((void *)(uintptr_t)m));
}
/* The connection's extras, made if it has none. NULL: out of memory. */
struct mqtt_extras *mqtt_extras_of(struct mqtt_conn *m);
/* Free them, if there is nothing in them. */
void mqtt_extras_settle(struct mqtt_conn *m);
/* The authentication method of CONNECT; NULL: none. */
static inline const struct mqtt_method *mqtt_method_of(const struct mqtt_conn *m)
{
    return m->extras != NULL ? m->extras->method : NULL;
}

/* ---- closing: mqtt.c ------------------------------------------------------------------------- */

/* Close for a packet that broke a rule of the format. */
void mqtt_close_error(struct pg_conn *conn, const struct mqtt_frame *frame, enum mqtt_error error);
/* Close with an MQTT 5 code of its own in the last words. */
void mqtt_close_code(struct pg_conn *conn, enum pg_reason reason, uint8_t code, const char *detail);
/* Whether a topic or filter that cannot be served ends the connection of an MQTT 5 client, and doing
 * so, as for a malformed packet. */
static inline bool mqtt_closes_for_topics(const struct pg_conn *conn)
{
    return mqtt_conf_of(conn)->invalid_topic == MQTT_INVALID_CLOSE;
}
static inline void mqtt_close_topic(struct pg_conn *conn, enum pg_reason reason, const char *detail)
{
    mqtt_close_code(conn, reason, MQTT_RC_MALFORMED_PACKET, detail);
}

/* ---- writing: mqtt_write.c ------------------------------------------------------------------- */

/* Each queues one packet; one that the client does not take is not sent (false). */
bool mqtt_write_connack(struct pg_conn *conn, const struct mqtt_connack *packet);
/* `reference`: the server to be used instead; "": none. */
bool mqtt_write_disconnect(struct pg_conn *conn, uint8_t code, const char *why,
                           const char *reference);
bool mqtt_write_auth(struct pg_conn *conn, uint8_t code, const struct mqtt_props *props);
/* `why` is the reason string; NULL: none. */
bool mqtt_write_suback(struct pg_conn *conn, enum mqtt_type type, uint16_t packet_id,
                       struct pg_bytes codes, const char *why);
/* `reason` gives the reason string of a refusal. */
void mqtt_write_ack(struct pg_conn *conn, enum mqtt_type type, uint16_t packet_id, uint8_t code,
                    enum pg_reason reason);
void mqtt_write_pingresp(struct pg_conn *conn);

/* ---- one handler per packet ------------------------------------------------------------------ */

typedef void mqtt_handler(struct pg_conn *conn, struct mqtt_conn *m,
                          const struct mqtt_frame *frame);

mqtt_handler mqtt_on_connect;     /* mqtt_login.c */
mqtt_handler mqtt_on_disconnect;  /* mqtt_login.c */
mqtt_handler mqtt_on_subscribe;   /* mqtt_session.c */
mqtt_handler mqtt_on_unsubscribe; /* mqtt_session.c */
mqtt_handler mqtt_on_pingreq;     /* mqtt_session.c */
mqtt_handler mqtt_on_auth;        /* mqtt_auth.c */
mqtt_handler mqtt_on_publish;     /* mqtt_receive.c */
mqtt_handler mqtt_on_pubrel;      /* mqtt_receive.c */
mqtt_handler mqtt_on_puback;      /* mqtt_deliver.c */
mqtt_handler mqtt_on_pubrec;      /* mqtt_deliver.c */
mqtt_handler mqtt_on_pubcomp;     /* mqtt_deliver.c */

/* ---- enhanced authentication: mqtt_auth.c ---------------------------------------------------- */

/* Remember the method of CONNECT. false: out of memory. */
bool mqtt_method_keep(struct mqtt_conn *m, struct pg_bytes method);
/* Put it, if there is one, into the properties of a packet, and `data` unless its data is NULL. */
void mqtt_method_tell(const struct mqtt_conn *m, struct mqtt_props *props, struct pg_bytes data);

/* The longest packet that is taken from a client, before it is connected or then: what both the
 * option and the core's limit allow. */
static inline size_t mqtt_packet_limit(const struct pg_conn *conn, bool online)
{
    const struct mqtt_conf *conf = mqtt_conf_of(conn);
    size_t most = (size_t)(online ? conf->max_packet_size : conf->connect_packet_size);
    size_t core = pg_conn_frame_limit_max(conn);
    return most < core ? most : core;
}

/* ---- answers of the core --------------------------------------------------------------------- */

void mqtt_challenge(struct pg_conn *conn, struct pg_bytes data, void *cookie);
void mqtt_reauthenticated(struct pg_client *client, enum pg_reason reason, struct pg_bytes data);
void mqtt_admitted(struct pg_conn *conn, const struct pg_admission *admission, void *cookie);
void mqtt_subscribed(struct pg_client *client, uint64_t token, enum pg_reason reason);
void mqtt_unsubscribed(struct pg_client *client, uint64_t token, enum pg_reason reason);
void mqtt_published(struct pg_client *client, uint64_t token, enum pg_reason reason);
void mqtt_released(struct pg_client *client, uint64_t token, enum pg_reason reason);
void mqtt_deliver(struct pg_client *client);

#endif
