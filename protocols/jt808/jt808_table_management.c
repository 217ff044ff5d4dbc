/* SPDX-License-Identifier: Apache-2.0 */

/* Tables of the management messages: answers, registration, authentication, attributes, upgrade,
 * terminal control, retransmission, keys.
 *
 * standard  JT/T 808: 0x0001 to 0x0005, 0x0100 to 0x0108, 0x0A00, 0x8001 to 0x8004, 0x8100 to
 * 0x8108, 0x8A00; T/GDRTA 002: 0x1FC4
 */

#include "jt808_rows.h"

enum { R_COUNT = 1 };

/* Surplus bytes are passed on: some terminals put battery and signal into the heartbeat. */
static const struct wire_row nothing[] = {
    HEX_REST("extra_hex", FLAGS(WIRE_OPTIONAL), CLAUSE("no body by the standard")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_nothing[] = {LAYOUT("any", EVERY_EDITION, 0, nothing),
                                                     END_OF_LAYOUTS};

static const struct wire_name results[] = {{0, "ok"},          {1, "failed"},        {2, "wrong"},
                                           {3, "unsupported"}, {4, "alarm_handled"}, {0, NULL}};
static const struct wire_row general_response[] = {
    U16("ack_serial", EMQX("seq"), CLAUSE("0x0001, 0x8001")),
    U16("ack_id", EMQX("id"), FLAGS(WIRE_AS_HEX), CLAUSE("0x0001, 0x8001")),
    U8("result", NAMES(results), CLAUSE("0x0001, 0x8001")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_general_response[] = {
    LAYOUT("any", EVERY_EDITION, 0, general_response), END_OF_LAYOUTS};

/* ---- retransmission ------------------------------------------------------------------------- */

static const struct wire_row one_word[] = {{.kind = WIRE_UINT, .width = 2}, END_OF_ROWS};
static const struct wire_row retransmission_2013[] = {
    U16("original_serial", EMQX("seq"), CLAUSE("0x8003")),
    COUNT("count", 1, R_COUNT, CLAUSE("0x8003, 2013")),
    LIST("package_ids", one_word, R_COUNT, EMQX("ids"), CLAUSE("0x8003")), END_OF_ROWS};
static const struct wire_row retransmission_2019[] = {
    U16("original_serial", EMQX("seq"), CLAUSE("0x0005, 0x8003")),
    COUNT("count", 2, R_COUNT, CLAUSE("0x0005, 0x8003, 2019")),
    LIST("package_ids", one_word, R_COUNT, EMQX("ids"), CLAUSE("0x0005, 0x8003")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_retransmission[] = {
    LAYOUT("2013", 2011, 2018, 2013, retransmission_2013),
    LAYOUT("2019", 2019, 2999, 2019, retransmission_2019), END_OF_LAYOUTS};

static const struct wire_row server_time[] = {TIME("time", FLAGS(WIRE_UTC), CLAUSE("0x8004, UTC")),
                                              END_OF_ROWS};
const struct jt808_layout jt808_layouts_server_time[] = {
    LAYOUT("any", EVERY_EDITION, 0, server_time), END_OF_LAYOUTS};

/* ---- registration --------------------------------------------------------------------------- */

static const struct wire_name plate_colors[] = {
    {0, "none"},        {1, "blue"},          {2, "yellow"},          {3, "black"},
    {4, "white"},       {5, "green"},         {9, "other"},           {91, "farm_yellow"},
    {92, "farm_green"}, {93, "yellow_green"}, {94, "gradient_green"}, {0, NULL}};

#define REGISTER(maker, model_width, id_width, model_flags)                                        \
    U16("province", CLAUSE("0x0100, GB/T 2260")), U16("city", CLAUSE("0x0100, GB/T 2260")),        \
        TEXT_FIXED("manufacturer", maker, CLAUSE("0x0100")),                                       \
        TEXT_FIXED("model", model_width, FLAGS(model_flags), CLAUSE("0x0100")),                    \
        TEXT_FIXED("terminal_id", id_width, EMQX("dev_id"), CLAUSE("0x0100")),                     \
        U8("plate_color", EMQX("color"), NAMES(plate_colors), FLAGS(WIRE_LISTED),                  \
           CLAUSE("0x0100")),                                                                      \
        TEXT_REST("plate", EMQX("license_number"), FLAGS(WIRE_PRINTABLE),                          \
                  CLAUSE("0x0100, VIN without a plate"))

static const struct wire_row register_2011[] = {REGISTER(5, 8, 7, WIRE_BLANKS), END_OF_ROWS};
static const struct wire_row register_2013[] = {REGISTER(5, 20, 7, 0), END_OF_ROWS};
static const struct wire_row register_2019[] = {REGISTER(11, 30, 30, 0), END_OF_ROWS};
const struct jt808_layout jt808_layouts_register[] = {
    LAYOUT("2011", 2011, 2011, 2011, register_2011),
    LAYOUT("2013", 2012, 2018, 2013, register_2013),
    LAYOUT("2019", 2019, 2999, 2019, register_2019), END_OF_LAYOUTS};

static const struct wire_name register_results[] = {{0, "ok"},
                                                    {1, "vehicle_registered"},
                                                    {2, "no_such_vehicle"},
                                                    {3, "terminal_registered"},
                                                    {4, "no_such_terminal"},
                                                    {0, NULL}};
static const struct wire_row register_response[] = {
    U16("ack_serial", EMQX("seq"), CLAUSE("0x8100")),
    U8("result", NAMES(register_results), CLAUSE("0x8100")),
    TEXT_REST("auth_code", FLAGS(WIRE_OPTIONAL), CLAUSE("0x8100, with result 0")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_register_response[] = {
    LAYOUT("any", EVERY_EDITION, 0, register_response), END_OF_LAYOUTS};

/* ---- authentication ------------------------------------------------------------------------- */

static const struct wire_row authentication_2013[] = {
    TEXT_REST("auth_code", EMQX("code"), FLAGS(WIRE_PRINTABLE), CLAUSE("0x0102")), END_OF_ROWS};
#define AUTH_CODE                                                                                  \
    COUNT("auth_code_length", 1, R_COUNT, EMQX(""), CLAUSE("0x0102, 2019")),                       \
        TEXT_REST("auth_code", EMQX("code"), .count = R_COUNT, CLAUSE("0x0102, 2019"))
static const struct wire_row authentication_2019[] = {
    AUTH_CODE, TEXT_FIXED("imei", 15, CLAUSE("0x0102, 2019")),
    TEXT_FIXED("software_version", 20, CLAUSE("0x0102, 2019")), END_OF_ROWS};
static const struct wire_row authentication_short_version[] = {
    AUTH_CODE, TEXT_FIXED("imei", 15, CLAUSE("0x0102, 2019")),
    TEXT_REST("software_version", CLAUSE("0x0102, shorter than 20 bytes")), END_OF_ROWS};
static const struct wire_row authentication_code_only[] = {AUTH_CODE, END_OF_ROWS};
const struct jt808_layout jt808_layouts_authentication[] = {
    LAYOUT("2013", 2011, 2018, 2013, authentication_2013),
    LAYOUT("2019", 2019, 2999, 2019, authentication_2019),
    LAYOUT("2019-short-version", 0, 0, 2019, authentication_short_version),
    LAYOUT("2019-code-only", 0, 0, 2019, authentication_code_only), END_OF_LAYOUTS};

/* ---- attributes ----------------------------------------------------------------------------- */

static const struct wire_bits type_bits = {.names = {"passenger", "dangerous_goods", "freight",
                                                     "taxi", NULL, NULL, "disk_recording", "split",
                                                     "trailer"}};
static const struct wire_bits gnss_bits = {.names = {"gps", "beidou", "glonass", "galileo"}};
static const struct wire_bits comm_bits = {
    .names = {"gprs", "cdma", "td_scdma", "wcdma", "cdma2000", "td_lte", NULL, "other"}};

#define ATTRIBUTES(maker, model_width, id_width)                                                   \
    BITS("terminal_type", 2, type_bits, EMQX("type"), CLAUSE("0x0107")),                           \
        TEXT_FIXED("manufacturer", maker, CLAUSE("0x0107")),                                       \
        ROW("manufacturer_length", WIRE_FACT, .value = (maker), CLAUSE("bytes of manufacturer")),  \
        TEXT_FIXED("model", model_width, CLAUSE("0x0107")),                                        \
        TEXT_FIXED("terminal_id", id_width, EMQX("id"), CLAUSE("0x0107")),                         \
        DIGITS("iccid", 10, CLAUSE("0x0107")),                                                     \
        TEXT_COUNTED("hardware_version", 1, CLAUSE("0x0107")),                                     \
        TEXT_COUNTED("firmware_version", 1, CLAUSE("0x0107")),                                     \
        BITS("gnss", 1, gnss_bits, EMQX("gnss_prop"), CLAUSE("0x0107")),                           \
        BITS("comm", 1, comm_bits, EMQX("comm_prop"), CLAUSE("0x0107"))

static const struct wire_row attributes_2013[] = {ATTRIBUTES(5, 20, 7), END_OF_ROWS};
static const struct wire_row attributes_2019[] = {ATTRIBUTES(5, 30, 30), END_OF_ROWS};
static const struct wire_row attributes_maker_11[] = {ATTRIBUTES(11, 30, 30), END_OF_ROWS};
const struct jt808_layout jt808_layouts_attributes[] = {
    LAYOUT("2013", 2011, 2018, 2013, attributes_2013),
    LAYOUT("2019", 2019, 2999, 2019, attributes_2019),
    LAYOUT("2019-maker-11", 0, 0, 2019, attributes_maker_11), END_OF_LAYOUTS};

/* ---- upgrade and control -------------------------------------------------------------------- */

static const struct wire_name upgrade_types[] = {
    {0, "terminal"}, {12, "ic_card_reader"}, {52, "gnss"},  {0x64, "adas"},
    {0x65, "dsm"},   {0x66, "tpms"},         {0x67, "bsd"}, {0, NULL}};
static const struct wire_name upgrade_results[] = {{0, "ok"},
                                                   {1, "failed"},
                                                   {2, "cancelled"},
                                                   {0x10, "no_device"},
                                                   {0x11, "unsupported_hardware"},
                                                   {0x12, "same_version"},
                                                   {0x13, "unsupported_version"},
                                                   {0, NULL}};
static const struct wire_row upgrade_result[] = {
    U8("upgrade_type", EMQX("type"), NAMES(upgrade_types), CLAUSE("0x0108")),
    U8("result", NAMES(upgrade_results), CLAUSE("0x0108")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_upgrade_result[] = {
    LAYOUT("any", EVERY_EDITION, 0, upgrade_result), END_OF_LAYOUTS};

static const struct wire_row upgrade_package[] = {
    U8("upgrade_type", NAMES(upgrade_types), CLAUSE("0x8108")),
    TEXT_FIXED("manufacturer", 5, CLAUSE("0x8108")),
    TEXT_COUNTED("version", 1, CLAUSE("0x8108")),
    COUNT("data_length", 4, R_COUNT, CLAUSE("0x8108")),
    HEX_REST("data_hex", .count = R_COUNT, CLAUSE("0x8108")),
    END_OF_ROWS};
/* EMQX takes the data for a text. */
static const struct wire_row upgrade_package_emqx[] = {U8("type"),
                                                       TEXT_FIXED("manufacturer", 5),
                                                       TEXT_COUNTED("version", 1),
                                                       COUNT("fw_len", 4, R_COUNT),
                                                       TEXT_REST("firmware", .count = R_COUNT),
                                                       END_OF_ROWS};
const struct jt808_layout jt808_layouts_upgrade_package[] = {
    LAYOUT_EMQX("any", EVERY_EDITION, 0, upgrade_package, upgrade_package_emqx), END_OF_LAYOUTS};

static const struct wire_name upgrade_states[] = {
    {1, "downloading"},     {2, "downloaded"},
    {3, "download_failed"}, {4, "installing"},
    {5, "installed"},       {6, "install_failed"},
    {7, "no_device"},       {8, "unsupported_hardware"},
    {9, "same_version"},    {10, "unsupported_version"},
    {11, "other"},          {0, NULL}};
static const struct wire_row upgrade_progress[] = {
    U16("ack_serial", CLAUSE("T/GDRTA 0x1FC4")),
    U8("upgrade_type", NAMES(upgrade_types), CLAUSE("T/GDRTA 0x1FC4")),
    U8("state", NAMES(upgrade_states), CLAUSE("T/GDRTA 0x1FC4")),
    U8("progress", UNIT("%"), CLAUSE("T/GDRTA 0x1FC4")),
    U8("error_code", CLAUSE("T/GDRTA 0x1FC4")),
    END_OF_ROWS};
const struct jt808_layout jt808_layouts_upgrade_progress[] = {
    LAYOUT("any", EVERY_EDITION, 0, upgrade_progress), END_OF_LAYOUTS};

static const struct wire_name control_commands[] = {
    {1, "upgrade"},          {2, "connect_server"},  {3, "power_off"},   {4, "reset"},
    {5, "factory_settings"}, {6, "close_data_link"}, {7, "close_radio"}, {0, NULL}};
static const struct wire_row terminal_control[] = {
    U8("command", NAMES(control_commands), CLAUSE("0x8105")),
    TEXT_REST("params", EMQX("param"), FLAGS(WIRE_OPTIONAL),
              CLAUSE("0x8105, values divided by semicolons")),
    END_OF_ROWS};
const struct jt808_layout jt808_layouts_terminal_control[] = {
    LAYOUT("any", EVERY_EDITION, 0, terminal_control), END_OF_LAYOUTS};

static const struct wire_row rsa_key[] = {
    U32("e", CLAUSE("0x0A00, 0x8A00")),
    HEX_FIXED("n_hex", 128, EMQX("n"), CLAUSE("0x0A00, 0x8A00")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_rsa_key[] = {LAYOUT("any", EVERY_EDITION, 0, rsa_key),
                                                     END_OF_LAYOUTS};
