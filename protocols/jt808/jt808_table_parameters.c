/* SPDX-License-Identifier: Apache-2.0 */

/* Tables of the terminal's parameters and the messages that carry them.
 *
 * A parameter is read by its table type only if the length on the wire is that of the type; else
 * its bytes are passed on, because terminals send other widths than printed. Records of several
 * fields (JT/T 1078, T/JSATL 12) are passed on as bytes too.
 *
 * standard  JT/T 808: 0x0104, 0x8103, 0x8104, 0x8106 and the table of parameters; JT/T 1078;
 * T/JSATL 12
 */

#include "jt808_rows.h"

enum { R_COUNT = 1 };

/* Parameters with an alias are numbers and texts for EMQX, too. */
#define UINT_PARAM(id_, len, name_, ...)                                                           \
    {                                                                                              \
        .id = (id_), .name = (name_), .alias = (name_), .length = (len),                           \
        .rows = (const struct wire_row[])                                                          \
        {                                                                                          \
            {.name = "value", .kind = WIRE_UINT, .width = (len), __VA_ARGS__}, END_OF_ROWS         \
        }                                                                                          \
    }
/* The 2011 text has DWORDs for some that are narrower since. */
#define UINT_PARAM_2013(id_, len, name_, ...)                                                      \
    {                                                                                              \
        .id = (id_), .name = (name_), .alias = (name_), .length = (len), .since = 2012,            \
        .rows = (const struct wire_row[])                                                          \
        {                                                                                          \
            {.name = "value", .kind = WIRE_UINT, .width = (len), __VA_ARGS__}, END_OF_ROWS         \
        }                                                                                          \
    }
#define UINT_PARAM_2011(id_, name_)                                                                \
    {                                                                                              \
        .id = (id_), .name = (name_), .alias = (name_), .length = 4, .until = 2011,                \
        .rows = (const struct wire_row[])                                                          \
        {                                                                                          \
            {.name = "value", .kind = WIRE_UINT, .width = 4}, END_OF_ROWS                          \
        }                                                                                          \
    }
#define TEXT_PARAM(id_, name_, clause_)                                                            \
    {                                                                                              \
        .id = (id_), .name = (name_), .alias = (name_), .any_length = true,                        \
        .rows = (const struct wire_row[])                                                          \
        {                                                                                          \
            {.name = "value", .kind = WIRE_TEXT, .clause = (clause_)}, END_OF_ROWS                 \
        }                                                                                          \
    }
/* Those that EMQX passes on as bytes. */
#define UINT_PARAM_1078(id_, len, name_, ...)                                                      \
    {                                                                                              \
        .id = (id_), .name = (name_), .length = (len), .rows = (const struct wire_row[])           \
        {                                                                                          \
            {.name = "value", .kind = WIRE_UINT, .width = (len), __VA_ARGS__}, END_OF_ROWS         \
        }                                                                                          \
    }
#define TEXT_PARAM_2019(id_, name_, clause_)                                                       \
    {                                                                                              \
        .id = (id_), .name = (name_), .any_length = true, .rows = (const struct wire_row[])        \
        {                                                                                          \
            {.name = "value", .kind = WIRE_TEXT, .clause = (clause_)}, END_OF_ROWS                 \
        }                                                                                          \
    }
#define HEX_PARAM(id_, last_, name_)                                                               \
    {                                                                                              \
        .id = (id_), .last_id = (last_), .name = (name_), .rows = NULL                             \
    }

