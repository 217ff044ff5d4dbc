/* SPDX-License-Identifier: Apache-2.0 */

/* The catalogue of messages and the choice of a layout.
 *
 * A header tells 2019 from the rest, but terminals send bodies of one edition under headers of
 * another. So the layouts of the frame's edition are tried first, then the others, and the one that
 * fits best is taken: one that consumes the body exactly and has no doubtful value wins at once; a
 * fault (a count that disagrees, bytes left over) weighs more than a doubt.
 *
 * standard  JT/T 808-2011/2013/2019, clause 8; JT/T 1078-2016; T/JSATL 12-2017; T/GDRTA 002-2020
 */

#include "jt808_rows.h"

#include <string.h>

/* X(id, up, name, layouts, clause); sorted by id. */
#define JT808_MESSAGES(X)                                                                          \
    X(0x0001, true, terminal_general_response, general_response, "JT/T 808")                       \
    X(0x0002, true, heartbeat, nothing, "JT/T 808")                                                \
    X(0x0003, true, unregister, nothing, "JT/T 808")                                               \
    X(0x0004, true, server_time_query, nothing, "JT/T 808-2019")                                   \
    X(0x0005, true, terminal_retransmission_request, retransmission, "JT/T 808-2019")              \
    X(0x0100, true, register, register, "JT/T 808")                                                \
    X(0x0102, true, authentication, authentication, "JT/T 808")                                    \
    X(0x0104, true, parameters_response, parameters_response, "JT/T 808")                          \
    X(0x0107, true, attributes_response, attributes, "JT/T 808-2013")                              \
    X(0x0108, true, upgrade_result, upgrade_result, "JT/T 808-2013")                               \
    X(0x0200, true, location_report, location, "JT/T 808")                                         \
    X(0x0201, true, location_query_response, location_query_answer, "JT/T 808")                    \
    X(0x0301, true, event_report, event_report, "JT/T 808")                                        \
    X(0x0302, true, question_answer, question_answer, "JT/T 808")                                  \
    X(0x0303, true, information_demand, information_demand, "JT/T 808")                            \
    X(0x0500, true, vehicle_control_response, location_answer, "JT/T 808")                         \
    X(0x0608, true, area_query_response, area_answer, "JT/T 808-2019")                             \
    X(0x0700, true, recorder_data, recorder_data, "JT/T 808")                                      \
    X(0x0701, true, waybill, waybill, "JT/T 808")                                                  \
    X(0x0702, true, driver_identity, driver, "JT/T 808")                                           \
    X(0x0704, true, location_batch, location_batch, "JT/T 808-2013")                               \
    X(0x0705, true, can_data, can_data, "JT/T 808-2013")                                           \
    X(0x0800, true, multimedia_event, media_event, "JT/T 808")                                     \
    X(0x0801, true, multimedia_data, media_data, "JT/T 808")                                       \
    X(0x0802, true, multimedia_search_response, media_search_response, "JT/T 808")                 \
    X(0x0805, true, camera_shot_response, camera_response, "JT/T 808-2013")                        \
    X(0x0900, true, uplink_pass_through, pass_through, "JT/T 808")                                 \
    X(0x0901, true, compressed_data, compressed_data, "JT/T 808")                                  \
    X(0x0a00, true, terminal_rsa_key, rsa_key, "JT/T 808")                                         \
    X(0x1003, true, av_attributes, av_attributes, "JT/T 1078")                                     \
    X(0x1005, true, passenger_flow, passenger_flow, "JT/T 1078")                                   \
    X(0x1205, true, av_resource_list, av_resources, "JT/T 1078")                                   \
    X(0x1206, true, file_upload_finished, file_upload_finished, "JT/T 1078")                       \
    X(0x1210, true, alarm_attachments, alarm_attachments, "T/JSATL 12")                            \
    X(0x1211, true, attachment_file, attachment_file, "T/JSATL 12")                                \
    X(0x1212, true, attachment_file_finished, attachment_file, "T/JSATL 12")                       \
    X(0x1fc4, true, upgrade_progress, upgrade_progress, "T/GDRTA 002")                             \
    X(0x8001, false, platform_general_response, general_response, "JT/T 808")                      \
    X(0x8003, false, retransmission_request, retransmission, "JT/T 808-2013")                      \
    X(0x8004, false, server_time_response, server_time, "JT/T 808-2019")                           \
    X(0x8100, false, register_response, register_response, "JT/T 808")                             \
    X(0x8103, false, set_parameters, set_parameters, "JT/T 808")                                   \
    X(0x8104, false, query_parameters, nothing, "JT/T 808")                                        \
    X(0x8105, false, terminal_control, terminal_control, "JT/T 808")                               \
    X(0x8106, false, query_specific_parameters, query_parameters, "JT/T 808-2013")                 \
    X(0x8107, false, query_attributes, nothing, "JT/T 808-2013")                                   \
    X(0x8108, false, upgrade_package, upgrade_package, "JT/T 808-2013")                            \
    X(0x8201, false, location_query, nothing, "JT/T 808")                                          \
    X(0x8202, false, temporary_tracking, temporary_tracking, "JT/T 808")                           \
    X(0x8203, false, confirm_alarm, confirm_alarm, "JT/T 808-2013")                                \
    X(0x8204, false, link_detection, nothing, "JT/T 808-2019")                                     \
    X(0x8300, false, text_message, text, "JT/T 808")                                               \
    X(0x8301, false, set_events, set_events, "JT/T 808")                                           \
    X(0x8302, false, question, question, "JT/T 808")                                               \
    X(0x8303, false, set_information_menu, menu, "JT/T 808")                                       \
    X(0x8304, false, information_service, information_service, "JT/T 808")                         \
    X(0x8400, false, callback, callback, "JT/T 808")                                               \
    X(0x8401, false, set_phone_book, phone_book, "JT/T 808")                                       \
    X(0x8500, false, vehicle_control, vehicle_control, "JT/T 808")                                 \
    X(0x8600, false, set_circle_areas, circles, "JT/T 808")                                        \
    X(0x8601, false, delete_circle_areas, delete_areas, "JT/T 808")                                \
    X(0x8602, false, set_rectangle_areas, rectangles, "JT/T 808")                                  \
    X(0x8603, false, delete_rectangle_areas, delete_areas, "JT/T 808")                             \
    X(0x8604, false, set_polygon_areas, polygon, "JT/T 808")                                       \
    X(0x8605, false, delete_polygon_areas, delete_areas, "JT/T 808")                               \
    X(0x8606, false, set_routes, route, "JT/T 808")                                                \
    X(0x8607, false, delete_routes, delete_areas, "JT/T 808")                                      \
    X(0x8608, false, area_query, area_query, "JT/T 808-2019")                                      \
    X(0x8700, false, recorder_data_query, recorder_command, "JT/T 808")                            \
    X(0x8701, false, recorder_set_parameters, recorder_command, "JT/T 808")                        \
    X(0x8702, false, driver_identity_query, nothing, "JT/T 808-2013")                              \
    X(0x8800, false, multimedia_data_response, media_response, "JT/T 808")                         \
    X(0x8801, false, camera_shot, camera_shot, "JT/T 808")                                         \
    X(0x8802, false, multimedia_search, media_search, "JT/T 808")                                  \
    X(0x8803, false, multimedia_upload, media_upload, "JT/T 808")                                  \
    X(0x8804, false, audio_recording, audio_recording, "JT/T 808")                                 \
    X(0x8805, false, multimedia_upload_single, media_upload_single, "JT/T 808-2013")               \
    X(0x8900, false, downlink_pass_through, pass_through, "JT/T 808")                              \
    X(0x8a00, false, platform_rsa_key, rsa_key, "JT/T 808")                                        \
    X(0x9003, false, av_attributes_query, nothing, "JT/T 1078")                                    \
    X(0x9101, false, live_av_request, live_request, "JT/T 1078")                                   \
    X(0x9102, false, live_av_control, live_control, "JT/T 1078")                                   \
    X(0x9105, false, live_av_status, live_status, "JT/T 1078")                                     \
    X(0x9201, false, playback_request, playback_request, "JT/T 1078")                              \
    X(0x9202, false, playback_control, playback_control, "JT/T 1078")                              \
    X(0x9205, false, av_resource_query, av_query, "JT/T 1078")                                     \
    X(0x9206, false, file_upload, file_upload, "JT/T 1078")                                        \
    X(0x9207, false, file_upload_control, file_upload_control, "JT/T 1078")                        \
    X(0x9208, false, attachment_upload, attachment_upload, "T/JSATL 12")                           \
    X(0x9212, false, attachment_file_finished_response, attachment_response, "T/JSATL 12")         \
    X(0x9301, false, ptz_rotate, ptz_rotate, "JT/T 1078")                                          \
    X(0x9302, false, ptz_focus, ptz_step, "JT/T 1078")                                             \
    X(0x9303, false, ptz_iris, ptz_step, "JT/T 1078")                                              \
    X(0x9304, false, ptz_wiper, ptz_switch, "JT/T 1078")                                           \
    X(0x9305, false, ptz_infrared, ptz_switch, "JT/T 1078")                                        \
    X(0x9306, false, ptz_zoom, ptz_step, "JT/T 1078")

