/* SPDX-License-Identifier: Apache-2.0 */

/* Tables of the location messages: base, additional items, active safety items, and the messages
 * that carry locations.
 *
 * standard  0x0200 and its tables of alarm bits, status bits and additional items; 0x0201, 0x0500,
 *           0x0704, 0x0705, 0x8202, 0x8203 of JT/T 808; items 0x14 to 0x18 of JT/T 1078; items 0x64
 * to 0x67 of T/JSATL 12 with the provincial forms of the alarm tag; item 0x70
 */

#include "jt808_rows.h"

enum { R_STATUS = 1, R_COUNT = 2, R_EVENTS = 3 };

/* ---- the base ------------------------------------------------------------------------------- */

static const struct wire_bits alarm_bits = {
    .names = {"emergency",
              "overspeed",
              "fatigue",
              "danger",
              "gnss_fault",
              "gnss_antenna_open",
              "gnss_antenna_short",
              "power_low",
              "power_off",
              "display_fault",
              "tts_fault",
              "camera_fault",
              "ic_card_fault",
              "overspeed_warning",
              "fatigue_warning",
              "forbidden_driving",
              "tire_pressure",
              "right_blind_spot",
              "daily_driving_overtime",
              "parking_overtime",
              "area_in_out",
              "route_in_out",
              "segment_time",
              "off_route",
              "vss_fault",
              "fuel_abnormal",
              "stolen",
              "illegal_ignition",
              "illegal_displacement",
              "collision",
              "rollover_warning",
              "illegal_door"},
};

static const struct wire_bit_field load_names[] = {
    {0x300, 0x100, "load_half"}, {0x300, 0x200, "load_reserved"}, {0x300, 0x300, "load_full"}, {0}};

static const struct wire_bits status_bits = {
    .names = {"acc",
              "positioned",
              "south",
              "west",
              "out_of_service",
              "coordinates_encrypted",
              "forward_collision_warning",
              "lane_departure",
              NULL,
              NULL,
              "fuel_cut",
              "circuit_cut",
              "door_locked",
              "door1_open",
              "door2_open",
              "door3_open",
              "door4_open",
              "door5_open",
              "gps",
              "beidou",
              "glonass",
              "galileo",
              "moving"},
    .fields = load_names,
};

#define LOCATION_BASE                                                                              \
    BITS("alarm", 4, alarm_bits, CLAUSE("0x0200 alarm bits")),                                     \
        BITS("status", 4, status_bits, .keep = R_STATUS, CLAUSE("0x0200 status bits")),            \
        U32("latitude", COORDINATE, .sign = R_STATUS, .sign_mask = 1u << 2,                        \
            FLAGS(WIRE_SIGNED_TOO), CLAUSE("0x0200 base")),                                        \
        U32("longitude", COORDINATE, .sign = R_STATUS, .sign_mask = 1u << 3,                       \
            FLAGS(WIRE_SIGNED_TOO), CLAUSE("0x0200 base")),                                        \
        U16("altitude", UNIT("m"), CLAUSE("0x0200 base")),                                         \
        U16("speed", .decimals = 1, SPEED_KMH, CLAUSE("0x0200 base")),                             \
        U16("direction", UNIT("deg"), CLAUSE("0x0200 base")),                                      \
        TIME("time", CLAUSE("0x0200 base, GMT+8"))

const struct wire_row jt808_rows_location_base[] = {LOCATION_BASE, END_OF_ROWS};

/* ---- additional items ----------------------------------------------------------------------- */

/* The alias is EMQX's name for the item; NULL where it has none. */
#define VALUE_ITEM(id_, name_, alias_, len, ...)                                                   \
    {                                                                                              \
        .id = (id_), .name = (name_), .alias = (alias_), .length = (len),                          \
        .rows = (const struct wire_row[])                                                          \
        {                                                                                          \
            {.name = "value", .width = (len), __VA_ARGS__}, END_OF_ROWS                            \
        }                                                                                          \
    }
#define ITEM(id_, name_, alias_, len, table, ...)                                                  \
    {                                                                                              \
        .id = (id_), .name = (name_), .alias = (alias_), .length = (len), .rows = (table),         \
        __VA_ARGS__                                                                                \
    }
