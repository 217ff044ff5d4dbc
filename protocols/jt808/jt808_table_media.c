/* SPDX-License-Identifier: Apache-2.0 */

/* Tables of recorder, waybill, driver, multimedia, pass-through, audio and video, attachments.
 *
 * standard  JT/T 808: 0x0700 to 0x0702, 0x08xx, 0x09xx, 0x870x, 0x88xx, 0x8900; JT/T 1078-2016
 *           signalling; T/JSATL 12: 0x1210 to 0x1212, 0x9208, 0x9212
 */

#include "jt808_rows.h"

enum { R_COUNT = 1, R_LENGTH = 2 };

extern const struct wire_row jt808_rows_tag_16[], jt808_rows_tag_32[], jt808_rows_tag_38[],
    jt808_rows_tag_39[], jt808_rows_tag_40[];

#define ONE_LAYOUT(message, rows)                                                                  \
    const struct jt808_layout jt808_layouts_##message[] = {LAYOUT("any", EVERY_EDITION, 0, rows),  \
                                                           END_OF_LAYOUTS}

/* ---- recorder, waybill, driver -------------------------------------------------------------- */

static const struct wire_row recorder_command[] = {
    U8("command", CLAUSE("0x8700, 0x8701, GB/T 19056")),
    HEX_REST("data_hex", EMQX("param"), FLAGS(WIRE_OPTIONAL), CLAUSE("0x8700, 0x8701")),
    END_OF_ROWS};
ONE_LAYOUT(recorder_command, recorder_command);

static const struct wire_row recorder_data[] = {
    U16("ack_serial", EMQX("seq"), CLAUSE("0x0700")), U8("command", CLAUSE("0x0700")),
    HEX_REST("data_hex", EMQX("data"), CLAUSE("0x0700")), END_OF_ROWS};
