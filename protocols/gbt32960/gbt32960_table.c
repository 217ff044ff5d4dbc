/* SPDX-License-Identifier: Apache-2.0 */

/* The commands of GB/T 32960.3 with the rows of their units, parameters, and lookups.
 *
 * An answer of the platform, or of a terminal to 81 and 82, is the time of what it answers, or
 * nothing at all; what stands behind it (an edition of 2016 may be read as wanting the whole unit
 * back) is shown as surplus. The answer to 80 has the values.
 *
 * standard  GB/T 32960.3-2016, -2025: chapters 6 and 7, Annex B
 */

#include "gbt32960_table.h"

#include <string.h>

#include "gbt32960_rows.h"

enum { R_COUNT = 1, R_SIZE = 2, R_DOMAIN = 3, R_PUBLIC_DOMAIN = 4 };

/* ---- login and logout ----------------------------------------------------------------------- */

static const struct wire_row code_2016[] = {
    {.kind = WIRE_TEXT, .count = R_SIZE, .flags = WIRE_TRIM | WIRE_EXACT}, END_OF_ROWS};
static const struct wire_row pack_count[] = {
    {.kind = WIRE_UINT, .width = 1, .flags = WIRE_RANGE, .low = 0, .high = 50}, END_OF_ROWS};
static const struct wire_row pack_code[] = {{.kind = WIRE_TEXT, .width = 24, .flags = WIRE_TRIM},
                                            END_OF_ROWS};

#define SERIAL PLAIN("serial_number", 2, EMQX("Seq"), .flags = WIRE_RANGE, .low = 1, .high = 65531)

/* A code length of 0 says that the codes are not sent. */
static const struct wire_row vehicle_login[] = {
    TIME("time"),
    SERIAL,
    TEXT("iccid", 20),
    ROW("subsystem_count", WIRE_UINT, .width = 1, .keep = R_COUNT, .flags = MARKERS | WIRE_RANGE,
        .low = 0, .high = 250, ONLY_2016),
    ROW("code_length", WIRE_UINT, .width = 1, .keep = R_SIZE, .flags = WIRE_RANGE, .low = 0,
        .high = 50, ONLY_2016),
    LIST("codes", code_2016, R_COUNT, .when = R_SIZE, .when_mask = 0xff, .when_value = 0,
         .flags = WIRE_UNLESS, ONLY_2016),
    ROW("bms_count", WIRE_COUNT, .width = 1, .keep = R_COUNT, .flags = MARKERS | WIRE_RANGE,
        .low = 0, .high = 20, ONLY_2025),
    LIST("pack_counts", pack_count, R_COUNT, .keep = R_SIZE, ONLY_2025),
    LIST("pack_codes", pack_code, R_SIZE, ONLY_2025),
    END_OF_ROWS};

/* EMQX has the codes as one text; those of 2025 are lists, one for each system. */
static const struct wire_row vehicle_login_emqx[] = {
    TIME("Time"),
    PLAIN("Seq", 2),
    TEXT("ICCID", 20),
    PLAIN("Num", 1, ONLY_2016),
    PLAIN("Length", 1, ONLY_2016),
    ROW("Id", WIRE_TEXT, ONLY_2016),
    ROW("BmsNum", WIRE_COUNT, .width = 1, .keep = R_COUNT, .flags = MARKERS, ONLY_2025),
    LIST("BatteryPackCounts", pack_count, R_COUNT, .keep = R_SIZE, .flags = WIRE_ALIAS_GROUPS,
         ONLY_2025),
    LIST("BatteryPackEncodings", pack_code, R_SIZE, .flags = WIRE_ALIAS_GROUPS, ONLY_2025),
    END_OF_ROWS};

static const struct wire_row logout[] = {TIME("time", EMQX("Time")), SERIAL, END_OF_ROWS};

static const struct wire_name encryptions_2016[] = {
    {1, "none"}, {2, "rsa"}, {3, "aes128"}, {0, NULL}};
static const struct wire_name encryptions_2025[] = {{1, "none"}, {2, "rsa"}, {3, "aes"},
                                                    {4, "sm2"},  {5, "sm4"}, {0, NULL}};