/* clang-format off */
static const struct wire_item parameters[] = {
    UINT_PARAM(0x0001, 4, "heartbeat_interval", CLAUSE("parameter 0x0001"), UNIT("s")),
    UINT_PARAM(0x0002, 4, "tcp_answer_timeout", CLAUSE("parameter 0x0002"), UNIT("s")),
    UINT_PARAM(0x0003, 4, "tcp_retransmissions", CLAUSE("parameter 0x0003")),
    UINT_PARAM(0x0004, 4, "udp_answer_timeout", CLAUSE("parameter 0x0004"), UNIT("s")),
    UINT_PARAM(0x0005, 4, "udp_retransmissions", CLAUSE("parameter 0x0005")),
    UINT_PARAM(0x0006, 4, "sms_answer_timeout", CLAUSE("parameter 0x0006"), UNIT("s")),
    UINT_PARAM(0x0007, 4, "sms_retransmissions", CLAUSE("parameter 0x0007")),
    TEXT_PARAM(0x0010, "main_apn", "parameter 0x0010"),
    TEXT_PARAM(0x0011, "main_user", "parameter 0x0011"),
    TEXT_PARAM(0x0012, "main_password", "parameter 0x0012"),
    TEXT_PARAM(0x0013, "main_address", "parameter 0x0013"),
    TEXT_PARAM(0x0014, "backup_apn", "parameter 0x0014"),
    TEXT_PARAM(0x0015, "backup_user", "parameter 0x0015"),
    TEXT_PARAM(0x0016, "backup_password", "parameter 0x0016"),
    TEXT_PARAM(0x0017, "backup_address", "parameter 0x0017"),
    UINT_PARAM(0x0018, 4, "tcp_port", CLAUSE("parameter 0x0018, until 2013")),
    UINT_PARAM(0x0019, 4, "udp_port", CLAUSE("parameter 0x0019, until 2013")),
    TEXT_PARAM(0x001a, "ic_card_main_address", "parameter 0x001A"),
    UINT_PARAM(0x001b, 4, "ic_card_tcp_port", CLAUSE("parameter 0x001B")),
    UINT_PARAM(0x001c, 4, "ic_card_udp_port", CLAUSE("parameter 0x001C")),
    TEXT_PARAM(0x001d, "ic_card_backup_address", "parameter 0x001D"),
    UINT_PARAM(0x0020, 4, "report_strategy", CLAUSE("parameter 0x0020: 0 time, 1 distance, 2 both")),
    UINT_PARAM(0x0021, 4, "report_scheme", CLAUSE("parameter 0x0021: 0 by ACC, 1 by login and ACC")),
    UINT_PARAM(0x0022, 4, "report_interval_no_driver", CLAUSE("parameter 0x0022"), UNIT("s")),
    TEXT_PARAM_2019(0x0023, "slave_apn", "parameter 0x0023, 2019"),
    TEXT_PARAM_2019(0x0024, "slave_user", "parameter 0x0024, 2019"),
    TEXT_PARAM_2019(0x0025, "slave_password", "parameter 0x0025, 2019"),
    TEXT_PARAM_2019(0x0026, "slave_address", "parameter 0x0026, 2019"),
    UINT_PARAM(0x0027, 4, "report_interval_sleeping", CLAUSE("parameter 0x0027"), UNIT("s")),
    UINT_PARAM(0x0028, 4, "report_interval_emergency", CLAUSE("parameter 0x0028"), UNIT("s")),
    UINT_PARAM(0x0029, 4, "report_interval", CLAUSE("parameter 0x0029"), UNIT("s")),
    UINT_PARAM(0x002c, 4, "report_distance", CLAUSE("parameter 0x002C"), UNIT("m")),
    UINT_PARAM(0x002d, 4, "report_distance_no_driver", CLAUSE("parameter 0x002D"), UNIT("m")),
    UINT_PARAM(0x002e, 4, "report_distance_sleeping", CLAUSE("parameter 0x002E"), UNIT("m")),
    UINT_PARAM(0x002f, 4, "report_distance_emergency", CLAUSE("parameter 0x002F"), UNIT("m")),
    UINT_PARAM(0x0030, 4, "corner_angle", CLAUSE("parameter 0x0030"), UNIT("deg")),
    UINT_PARAM(0x0031, 2, "fence_radius", CLAUSE("parameter 0x0031"), UNIT("m")),
    HEX_PARAM(0x0032, 0x0000, "forbidden_driving_period"),
    TEXT_PARAM(0x0040, "platform_phone", "parameter 0x0040"),
    TEXT_PARAM(0x0041, "reset_phone", "parameter 0x0041"),
    TEXT_PARAM(0x0042, "factory_settings_phone", "parameter 0x0042"),
    TEXT_PARAM(0x0043, "platform_sms_number", "parameter 0x0043"),
    TEXT_PARAM(0x0044, "alarm_sms_number", "parameter 0x0044"),
    UINT_PARAM(0x0045, 4, "answering_strategy", CLAUSE("parameter 0x0045")),
    UINT_PARAM(0x0046, 4, "longest_call", CLAUSE("parameter 0x0046"), UNIT("s")),
    UINT_PARAM(0x0047, 4, "longest_calls_of_month", CLAUSE("parameter 0x0047"), UNIT("s")),
    TEXT_PARAM(0x0048, "listening_phone", "parameter 0x0048"),
    TEXT_PARAM(0x0049, "privileged_sms_number", "parameter 0x0049"),
    UINT_PARAM(0x0050, 4, "alarm_mask", CLAUSE("parameter 0x0050, alarm bits")),
    UINT_PARAM(0x0051, 4, "alarm_sms", CLAUSE("parameter 0x0051, alarm bits")),
    UINT_PARAM(0x0052, 4, "alarm_photo", CLAUSE("parameter 0x0052, alarm bits")),
    UINT_PARAM(0x0053, 4, "alarm_photo_store", CLAUSE("parameter 0x0053, alarm bits")),
    UINT_PARAM(0x0054, 4, "key_alarms", CLAUSE("parameter 0x0054, alarm bits")),
    UINT_PARAM(0x0055, 4, "max_speed", CLAUSE("parameter 0x0055"), UNIT("km/h")),
    UINT_PARAM(0x0056, 4, "overspeed_duration", CLAUSE("parameter 0x0056"), UNIT("s")),
    UINT_PARAM(0x0057, 4, "continuous_driving_limit", CLAUSE("parameter 0x0057"), UNIT("s")),
    UINT_PARAM(0x0058, 4, "daily_driving_limit", CLAUSE("parameter 0x0058"), UNIT("s")),
    UINT_PARAM(0x0059, 4, "least_rest", CLAUSE("parameter 0x0059"), UNIT("s")),
    UINT_PARAM(0x005a, 4, "longest_parking", CLAUSE("parameter 0x005A"), UNIT("s")),
    UINT_PARAM(0x005b, 2, "overspeed_warning_difference", CLAUSE("parameter 0x005B"), UNIT("km/h"), .decimals = 1),
    UINT_PARAM(0x005c, 2, "fatigue_warning_difference", CLAUSE("parameter 0x005C"), UNIT("s")),
    UINT_PARAM(0x005d, 2, "collision", CLAUSE("parameter 0x005D: bits 0-7 time, 8-15 0.1 g")),
    UINT_PARAM(0x005e, 2, "rollover_angle", CLAUSE("parameter 0x005E"), UNIT("deg")),
    UINT_PARAM(0x0064, 4, "photo_by_time", CLAUSE("parameter 0x0064, bits")),
    UINT_PARAM(0x0065, 4, "photo_by_distance", CLAUSE("parameter 0x0065, bits")),
    UINT_PARAM(0x0070, 4, "picture_quality", CLAUSE("parameter 0x0070")),
    UINT_PARAM(0x0071, 4, "brightness", CLAUSE("parameter 0x0071")),
    UINT_PARAM(0x0072, 4, "contrast", CLAUSE("parameter 0x0072")),
    UINT_PARAM(0x0073, 4, "saturation", CLAUSE("parameter 0x0073")),
    UINT_PARAM(0x0074, 4, "chroma", CLAUSE("parameter 0x0074")),
    HEX_PARAM(0x0075, 0x0000, "av_parameters"),
    HEX_PARAM(0x0076, 0x0000, "av_channels"),
    HEX_PARAM(0x0077, 0x0000, "av_channel_parameters"),
    HEX_PARAM(0x0079, 0x0000, "alarm_recording"),
    UINT_PARAM_1078(0x007a, 4, "video_alarm_mask", CLAUSE("JT/T 1078 parameter 0x007A")),
    HEX_PARAM(0x007b, 0x0000, "image_analysis"),
    HEX_PARAM(0x007c, 0x0000, "sleep_wake"),
    UINT_PARAM(0x0080, 4, "odometer", CLAUSE("parameter 0x0080"), UNIT("km"), .decimals = 1),
    UINT_PARAM_2013(0x0081, 2, "province", CLAUSE("parameter 0x0081")),
    UINT_PARAM_2011(0x0081, "province"),
    UINT_PARAM_2013(0x0082, 2, "city", CLAUSE("parameter 0x0082")),
    UINT_PARAM_2011(0x0082, "city"),
    TEXT_PARAM(0x0083, "plate", "parameter 0x0083"),
    UINT_PARAM_2013(0x0084, 1, "plate_color", CLAUSE("parameter 0x0084")),
    UINT_PARAM_2011(0x0084, "plate_color"),
    UINT_PARAM(0x0090, 1, "gnss_mode", CLAUSE("parameter 0x0090: bits GPS, BeiDou, GLONASS, Galileo")),
    UINT_PARAM(0x0091, 1, "gnss_baud_rate", CLAUSE("parameter 0x0091: 0 4800 .. 5 115200")),
    UINT_PARAM(0x0092, 1, "gnss_output", CLAUSE("parameter 0x0092: 0 500 ms, 1 1 s .. 4 4 s")),
    UINT_PARAM(0x0093, 4, "gnss_sampling", CLAUSE("parameter 0x0093"), UNIT("s")),
    UINT_PARAM(0x0094, 1, "gnss_upload", CLAUSE("parameter 0x0094")),
    UINT_PARAM(0x0095, 4, "gnss_upload_value", CLAUSE("parameter 0x0095")),
    UINT_PARAM(0x0100, 4, "can1_sampling", CLAUSE("parameter 0x0100"), UNIT("ms")),
    UINT_PARAM(0x0101, 2, "can1_upload", CLAUSE("parameter 0x0101"), UNIT("s")),
    UINT_PARAM(0x0102, 4, "can2_sampling", CLAUSE("parameter 0x0102"), UNIT("ms")),
    UINT_PARAM(0x0103, 2, "can2_upload", CLAUSE("parameter 0x0103"), UNIT("s")),
    HEX_PARAM(0x0110, 0x01ff, "can_id_sampling"),
    HEX_PARAM(0xf364, 0x0000, "adas"),
    HEX_PARAM(0xf365, 0x0000, "dsm"),
    HEX_PARAM(0xf366, 0x0000, "tpms"),
    HEX_PARAM(0xf367, 0x0000, "bsd"),
    HEX_PARAM(0xf370, 0x0000, "safety_protocol_version"),
};
/* clang-format on */