/* One of several layouts of an item: by the width of the alarm tag. */
#define ITEM_TAG(id_, name_, tag, len, table)                                                      \
    {                                                                                              \
        .id = (id_), .name = (name_), .layout = "tag-" #tag, .length = (len), .rows = (table)      \
    }
#define ITEM_ANY(id_, name_, label, table)                                                         \
    {                                                                                              \
        .id = (id_), .name = (name_), .layout = (label), .any_length = true, .rows = (table)       \
    }

static const struct wire_row one_pressure[] = {
    {.kind = WIRE_UINT, .width = 1, .flags = WIRE_INVALID}, END_OF_ROWS};

static const struct wire_name area_types[] = {{0, "none"},    {1, "circle"}, {2, "rectangle"},
                                              {3, "polygon"}, {4, "route"},  {0, NULL}};
static const struct wire_name overspeed_types[] = {{0, "none"},    {1, "circle"},  {2, "rectangle"},
                                                   {3, "polygon"}, {4, "segment"}, {0, NULL}};
static const struct wire_name in_out[] = {{0, "in"}, {1, "out"}, {0, NULL}};
static const struct wire_name short_long[] = {{0, "too_short"}, {1, "too_long"}, {0, NULL}};

static const struct wire_row overspeed_type[] = {
    U8("position_type", EMQX("type"), NAMES(overspeed_types), CLAUSE("0x0200 item 0x11")),
    END_OF_ROWS};
static const struct wire_row overspeed_area[] = {
    U8("position_type", EMQX("type"), NAMES(overspeed_types), CLAUSE("0x0200 item 0x11")),
    U32("area_id", EMQX("id"), CLAUSE("0x0200 item 0x11")), END_OF_ROWS};
static const struct wire_row area_in_out[] = {
    U8("position_type", EMQX("type"), NAMES(area_types), CLAUSE("0x0200 item 0x12")),
    U32("area_id", EMQX("id"), CLAUSE("0x0200 item 0x12")),
    U8("direction", NAMES(in_out), CLAUSE("0x0200 item 0x12")), END_OF_ROWS};
static const struct wire_row route_time[] = {
    U32("segment_id", EMQX("id"), CLAUSE("0x0200 item 0x13")),
    U16("travel_time", EMQX("time"), UNIT("s"), CLAUSE("0x0200 item 0x13")),
    U8("result", NAMES(short_long), CLAUSE("0x0200 item 0x13")), END_OF_ROWS};

static const struct wire_bits video_alarm_bits = {
    .names = {"signal_lost", "signal_blocked", "storage_fault", "other_fault", "bus_overloaded",
              "abnormal_driving", "recording_limit"}};
static const struct wire_bits channel_bits = {
    .names = {"channel1",  "channel2",  "channel3",  "channel4",  "channel5",  "channel6",
              "channel7",  "channel8",  "channel9",  "channel10", "channel11", "channel12",
              "channel13", "channel14", "channel15", "channel16", "channel17", "channel18",
              "channel19", "channel20", "channel21", "channel22", "channel23", "channel24",
              "channel25", "channel26", "channel27", "channel28", "channel29", "channel30",
              "channel31", "channel32"}};
static const struct wire_bits storage_bits = {
    .names = {"main1", "main2", "main3", "main4", "main5", "main6", "main7", "main8", "main9",
              "main10", "main11", "main12", "backup1", "backup2", "backup3", "backup4"}};
static const struct wire_bits behaviour_bits = {
    .names = {"fatigue", "phone", "smoking", NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
              "custom11", "custom12", "custom13", "custom14", "custom15"}};
static const struct wire_row abnormal_driving_2[] = {
    BITS("behaviour", 2, behaviour_bits, CLAUSE("JT/T 1078 item 0x18")), END_OF_ROWS};
static const struct wire_row abnormal_driving_3[] = {
    BITS("behaviour", 2, behaviour_bits, CLAUSE("JT/T 1078 item 0x18")),
    U8("fatigue", CLAUSE("JT/T 1078 item 0x18, 0-100")), END_OF_ROWS};

static const struct wire_bits signal_bits = {
    .names = {"low_beam", "high_beam", "right_turn", "left_turn", "brake", "reverse", "fog_lamp",
              "marker_lamp", "horn", "air_conditioner", "neutral", "retarder", "abs", "heater",
              "clutch"}};