static const struct wire_row platform_login[] = {
    TIME("time", EMQX("Time")),
    SERIAL,
    TEXT("username", 12, EMQX("Username")),
    ROW("password", WIRE_TEXT, EMQX("Password"), .width = 20, .flags = WIRE_TRIM | WIRE_SECRET),
    STATE("encryption_rule", encryptions_2016, EMQX("Encrypt"), ONLY_2016),
    STATE("encryption_rule", encryptions_2025, EMQX("Encrypt"), ONLY_2025),
    END_OF_ROWS};

/* ---- 2025: activation, keys ----------------------------------------------------------------- */

static const struct wire_row activation[] = {
    TIME("time"),
    ROW("chip_id", WIRE_TEXT, .width = 16, .flags = WIRE_TRIM | WIRE_BLANKS),
    HEX_COUNTED("public_key_hex"),
    TEXT("activation_vin", 17),
    ROW("signature", WIRE_STRUCT, .rows = gbt_rows_signature),
    END_OF_ROWS};

#define DIGITS_COUNTED(length, name, reg, ...)                                                     \
    ROW(length, WIRE_COUNT, .width = 2, .keep = (reg)),                                            \
        ROW(name, WIRE_HEX, .count = (reg), __VA_ARGS__)
static const struct wire_name signature_type[] = {{1, "Signature"}, {0, NULL}};
static const struct wire_row signature_emqx[] = {
    ROW("Type", WIRE_FACT, .value = 1, .names = signature_type), PLAIN("SignatureType", 1),
    DIGITS_COUNTED("RLength", "RValue", R_COUNT, .flags = WIRE_EXACT | WIRE_ALIAS_DIGITS),
    DIGITS_COUNTED("SLength", "SValue", R_SIZE, .flags = WIRE_EXACT | WIRE_ALIAS_DIGITS),
    END_OF_ROWS};
static const struct wire_row activation_emqx[] = {
    TIME("Time"),
    TEXT("ChipID", 16),
    DIGITS_COUNTED("PubKeyLen", "PubKey", R_COUNT, .flags = WIRE_EXACT | WIRE_ALIAS_DIGITS),
    TEXT("VIN", 17),
    ROW("Signature", WIRE_STRUCT, .rows = signature_emqx),
    END_OF_ROWS};

static const struct wire_name activation_states[] = {{1, "activated"}, {2, "failed"}, {0, NULL}};
static const struct wire_name activation_infos[] = {
    {0, "ok"}, {1, "already_activated"}, {2, "vin_duplicate"}, {0, NULL}};
static const struct wire_row activation_response[] = {STATE("status", activation_states),
                                                      STATE("info", activation_infos), END_OF_ROWS};

static const struct wire_name key_types[] = {
    {2, "rsa"}, {3, "aes"}, {4, "sm2"}, {5, "sm4"}, {0, NULL}};
static const struct wire_row key_exchange[] = {
    STATE("key_type", key_types), ROW("key_hex", WIRE_HEX, .prefix = 2, .flags = WIRE_SECRET),
    TIME("start_time"), TIME("expire_time"), END_OF_ROWS};

static const struct wire_row key_exchange_emqx[] = {
    PLAIN("KeyType", 1),
    DIGITS_COUNTED("KeyLength", "Key", R_COUNT,
                   .flags = WIRE_EXACT | WIRE_ALIAS_DIGITS | WIRE_SECRET),
    TIME("ActiveTime"), TIME("ExpireTime"), END_OF_ROWS};

/* ---- parameters ----------------------------------------------------------------------------- */

static const struct wire_name sampling[] = {{1, "true"}, {2, "false"}, {0, NULL}};

#define ONE(...) ((const struct wire_row[]){__VA_ARGS__, END_OF_ROWS})
#define PARAMETER(code, label, ...)                                                                \
    {                                                                                              \
        .id = (code), .name = (label), .alias = (label), .any_length = true, __VA_ARGS__           \
    }
#define NUMERIC(w, low, high, unit_) .rows = ONE(NUMBER("value", w, low, high, WHOLE(unit_, 0)))