static const struct wire_row recorder_data_2011[] = {
    U8("command", CLAUSE("0x0700, 2011")), U16("total", CLAUSE("0x0700, 2011")),
    HEX_REST("data_hex", EMQX("data"), .prefix = 2, CLAUSE("0x0700, 2011")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_recorder_data[] = {
    LAYOUT("2011", 2011, 2011, 2011, recorder_data_2011),
    LAYOUT("any", EVERY_EDITION, 0, recorder_data), END_OF_LAYOUTS};

static const struct wire_row waybill[] = {COUNT("length", 4, R_LENGTH, CLAUSE("0x0701")),
                                          HEX_REST("content_hex", EMQX("data"), .count = R_LENGTH,
                                                   CLAUSE("0x0701, no format is defined")),
                                          END_OF_ROWS};
ONE_LAYOUT(waybill, waybill);

static const struct wire_name card_states[] = {{1, "inserted"}, {2, "removed"}, {0, NULL}};
static const struct wire_name card_results[] = {{0, "ok"},      {1, "key_failed"},   {2, "locked"},
                                                {3, "removed"}, {4, "check_failed"}, {0, NULL}};
#define DRIVER                                                                                     \
    U8("status", NAMES(card_states), FLAGS(WIRE_LISTED), CLAUSE("0x0702")),                        \
        TIME("time", CLAUSE("0x0702")),                                                            \
        U8("card_result", EMQX("ic_result"), NAMES(card_results), FLAGS(WIRE_OPTIONAL),            \
           CLAUSE("0x0702")),                                                                      \
        TEXT_COUNTED("driver_name", 1, FLAGS(WIRE_OPTIONAL), CLAUSE("0x0702, card_result 0")),     \
        TEXT_FIXED("certificate", 20, CLAUSE("0x0702")),                                           \
        TEXT_COUNTED("agency", 1, EMQX("organization"), CLAUSE("0x0702")),                         \
        DIGITS("valid_until", 4, EMQX("cert_expiry"), CLAUSE("0x0702, YYYYMMDD"))
static const struct wire_row driver_2013[] = {DRIVER, END_OF_ROWS};
static const struct wire_row driver_2019[] = {
    DRIVER, TEXT_FIXED("id_card", 20, CLAUSE("0x0702, 2019")), END_OF_ROWS};
static const struct wire_row driver_2011[] = {
    TEXT_COUNTED("driver_name", 1, FLAGS(WIRE_PRINTABLE), CLAUSE("0x0702, 2011")),
    TEXT_FIXED("id_card", 20, CLAUSE("0x0702, 2011")),
    TEXT_FIXED("certificate", 40, CLAUSE("0x0702, 2011")),
    TEXT_COUNTED("agency", 1, EMQX("organization"), CLAUSE("0x0702, 2011")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_driver[] = {
    LAYOUT("2011", 2011, 2011, 2011, driver_2011), LAYOUT("2013", 2012, 2018, 2013, driver_2013),
    LAYOUT("2019", 2019, 2999, 2019, driver_2019), END_OF_LAYOUTS};

/* ---- multimedia ----------------------------------------------------------------------------- */

static const struct wire_name media_types[] = {
    {0, "picture"}, {1, "audio"}, {2, "video"}, {0, NULL}};
static const struct wire_name media_formats[] = {{0, "jpeg"}, {1, "tif"}, {2, "mp3"},
                                                 {3, "wav"},  {4, "wmv"}, {0, NULL}};
static const struct wire_name media_events[] = {{0, "platform"},
                                                {1, "timer"},
                                                {2, "robbery"},
                                                {3, "collision"},
                                                {4, "door_opened"},
                                                {5, "door_closed"},
                                                {6, "door_closed_driving"},
                                                {7, "distance"},
                                                {0, NULL}};
#define MEDIA                                                                                      \
    U32("media_id", EMQX("id"), CLAUSE("0x0800, 0x0801")),                                         \
        U8("media_type", EMQX("type"), NAMES(media_types), CLAUSE("0x0800, 0x0801")),              \
        U8("format", NAMES(media_formats), CLAUSE("0x0800, 0x0801")),                              \
        U8("event", NAMES(media_events), CLAUSE("0x0800, 0x0801")),                                \
        U8("channel", CLAUSE("0x0800, 0x0801"))
static const struct wire_row media_event[] = {MEDIA, END_OF_ROWS};
ONE_LAYOUT(media_event, media_event);

static const struct wire_row media_data[] = {
    MEDIA, STRUCT("location", jt808_rows_location_base, CLAUSE("0x0801")),
    HEX_REST("data_hex", EMQX("multimedia"), FLAGS(WIRE_SHOW_LENGTH), CLAUSE("0x0801")),
    END_OF_ROWS};
static const struct wire_row media_data_2011[] = {
    MEDIA, U32("total_packages", CLAUSE("0x0801, 2011")), U32("package_id", CLAUSE("0x0801, 2011")),
    HEX_REST("data_hex", EMQX("multimedia"), FLAGS(WIRE_SHOW_LENGTH), CLAUSE("0x0801")),
    END_OF_ROWS};
const struct jt808_layout jt808_layouts_media_data[] = {
    LAYOUT("2011", 2011, 2011, 2011, media_data_2011), LAYOUT("any", EVERY_EDITION, 0, media_data),
    END_OF_LAYOUTS};

static const struct wire_row one_word[] = {{.kind = WIRE_UINT, .width = 2}, END_OF_ROWS};
static const struct wire_row media_response[] = {
    U32("media_id", EMQX("mm_id"), CLAUSE("0x8800")),
    COUNT("count", 1, R_COUNT, EMQX("length"), FLAGS(WIRE_OPTIONAL),
          CLAUSE("0x8800, absent if all arrived")),
    LIST("package_ids", one_word, R_COUNT, EMQX("retx_ids"), CLAUSE("0x8800")), END_OF_ROWS};
ONE_LAYOUT(media_response, media_response);

static const struct wire_name photo_save[] = {{0, "upload"}, {1, "store"}, {0, NULL}};
static const struct wire_row camera_shot[] = {
    U8("channel", EMQX("channel_id"), CLAUSE("0x8801")),
    U16("command", CLAUSE("0x8801: 0 stop, 65535 video, else photos")),
    U16("interval", EMQX("period"), UNIT("s"), CLAUSE("0x8801")),
    U8("save", NAMES(photo_save), CLAUSE("0x8801")),
    U8("resolution", CLAUSE("0x8801: 1 320x240 .. 8 704x576")),
    U8("quality", CLAUSE("0x8801, 1 is best")),
    U8("brightness", EMQX("bright"), CLAUSE("0x8801")),
    U8("contrast", CLAUSE("0x8801")),
    U8("saturation", EMQX("saturate"), CLAUSE("0x8801")),
    U8("chroma", EMQX("chromaticity"), CLAUSE("0x8801")),
    END_OF_ROWS};
ONE_LAYOUT(camera_shot, camera_shot);

static const struct wire_name shot_results[] = {
    {0, "ok"}, {1, "failed"}, {2, "channel_unsupported"}, {0, NULL}};
static const struct wire_row one_id[] = {{.kind = WIRE_UINT, .width = 4}, END_OF_ROWS};
static const struct wire_row camera_response[] = {
    U16("ack_serial", EMQX("seq"), CLAUSE("0x0805")),
    U8("result", NAMES(shot_results), CLAUSE("0x0805")),
    COUNT("count", 2, R_COUNT, EMQX("length"), FLAGS(WIRE_OPTIONAL),
          CLAUSE("0x0805, only with result 0")),
    LIST("media_ids", one_id, R_COUNT, EMQX("ids"), CLAUSE("0x0805")), END_OF_ROWS};
ONE_LAYOUT(camera_response, camera_response);

#define MEDIA_SEARCH                                                                               \
    U8("media_type", EMQX("type"), NAMES(media_types), CLAUSE("0x8802, 0x8803")),                  \
        U8("channel", CLAUSE("0x8802, 0x8803, 0 is all")),                                         \
        U8("event", NAMES(media_events), CLAUSE("0x8802, 0x8803")),                                \
        TIME("start_time", CLAUSE("0x8802, 0x8803")), TIME("end_time", CLAUSE("0x8802, 0x8803"))
static const struct wire_name keep_delete[] = {{0, "keep"}, {1, "delete"}, {0, NULL}};
static const struct wire_row media_search[] = {MEDIA_SEARCH, END_OF_ROWS};
static const struct wire_row media_upload[] = {
    MEDIA_SEARCH, U8("delete", NAMES(keep_delete), CLAUSE("0x8803")), END_OF_ROWS};
ONE_LAYOUT(media_search, media_search);
ONE_LAYOUT(media_upload, media_upload);

#define FOUND_PLACE                                                                                \
    U8("media_type", EMQX("type"), NAMES(media_types), CLAUSE("0x0802")),                          \
        U8("channel", CLAUSE("0x0802")), U8("event", NAMES(media_events), CLAUSE("0x0802")),       \
        STRUCT("location", jt808_rows_location_base)
static const struct wire_row found_media[] = {U32("media_id", EMQX("id"), CLAUSE("0x0802")),
                                              FOUND_PLACE, END_OF_ROWS};
static const struct wire_row found_media_2011[] = {FOUND_PLACE, END_OF_ROWS};
static const struct wire_row media_search_response[] = {
    U16("ack_serial", EMQX("seq"), CLAUSE("0x0802")),
    U16("total", EMQX("length"), CLAUSE("0x0802, may exceed the items here")),
    LIST("items", found_media, 0, EMQX("result"), CLAUSE("0x0802")), END_OF_ROWS};
static const struct wire_row media_search_response_2011[] = {
    U16("ack_serial", EMQX("seq"), CLAUSE("0x0802")),
    U16("total", EMQX("length"), CLAUSE("0x0802")),
    COUNT("count", 2, R_COUNT, EMQX(""), CLAUSE("0x0802, 2011")),
    LIST("items", found_media_2011, R_COUNT, EMQX("result"), CLAUSE("0x0802")), END_OF_ROWS};
const struct jt808_layout jt808_layouts_media_search_response[] = {
    LAYOUT("2011", 2011, 2011, 2011, media_search_response_2011),
    LAYOUT("any", EVERY_EDITION, 0, media_search_response), END_OF_LAYOUTS};

static const struct wire_row media_upload_single[] = {
    U32("media_id", EMQX("id"), CLAUSE("0x8805")),
    U8("delete", EMQX("flag"), NAMES(keep_delete), CLAUSE("0x8805")), END_OF_ROWS};
ONE_LAYOUT(media_upload_single, media_upload_single);

static const struct wire_name start_stop[] = {{0, "stop"}, {1, "start"}, {0, NULL}};
static const struct wire_row audio_recording[] = {
    U8("command", NAMES(start_stop), CLAUSE("0x8804")),
    U16("duration", EMQX("time"), UNIT("s"), CLAUSE("0x8804, 0 is endless")),
    U8("save", NAMES(photo_save), CLAUSE("0x8804")),
    U8("sample_rate", EMQX("rate"), CLAUSE("0x8804: 0 8k, 1 11k, 2 23k, 3 32k")), END_OF_ROWS};
ONE_LAYOUT(audio_recording, audio_recording);

static const struct wire_row pass_through[] = {
    U8("type", CLAUSE("0x0900, 0x8900")),
    HEX_REST("data_hex", EMQX("data"), CLAUSE("0x0900, 0x8900")), END_OF_ROWS};
ONE_LAYOUT(pass_through, pass_through);

static const struct wire_row compressed_data[] = {
    COUNT("length", 4, R_LENGTH, CLAUSE("0x0901")),
    HEX_REST("data_hex", EMQX("data"), .count = R_LENGTH, CLAUSE("0x0901, GZIP")), END_OF_ROWS};
ONE_LAYOUT(compressed_data, compressed_data);

/* ---- JT/T 1078 ------------------------------------------------------------------------------ */

static const struct wire_row av_attributes[] = {
    U8("audio_codec", CLAUSE("0x1003")),
    U8("audio_channels", CLAUSE("0x1003")),
    U8("audio_sample_rate", CLAUSE("0x1003: 0 8k, 1 22.05k, 2 44.1k, 3 48k")),
    U8("audio_bits", CLAUSE("0x1003: 0 8, 1 16, 2 32")),
    U16("audio_frame_length", CLAUSE("0x1003")),
    U8("audio_output", CLAUSE("0x1003")),
    U8("video_codec", CLAUSE("0x1003")),
    U8("max_audio_channels", CLAUSE("0x1003")),
    U8("max_video_channels", CLAUSE("0x1003")),
    END_OF_ROWS};
ONE_LAYOUT(av_attributes, av_attributes);

static const struct wire_row passenger_flow[] = {
    TIME("start_time", CLAUSE("0x1005")), TIME("end_time", CLAUSE("0x1005")),
    U16("boarding", CLAUSE("0x1005")), U16("alighting", CLAUSE("0x1005")), END_OF_ROWS};
ONE_LAYOUT(passenger_flow, passenger_flow);

#define AV_SERVER(clause)                                                                          \
    TEXT_COUNTED("server_ip", 1, CLAUSE(clause)), U16("tcp_port", CLAUSE(clause)),                 \
        U16("udp_port", CLAUSE(clause))
static const struct wire_name live_types[] = {{0, "av"},     {1, "video"},     {2, "talk"},
                                              {3, "listen"}, {4, "broadcast"}, {5, "pass_through"},
                                              {0, NULL}};
static const struct wire_name live_streams[] = {{0, "main"}, {1, "sub"}, {0, NULL}};
static const struct wire_row live_request[] = {
    AV_SERVER("0x9101"), U8("channel", CLAUSE("0x9101")),
    U8("data_type", NAMES(live_types), CLAUSE("0x9101")),
    U8("stream_type", NAMES(live_streams), CLAUSE("0x9101")), END_OF_ROWS};
ONE_LAYOUT(live_request, live_request);

static const struct wire_name live_controls[] = {{0, "close"},  {1, "switch_stream"}, {2, "pause"},
                                                 {3, "resume"}, {4, "close_talk"},    {0, NULL}};
static const struct wire_name close_types[] = {{0, "all"}, {1, "audio"}, {2, "video"}, {0, NULL}};
static const struct wire_row live_control[] = {
    U8("channel", CLAUSE("0x9102")), U8("control", NAMES(live_controls), CLAUSE("0x9102")),
    U8("close_type", NAMES(close_types), CLAUSE("0x9102")),
    U8("stream_type", NAMES(live_streams), CLAUSE("0x9102")), END_OF_ROWS};
ONE_LAYOUT(live_control, live_control);

static const struct wire_row live_status[] = {
    U8("channel", CLAUSE("0x9105")), U8("loss_rate", UNIT("%"), CLAUSE("0x9105")), END_OF_ROWS};
ONE_LAYOUT(live_status, live_status);

static const struct wire_name av_media[] = {
    {0, "av"}, {1, "audio"}, {2, "video"}, {3, "either"}, {0, NULL}};
static const struct wire_name av_streams[] = {{0, "any"}, {1, "main"}, {2, "sub"}, {0, NULL}};
static const struct wire_name av_storages[] = {{0, "any"}, {1, "main"}, {2, "backup"}, {0, NULL}};
#define AV_KIND(clause)                                                                            \
    U8("media_type", NAMES(av_media), CLAUSE(clause)),                                             \
        U8("stream_type", NAMES(av_streams), CLAUSE(clause)),                                      \
        U8("storage", NAMES(av_storages), CLAUSE(clause))
#define AV_RANGE(clause)                                                                           \
    U8("channel", CLAUSE(clause)), TIME("start_time", CLAUSE(clause)),                             \
        TIME("end_time", CLAUSE(clause)),                                                          \
        HEX_FIXED("alarm_hex", 8, FLAGS(WIRE_DEFAULTS), CLAUSE(clause))

static const struct wire_name playback_modes[] = {
    {0, "normal"}, {1, "fast"}, {2, "rewind"}, {3, "key_frames"}, {4, "single_frame"}, {0, NULL}};
static const struct wire_row playback_request[] = {
    AV_SERVER("0x9201"),
    U8("channel", CLAUSE("0x9201")),
    AV_KIND("0x9201"),
    U8("playback_mode", NAMES(playback_modes), CLAUSE("0x9201")),
    U8("speed", CLAUSE("0x9201: 0 none, 1 1x, 2 2x, 3 4x, 4 8x, 5 16x")),
    TIME("start_time", CLAUSE("0x9201")),
    TIME("end_time", CLAUSE("0x9201, 0 is to the end")),
    END_OF_ROWS};
ONE_LAYOUT(playback_request, playback_request);

static const struct wire_name playback_controls[] = {{0, "start"},      {1, "pause"},  {2, "end"},
                                                     {3, "fast"},       {4, "rewind"}, {5, "seek"},
                                                     {6, "key_frames"}, {0, NULL}};
static const struct wire_row playback_control[] = {
    U8("channel", CLAUSE("0x9202")), U8("control", NAMES(playback_controls), CLAUSE("0x9202")),
    U8("speed", CLAUSE("0x9202")),
    TIME("position", FLAGS(WIRE_OPTIONAL), CLAUSE("0x9202, for seek")), END_OF_ROWS};
ONE_LAYOUT(playback_control, playback_control);

static const struct wire_row av_query[] = {AV_RANGE("0x9205"), AV_KIND("0x9205"), END_OF_ROWS};
ONE_LAYOUT(av_query, av_query);

static const struct wire_row av_resource[] = {AV_RANGE("0x1205"), AV_KIND("0x1205"),
                                              U32("size", UNIT("byte"), CLAUSE("0x1205")),
                                              END_OF_ROWS};
static const struct wire_row av_resources[] = {
    U16("ack_serial", CLAUSE("0x1205")), U32("total", CLAUSE("0x1205, may exceed the items here")),
    LIST("items", av_resource, 0, CLAUSE("0x1205")), END_OF_ROWS};
ONE_LAYOUT(av_resources, av_resources);

static const struct wire_bits network_bits = {.names = {"wifi", "lan", "mobile"}};
static const struct wire_row file_upload[] = {TEXT_COUNTED("server", 1, CLAUSE("0x9206")),
                                              U16("port", CLAUSE("0x9206")),
                                              TEXT_COUNTED("user", 1, CLAUSE("0x9206")),
                                              TEXT_COUNTED("password", 1, CLAUSE("0x9206")),
                                              TEXT_COUNTED("path", 1, CLAUSE("0x9206")),
                                              AV_RANGE("0x9206"),
                                              AV_KIND("0x9206"),
                                              BITS("conditions", 1, network_bits, CLAUSE("0x9206")),
                                              END_OF_ROWS};
ONE_LAYOUT(file_upload, file_upload);

static const struct wire_name two_results[] = {{0, "ok"}, {1, "failed"}, {0, NULL}};
static const struct wire_row file_upload_finished[] = {
    U16("ack_serial", CLAUSE("0x1206")), U8("result", NAMES(two_results), CLAUSE("0x1206")),
    END_OF_ROWS};
ONE_LAYOUT(file_upload_finished, file_upload_finished);

static const struct wire_name upload_controls[] = {
    {0, "pause"}, {1, "continue"}, {2, "cancel"}, {0, NULL}};
static const struct wire_row file_upload_control[] = {
    U16("ack_serial", CLAUSE("0x9207, serial of the 0x9206")),
    U8("control", NAMES(upload_controls), CLAUSE("0x9207")), END_OF_ROWS};
ONE_LAYOUT(file_upload_control, file_upload_control);

static const struct wire_name ptz_directions[] = {{0, "stop"}, {1, "up"},    {2, "down"},
                                                  {3, "left"}, {4, "right"}, {0, NULL}};
static const struct wire_row ptz_rotate[] = {
    U8("channel", CLAUSE("0x9301")), U8("direction", NAMES(ptz_directions), CLAUSE("0x9301")),
    U8("speed", CLAUSE("0x9301")), END_OF_ROWS};
ONE_LAYOUT(ptz_rotate, ptz_rotate);

static const struct wire_name ptz_steps[] = {{0, "larger"}, {1, "smaller"}, {0, NULL}};
static const struct wire_row ptz_step[] = {U8("channel", CLAUSE("0x9302, 0x9303, 0x9306")),
                                           U8("value", NAMES(ptz_steps), CLAUSE("0x9302 ...")),
                                           END_OF_ROWS};
ONE_LAYOUT(ptz_step, ptz_step);

static const struct wire_row ptz_switch[] = {U8("channel", CLAUSE("0x9304, 0x9305")),
                                             U8("value", NAMES(start_stop), CLAUSE("0x9304 ...")),
                                             END_OF_ROWS};
ONE_LAYOUT(ptz_switch, ptz_switch);

/* ---- attachments of active safety ----------------------------------------------------------- */

#define ATTACHMENT_UPLOAD(tag)                                                                     \
    static const struct wire_row attachment_upload_##tag[] = {                                     \
        AV_SERVER("0x9208"), STRUCT("alarm_tag", jt808_rows_tag_##tag),                            \
        TEXT_FIXED("alarm_number", 32, CLAUSE("0x9208")),                                          \
        HEX_FIXED("reserved", 16, FLAGS(WIRE_DEFAULTS), CLAUSE("0x9208")), END_OF_ROWS};
static const struct wire_row attached_file[] = {TEXT_COUNTED("name", 1, CLAUSE("0x1210")),
                                                U32("size", UNIT("byte"), CLAUSE("0x1210")),
                                                END_OF_ROWS};
static const struct wire_name info_types[] = {{0, "normal"}, {1, "supplement"}, {0, NULL}};
#define ATTACHMENTS                                                                                \
    TEXT_FIXED("alarm_number", 32, CLAUSE("0x1210")),                                              \
        U8("info_type", NAMES(info_types), CLAUSE("0x1210")),                                      \
        COUNT("count", 1, R_COUNT, CLAUSE("0x1210")),                                              \
        LIST("files", attached_file, R_COUNT, CLAUSE("0x1210")), END_OF_ROWS
#define ALARM_ATTACHMENTS(tag, id_width)                                                           \
    static const struct wire_row alarm_attachments_##tag[] = {                                     \
        TEXT_FIXED("terminal_id", id_width, CLAUSE("0x1210")),                                     \
        STRUCT("alarm_tag", jt808_rows_tag_##tag), ATTACHMENTS};
/* clang-format off */
ATTACHMENT_UPLOAD(16) ATTACHMENT_UPLOAD(32) ATTACHMENT_UPLOAD(38)
ATTACHMENT_UPLOAD(39) ATTACHMENT_UPLOAD(40)
ALARM_ATTACHMENTS(16, 7) ALARM_ATTACHMENTS(32, 7) ALARM_ATTACHMENTS(39, 30) ALARM_ATTACHMENTS(40, 30)
    /* clang-format on */
    static const
    struct wire_row alarm_attachments_38[] = {STRUCT("alarm_tag", jt808_rows_tag_38), ATTACHMENTS};
#define TAG_LAYOUTS(rows)                                                                          \
    {                                                                                              \
        LAYOUT("tag-16", EVERY_EDITION, 0, rows##_16), LAYOUT("tag-32", 0, 0, 0, rows##_32),       \
            LAYOUT("tag-38", 0, 0, 0, rows##_38), LAYOUT("tag-39", 0, 0, 0, rows##_39),            \
            LAYOUT("tag-40", 0, 0, 0, rows##_40), END_OF_LAYOUTS                                   \
    }
const struct jt808_layout jt808_layouts_attachment_upload[] = TAG_LAYOUTS(attachment_upload);
const struct jt808_layout jt808_layouts_alarm_attachments[] = TAG_LAYOUTS(alarm_attachments);

static const struct wire_name file_types[] = {{0, "picture"}, {1, "audio"}, {2, "video"},
                                              {3, "text"},    {4, "other"}, {0, NULL}};
#define FILE_NAME                                                                                  \
    TEXT_COUNTED("file_name", 1, CLAUSE("0x1211, 0x1212, 0x9212")),                                \
        U8("file_type", NAMES(file_types), CLAUSE("0x1211, 0x1212, 0x9212"))
static const struct wire_row attachment_file[] = {
    FILE_NAME, U32("file_size", UNIT("byte"), CLAUSE("0x1211, 0x1212")), END_OF_ROWS};
ONE_LAYOUT(attachment_file, attachment_file);

static const struct wire_name file_results[] = {{0, "complete"}, {1, "resend"}, {0, NULL}};
static const struct wire_row file_range[] = {U32("offset", CLAUSE("0x9212")),
                                             U32("length", CLAUSE("0x9212")), END_OF_ROWS};
static const struct wire_row attachment_response[] = {
    FILE_NAME, U8("result", NAMES(file_results), CLAUSE("0x9212")),
    COUNT("count", 1, R_COUNT, CLAUSE("0x9212")),
    LIST("ranges", file_range, R_COUNT, CLAUSE("0x9212")), END_OF_ROWS};
ONE_LAYOUT(attachment_response, attachment_response);