static const struct wire_bits io_bits = {.names = {"deep_sleep", "sleep"}};
static const struct wire_row extended_signal[] = {
    BITS("value", 4, signal_bits, CLAUSE("0x0200 item 0x25")), END_OF_ROWS};
static const struct wire_row io_status[] = {BITS("value", 2, io_bits, CLAUSE("0x0200 item 0x2A")),
                                            END_OF_ROWS};
/* EMQX has each of these bits as a number of its own. */
#define ONE_BIT(name, bit) ROW(name, WIRE_PART, .shift = (bit), .width = 1)
static const struct wire_row signal_word[] = {
    ONE_BIT("low_beam", 0),   ONE_BIT("high_beam", 1),
    ONE_BIT("right_turn", 2), ONE_BIT("left_turn", 3),
    ONE_BIT("brake", 4),      ONE_BIT("reverse", 5),
    ONE_BIT("fog", 6),        ONE_BIT("side_marker", 7),
    ONE_BIT("horn", 8),       ONE_BIT("air_conditioner", 9),
    ONE_BIT("neutral", 10),   ONE_BIT("retarder", 11),
    ONE_BIT("abs", 12),       ONE_BIT("heater", 13),
    ONE_BIT("cluth", 14),     END_OF_ROWS};
static const struct wire_row signal_parts[] = {
    ROW("word", WIRE_PACK, .width = 4, .rows = signal_word), END_OF_ROWS};
static const struct wire_row io_word[] = {ONE_BIT("deep_sleep", 0), ONE_BIT("sleep", 1),
                                          END_OF_ROWS};
static const struct wire_row io_parts[] = {ROW("word", WIRE_PACK, .width = 2, .rows = io_word),
                                           END_OF_ROWS};
static const struct wire_row pressure_bytes[] = {HEX_FIXED("value", 30), END_OF_ROWS};
static const struct wire_row tire_pressure[] = {
    LIST("value", one_pressure, 0, CLAUSE("0x0200 item 0x05, ff is unused")), END_OF_ROWS};
static const struct wire_row analog[] = {U16("ad1", CLAUSE("0x0200 item 0x2B, bits 16-31")),
                                         U16("ad0", CLAUSE("0x0200 item 0x2B, bits 0-15")),
                                         END_OF_ROWS};

/* ---- active safety -------------------------------------------------------------------------- */

static const struct wire_name flag_states[] = {{0, "none"}, {1, "start"}, {2, "end"}, {0, NULL}};
static const struct wire_name adas_types[] = {{1, "forward_collision"},
                                              {2, "lane_departure"},
                                              {3, "too_close"},
                                              {4, "pedestrian"},
                                              {5, "frequent_lane_change"},
                                              {6, "road_sign_exceeded"},
                                              {7, "obstacle"},
                                              {0x10, "road_sign"},
                                              {0x11, "snapshot"},
                                              {0x12, "solid_line_change"},
                                              {0x13, "aisle_pedestrian"},
                                              {0, NULL}};
static const struct wire_name dsm_types[] = {{1, "fatigue"},
                                             {2, "phone"},
                                             {3, "smoking"},
                                             {4, "distraction"},
                                             {5, "driver_abnormal"},
                                             {6, "lens_covered"},
                                             {8, "overtime"},
                                             {0x0a, "seat_belt"},
                                             {0x0b, "sunglasses"},
                                             {0x0c, "both_hands_off"},
                                             {0x0d, "playing_with_phone"},
                                             {0x10, "snapshot"},
                                             {0x11, "driver_changed"},
                                             {0, NULL}};
static const struct wire_name bsd_types[] = {
    {1, "rear"}, {2, "left_rear"}, {3, "right_rear"}, {0, NULL}};
static const struct wire_name fierce_types[] = {
    {1, "acceleration"}, {2, "braking"},  {3, "turn"},         {4, "idling"},
    {5, "stall"},        {6, "coasting"}, {7, "over_revving"}, {0, NULL}};
static const struct wire_name deviation_types[] = {{1, "left"}, {2, "right"}, {0, NULL}};
static const struct wire_name road_signs[] = {
    {1, "speed"}, {2, "height"}, {3, "weight"}, {0, NULL}};