/* Texts of 05 and 0e are as long as 04 and 0d, which come before, say. */
static const struct wire_item parameter[] = {
    PARAMETER(0x01, "local_storage_period_ms", NUMERIC(2, 0, 60000, "ms")),
    PARAMETER(0x02, "report_period_s", ONLY_2016, NUMERIC(2, 1, 600, "s")),
    PARAMETER(0x02, "report_period_s", ONLY_2025, NUMERIC(1, 1, 30, "s")),
    PARAMETER(0x03, "alarm_report_period_ms", ONLY_2016, NUMERIC(2, 0, 60000, "ms")),
    PARAMETER(0x03, "alarm_report_period_s", ONLY_2025, NUMERIC(1, 0, 1, "s")),
    PARAMETER(0x04, "platform_domain_length", .rows = ONE(PLAIN("value", 1, .keep = R_DOMAIN))),
    PARAMETER(0x05, "platform_domain", .needs = R_DOMAIN,
              .rows = ONE(ROW("value", WIRE_TEXT, .count = R_DOMAIN, .flags = WIRE_EXACT))),
    PARAMETER(0x06, "platform_port", NUMERIC(2, 0, 65531, NULL)),
    PARAMETER(0x07, "hardware_version", .rows = ONE(TEXT("value", 5))),
    PARAMETER(0x08, "firmware_version", .rows = ONE(TEXT("value", 5))),
    PARAMETER(0x09, "heartbeat_period_s", NUMERIC(1, 1, 240, "s")),
    PARAMETER(0x0a, "terminal_response_timeout_s", NUMERIC(2, 1, 600, "s")),
    PARAMETER(0x0b, "platform_response_timeout_s", NUMERIC(2, 1, 600, "s")),
    PARAMETER(0x0c, "login_retry_interval_min", NUMERIC(1, 1, 240, "min")),
    PARAMETER(0x0d, "public_platform_domain_length",
              .rows = ONE(PLAIN("value", 1, .keep = R_PUBLIC_DOMAIN))),
    PARAMETER(0x0e, "public_platform_domain", .needs = R_PUBLIC_DOMAIN,
              .rows = ONE(ROW("value", WIRE_TEXT, .count = R_PUBLIC_DOMAIN, .flags = WIRE_EXACT))),
    PARAMETER(0x0f, "public_platform_port", NUMERIC(2, 0, 65531, NULL)),
    PARAMETER(0x10, "sampling_monitoring",
              .rows = ONE(ROW("value", WIRE_UINT, .width = 1,
                              .flags = MARKERS | WIRE_RANGE | WIRE_BOOL, .names = sampling))),
};

const struct wire_items gbt_parameters = {.id_width = 1,
                                          .alias_items = WIRE_ALIAS_PAIRS,
                                          .item = parameter,
                                          .n = sizeof(parameter) / sizeof(parameter[0])};

static const struct wire_row parameter_id[] = {{.kind = WIRE_UINT, .width = 1}, END_OF_ROWS};

static const struct wire_row query[] = {TIME("time", EMQX("Time")),
                                        ROW("parameter_count", WIRE_COUNT, EMQX("Total"),
                                            .width = 1, .keep = R_COUNT, .flags = WIRE_RANGE,
                                            .low = 0, .high = 252),
                                        LIST("parameter_ids", parameter_id, R_COUNT), END_OF_ROWS};

static const struct wire_row set[] = {
    TIME("time", EMQX("Time")),
    ROW("parameter_count", WIRE_COUNT, EMQX("Total"), .width = 1, .keep = R_COUNT,
        .flags = WIRE_RANGE, .low = 0, .high = 252),
    ROW("parameters", WIRE_ITEMS, EMQX("Params"), .items = &gbt_parameters, .count = R_COUNT),
    END_OF_ROWS};

static const struct wire_row answer_with_values[] = {
    ROW("time", WIRE_TIME, EMQX("Time"), .width = 6, .flags = WIRE_BINARY_TIME | WIRE_OPTIONAL),
    ROW("parameter_count", WIRE_COUNT, EMQX("Total"), .width = 1, .keep = R_COUNT,
        .flags = WIRE_RANGE | WIRE_OPTIONAL, .low = 0, .high = 252),
    ROW("parameters", WIRE_ITEMS, EMQX("Params"), .items = &gbt_parameters, .count = R_COUNT),
    END_OF_ROWS};

/* ---- control -------------------------------------------------------------------------------- */

static const struct wire_name controls[] = {{1, "remote_upgrade"},
                                            {2, "shutdown"},
                                            {3, "reset"},
                                            {4, "factory_reset"},
                                            {5, "disconnect_data_link"},
                                            {6, "terminal_alarm"},
                                            {7, "open_sampling_link"},
                                            {0, NULL}};
#define IF_ALARM .when = R_COUNT, .when_mask = 0xff, .when_value = 6

