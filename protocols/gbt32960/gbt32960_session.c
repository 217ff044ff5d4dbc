/* SPDX-License-Identifier: Apache-2.0 */

/* The life of a vehicle, or of a platform with its vehicles, on a connection.
 *
 *            01, 05, or data where it is admitted
 *    FRESH ------------------------------------------> ASKING
 *      ^                                                 |
 *      |  refused: silence, or an error answer           |  pg_client_admit
 *      +-------------------------------------------------+
 *      |                                                 |
 *      |  taken over, kicked                             v  admitted
 *      +---------------------------------------------- ONLINE
 *      |                                                 |
 *      |  the core has ended the client                  v  04, 06, silence
 *      +--------------------------------------------- LEAVING
 *
 * ASKING lasts until the core has decided; the connection is paused, so that no frame can overtake
 * the decision, and the frame that asked is offered again afterwards: then it is published and
 * answered like any other, or was refused. LEAVING pauses the connection in the same way. ONLINE
 * publishes what comes.
 *
 * A terminal link belongs to the one vehicle that logged in (Annex B). After a platform login (05)
 * the connection is a platform link (chapter 5): the platform is a client of its own, and every VIN
 * that comes is one, too, admitted with what the platform has proven, by 01 or by its first data.
 * Each has its own presence, permissions and commands; one that is taken over elsewhere does not
 * touch the others. When the platform logs out, or goes, all its vehicles go.
 *
 * Serial numbers are 1 to 65531, start again each day, and grow with each login; a logout has that
 * of its login. They prove nothing, so that breaking the rule is only counted, unless `serials`
 * says otherwise.
 *
 * threads   the worker of the connection
 * standard  GB/T 32960.3-2016, -2025: chapter 5, 6.3, Annex B
 */

#include <stdlib.h>
#include <string.h>

#include "gbt32960_parts.h"
#include "wire/text.h"

/* Time to log in again on the same connection after a logout (a short stop). */
#define LOGGED_OUT_IDLE_MS 60000
/* VINs that may be on a connection without having been admitted. */
#define FRESH_MAX 16u

void gbt_pause(struct gbt_conn *c)
{
    c->pauses++;
    pg_conn_pause(pg_conn_of_state(c));
}

void gbt_resume(struct gbt_conn *c)
{
    c->pauses--;
    pg_conn_resume(pg_conn_of_state(c));
}

/* ---- vehicles of a connection --------------------------------------------------------------- */

static void remove_vehicle(struct gbt_conn *c, struct gbt_vehicle *v)
{
    gbt_fleet_remove(c, v);
    pg_timer_stop(&v->timer);
    gbt_command_free(v);
    gbt_uplink_free(v);
    gbt_join_free(v);
    gbt_secure_free(v);
    v->magic = 0;
    free(v);
}

void gbt_session_free(struct gbt_conn *c)
{
    while (c->vehicles) {
        remove_vehicle(c, c->vehicles);
    }
    free(c->table);
    gbt_keys_unref(&c->keys);
}

static struct gbt_vehicle *new_vehicle(struct gbt_conn *c, const struct gbt_frame *frame)
{
    struct gbt_vehicle *v = calloc(1, sizeof(*v));

    if (!v) {
        pg_conn_close(pg_conn_of_state(c), PG_NO_MEMORY, NULL);
        return NULL;
    }
    v->magic = GBT_VEHICLE_MAGIC;
    v->conn = c;
    v->uplinks_end = &v->uplinks;
    gbt_id_text(frame->id, v->vin);
    gbt_fleet_add(c, v);
    return v;
}

/* A frame of a VIN that this connection is not for. */
static void refuse_other_vin(struct gbt_conn *c, const struct gbt_frame *frame, const char *vin)
{
    gbt_count(c, GBT_COUNT_OTHER_VIN);
    PG_LOG(PG_WARN, "gbt32960_other_vin", PG_F_TEXT("client", c->vehicles->vin),
           PG_F_TEXT("vin", vin), PG_F_INT("command", frame->command),
           PG_F_TEXT("peer", pg_conn_peer(pg_conn_of_state(c))));
    gbt_answer_frame(c, frame, GBT_ERROR);
}