const struct wire_items jt808_parameters = {.id_width = 4,
                                            .length_width = 1,
                                            .item = parameters,
                                            .n = sizeof(parameters) / sizeof(parameters[0])};

/* Terminals state counts that are too small or too large: items are read while bytes remain. */
#define PARAMS ROW("params", WIRE_ITEMS, .items = &jt808_parameters, .count = R_COUNT)

static const struct wire_row set_parameters[] = {
    COUNT("count", 1, R_COUNT, EMQX("length"), CLAUSE("0x8103")), PARAMS, END_OF_ROWS};
static const struct wire_row set_parameters_2011[] = {
    COUNT("count", 1, R_COUNT, EMQX("length"), CLAUSE("0x8103")),
    COUNT("package_count", 1, R_COUNT, EMQX(""), CLAUSE("0x8103, 2011")), PARAMS, END_OF_ROWS};
const struct jt808_layout jt808_layouts_set_parameters[] = {
    LAYOUT("2011", 2011, 2011, 2011, set_parameters_2011),
    LAYOUT("any", EVERY_EDITION, 0, set_parameters), END_OF_LAYOUTS};

static const struct wire_row parameters_response[] = {
    U16("ack_serial", EMQX("seq"), CLAUSE("0x0104")),
    COUNT("count", 1, R_COUNT, EMQX("length"), CLAUSE("0x0104")), PARAMS, END_OF_ROWS};
static const struct wire_row parameters_response_2011[] = {
    U16("ack_serial", EMQX("seq"), CLAUSE("0x0104")),
    COUNT("count", 1, R_COUNT, EMQX("length"), CLAUSE("0x0104")),
    COUNT("package_count", 1, R_COUNT, EMQX(""), CLAUSE("0x0104, 2011")), PARAMS, END_OF_ROWS};
const struct jt808_layout jt808_layouts_parameters_response[] = {
    LAYOUT("2011", 2011, 2011, 2011, parameters_response_2011),
    LAYOUT("any", EVERY_EDITION, 0, parameters_response), END_OF_LAYOUTS};

static const struct wire_row one_id[] = {{.kind = WIRE_UINT, .width = 4, .flags = WIRE_AS_HEX},
                                         END_OF_ROWS};
static const struct wire_row query_parameters[] = {
    COUNT("count", 1, R_COUNT, EMQX("length"), CLAUSE("0x8106")),
    LIST("ids", one_id, R_COUNT, CLAUSE("0x8106")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_query_parameters[] = {
    LAYOUT("any", EVERY_EDITION, 0, query_parameters), END_OF_LAYOUTS};