static const struct wire_bits vehicle_bits = {.names = {"acc", "left_turn", "right_turn", "wiper",
                                                        "brake", "card_inserted", NULL, NULL, NULL,
                                                        NULL, "positioned"}};
static const struct wire_bits tire_bits = {.names = {"periodic", "high", "low", "hot",
                                                     "sensor_fault", "unbalanced", "slow_leak",
                                                     "battery_low"}};

#define ALARM_TAG(id_width)                                                                        \
    TEXT_FIXED("terminal_id", id_width, CLAUSE("alarm tag")), TIME("time", CLAUSE("alarm tag")),   \
        U8("sequence", CLAUSE("alarm tag")), U8("attachment_count", CLAUSE("alarm tag"))
#define TAG_RESERVED(n) HEX_FIXED("reserved", n, FLAGS(WIRE_DEFAULTS), CLAUSE("alarm tag"))

const struct wire_row jt808_rows_tag_16[] = {ALARM_TAG(7), TAG_RESERVED(1), END_OF_ROWS};
const struct wire_row jt808_rows_tag_32[] = {ALARM_TAG(7), TAG_RESERVED(17), END_OF_ROWS};
const struct wire_row jt808_rows_tag_38[] = {ALARM_TAG(30), END_OF_ROWS};
const struct wire_row jt808_rows_tag_39[] = {ALARM_TAG(30), TAG_RESERVED(1), END_OF_ROWS};
const struct wire_row jt808_rows_tag_40[] = {ALARM_TAG(30), TAG_RESERVED(2), END_OF_ROWS};

#define ALARM_HEAD                                                                                 \
    U32("alarm_id", CLAUSE("T/JSATL 12")),                                                         \
        U8("flag_state", NAMES(flag_states), CLAUSE("T/JSATL 12"))
#define ALARM_PLACE                                                                                \
    U8("vehicle_speed", SPEED_KMH, CLAUSE("T/JSATL 12")),                                          \
        U16("altitude", UNIT("m"), CLAUSE("T/JSATL 12")),                                          \
        U32("latitude", COORDINATE, CLAUSE("T/JSATL 12")),                                         \
        U32("longitude", COORDINATE, CLAUSE("T/JSATL 12")), TIME("time", CLAUSE("T/JSATL 12")),    \
        BITS("vehicle_status", 2, vehicle_bits, CLAUSE("T/JSATL 12"))

#define ADAS(tag)                                                                                  \
    static const struct wire_row adas_##tag[] = {                                                  \
        ALARM_HEAD,                                                                                \
        U8("alarm_type", NAMES(adas_types), CLAUSE("T/JSATL 12 item 0x64")),                       \
        U8("alarm_level", CLAUSE("T/JSATL 12 item 0x64")),                                         \
        U8("front_vehicle_speed", SPEED_KMH, CLAUSE("T/JSATL 12 item 0x64")),                      \
        U8("front_distance", .decimals = 1, UNIT("s"), CLAUSE("T/JSATL 12 item 0x64")),            \
        U8("deviation_type", NAMES(deviation_types), CLAUSE("T/JSATL 12 item 0x64")),              \
        U8("road_sign_type", NAMES(road_signs), CLAUSE("T/JSATL 12 item 0x64")),                   \
        U8("road_sign_data", CLAUSE("T/JSATL 12 item 0x64")),                                      \
        ALARM_PLACE,                                                                               \
        STRUCT("alarm_tag", jt808_rows_tag_##tag),                                                 \
        END_OF_ROWS};
#define DSM(tag)                                                                                   \
    static const struct wire_row dsm_##tag[] = {                                                   \
        ALARM_HEAD,                                                                                \
        U8("alarm_type", NAMES(dsm_types), CLAUSE("T/JSATL 12 item 0x65")),                        \
        U8("alarm_level", CLAUSE("T/JSATL 12 item 0x65")),                                         \
        U8("fatigue_level", CLAUSE("T/JSATL 12 item 0x65")),                                       \
        HEX_FIXED("reserved", 4, FLAGS(WIRE_DEFAULTS), CLAUSE("T/JSATL 12 item 0x65")),            \
        ALARM_PLACE,                                                                               \
        STRUCT("alarm_tag", jt808_rows_tag_##tag),                                                 \
        END_OF_ROWS};