/* Keep the number of vehicles without login small: the one that came first goes. */
static void drop_oldest_fresh(struct gbt_conn *c)
{
    struct gbt_vehicle *oldest = NULL;

    if (c->vehicle_count - c->online_count < FRESH_MAX) {
        return;
    }
    for (struct gbt_vehicle *v = c->vehicles; v; v = v->next) {
        oldest = v->state == GBT_FRESH ? v : oldest;
    }
    if (oldest) {
        remove_vehicle(c, oldest);
    }
}

/* The vehicle of a frame, made if it may be; NULL: the frame was refused. */
static struct gbt_vehicle *vehicle_of(struct gbt_conn *c, const struct gbt_frame *frame)
{
    const struct gbt_conf *conf = gbt_conf_of(c);
    char vin[GBT_ID_TEXT];

    gbt_id_text(frame->id, vin);
    struct gbt_vehicle *v = gbt_fleet_find(c, vin);
    if (v || !c->vehicles) {
        return v ? v : new_vehicle(c, frame);
    }
    if (c->platform || conf->other_vins == GBT_OTHER_VINS_ADMIT ||
        (frame->command == GBT_PLATFORM_LOGIN && c->online_count == 0)) {
        drop_oldest_fresh(c);
        if (c->vehicle_count < (uint64_t)conf->vehicles) {
            return new_vehicle(c, frame);
        }
    } else if (c->vehicles->state == GBT_FRESH) {
        remove_vehicle(c, c->vehicles); /* it has proven nothing: nothing is lost */
        return new_vehicle(c, frame);
    }
    refuse_other_vin(c, frame, vin);
    return NULL;
}

/* ---- login ---------------------------------------------------------------------------------- */

/* The frame is to be offered again afterwards. */
static void ask_admission(struct gbt_vehicle *v, const struct gbt_frame *frame,
                          enum gbt_asking asking, struct pg_login *login)
{
    const struct gbt_conf *conf = gbt_conf_of(v->conn);

    login->client_id = pg_bytes_str(v->vin);
    login->session_expiry_s = (uint32_t)(conf->session_expiry_ms / 1000);
    login->window = (uint32_t)conf->window;
    v->state = GBT_ASKING;
    v->asking = asking;
    v->asked = gbt_request_of(frame);
    gbt_pause(v->conn);
    pg_client_admit(pg_conn_of_state(v->conn), login, v);
}

/* What a vehicle has to show: what its platform has proven, its ICCID, or nothing. */
static void ask_for_vehicle(struct gbt_vehicle *v, const struct gbt_frame *frame,
                            enum gbt_asking asking)
{
    struct pg_login login = {0};
    struct wire_event iccid;

    if (v->conn->platform) {
        login.trusted = true;
        login.username = pg_bytes_str(v->conn->platform_user);
    } else if (gbt_conf_of(v->conn)->credential == GBT_CREDENTIAL_ICCID) {
        login.username = pg_bytes_str(v->vin);
        login.password = PG_BYTES_OF("");
        if (gbt_field(frame, true, "iccid", &iccid)) {
            login.password = wire_text_strip(iccid.bytes);
        }
    }
    ask_admission(v, frame, asking, &login);
}

/* The core has told the log, or has been told. */
static void login_refused(struct gbt_vehicle *v)
{
    struct gbt_conn *c = v->conn;
    struct pg_conn *conn = pg_conn_of_state(c);

    gbt_count(c, GBT_COUNT_LOGINS_REFUSED);
    if (++c->login_failures >= (uint64_t)gbt_conf_of(c)->login_failures && c->online_count == 0) {
        pg_conn_close(conn, PG_BAD_CREDENTIAL, "%u logins of %s refused", c->login_failures,
                      v->vin);
    }
}

/* A login that is refused is met with silence (Annex B), but on a platform link with an answer. */
static void answer_refused_login(struct gbt_vehicle *v, const struct gbt_request *request,
                                 enum gbt_response response)
{
    if (v->conn->platform || request->command == GBT_PLATFORM_LOGIN ||
        gbt_conf_of(v->conn)->refused_login == GBT_REFUSED_LOGIN_ANSWER) {
        gbt_answer(v->conn, request, response);
    }
}

static void refuse_login(struct gbt_vehicle *v, const struct gbt_frame *frame,
                         enum gbt_response response, enum pg_reason reason, const char *detail)
{
    struct gbt_request request = gbt_request_of(frame);

    answer_refused_login(v, &request, response);
    pg_client_refuse(pg_conn_of_state(v->conn), pg_bytes_str(v->vin), reason, detail);
    login_refused(v);
}

