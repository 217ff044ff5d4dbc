/* SPDX-License-Identifier: Apache-2.0 */

/* Tables of texts, events, questions, menus, phone, vehicle control, areas and routes.
 *
 * The optional fields of areas exist only if the attribute bits say so; an encoder may leave the
 * attributes' bits for them out.
 *
 * standard  JT/T 808: 0x0301 to 0x0303, 0x0608, 0x8300 to 0x8304, 0x8400, 0x8401, 0x8500, 0x8600 to
 *           0x8608
 */

#include "jt808_rows.h"

enum { R_COUNT = 1, R_AREA = 2, R_POINT = 3, R_POINTS = 4, R_ID = 5 };

/* ---- texts ---------------------------------------------------------------------------------- */

static const struct wire_bits text_bits_2013 = {
    .names = {"urgent", NULL, "display", "tts", "advertising_screen", "can_fault_code"}};
static const struct wire_bit_field text_kinds[] = {
    {3, 1, "service"}, {3, 2, "urgent"}, {3, 3, "notice"}, {0}};
static const struct wire_bits text_bits_2019 = {
    .names = {NULL, NULL, "display", "tts", NULL, "can_fault_code"}, .fields = text_kinds};
static const struct wire_name text_types[] = {{1, "notice"}, {2, "service"}, {0, NULL}};

/* What a text is about came with 2019; a notice is what a text was before. */
#define TEXT_TYPE                                                                                  \
    U8("text_type", .since = 2019, NAMES(text_types), FLAGS(WIRE_DEFAULTS | WIRE_IGNORED),         \
       .value = 1, CLAUSE("0x8300, 2019"))
static const struct wire_row text_2013[] = {BITS("flag", 1, text_bits_2013, CLAUSE("0x8300")),
                                            TEXT_TYPE, TEXT_REST("text", CLAUSE("0x8300")),
                                            END_OF_ROWS};
static const struct wire_row text_2019[] = {BITS("flag", 1, text_bits_2019, CLAUSE("0x8300, 2019")),
                                            TEXT_TYPE, TEXT_REST("text", CLAUSE("0x8300")),
                                            END_OF_ROWS};
const struct jt808_layout jt808_layouts_text[] = {LAYOUT("2013", 2011, 2018, 2013, text_2013),
                                                  LAYOUT("2019", 2019, 2999, 2019, text_2019),
                                                  END_OF_LAYOUTS};

static const struct wire_name set_types[] = {{0, "delete_all"}, {1, "replace"}, {2, "add"},
                                             {3, "modify"},     {4, "delete"},  {0, NULL}};
static const struct wire_row event[] = {U8("id", CLAUSE("0x8301")),
                                        TEXT_COUNTED("content", 1, CLAUSE("0x8301")), END_OF_ROWS};
static const struct wire_row event_id_only[] = {U8("id", CLAUSE("0x8301")), END_OF_ROWS};
#define EVENT_HEAD                                                                                 \
    U8("type", NAMES(set_types), CLAUSE("0x8301")),                                                \
        COUNT("count", 1, R_COUNT, EMQX("length"), FLAGS(WIRE_OPTIONAL), CLAUSE("0x8301"))
static const struct wire_row set_events[] = {EVENT_HEAD, LIST("events", event, R_COUNT),
                                             END_OF_ROWS};
static const struct wire_row set_events_ids[] = {EVENT_HEAD, LIST("events", event_id_only, R_COUNT),
                                                 END_OF_ROWS};
static const struct wire_row set_events_2011[] = {
    EVENT_HEAD, COUNT("package_count", 1, R_COUNT, EMQX(""), CLAUSE("0x8301, 2011")),
    LIST("events", event, R_COUNT), END_OF_ROWS};
const struct jt808_layout jt808_layouts_set_events[] = {
    LAYOUT("2011", 2011, 2011, 2011, set_events_2011), LAYOUT("any", EVERY_EDITION, 0, set_events),
    LAYOUT("ids-only", 0, 0, 0, set_events_ids), END_OF_LAYOUTS};

