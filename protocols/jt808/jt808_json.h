/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_JSON_H
#define JT808_JSON_H

/* A JT/T 808 frame as JSON, and JSON as a frame.
 *
 * native   {"protocol":"jt808","edition":"2019","message":"location_report","id":"0x0200",
 *           "phone":"00000000013912345678","serial":17,"time":"2026-03-01T08:00:00.000+08:00",
 *           "body":{...}}
 * wire     {"protocol":"jt808","shape":"wire","edition":"2019","message":"location_report",
 *           "msg_id":512,"body_length":28,"encryption":0,...,"phone":"...","serial":17,"body":{...}}
 *
 * alias    {"header":{"msg_id":512,"encrypt":0,"len":28,"phone":"...","msg_sn":17},"body":{...}}: that
 *           of EMQX's JT/T 808 gateway
 *
 * "time" is when the gateway received it. Members that the clean case lacks: "layout" (the body has
 * another layout than its edition's own), "protocol_version" (2019, not 1), "encryption",
 * "package", "version_flag" and "reserved_bit15" (bits 14 and 15 are not what the form of the
 * header wants), "faults" (enum wire_fault), "quirks" (enum jt808_quirk), "raw". A body that cannot
 * be read is
 * {"unknown_hex":"..."}; any message may be given as {"hex":"..."}. The alias shape has none of
 * these; a body that cannot be read is {"unknown_id":true,"data":"<base64>"}.
 *
 * threads   any
 */

#include "jt808_frame.h"
#include "jt808_table.h"
#include "wire/table_json.h"

struct jt808_json_options {
    enum wire_shape shape;
    enum wire_charset charset;
    unsigned edition;    /* that the session is known to have; 0: by the header */
    bool raw;            /* add "raw": the unescaped frame (frame->content) in hexadecimal */
    int64_t received_ms; /* wall clock, milliseconds since 1970; 0 leaves "time" out */
};

/* Write one frame as an object. The body is read by the layout that fits; what fits none is passed
 * on in hexadecimal and marked, so that this fails only for want of room.
 *
 * faults    may be null; enum wire_fault bits of the body
 * returns   false: out->failed, nothing usable was written
 */
bool jt808_json_write(struct json_out *out, const struct jt808_frame *frame,
                      const struct jt808_json_options *options, unsigned *faults);

/* What a document leaves open. The phone is NUL-terminated, empty if it must be given. */
struct jt808_json_defaults {
    unsigned edition;         /* JT808_2011 .. JT808_2019; 0: 2013 or as the document says */
    bool header_2019;         /* header form for documents without "edition" */
    uint8_t protocol_version; /* for a header of 2019; 0 stands for 1 */
    enum wire_charset charset;
    const char *phone; /* may be null */
};

struct jt808_json_message {
    struct jt808_frame frame; /* body points into the wire_out given; `content` is empty */
    const struct jt808_message *message; /* null if the id is not in the table */
    bool serial_given;                   /* else the caller chooses frame.serial */
};

/* Encode a document, as written by jt808_json_write() or by an application:
 * {"message":"text_message","body":{"flag":["display"],"text":"..."}}.
 *
 * document  lent
 * body      appended to; may be given with any limit, as a long message is split by the codec
 * out       on success; frame.body lives as long as `body` is left alone. The body may be longer
 *           than JT808_BODY_MAX
 * returns   false: *error says where and why
 */
bool jt808_json_encode(json_t *document, const struct jt808_json_defaults *defaults,
                       struct wire_out *body, struct jt808_json_message *out,
                       struct wire_error *error);

/* The same from text. Errors of syntax are given as path "document". */
bool jt808_json_encode_text(const char *text, size_t len,
                            const struct jt808_json_defaults *defaults, struct wire_out *body,
                            struct jt808_json_message *out, struct wire_error *error);

/* Append an annotated dump of header and body to `out`, one line for each field. */
void jt808_dump(struct json_out *out, const struct jt808_frame *frame, unsigned edition,
                enum wire_charset charset);

/* Append the catalogue of all messages, location items and parameters, made from the tables, as
 * plain text: for the manual and for `polygatectl`. */
void jt808_catalogue(struct json_out *out);

#endif