static uint16_t serial_of(const struct gbt_frame *frame)
{
    struct wire_event event;

    return gbt_field(frame, true, "serial_number", &event) ? (uint16_t)event.raw : 0;
}

/* Whether a login's serial number follows the rules; a repetition of the same login does. */
static bool login_serial_fine(const struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    uint16_t serial = serial_of(frame);
    bool same_day = memcmp(v->login_day, frame->unit.data, sizeof(v->login_day)) == 0;

    return serial >= 1 && serial <= 65531 &&
           (v->login_serial == 0 || !same_day || serial >= v->login_serial);
}

/* false: the rule is broken and that is refused. */
static bool check_serial(struct gbt_vehicle *v, const struct gbt_frame *frame, bool fine)
{
    if (fine) {
        return true;
    }
    gbt_count(v->conn, GBT_COUNT_WRONG_SERIALS);
    PG_LOG(PG_INFO, "gbt32960_wrong_serial", PG_F_TEXT("client", v->vin),
           PG_F_INT("command", frame->command), PG_F_INT("serial", serial_of(frame)),
           PG_F_INT("login_serial", v->login_serial));
    return gbt_conf_of(v->conn)->serials == GBT_SERIALS_ACCEPT;
}

/* Whether a login can be read, has an id that can be a client's, and a serial that is fine. */
static bool login_acceptable(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    bool later = frame->edition == GBT_2025;

    if (!gbt_id_usable(frame->id)) {
        refuse_login(v, frame, GBT_ERROR, PG_CLIENT_ID_INVALID,
                     "the id is empty or has characters that no topic may have");
        return false;
    }
    if (gbt_frame_is_opaque(frame)) {
        refuse_login(v, frame, later ? GBT_DECRYPTION_ERROR : GBT_ERROR, PG_UNSUPPORTED,
                     "the login is encrypted and there is no key");
        return false;
    }
    if ((gbt_frame_faults(frame, true) & ~(unsigned)WIRE_FAULT_SURPLUS) != 0) {
        refuse_login(v, frame, later ? GBT_STRUCTURE_ERROR : GBT_ERROR, PG_MALFORMED,
                     "the login does not fit its table");
        return false;
    }
    if (!check_serial(v, frame, login_serial_fine(v, frame))) {
        refuse_login(v, frame, GBT_ERROR, PG_PROTOCOL_ERROR,
                     "the serial number of the login does not follow the last one");
        return false;
    }
    return true;
}

static void note_login(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    v->login_serial = serial_of(frame);
    memcpy(v->login_day, frame->unit.data, sizeof(v->login_day));
}

/* false: the frame is to be offered again when the admission is known. */
static bool vehicle_login(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    if (!login_acceptable(v, frame)) {
        return true;
    }
    if (gbt_conf_of(v->conn)->duplicate_vin == GBT_DUPLICATE_VIN_REFUSE && gbt_online_is(v->vin)) {
        struct gbt_request request = gbt_request_of(frame);
        gbt_answer(v->conn, &request, GBT_VIN_DUPLICATE);
        pg_client_refuse(pg_conn_of_state(v->conn), pg_bytes_str(v->vin), PG_DUPLICATE,
                         "this VIN is online already");
        login_refused(v);
        return true;
    }
    ask_for_vehicle(v, frame, GBT_ASKED_BY_LOGIN);
    return false;
}

/* 01 of a vehicle, or 05 of a platform, that is online: the one that it was admitted by, a
 * repetition of it, or a new one without a logout. */
static void login_again(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    if ((gbt_frame_faults(frame, true) & ~(unsigned)WIRE_FAULT_SURPLUS) != 0 ||
        gbt_frame_is_opaque(frame) || !check_serial(v, frame, login_serial_fine(v, frame))) {
        gbt_answer_frame(v->conn, frame, GBT_ERROR);
        return;
    }
    note_login(v, frame);
    gbt_uplink_take(v, frame);
}

/* Names and passwords are filled with NULs or blanks, or fill their field. */
static void strip_filling(struct pg_bytes *text)
{
    while (text->len > 0 && (text->data[text->len - 1] == ' ' || text->data[text->len - 1] == 0)) {
        text->len--;
    }
}