static const struct wire_row control[] = {
    TIME("time"),
    ROW("control", WIRE_UINT, .width = 1, .keep = R_COUNT, .names = controls),
    NUMBER("alarm_level", 1, 0, 3, ONLY_2016, IF_ALARM),
    NUMBER("alarm_level", 1, 0, 4, ONLY_2025, IF_ALARM),
    ROW("alarm_text", WIRE_TEXT, .flags = WIRE_DEFAULTS, IF_ALARM),
    ROW("parameters_hex", WIRE_HEX, .flags = WIRE_OPTIONAL | WIRE_UNLESS, IF_ALARM),
    END_OF_ROWS};

/* ---- commands ------------------------------------------------------------------------------- */

static const struct wire_row nothing[] = {END_OF_ROWS};
static const struct wire_row answer[] = {
    ROW("time", WIRE_TIME, EMQX("Time"), .width = 6, .flags = WIRE_BINARY_TIME | WIRE_OPTIONAL),
    END_OF_ROWS};

#define UP   .up = true
#define DOWN .down = true
#define MESSAGE(code, label, rows_, answer_, what_, ...)                                           \
    {                                                                                              \
        .command = (code), .name = (label), .rows = (rows_), .answer = (answer_), .what = (what_), \
        __VA_ARGS__                                                                                \
    }

const struct gbt_message gbt_messages[] = {
    MESSAGE(GBT_VEHICLE_LOGIN, "vehicle_login", vehicle_login, answer, "vehicle login", UP,
            EMQX("vlogin"), .alias_rows = vehicle_login_emqx),
    MESSAGE(GBT_REALTIME_REPORT, "realtime_report", gbt_rows_report, answer, "real-time report", UP,
            EMQX("info")),
    MESSAGE(GBT_REISSUE_REPORT, "reissue_report", gbt_rows_report, answer, "re-issued report", UP,
            EMQX("reinfo")),
    MESSAGE(GBT_VEHICLE_LOGOUT, "vehicle_logout", logout, answer, "vehicle logout", UP,
            EMQX("vlogout")),
    MESSAGE(GBT_PLATFORM_LOGIN, "platform_login", platform_login, answer, "platform login", UP,
            EMQX("plogin")),
    MESSAGE(GBT_PLATFORM_LOGOUT, "platform_logout", logout, answer, "platform logout", UP,
            EMQX("plogout")),
    MESSAGE(GBT_HEARTBEAT, "heartbeat", nothing, answer, "heartbeat", UP),
    MESSAGE(GBT_TIME_SYNC, "terminal_time_sync", nothing, answer, "the terminal asks for the time",
            UP),
    MESSAGE(GBT_ACTIVATION, "activation", activation, answer, "activation", UP, ONLY_2025,
            EMQX("activation"), .alias_rows = activation_emqx),
    MESSAGE(GBT_ACTIVATION_RESPONSE, "activation_response", activation_response, NULL,
            "answer to an activation", DOWN, ONLY_2025),
    MESSAGE(GBT_KEY_EXCHANGE, "key_exchange", key_exchange, answer, "exchange of a key", UP, DOWN,
            ONLY_2025, .alias_rows = key_exchange_emqx),
    MESSAGE(GBT_PARAMETER_QUERY, "parameter_query", query, answer_with_values, "ask for parameters",
            DOWN, EMQX("response")),
    MESSAGE(GBT_PARAMETER_SET, "parameter_set", set, answer_with_values, "set parameters", DOWN,
            EMQX("response")),
    MESSAGE(GBT_TERMINAL_CONTROL, "terminal_control", control, answer, "control the terminal", DOWN,
            EMQX("response")),
};
const size_t gbt_message_count = sizeof(gbt_messages) / sizeof(gbt_messages[0]);

const struct gbt_message *gbt_message_by_command(uint8_t command, unsigned edition)
{
    for (size_t i = 0; i < gbt_message_count; i++) {
        if (gbt_messages[i].command == command && edition >= gbt_messages[i].since) {
            return &gbt_messages[i];
        }
    }
    return NULL;
}

const struct gbt_message *gbt_message_by_name(const char *name)
{
    for (size_t i = 0; i < gbt_message_count; i++) {
        if (strcmp(gbt_messages[i].name, name) == 0) {
            return &gbt_messages[i];
        }
    }
    return NULL;
}

/* ---- flags of the header -------------------------------------------------------------------- */