#define DECLARE(id_, up_, name_, layouts_, clause_)                                                \
    extern const struct jt808_layout jt808_layouts_##layouts_[];
JT808_MESSAGES(DECLARE)
#undef DECLARE

const struct jt808_message jt808_messages[] = {
#define MESSAGE(id_, up_, name_, layouts_, clause_)                                                \
    {.id = (id_),                                                                                  \
     .up = (up_),                                                                                  \
     .name = #name_,                                                                               \
     .clause = (clause_),                                                                          \
     .layouts = jt808_layouts_##layouts_},
    JT808_MESSAGES(MESSAGE)
#undef MESSAGE
};
const size_t jt808_message_count = sizeof(jt808_messages) / sizeof(jt808_messages[0]);

/* A fault costs more than any number of doubtful values that a layout can have. */
#define FAULT_COST 64u

const struct jt808_message *jt808_message_by_id(unsigned id)
{
    size_t low = 0;
    size_t high = jt808_message_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (jt808_messages[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < jt808_message_count && jt808_messages[low].id == id ? &jt808_messages[low] : NULL;
}

const struct jt808_message *jt808_message_by_name(const char *name)
{
    for (size_t i = 0; i < jt808_message_count; i++) {
        if (strcmp(jt808_messages[i].name, name) == 0) {
            return &jt808_messages[i];
        }
    }
    return NULL;
}

static bool covers(const struct jt808_layout *layout, unsigned edition)
{
    return layout->since <= edition && edition <= layout->until;
}

const struct jt808_layout *jt808_default_layout(const struct jt808_message *message,
                                                unsigned edition)
{
    for (const struct jt808_layout *l = message->layouts; l->rows != NULL; l++) {
        if (covers(l, edition)) {
            return l;
        }
    }
    return message->layouts;
}

const struct jt808_layout *jt808_layout_by_name(const struct jt808_message *message,
                                                const char *name)
{
    for (const struct jt808_layout *l = message->layouts; l->rows != NULL; l++) {
        if (strcmp(l->name, name) == 0) {
            return l;
        }
    }
    return NULL;
}

/* Try one layout; true if it is the best so far. Of another edition only what fits in every respect
 * is taken: the rest would be guessing. */
static bool try_layout(const struct jt808_layout *layout, unsigned edition, struct jt808_body *body,
                       unsigned *best)
{
    struct wire_walked walked;
    unsigned as = layout->edition != 0 ? layout->edition : edition;
    if (!wire_walk(layout->rows, body->bytes, as, NULL, NULL, &walked)) {
        return false;
    }
    unsigned cost = walked.doubts + FAULT_COST * (unsigned)__builtin_popcount(walked.faults);
    if (cost >= *best || (cost > 0 && !covers(layout, edition))) {
        return false;
    }
    *best = cost;
    body->layout = layout;
    body->edition = as;
    body->faults = walked.faults;
    return true;
}

/* What kind of body it is; true if there are layouts to try. */
static bool prepare(const struct jt808_frame *frame, unsigned edition, struct jt808_body *out)
{
    if (edition == 0 || (edition == JT808_2019) != frame->header_2019) {
        edition = jt808_frame_edition(frame);
    }
    *out = (struct jt808_body){.message = jt808_message_by_id(frame->msg_id)};
    out->edition = out->frame_edition = edition;
    out->bytes = frame->body;
    if (jt808_frame_is_subpackage(frame)) {
        out->opaque = JT808_PARTIAL;
    } else if (jt808_frame_encryption(frame) != 0) {
        out->opaque = JT808_ENCRYPTED;
    } else if (out->message == NULL) {
        out->opaque = JT808_UNKNOWN;
    }
    return out->opaque == JT808_READABLE;
}

static bool choose_layout(struct jt808_body *out)
{
    unsigned best = UINT32_MAX;
    for (unsigned others = 0; others < 2 && best > 0; others++) {
        for (const struct jt808_layout *l = out->message->layouts; l->rows != NULL && best > 0;
             l++) {
            if (covers(l, out->frame_edition) == (others == 0)) {
                try_layout(l, out->frame_edition, out, &best);
            }
        }
    }
    if (out->layout == NULL) {
        out->opaque = JT808_UNFIT;
        out->faults = WIRE_FAULT_BODY;
    }
    return out->layout != NULL;
}

bool jt808_body_open(const struct jt808_frame *frame, unsigned edition, struct jt808_body *out)
{
    return prepare(frame, edition, out) && choose_layout(out);
}

bool jt808_body_pick(const struct jt808_frame *frame, unsigned edition, struct jt808_body *out)
{
    if (!prepare(frame, edition, out)) {
        return false;
    }
    const struct jt808_layout *only = out->message->layouts;
    if (only[1].rows != NULL) {
        return choose_layout(out);
    }
    out->layout = only;
    out->edition = only->edition != 0 ? only->edition : out->frame_edition;
    return true;
}

bool jt808_body_uint(const struct jt808_body *body, const char *name, uint64_t *value)
{
    struct wire_event event;
    if (body->layout == NULL ||
        !wire_find(body->layout->rows, body->bytes, body->edition, name, &event) ||
        !wire_kind_is_integer(event.row->kind)) {
        return false;
    }
    *value = event.raw;
    return true;
}

bool jt808_body_bytes(const struct jt808_body *body, const char *name, struct pg_bytes *bytes)
{
    struct wire_event event;
    if (body->layout == NULL ||
        !wire_find(body->layout->rows, body->bytes, body->edition, name, &event)) {
        return false;
    }
    *bytes = event.row->kind == WIRE_TEXT ? wire_text_strip(event.bytes) : event.bytes;
    return true;
}