/* false: the frame is to be offered again when the admission is known. */
static bool platform_login(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    struct gbt_conn *c = v->conn;
    struct pg_login login = {0};
    struct wire_event user, password;
    struct gbt_request request = gbt_request_of(frame);

    if (gbt_conf_of(c)->platforms == GBT_PLATFORMS_REFUSE) {
        gbt_answer(c, &request, GBT_ERROR);
        pg_client_refuse(pg_conn_of_state(c), pg_bytes_str(v->vin), PG_UNSUPPORTED,
                         "platforms = refuse");
        login_refused(v);
        return true;
    }
    if (!login_acceptable(v, frame) || !gbt_field(frame, true, "username", &user) ||
        !gbt_field(frame, true, "password", &password)) {
        return true;
    }
    strip_filling(&user.bytes);
    strip_filling(&password.bytes);
    if (!pg_utf8_valid(user.bytes) || user.bytes.len >= sizeof(c->platform_user)) {
        refuse_login(v, frame, GBT_ERROR, PG_BAD_CREDENTIAL, "the user name is not text");
        return true;
    }
    memcpy(c->platform_user, user.bytes.data, user.bytes.len);
    c->platform_user[user.bytes.len] = '\0';
    if (user.bytes.len > 0) {
        login.username = user.bytes;
        login.password = password.bytes;
    }
    ask_admission(v, frame, GBT_ASKED_BY_PLATFORM, &login);
    return false;
}

/* false: the session has gone to another connection already, and this client will end. That is the
 * only reason for which an internal subscription, which no rule is asked about, is not allowed. */
static bool subscribe_downlink(struct gbt_vehicle *v)
{
    char room[GBT_TOPIC_MAX];
    struct pg_subscription subscription = {
        .filter =
            gbt_topic(gbt_conf_of(v->conn)->downlink_topic, v->vin, NULL, 0, room, sizeof(room)),
        .qos = 1,
        .retain_handling = 2,
        .internal = true,
    };
    enum pg_reason reason = pg_subscribe(v->client, &subscription, 0);

    if (reason != PG_OK && reason != PG_PENDING && reason != PG_NOT_AUTHORIZED) {
        PG_LOG(PG_ERROR, "gbt32960_downlink_refused", PG_F_REASON(reason),
               PG_F_TEXT("client", v->vin), PG_F_BYTES("filter", subscription.filter));
    }
    return reason != PG_NOT_AUTHORIZED;
}

static void refused_by_core(struct gbt_vehicle *v, enum pg_reason reason)
{
    if (v->asking == GBT_ASKED_BY_DATA) {
        v->admit_tried = true; /* the frame is offered again and refused then */
    } else {
        v->refused = true; /* when the frame is offered again it has been answered */
        answer_refused_login(v, &v->asked, gbt_response_of(reason, v->asked.edition));
    }
    login_refused(v);
}

void gbt_session_admitted(struct pg_conn *conn, const struct pg_admission *admission, void *cookie)
{
    struct gbt_conn *c = pg_conn_state(conn);
    struct gbt_vehicle *v = cookie;
    bool admitted = admission->reason == PG_OK;

    gbt_resume(c);
    v->state = admitted ? GBT_ONLINE : GBT_FRESH;
    v->client = admitted ? admission->client : NULL;
    if (!admitted) {
        refused_by_core(v, admission->reason);
        return;
    }
    c->online_count++;
    c->login_failures = 0;
    v->seen_ms = pg_now_ms();
    v->greeting = v->asking != GBT_ASKED_BY_DATA;
    gbt_online_enter(v->vin);
    if (v->asking == GBT_ASKED_BY_PLATFORM) {
        c->platform = v;
        gbt_count(c, GBT_COUNT_PLATFORM_LOGINS);
    } else {
        gbt_count(c, GBT_COUNT_LOGINS);
    }
    pg_conn_set_frame_limit(pg_conn_of_state(c), 2 * GBT_WIRE_MAX);
    pg_conn_set_idle(pg_conn_of_state(c), gbt_conf_of(c)->idle_ms, PG_KEEPALIVE_TIMEOUT);
    if (subscribe_downlink(v)) {
        gbt_announce_online(v);
    }
    gbt_timer_update(v);
}

/* ---- the end -------------------------------------------------------------------------------- */

static void leave(struct gbt_vehicle *v, enum pg_reason reason)
{
    v->state = GBT_LEAVING;
    gbt_pause(v->conn);
    pg_client_end(v->client, reason);
}

