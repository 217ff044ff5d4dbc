/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GBT32960_JSON_H
#define GBT32960_JSON_H

/* A GB/T 32960.3 frame as JSON, and JSON as a frame.
 *
 * native   {"protocol":"gbt32960","edition":"2016","message":"realtime_report","id":"0x02",
 *           "vin":"LTESTVN0000000001","time":"2026-03-15T08:30:06.120+08:00",
 *           "body":{"time":"2026-03-15T08:30:05+08:00","items":[{"type":1,"name":"vehicle",...}]}}
 * wire     {"protocol":"gbt32960","shape":"wire","edition":"2016","message":"realtime_report",
 *           "command":2,"response_flag":254,"vin":"...","encryption_flag":1,"unit_length":28,...}
 *
 * alias    {"Cmd":2,"Encrypt":1,"Vin":"...","Data":{"Time":{...},"Infos":[...]}}, and down
 *           {"Action":"Query","Total":1,"Ids":["0x01"]}: that of EMQX's GB/T 32960 gateway
 *
 * The outer "time" is when the gateway received it. Members that the clean case lacks: "response"
 * (the frame is an answer), "encryption", "decrypted" (it came encrypted and was read), "vin_raw"
 * (an id that is not 17 characters), "layout":"answer" (a terminal sent an answer without saying
 * so), "faults" (enum wire_fault), "raw". A unit that cannot be read is {"unknown_hex":"..."}, an
 * encrypted one {"ciphertext_hex":"..."}; any message may be given as {"hex":"..."}.
 *
 * For applications: "parameters" may be an object of names and values, "parameter_ids" may be
 * names, lengths of domain names need not be given, and "time" is the present when it is left out.
 *
 * threads   any
 */

#include "gbt32960_frame.h"
#include "gbt32960_table.h"
#include "wire/table_json.h"

struct gbt_json_options {
    enum wire_shape shape;
    bool uplink;             /* it came from a terminal: 80 to bf are answers */
    bool hide_secrets;       /* leave passwords and keys out */
    bool raw;                /* add "raw": the frame as it came, in hexadecimal */
    int64_t received_ms;     /* wall clock, milliseconds since 1970; 0 leaves "time" out */
    struct gbt_cells *cells; /* filled with the parts of subsystems; may be null */
    const char *signature;   /* what is known of the signature: "valid", "invalid", "unverified"; or
                              null */
};

struct gbt_json_judgement {
    unsigned faults;       /* enum wire_fault */
    unsigned out_of_range; /* values that the standard does not have */
};

/* Write one frame as an object. What cannot be read is passed on in hexadecimal and marked, so that
 * this fails only for want of room.
 *
 * judgement may be null
 * returns   false: out->failed, nothing usable was written
 */
bool gbt_json_write(struct json_out *out, const struct gbt_frame *frame,
                    const struct gbt_json_options *options, struct gbt_json_judgement *judgement);

/* What a document leaves open. */
struct gbt_json_defaults {
    unsigned edition;  /* GBT_2016, GBT_2025; 0: 2016 */
    const uint8_t *id; /* 17 bytes; may be null: the document must say */
    int64_t wall_ms;   /* for times that are not given; 0: they must be */
};

struct gbt_json_message {
    struct gbt_frame frame;            /* unit points into the wire_out given; `wire` is empty */
    const struct gbt_message *message; /* null if the command is not in the table */
};

/* Encode a document, as written by gbt_json_write() or by an application:
 * {"message":"parameter_set","body":{"parameters":{"report_period_s":10}}}.
 *
 * document  lent
 * unit      appended to
 * out       on success; frame.unit lives as long as `unit` is left alone. It is plain: cipher text
 *           comes only from a document that has it
 * returns   false: *error says where and why
 */
bool gbt_json_encode(json_t *document, const struct gbt_json_defaults *defaults,
                     struct wire_out *unit, struct gbt_json_message *out, struct wire_error *error);

/* The same from text. Errors of syntax are given as path "document". */
bool gbt_json_encode_text(const char *text, size_t len, const struct gbt_json_defaults *defaults,
                          struct wire_out *unit, struct gbt_json_message *out,
                          struct wire_error *error);

/* "2026-03-01T08:00:00.000+08:00"; without `milliseconds` "2026-03-01T08:00:00+08:00". */
#define GBT_TIME_TEXT 32u
void gbt_time_text(int64_t wall_ms, bool milliseconds, char text[GBT_TIME_TEXT]);
/* Six bytes of the wire: Beijing time. */
void gbt_time_bytes(int64_t wall_ms, uint8_t bytes[6]);

/* Append an annotated dump of header and unit to `out`, one line for each field. */
void gbt_dump(struct json_out *out, const struct gbt_frame *frame, bool uplink);

/* Append the catalogue of all commands, information types and parameters, made from the tables, as
 * plain text: for the manual. */
void gbt_catalogue(struct json_out *out);

#endif