#define BSD(tag)                                                                                   \
    static const struct wire_row bsd_##tag[] = {                                                   \
        ALARM_HEAD, U8("alarm_type", NAMES(bsd_types), CLAUSE("T/JSATL 12 item 0x67")),            \
        ALARM_PLACE, STRUCT("alarm_tag", jt808_rows_tag_##tag), END_OF_ROWS};
#define FIERCE(tag)                                                                                \
    static const struct wire_row fierce_##tag[] = {                                                \
        ALARM_HEAD,                                                                                \
        U8("alarm_type", NAMES(fierce_types), CLAUSE("item 0x70")),                                \
        U16("time_threshold", UNIT("s"), CLAUSE("item 0x70")),                                     \
        U16("threshold1", CLAUSE("item 0x70, 0.01 g or km/h")),                                    \
        U16("threshold2", CLAUSE("item 0x70, rpm")),                                               \
        ALARM_PLACE,                                                                               \
        STRUCT("alarm_tag", jt808_rows_tag_##tag),                                                 \
        END_OF_ROWS};

#define TIRE_EVENT                                                                                 \
    BITS("alarm_type", 2, tire_bits, CLAUSE("T/JSATL 12 item 0x66")),                              \
        U16("pressure", UNIT("kPa"), CLAUSE("T/JSATL 12 item 0x66")),                              \
        U16("temperature", UNIT("C"), CLAUSE("T/JSATL 12 item 0x66")),                             \
        U16("battery", UNIT("%"), CLAUSE("T/JSATL 12 item 0x66"))
static const struct wire_row tire_event_9[] = {U8("tire_position", CLAUSE("T/JSATL 12 item 0x66")),
                                               TIRE_EVENT, END_OF_ROWS};
static const struct wire_row tire_event_10[] = {
    U16("tire_position", CLAUSE("T/GDRTA 002 item 0x66")), TIRE_EVENT, END_OF_ROWS};
#define TPMS(tag, event)                                                                           \
    static const struct wire_row tpms_##tag##_##event[] = {                                        \
        ALARM_HEAD,                                                                                \
        ALARM_PLACE,                                                                               \
        STRUCT("alarm_tag", jt808_rows_tag_##tag),                                                 \
        COUNT("event_count", 1, R_EVENTS, CLAUSE("T/JSATL 12 item 0x66")),                         \
        LIST("events", tire_event_##event, R_EVENTS),                                              \
        END_OF_ROWS};

/* clang-format off */
ADAS(16) ADAS(32) ADAS(38) ADAS(39) ADAS(40)
DSM(16) DSM(32) DSM(38) DSM(39) DSM(40)
BSD(16) BSD(32) BSD(38) BSD(39) BSD(40)
FIERCE(16) FIERCE(32) FIERCE(38) FIERCE(39) FIERCE(40)
TPMS(16, 9) TPMS(32, 9) TPMS(38, 9) TPMS(39, 9) TPMS(40, 9)
TPMS(16, 10) TPMS(32, 10) TPMS(38, 10) TPMS(39, 10) TPMS(40, 10)

/* Lengths are those of the fixed part and the five tags: 16, 32, 38, 39, 40. */
#define WITH_TAGS(id, name, fixed, table)                                                          \
    ITEM(id, name, NULL, fixed + 16, table##_16), ITEM_TAG(id, name, 32, fixed + 32, table##_32),        \
    ITEM_TAG(id, name, 38, fixed + 38, table##_38), ITEM_TAG(id, name, 39, fixed + 39, table##_39), \
    ITEM_TAG(id, name, 40, fixed + 40, table##_40)

static const struct wire_item items[] = {
    VALUE_ITEM(0x01, "mileage", "mileage", 4, .kind = WIRE_UINT, .decimals = 1, .unit = "km", CLAUSE("0x0200 item 0x01")),
    VALUE_ITEM(0x02, "fuel", "fuel_meter", 2, .kind = WIRE_UINT, .decimals = 1, .unit = "l", CLAUSE("0x0200 item 0x02")),
    VALUE_ITEM(0x03, "recorder_speed", "speed", 2, .kind = WIRE_UINT, .decimals = 1, .unit = "km/h", CLAUSE("0x0200 item 0x03")),
    VALUE_ITEM(0x04, "manual_alarm_event_id", "alarm_id", 2, .kind = WIRE_UINT, CLAUSE("0x0200 item 0x04")),
    ITEM(0x05, "tire_pressure", "tire_pressure", 30, tire_pressure, .alias_rows = pressure_bytes),
    VALUE_ITEM(0x06, "carriage_temperature", "carriage_temp", 2, .kind = WIRE_SIGNMAG, .unit = "C", .flags = WIRE_SHOW_RAW, CLAUSE("0x0200 item 0x06")),
    ITEM(0x11, "overspeed", "overspeed_alarm", 1, overspeed_type),
    ITEM(0x11, "overspeed", "overspeed_alarm", 5, overspeed_area),
    ITEM(0x12, "area_in_out", "in_out_alarm", 6, area_in_out),
    ITEM(0x13, "route_time", "path_time_alarm", 7, route_time),
    VALUE_ITEM(0x14, "video_alarm", NULL, 4, .kind = WIRE_BITS, .bits = &video_alarm_bits, CLAUSE("JT/T 1078 item 0x14")),
    VALUE_ITEM(0x15, "video_signal_lost", NULL, 4, .kind = WIRE_BITS, .bits = &channel_bits, CLAUSE("JT/T 1078 item 0x15")),
    VALUE_ITEM(0x16, "video_signal_blocked", NULL, 4, .kind = WIRE_BITS, .bits = &channel_bits, CLAUSE("JT/T 1078 item 0x16")),
    VALUE_ITEM(0x17, "storage_fault", NULL, 2, .kind = WIRE_BITS, .bits = &storage_bits, CLAUSE("JT/T 1078 item 0x17")),
    ITEM(0x18, "abnormal_driving", NULL, 2, abnormal_driving_2),
    ITEM(0x18, "abnormal_driving", NULL, 3, abnormal_driving_3),
    ITEM(0x25, "extended_signal", "signal", 4, extended_signal, .alias_rows = signal_parts),
    ITEM(0x2a, "io_status", "io_status", 2, io_status, .alias_rows = io_parts),
    ITEM(0x2b, "analog", "analog", 4, analog),
    VALUE_ITEM(0x30, "signal_strength", "rssi", 1, .kind = WIRE_UINT, CLAUSE("0x0200 item 0x30")),
    VALUE_ITEM(0x31, "satellites", "gnss_sat_num", 1, .kind = WIRE_UINT, CLAUSE("0x0200 item 0x31")),
    WITH_TAGS(0x64, "adas", 31, adas),
    WITH_TAGS(0x65, "dsm", 31, dsm),
    ITEM_ANY(0x66, "tpms", NULL, tpms_16_9),
    ITEM_ANY(0x66, "tpms", "tag-32", tpms_32_9),
    ITEM_ANY(0x66, "tpms", "tag-38", tpms_38_9),
    ITEM_ANY(0x66, "tpms", "tag-39", tpms_39_9),
    ITEM_ANY(0x66, "tpms", "tag-40", tpms_40_9),
    ITEM_ANY(0x66, "tpms", "tag-16-event-10", tpms_16_10),
    ITEM_ANY(0x66, "tpms", "tag-32-event-10", tpms_32_10),
    ITEM_ANY(0x66, "tpms", "tag-38-event-10", tpms_38_10),
    ITEM_ANY(0x66, "tpms", "tag-39-event-10", tpms_39_10),
    ITEM_ANY(0x66, "tpms", "tag-40-event-10", tpms_40_10),
    WITH_TAGS(0x67, "bsd", 25, bsd),
    WITH_TAGS(0x70, "fierce_driving", 31, fierce),
};
/* clang-format on */

const struct wire_items jt808_location_items = {.id_width = 1,
                                                .length_width = 1,
                                                .by_name = true,
                                                .alias_vendor = {0xe0, "custome"},
                                                .item = items,
                                                .n = sizeof(items) / sizeof(items[0])};

/* A location without items has none to show, so the list may be left out. */
const struct wire_row jt808_rows_location[] = {LOCATION_BASE,
                                               ROW("additional", WIRE_ITEMS, EMQX("extra"),
                                                   .items = &jt808_location_items,
                                                   FLAGS(WIRE_OPTIONAL)),
                                               END_OF_ROWS};

/* ---- messages ------------------------------------------------------------------------------- */

const struct jt808_layout jt808_layouts_location[] = {
    LAYOUT("any", EVERY_EDITION, 0, jt808_rows_location), END_OF_LAYOUTS};

static const struct wire_row answered_location[] = {
    U16("ack_serial", EMQX("seq"), CLAUSE("0x0201, 0x0500")),
    STRUCT("location", jt808_rows_location), END_OF_ROWS};
/* The same with EMQX's other name for the location. */
static const struct wire_row queried_location[] = {
    U16("ack_serial", EMQX("seq"), CLAUSE("0x0201")),
    STRUCT("location", jt808_rows_location, EMQX("params")), END_OF_ROWS};
static const struct wire_row bare_location[] = {
    STRUCT("location", jt808_rows_location, EMQX("params")), END_OF_ROWS};

const struct jt808_layout jt808_layouts_location_answer[] = {
    LAYOUT("any", EVERY_EDITION, 0, answered_location), END_OF_LAYOUTS};
/* 2011 prints no serial; all known terminals send it. */
const struct jt808_layout jt808_layouts_location_query_answer[] = {
    LAYOUT("any", EVERY_EDITION, 0, queried_location),
    LAYOUT_("2011-no-serial", 0, 0, 0, bare_location), END_OF_LAYOUTS};

static const struct wire_row temporary_tracking[] = {
    U16("interval", EMQX("period"), UNIT("s"), CLAUSE("0x8202, 0 stops")),
    U32("validity", EMQX("expiry"), UNIT("s"), FLAGS(WIRE_OPTIONAL), CLAUSE("0x8202")),
    END_OF_ROWS};
const struct jt808_layout jt808_layouts_temporary_tracking[] = {
    LAYOUT("any", EVERY_EDITION, 0, temporary_tracking), END_OF_LAYOUTS};

static const struct wire_row confirm_alarm[] = {
    U16("alarm_serial", EMQX("seq"), CLAUSE("0x8203, 0 is all")),
    BITS("alarm_type", 4, alarm_bits, EMQX("type"), CLAUSE("0x8203")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_confirm_alarm[] = {
    LAYOUT("any", EVERY_EDITION, 0, confirm_alarm), END_OF_LAYOUTS};

static const struct wire_name batch_types[] = {{0, "normal"}, {1, "supplement"}, {0, NULL}};
static const struct wire_row location_batch[] = {
    COUNT("count", 2, R_COUNT, EMQX("length"), CLAUSE("0x0704")),
    U8("type", NAMES(batch_types), CLAUSE("0x0704")),
    LIST("locations", jt808_rows_location, R_COUNT, EMQX("location"), .prefix = 2,
         CLAUSE("0x0704")),
    END_OF_ROWS};
const struct jt808_layout jt808_layouts_location_batch[] = {
    LAYOUT("any", EVERY_EDITION, 0, location_batch), END_OF_LAYOUTS};

static const struct wire_row can_word[] = {
    ROW("channel", WIRE_PART, .shift = 31, .width = 1, CLAUSE("0x0705, 0 CAN1, 1 CAN2")),
    ROW("frame_type", WIRE_PART, .shift = 30, .width = 1, CLAUSE("0x0705, 1 extended")),
    ROW("method", WIRE_PART, EMQX("data_method"), .shift = 29, .width = 1,
        CLAUSE("0x0705, 1 average")),
    ROW("can_id", WIRE_PART, EMQX("id"), .shift = 0, .width = 29, CLAUSE("0x0705")), END_OF_ROWS};
static const struct wire_row can_item[] = {ROW("can_word", WIRE_PACK, .width = 4, .rows = can_word),
                                           HEX_FIXED("data_hex", 8, EMQX("data"), CLAUSE("0x0705")),
                                           END_OF_ROWS};
static const struct wire_row can_data[] = {
    COUNT("count", 2, R_COUNT, EMQX("length"), CLAUSE("0x0705")),
    DIGITS("time", 5, CLAUSE("0x0705, hhmmss and milliseconds")),
    LIST("items", can_item, R_COUNT, EMQX("can_data"), CLAUSE("0x0705")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_can_data[] = {LAYOUT("any", EVERY_EDITION, 0, can_data),
                                                      END_OF_LAYOUTS};