static void logout(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    struct gbt_conn *c = v->conn;
    unsigned faults = gbt_frame_faults(frame, true) & ~(unsigned)WIRE_FAULT_SURPLUS;

    if (faults != 0) {
        gbt_answer_frame(c, frame, gbt_response_of(PG_MALFORMED, frame->edition));
        return;
    }
    if (!check_serial(v, frame, v->login_serial == 0 || serial_of(frame) == v->login_serial)) {
        gbt_answer_frame(c, frame, GBT_ERROR);
        return;
    }
    gbt_count(c, GBT_COUNT_LOGOUTS);
    gbt_hand_on(v, frame, &(struct gbt_uplink){.token = ++c->token});
    gbt_uplink_logout(v, frame);
    gbt_answer_frame(c, frame, GBT_SUCCESS);
    gbt_command_lost(v, PG_CLIENT_CLOSED); /* while it can be settled */
    if (v == c->platform) {
        for (struct gbt_vehicle *other = c->vehicles; other; other = other->next) {
            if (other != v && other->state == GBT_ONLINE) {
                leave(other, PG_CLIENT_CLOSED);
            }
        }
    }
    leave(v, PG_CLIENT_CLOSED);
    if (v == c->platform || c->online_count <= 1) {
        c->platform = NULL;
        pg_conn_set_idle(pg_conn_of_state(c), LOGGED_OUT_IDLE_MS, PG_LOGIN_TIMEOUT);
    }
}

void gbt_session_ended(struct pg_client *client, enum pg_reason reason)
{
    struct gbt_vehicle *v = pg_client_cookie(client);
    struct gbt_conn *c = v->conn;

    gbt_command_lost(v, reason);
    gbt_online_leave(v->vin);
    /* Who was taken over is still there, elsewhere: presence does not flap. */
    if (reason != PG_TAKEN_OVER) {
        gbt_announce_offline(v, reason);
    }
    gbt_uplink_free(v);
    gbt_join_free(v);
    gbt_secure_free(v);
    if (c->flooded) {
        c->flooded = false;
        gbt_resume(c);
    }
    if (v->state == GBT_LEAVING) {
        gbt_resume(c);
    }
    pg_timer_stop(&v->timer);
    v->client = NULL;
    v->state = GBT_FRESH;
    v->admit_tried = false;
    memset(v->recent, 0, sizeof(v->recent));
    memset(v->quiet_until_ms, 0, sizeof(v->quiet_until_ms));
    c->online_count--;
    if (c->platform == v) {
        c->platform = NULL;
    }
}

/* On a connection of several vehicles each has its own silence. */
int64_t gbt_session_deadline(const struct gbt_vehicle *v)
{
    int64_t idle = gbt_conf_of(v->conn)->idle_ms;
    bool alone = v->conn->platform == NULL && v->conn->vehicle_count <= 1;

    return v->state != GBT_ONLINE || alone || idle == 0 || v == v->conn->platform
               ? PG_NEVER
               : v->seen_ms + idle;
}

void gbt_session_due(struct gbt_vehicle *v)
{
    if (gbt_session_deadline(v) <= pg_now_ms()) {
        leave(v, PG_KEEPALIVE_TIMEOUT);
    }
}

/* ---- frames --------------------------------------------------------------------------------- */

/* Whether there is a signature that does not hold, and that matters. */
static bool is_forged(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    const char *signature = gbt_secure_signature(v->conn, frame);

    return signature && strcmp(signature, "invalid") == 0 &&
           gbt_conf_of(v->conn)->bad_signatures == GBT_BAD_SIGNATURES_REFUSE;
}

static void take_activation(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    struct wire_event vin;
    bool fine = !gbt_frame_is_opaque(frame) &&
                (gbt_frame_faults(frame, true) & ~(unsigned)WIRE_FAULT_SURPLUS) == 0 &&
                !is_forged(v, frame) && gbt_field(frame, true, "activation_vin", &vin) &&
                memcmp(vin.bytes.data, frame->id, GBT_ID_LEN) == 0;
    bool accept = fine && gbt_conf_of(v->conn)->activation == GBT_ACTIVATION_ACCEPT;

    gbt_answer_activation(v->conn, frame, accept ? 1 : 2, accept ? 0 : 2);
}