static const struct wire_name responses[] = {{GBT_SUCCESS, "success"},
                                             {GBT_ERROR, "error"},
                                             {GBT_VIN_DUPLICATE, "vin_duplicate"},
                                             {GBT_VIN_UNKNOWN, "vin_not_exist"},
                                             {GBT_SIGNATURE_ERROR, "signature_error"},
                                             {GBT_STRUCTURE_ERROR, "structure_error"},
                                             {GBT_DECRYPTION_ERROR, "decrypt_error"},
                                             {GBT_COMMAND, "command"},
                                             {0, NULL}};

static const char *name_in(const struct wire_name *names, unsigned value)
{
    while (names->name != NULL && names->value != value) {
        names++;
    }
    return names->name;
}

static uint8_t value_in(const struct wire_name *names, const char *name)
{
    while (names->name != NULL && strcmp(names->name, name) != 0) {
        names++;
    }
    return names->name != NULL ? (uint8_t)names->value : 0;
}

const char *gbt_response_name(uint8_t response)
{
    return name_in(responses, response);
}

uint8_t gbt_response_by_name(const char *name)
{
    return value_in(responses, name);
}

const char *gbt_encryption_name(uint8_t encryption, unsigned edition)
{
    if (encryption >= 0xfe) {
        return encryption == 0xfe ? "abnormal" : "invalid";
    }
    return name_in(edition == GBT_2025 ? encryptions_2025 : encryptions_2016, encryption);
}

uint8_t gbt_encryption_by_name(const char *name)
{
    if (strcmp(name, "abnormal") == 0 || strcmp(name, "invalid") == 0) {
        return name[0] == 'a' ? 0xfe : 0xff;
    }
    uint8_t value = value_in(encryptions_2025, name);
    return value != 0 ? value : value_in(encryptions_2016, name);
}

/* ---- units ---------------------------------------------------------------------------------- */

const struct wire_row *gbt_rows_of(const struct gbt_frame *frame, bool uplink)
{
    const struct gbt_message *message = gbt_message_by_command(frame->command, frame->edition);

    if (message == NULL) {
        return NULL;
    }
    bool answers = gbt_frame_is_answer(frame) || (uplink && !message->up);
    return answers && message->answer != NULL ? message->answer : message->rows;
}

unsigned gbt_frame_faults(const struct gbt_frame *frame, bool uplink)
{
    const struct wire_row *rows = gbt_rows_of(frame, uplink);
    struct wire_walked walked = {0};

    if (rows != NULL && !gbt_frame_is_opaque(frame)) {
        (void)wire_walk(rows, frame->unit, frame->edition, NULL, NULL, &walked);
    }
    return walked.faults;
}

bool gbt_field(const struct gbt_frame *frame, bool uplink, const char *name,
               struct wire_event *found)
{
    const struct wire_row *rows = gbt_rows_of(frame, uplink);

    return rows != NULL && !gbt_frame_is_opaque(frame) &&
           wire_find(rows, frame->unit, frame->edition, name, found);
}

/* ---- cell voltages -------------------------------------------------------------------------- */

/* Places of the rows in gbt_rows_voltage_subsystem. */
enum { ROW_NUMBER = 0, ROW_TOTAL = 3, ROW_START = 4, ROW_CELLS = 6, ROWS = 7 };

extern const struct wire_row gbt_rows_voltage_subsystem[];

void gbt_cells_visit(void *context, const struct wire_event *event)
{
    struct gbt_cells *cells = context;
    const struct wire_row *rows = gbt_rows_voltage_subsystem;
    struct gbt_cell_part *part = &cells->part[cells->count];

    if (event->row < rows || event->row >= rows + ROWS || cells->count == GBT_CELL_PARTS) {
        return;
    }
    switch (event->row - rows) {
    case ROW_NUMBER:
        part->number = (uint8_t)event->raw;
        break;
    case ROW_TOTAL:
        part->total = (uint16_t)event->raw;
        break;
    case ROW_START:
        part->start = (uint16_t)event->raw;
        break;
    case ROW_CELLS:
        part->voltages = event->bytes;
        /* Whole ones, and those that say nothing sensible, are no parts. */
        if (event->kind == WIRE_EV_LIST_END && event->raw > 0 && event->raw < part->total &&
            part->total <= 65531 && part->start >= 1 &&
            part->start - 1u + event->raw <= part->total) {
            cells->count++;
        }
        break;
    default:
        break;
    }
}