static const struct wire_row event_report[] = {U8("event_id", EMQX("id"), CLAUSE("0x0301")),
                                               END_OF_ROWS};
const struct jt808_layout jt808_layouts_event_report[] = {
    LAYOUT("any", EVERY_EDITION, 0, event_report), END_OF_LAYOUTS};

static const struct wire_bits question_bits = {
    .names = {"urgent", NULL, NULL, "tts", "advertising_screen"}};
static const struct wire_row answer[] = {
    U8("id", CLAUSE("0x8302")), TEXT_COUNTED("content", 2, EMQX("answer"), CLAUSE("0x8302")),
    END_OF_ROWS};
static const struct wire_row question[] = {
    BITS("flag", 1, question_bits, CLAUSE("0x8302")), TEXT_COUNTED("question", 1, CLAUSE("0x8302")),
    LIST("answers", answer, 0, CLAUSE("0x8302")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_question[] = {LAYOUT("any", EVERY_EDITION, 0, question),
                                                      END_OF_LAYOUTS};

static const struct wire_row question_answer[] = {U16("ack_serial", EMQX("seq"), CLAUSE("0x0302")),
                                                  U8("answer_id", EMQX("id"), CLAUSE("0x0302")),
                                                  END_OF_ROWS};
const struct jt808_layout jt808_layouts_question_answer[] = {
    LAYOUT("any", EVERY_EDITION, 0, question_answer), END_OF_LAYOUTS};

static const struct wire_row menu_item[] = {U8("info_type", EMQX("type"), CLAUSE("0x8303")),
                                            TEXT_COUNTED("name", 2, EMQX("info"), CLAUSE("0x8303")),
                                            END_OF_ROWS};
static const struct wire_row menu[] = {
    U8("type", NAMES(set_types), CLAUSE("0x8303")),
    COUNT("count", 1, R_COUNT, EMQX("length"), FLAGS(WIRE_OPTIONAL), CLAUSE("0x8303")),
    LIST("items", menu_item, R_COUNT, EMQX("menus"), CLAUSE("0x8303")), END_OF_ROWS};
static const struct wire_row menu_2011[] = {
    U8("type", NAMES(set_types), CLAUSE("0x8303")),
    COUNT("count", 1, R_COUNT, EMQX("length"), FLAGS(WIRE_OPTIONAL), CLAUSE("0x8303")),
    COUNT("package_count", 1, R_COUNT, EMQX(""), CLAUSE("0x8303, 2011")),
    LIST("items", menu_item, R_COUNT, EMQX("menus"), CLAUSE("0x8303")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_menu[] = {LAYOUT("2011", 2011, 2011, 2011, menu_2011),
                                                  LAYOUT("any", EVERY_EDITION, 0, menu),
                                                  END_OF_LAYOUTS};

static const struct wire_name demands[] = {{0, "cancel"}, {1, "order"}, {0, NULL}};
static const struct wire_row information_demand[] = {U8("info_type", EMQX("id"), CLAUSE("0x0303")),
                                                     U8("flag", NAMES(demands), CLAUSE("0x0303")),
                                                     END_OF_ROWS};
const struct jt808_layout jt808_layouts_information_demand[] = {
    LAYOUT("any", EVERY_EDITION, 0, information_demand), END_OF_LAYOUTS};

static const struct wire_row information_service[] = {
    U8("info_type", EMQX("type"), CLAUSE("0x8304")),
    TEXT_COUNTED("content", 2, EMQX("info"), CLAUSE("0x8304")), END_OF_ROWS};
static const struct wire_row information_service_2011[] = {
    U8("info_type", EMQX("type"), CLAUSE("0x8304")), U16("total", CLAUSE("0x8304, 2011")),
    TEXT_COUNTED("content", 2, EMQX("info"), CLAUSE("0x8304")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_information_service[] = {
    LAYOUT("2011", 2011, 2011, 2011, information_service_2011),
    LAYOUT("any", EVERY_EDITION, 0, information_service), END_OF_LAYOUTS};

/* ---- phone ---------------------------------------------------------------------------------- */

static const struct wire_name callback_kinds[] = {{0, "call"}, {1, "listen"}, {0, NULL}};
static const struct wire_row callback[] = {
    U8("flag", EMQX("type"), NAMES(callback_kinds), CLAUSE("0x8400")),
    TEXT_REST("phone_number", EMQX("phone"), CLAUSE("0x8400")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_callback[] = {LAYOUT("any", EVERY_EDITION, 0, callback),
                                                      END_OF_LAYOUTS};

static const struct wire_name call_directions[] = {{1, "in"}, {2, "out"}, {3, "both"}, {0, NULL}};
static const struct wire_row contact[] = {
    U8("flag", EMQX("type"), NAMES(call_directions), CLAUSE("0x8401")),
    TEXT_COUNTED("number", 1, EMQX("phone"), CLAUSE("0x8401")),
    TEXT_COUNTED("name", 1, CLAUSE("0x8401")), END_OF_ROWS};
static const struct wire_row phone_book[] = {
    U8("type", NAMES(set_types), CLAUSE("0x8401")),
    COUNT("count", 1, R_COUNT, EMQX("length"), FLAGS(WIRE_OPTIONAL), CLAUSE("0x8401")),
    LIST("contacts", contact, R_COUNT, CLAUSE("0x8401")), END_OF_ROWS};
static const struct wire_row phone_book_2011[] = {
    U8("type", NAMES(set_types), CLAUSE("0x8401")),
    COUNT("count", 1, R_COUNT, EMQX("length"), FLAGS(WIRE_OPTIONAL), CLAUSE("0x8401")),
    COUNT("package_count", 1, R_COUNT, EMQX(""), CLAUSE("0x8401, 2011")),
    LIST("contacts", contact, R_COUNT, CLAUSE("0x8401")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_phone_book[] = {
    LAYOUT("2011", 2011, 2011, 2011, phone_book_2011), LAYOUT("any", EVERY_EDITION, 0, phone_book),
    END_OF_LAYOUTS};

/* ---- vehicle control ------------------------------------------------------------------------ */

/* The sense of the bit and of the parameter are opposite; the names hide it. */
static const struct wire_bit_field door_2013[] = {{1, 0, "unlock"}, {1, 1, "lock"}, {0}};
static const struct wire_bits vehicle_control_bits = {.fields = door_2013};
static const struct wire_name door_2019[] = {{0, "lock"}, {1, "unlock"}, {0, NULL}};
static const struct wire_row control_2013[] = {
    BITS("flag", 1, vehicle_control_bits, CLAUSE("0x8500, bit 0: 1 locks")), END_OF_ROWS};
static const struct wire_row control_item[] = {
    U16("id", .keep = R_ID, CLAUSE("0x8500, 2019")),
    U8("param", NAMES(door_2019), IF(R_ID, 0xffff, 1), CLAUSE("0x8500, 2019: 0 locks")),
    HEX_REST("param_hex", IF(R_ID, 0xffff, 1), FLAGS(WIRE_UNLESS), CLAUSE("0x8500, vendors")),
    END_OF_ROWS};
static const struct wire_row control_2019[] = {
    COUNT("count", 2, R_COUNT, CLAUSE("0x8500, 2019")),
    LIST("controls", control_item, R_COUNT, CLAUSE("0x8500, 2019")), END_OF_ROWS};
/* EMQX takes a parameter for a text of one or more characters. */
static const struct wire_row control_item_emqx[] = {U16("id"), TEXT_REST("param"), END_OF_ROWS};
static const struct wire_row control_2019_emqx[] = {
    COUNT("count", 2, R_COUNT), LIST("controls", control_item_emqx, R_COUNT), END_OF_ROWS};
const struct jt808_layout jt808_layouts_vehicle_control[] = {
    LAYOUT("2013", 2011, 2018, 2013, control_2013),
    LAYOUT_EMQX("2019", 2019, 2999, 2019, control_2019, control_2019_emqx), END_OF_LAYOUTS};

/* ---- areas ---------------------------------------------------------------------------------- */

static const struct wire_bits area_bits = {
    .names = {"by_time", "speed_limit", "enter_alarms_driver", "enter_alarms_platform",
              "leave_alarms_driver", "leave_alarms_platform", "south", "west", "doors_closed", NULL,
              NULL, NULL, NULL, NULL, "communication_off", "gnss_detail"}};

#define AREA_HEAD(clause)                                                                          \
    U32("id", CLAUSE(clause)), BITS("attributes", 2, area_bits, EMQX("flag"), .keep = R_AREA,      \
                                    FLAGS(WIRE_DEFAULTS), CLAUSE(clause))
#define AREA_PLACE(name, bit, clause, ...)                                                         \
    U32(name, COORDINATE, .sign = R_AREA, .sign_mask = 1u << (bit), CLAUSE(clause), __VA_ARGS__)
#define AREA_TIMES(clause)                                                                         \
    TIME("start_time", IF(R_AREA, 1, 1), FLAGS(WIRE_DAILY), CLAUSE(clause)),                       \
        TIME("end_time", IF(R_AREA, 1, 1), FLAGS(WIRE_DAILY), CLAUSE(clause))
#define AREA_SPEED(clause)                                                                         \
    U16("max_speed", SPEED_KMH, IF(R_AREA, 2, 2), CLAUSE(clause)),                                 \
        U8("overspeed_duration", UNIT("s"), IF(R_AREA, 2, 2), CLAUSE(clause))
#define AREA_2019(clause)                                                                          \
    U16("night_max_speed", SPEED_KMH, IF(R_AREA, 2, 2), .since = 2019, CLAUSE(clause)),            \
        TEXT_COUNTED("name", 2, .since = 2019, FLAGS(WIRE_DEFAULTS | WIRE_IGNORED),                \
                     CLAUSE(clause))

static const struct wire_row circle[] = {AREA_HEAD("0x8600"),
                                         AREA_PLACE("center_latitude", 6, "0x8600"),
                                         AREA_PLACE("center_longitude", 7, "0x8600"),
                                         U32("radius", UNIT("m"), CLAUSE("0x8600")),
                                         AREA_TIMES("0x8600"),
                                         AREA_SPEED("0x8600"),
                                         AREA_2019("0x8600"),
                                         END_OF_ROWS};
static const struct wire_row rectangle[] = {
    AREA_HEAD("0x8602"),
    AREA_PLACE("top_left_latitude", 6, "0x8602", EMQX("lt_lat")),
    AREA_PLACE("top_left_longitude", 7, "0x8602", EMQX("lt_lng")),
    AREA_PLACE("bottom_right_latitude", 6, "0x8602", EMQX("rb_lat")),
    AREA_PLACE("bottom_right_longitude", 7, "0x8602", EMQX("rb_lng")),
    AREA_TIMES("0x8602"),
    AREA_SPEED("0x8602"),
    AREA_2019("0x8602"),
    END_OF_ROWS};

static const struct wire_name area_actions[] = {
    {0, "update"}, {1, "append"}, {2, "modify"}, {0, NULL}};
#define AREAS(name, area)                                                                          \
    static const struct wire_row name[] = {                                                        \
        U8("action", EMQX("type"), NAMES(area_actions), CLAUSE("areas")),                          \
        COUNT("count", 1, R_COUNT, EMQX("length"), CLAUSE("areas")), LIST("areas", area, R_COUNT), \
        END_OF_ROWS};                                                                              \
    static const struct wire_row name##_2011[] = {                                                 \
        U8("action", EMQX("type"), NAMES(area_actions), CLAUSE("areas")),                          \
        COUNT("count", 1, R_COUNT, EMQX("length"), CLAUSE("areas")),                               \
        COUNT("package_count", 1, R_COUNT, EMQX(""), CLAUSE("areas, 2011")),                       \
        LIST("areas", area, R_COUNT), END_OF_ROWS};
/* clang-format off */
AREAS(circles, circle)
AREAS(rectangles, rectangle)
/* clang-format on */

#define AREA_LAYOUTS(rows)                                                                         \
    {                                                                                              \
        LAYOUT("2011", 2011, 2011, 2011, rows##_2011), LAYOUT("2013", 2012, 2018, 2013, rows),     \
            LAYOUT("2019", 2019, 2999, 2019, rows), END_OF_LAYOUTS                                 \
    }
const struct jt808_layout jt808_layouts_circles[] = AREA_LAYOUTS(circles);
const struct jt808_layout jt808_layouts_rectangles[] = AREA_LAYOUTS(rectangles);

static const struct wire_row vertex[] = {AREA_PLACE("latitude", 6, "0x8604", EMQX("lat")),
                                         AREA_PLACE("longitude", 7, "0x8604", EMQX("lng")),
                                         END_OF_ROWS};
#define POLYGON_HEAD                                                                               \
    AREA_HEAD("0x8604"), AREA_TIMES("0x8604"), AREA_SPEED("0x8604"),                               \
        COUNT("vertex_count", 2, R_POINTS, EMQX("length"), CLAUSE("0x8604"))
static const struct wire_row polygon[] = {
    POLYGON_HEAD, LIST("vertices", vertex, R_POINTS, EMQX("points"), CLAUSE("0x8604")),
    AREA_2019("0x8604"), END_OF_ROWS};
static const struct wire_row polygon_2011[] = {
    POLYGON_HEAD, COUNT("package_count", 1, R_POINTS, EMQX(""), CLAUSE("0x8604, 2011")),
    LIST("vertices", vertex, R_POINTS, EMQX("points"), CLAUSE("0x8604")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_polygon[] = AREA_LAYOUTS(polygon);

/* ---- routes --------------------------------------------------------------------------------- */

static const struct wire_bits route_bits = {
    .names = {"by_time", NULL, "enter_alarms_driver", "enter_alarms_platform",
              "leave_alarms_driver", "leave_alarms_platform"}};
static const struct wire_bits segment_bits = {
    .names = {"travel_time", "speed_limit", "south", "west"}};
/* The segment's attributes follow its coordinates, so the sign is not known when they are read. */
#define SEGMENT_ATTRIBUTES                                                                         \
    BITS("attributes", 1, segment_bits, EMQX("attrib"), .keep = R_POINT, FLAGS(WIRE_DEFAULTS),     \
         CLAUSE("0x8606"))

static const struct wire_row route_point[] = {
    U32("point_id", CLAUSE("0x8606")),
    U32("segment_id", EMQX("path_id"), CLAUSE("0x8606")),
    U32("latitude", EMQX("point_lat"), COORDINATE, CLAUSE("0x8606, south in attributes")),
    U32("longitude", EMQX("point_lng"), COORDINATE, CLAUSE("0x8606, west in attributes")),
    U8("width", UNIT("m"), CLAUSE("0x8606")),
    SEGMENT_ATTRIBUTES,
    U16("too_long_threshold", EMQX("passed"), UNIT("s"), IF(R_POINT, 1, 1), CLAUSE("0x8606")),
    U16("too_short_threshold", EMQX("uncovered"), UNIT("s"), IF(R_POINT, 1, 1), CLAUSE("0x8606")),
    U16("max_speed", SPEED_KMH, IF(R_POINT, 2, 2), CLAUSE("0x8606")),
    U8("overspeed_duration", UNIT("s"), IF(R_POINT, 2, 2), CLAUSE("0x8606")),
    U16("night_max_speed", SPEED_KMH, IF(R_POINT, 2, 2), .since = 2019, CLAUSE("0x8606, 2019")),
    END_OF_ROWS};
static const struct wire_row route_point_2011[] = {
    U32("segment_id", EMQX("path_id"), CLAUSE("0x8606, 2011")),
    U32("latitude", EMQX("point_lat"), COORDINATE, CLAUSE("0x8606, south in attributes")),
    U32("longitude", EMQX("point_lng"), COORDINATE, CLAUSE("0x8606, west in attributes")),
    U8("width", UNIT("m"), CLAUSE("0x8606")),
    SEGMENT_ATTRIBUTES,
    U16("travel_time", EMQX("passed"), UNIT("s"), IF(R_POINT, 1, 1), CLAUSE("0x8606, 2011")),
    U16("max_speed", SPEED_KMH, IF(R_POINT, 2, 2), CLAUSE("0x8606")),
    U8("overspeed_duration", UNIT("s"), IF(R_POINT, 2, 2), CLAUSE("0x8606")),
    END_OF_ROWS};
#define ROUTE_HEAD                                                                                 \
    U32("id", CLAUSE("0x8606")),                                                                   \
        BITS("attributes", 2, route_bits, EMQX("flag"), .keep = R_AREA, FLAGS(WIRE_DEFAULTS),      \
             CLAUSE("0x8606")),                                                                    \
        AREA_TIMES("0x8606"), COUNT("point_count", 2, R_POINTS, EMQX("length"), CLAUSE("0x8606"))
static const struct wire_row route[] = {
    ROUTE_HEAD, LIST("points", route_point, R_POINTS, CLAUSE("0x8606")),
    TEXT_COUNTED("name", 2, .since = 2019, FLAGS(WIRE_DEFAULTS | WIRE_IGNORED),
                 CLAUSE("0x8606, 2019")),
    END_OF_ROWS};
static const struct wire_row route_2011[] = {
    ROUTE_HEAD, COUNT("package_count", 1, R_POINTS, EMQX(""), CLAUSE("0x8606, 2011")),
    LIST("points", route_point_2011, R_POINTS, CLAUSE("0x8606")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_route[] = AREA_LAYOUTS(route);

static const struct wire_row one_id[] = {{.kind = WIRE_UINT, .width = 4}, END_OF_ROWS};
static const struct wire_row delete_areas[] = {
    COUNT("count", 1, R_COUNT, EMQX("length"), CLAUSE("0x8601 ...")),
    LIST("ids", one_id, R_COUNT, FLAGS(WIRE_DEFAULTS), CLAUSE("0x8601 ..., none deletes all")),
    END_OF_ROWS};
const struct jt808_layout jt808_layouts_delete_areas[] = {
    LAYOUT("any", EVERY_EDITION, 0, delete_areas), END_OF_LAYOUTS};

static const struct wire_name area_kinds[] = {
    {1, "circle"}, {2, "rectangle"}, {3, "polygon"}, {4, "route"}, {0, NULL}};
static const struct wire_row area_query[] = {
    U8("type", NAMES(area_kinds), CLAUSE("0x8608")), COUNT("count", 4, R_COUNT, CLAUSE("0x8608")),
    LIST("ids", one_id, R_COUNT, FLAGS(WIRE_DEFAULTS), CLAUSE("0x8608, none is all")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_area_query[] = {LAYOUT("any", EVERY_EDITION, 0, area_query),
                                                        END_OF_LAYOUTS};

/* Sources disagree on what the data are; no real frame is known. */
static const struct wire_row area_answer[] = {
    U8("type", NAMES(area_kinds), CLAUSE("0x0608")), U32("count", CLAUSE("0x0608")),
    HEX_REST("data_hex", EMQX("data"), CLAUSE("0x0608")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_area_answer[] = {
    LAYOUT("any", EVERY_EDITION, 0, area_answer), END_OF_LAYOUTS};