/* What has no effect before login. false: to be offered again when the admission is known. */
static bool take_before_login(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    struct gbt_conn *c = v->conn;
    int choice = gbt_conf_of(c)->before_login;

    if ((c->platform || choice == GBT_BEFORE_LOGIN_ADMIT) && !v->admit_tried &&
        !gbt_frame_is_answer(frame) && gbt_id_usable(frame->id)) {
        ask_for_vehicle(v, frame, GBT_ASKED_BY_DATA);
        return false;
    }
    gbt_count(c, GBT_COUNT_BEFORE_LOGIN);
    if (choice == GBT_BEFORE_LOGIN_CLOSE) {
        pg_conn_close(pg_conn_of_state(c), PG_PROTOCOL_ERROR, "command 0x%02x of %s before login",
                      frame->command, v->vin);
    } else if (choice == GBT_BEFORE_LOGIN_REFUSE) {
        gbt_answer_frame(c, frame, frame->edition == GBT_2025 ? GBT_VIN_UNKNOWN : GBT_ERROR);
    }
    return true;
}

/* false: the frame is to be offered again when the admission is known. */
static bool take_fresh(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    if (v->refused) {
        v->refused = false;
        return true;
    }
    if (gbt_frame_is_answer(frame)) {
        gbt_count(v->conn, GBT_COUNT_BEFORE_LOGIN);
        return true;
    }
    switch (frame->command) {
    case GBT_VEHICLE_LOGIN:
        return vehicle_login(v, frame);
    case GBT_PLATFORM_LOGIN:
        return platform_login(v, frame);
    case GBT_TIME_SYNC:
        gbt_answer_time(v->conn, frame);
        return true;
    case GBT_ACTIVATION:
        if (gbt_conf_of(v->conn)->activation != GBT_ACTIVATION_PUBLISH) {
            take_activation(v, frame);
            return true;
        }
        return take_before_login(v, frame);
    case GBT_VEHICLE_LOGOUT:
    case GBT_PLATFORM_LOGOUT:
        gbt_count(v->conn, GBT_COUNT_BEFORE_LOGIN);
        gbt_answer_frame(v->conn, frame, GBT_ERROR);
        return true;
    default:
        return take_before_login(v, frame);
    }
}

/* Commands of the protocol itself end here, others go on to the applications. */
static void take_online(struct gbt_vehicle *v, const struct gbt_frame *frame)
{
    struct gbt_conn *c = v->conn;

    if (gbt_frame_is_answer(frame) || (frame->command >= 0x80 && frame->command <= 0xbf)) {
        gbt_command_answered(v, frame);
        gbt_uplink_take(v, frame);
        return;
    }
    switch (frame->command) {
    case GBT_VEHICLE_LOGIN:
        login_again(v, frame);
        break;
    case GBT_PLATFORM_LOGIN:
        if (v == c->platform) {
            login_again(v, frame);
        } else {
            gbt_answer_frame(c, frame, GBT_ERROR);
        }
        break;
    case GBT_VEHICLE_LOGOUT:
    case GBT_PLATFORM_LOGOUT:
        logout(v, frame);
        break;
    case GBT_HEARTBEAT:
        gbt_answer_heartbeat(c, frame);
        break;
    case GBT_TIME_SYNC:
        gbt_answer_time(c, frame);
        break;
    case GBT_KEY_EXCHANGE:
        gbt_secure_exchange(v, frame);
        break;
    case GBT_ACTIVATION:
        if (gbt_conf_of(c)->activation != GBT_ACTIVATION_PUBLISH) {
            take_activation(v, frame);
            break;
        }
        gbt_uplink_take(v, frame);
        break;
    default:
        gbt_uplink_take(v, frame);
        break;
    }
}

bool gbt_session_frame(struct gbt_conn *c, const struct gbt_frame *frame)
{
    struct gbt_vehicle *v = vehicle_of(c, frame);
    struct gbt_frame plain;

    if (!v) {
        return true;
    }
    if (gbt_frame_is_opaque(frame) && gbt_secure_open(c, v, frame, &plain)) {
        frame = &plain;
    }
    v->seen_ms = pg_now_ms();
    v->edition = frame->edition;
    v->encryption = frame->encryption;
    memcpy(v->id, frame->id, sizeof(v->id));
    if (v->state != GBT_ONLINE) {
        return take_fresh(v, frame);
    }
    take_online(v, frame);
    return true;
}
