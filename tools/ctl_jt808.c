/* SPDX-License-Identifier: Apache-2.0 */

/* decode and encode: JT/T 808 frames between hexadecimal and JSON, without a gateway. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_frames.h"
#include "jt808/jt808_codec.h"
#include "jt808/jt808_json.h"
#include "jt808/jt808_reassembly.h"
#include "wire/json_out.h"

/* Bounds of what one frame or one document can become. */
#define JSON_LIMIT    (64u * 1024 * 1024)
#define BODY_LIMIT    (16u * 1024 * 1024)
#define MESSAGE_LIMIT (64u * 1024 * 1024)

/* ---- decode ---------------------------------------------------------------------------------- */

struct decoder {
    const struct ctl_run *run;
    bool json;
    uint32_t tolerated;
    struct jt808_json_options options;
    struct jt808_scratch scratch;
    struct jt808_reassembly *reassembly; /* NULL: not wanted */
    int64_t now;                         /* grows by one a frame: no reassembly grows old */
    bool failed;                         /* something was no frame */
};

static void print_frame(struct decoder *d, const struct jt808_frame *frame)
{
    unsigned faults = 0;
    struct json_out out = json_out_heap(JSON_LIMIT);
    if (d->json)
        jt808_json_write(&out, frame, &d->options, &faults);
    else
        jt808_dump(&out, frame, d->options.edition, d->options.charset);
    if (out.failed) {
        ctl_error(d->run, "out of memory");
        d->failed = true;
    } else {
        fwrite(out.data, 1, out.len, stdout);
        putchar('\n');
    }
    if (faults != 0) { /* the object says which, too */
        ctl_error(d->run, "message 0x%04x: the body does not fit its layout", frame->msg_id);
        d->failed = true;
    }
    json_out_free(&out);
}

/* Something that is no frame: in JSON it takes a line of its own, so that lines can be counted. */
static void print_error(struct decoder *d, const char *error, struct pg_bytes bytes)
{
    d->failed = true;
    if (d->json) {
        fputs("{\"protocol\":\"jt808\",\"error\":\"", stdout);
        fputs(error, stdout);
        fputs("\",\"hex\":\"", stdout);
        ctl_print_hex(bytes);
        fputs("\"}\n", stdout);
    } else {
        printf("not a frame: %s: ", error);
        ctl_print_hex(bytes);
        putchar('\n');
    }
    ctl_error(d->run, "not a frame: %s%s", error,
              d->tolerated ? "" : "; --tolerant reads more of what real terminals send");
}

static void take_frame(struct decoder *d, const struct jt808_frame *frame)
{
    struct jt808_frame message;
    print_frame(d, frame);
    if (d->reassembly && jt808_frame_is_subpackage(frame) &&
        jt808_reassembly_add(d->reassembly, frame, d->now++, &message) == JT808_PART_COMPLETE) {
        /* As if it had come in one piece. */
        message.attributes &= (uint16_t)~JT808_ATTR_SUBPACKAGE;
        message.package_total = message.package_index = 0;
        print_frame(d, &message);
    }
}

/* Cut a stream into frames. With `show` they are printed, and what is none; without, the number of
 * frames is found. */
static size_t walk_stream(struct decoder *d, struct pg_bytes in, bool show)
{
    size_t found = 0;
    struct jt808_stream stream = {.tolerated = d->tolerated};
    for (;;) {
        size_t used;
        struct jt808_frame frame;
        enum jt808_error error;
        enum jt808_result result =
            jt808_frame_next(&stream, in, &d->scratch, &used, &frame, &error);
        if (result == JT808_FRAME_WHOLE) {
            found++;
            if (show)
                take_frame(d, &frame);
        } else if (result == JT808_FRAME_MALFORMED && show) {
            print_error(d, jt808_error_name(error), (struct pg_bytes){in.data, used});
        }
        in.data += used;
        in.len -= used;
        if (result == JT808_FRAME_MORE)
            break;
    }
    if (in.len > 0 && show)
        print_error(d, jt808_error_name(JT808_ERROR_DELIMITER), in);
    return found;
}

/* One frame with its delimiters, or unescaped without them, or a stream of several. */
static void decode(void *arg, struct pg_bytes in)
{
    struct decoder *d = arg;
    struct jt808_frame frame;
    if (in.len == 0)
        return;
    bool delimited = in.data[0] == 0x7e || in.data[in.len - 1] == 0x7e;
    enum jt808_error error = delimited ? jt808_frame_decode(in, d->tolerated, &d->scratch, &frame)
                                       : jt808_content_decode(in, d->tolerated, &frame);
    if (error == JT808_ERROR_NONE)
        take_frame(d, &frame);
    else if (walk_stream(d, in, false) > 0)
        walk_stream(d, in, true);
    else
        print_error(d, jt808_error_name(delimited ? error : JT808_ERROR_DELIMITER), in);
}

static bool read_edition(const struct ctl_run *run, unsigned fallback, unsigned *out)
{
    int64_t edition;
    if (!ctl_number(run, "edition", 2011, 2019, fallback, &edition))
        return false;
    *out = (unsigned)edition;
    if (edition == (int64_t)fallback || edition == 2011 || edition == 2013 || edition == 2019)
        return true;
    ctl_error(run, "--edition: expected 2011, 2013 or 2019");
    return false;
}

static bool read_charset(const struct ctl_run *run, enum wire_charset *out)
{
    const char *text = ctl_value(run, "charset");
    *out = text && strcmp(text, "utf-8") == 0 ? WIRE_UTF8 : WIRE_GBK;
    if (!text || *out == WIRE_UTF8 || strcmp(text, "gbk") == 0)
        return true;
    ctl_error(run, "--charset %s: expected gbk or utf-8", text);
    return false;
}

static int run_decode(struct ctl_run *run)
{
    struct decoder *d = calloc(1, sizeof(*d));
    if (!d)
        return CTL_FAILED;
    d->run = run;
    d->json = ctl_flag(run, "json");
    d->tolerated = ctl_flag(run, "tolerant") ? JT808_TOLERATE_ALL : JT808_TOLERATE_NONE;
    d->options.raw = ctl_flag(run, "raw");
    int code = CTL_USAGE;
    if (ctl_shape(run, &d->options.shape) && read_edition(run, 0, &d->options.edition) &&
        read_charset(run, &d->options.charset)) {
        const struct jt808_reassembly_limits limits = {.message_bytes = MESSAGE_LIMIT,
                                                       .total_bytes = MESSAGE_LIMIT,
                                                       .pending = 1024,
                                                       .ask_ms = INT64_MAX / 4,
                                                       .age_ms = INT64_MAX / 4};
        if (ctl_flag(run, "reassemble"))
            d->reassembly = jt808_reassembly_open(&limits);
        bool good = ctl_each_hex(run, decode, d);
        code = good && !d->failed ? CTL_OK : CTL_FAILED;
    }
    jt808_reassembly_close(&d->reassembly);
    free(d);
    return code;
}

/* ---- encode ---------------------------------------------------------------------------------- */

static bool print_frames(const struct ctl_run *run, const struct jt808_frame *message)
{
    static uint8_t wire[JT808_WIRE_MAX];
    /* A single package of a longer message stays one. */
    unsigned parts = jt808_frame_is_subpackage(message) ? 1 : jt808_part_count(message->body.len);
    if (parts == 0) {
        ctl_error(run, "the body is longer than 65535 packages can hold");
        return false;
    }
    for (unsigned i = 1; i <= parts; i++) {
        struct jt808_frame part = parts == 1 ? *message : jt808_part(message, i);
        size_t len = jt808_frame_encode(&part, wire, sizeof(wire));
        if (len == 0 || len > sizeof(wire)) {
            ctl_error(run,
                      "the phone does not have the digits of its header's form, or the body "
                      "of a package is longer than %u bytes",
                      JT808_BODY_MAX);
            return false;
        }
        ctl_print_hex((struct pg_bytes){.data = wire, .len = len});
        putchar('\n');
    }
    return true;
}

struct encoder {
    const struct ctl_run *run;
    struct jt808_json_defaults defaults;
    int64_t serial; /* of the first document without */
};

static bool encode(void *arg, json_t *document, int index)
{
    const struct encoder *e = arg;
    struct wire_error error;
    struct jt808_json_message message;
    struct wire_out body = wire_out_heap(BODY_LIMIT);
    bool good = jt808_json_encode(document, &e->defaults, &body, &message, &error);
    if (good) {
        if (!message.serial_given)
            message.frame.serial = (uint16_t)(e->serial + index);
        good = print_frames(e->run, &message.frame);
    } else {
        ctl_document_error(e->run, &error);
    }
    wire_out_free(&body);
    return good;
}

static int run_encode(struct ctl_run *run)
{
    unsigned edition;
    enum wire_charset charset;
    struct encoder e = {.run = run};
    if (!ctl_number(run, "serial", 0, 65535, 0, &e.serial) || !read_edition(run, 0, &edition) ||
        !read_charset(run, &charset))
        return CTL_USAGE;
    e.defaults = (struct jt808_json_defaults){.edition = edition,
                                              .header_2019 = edition == JT808_2019,
                                              .charset = charset,
                                              .phone = ctl_value(run, "phone")};
    return ctl_each_json(run, encode, &e) ? CTL_OK : CTL_FAILED;
}

/* ---- the rows -------------------------------------------------------------------------------- */

static const struct ctl_option decode_options[] = {
    {.letter = 'j', .name = "json", .help = "one JSON object a frame, as the gateway publishes it"},
    CTL_SHAPE_OPTIONS,
    {.name = "raw", .help = "with --json: add the unescaped frame in hexadecimal"},
    {.letter = 'e',
     .name = "edition",
     .argument = "YEAR",
     .help = "2011, 2013 or 2019 (as the header tells)"},
    {.name = "charset", .argument = "NAME", .help = "of texts: gbk or utf-8 (gbk)"},
    {.letter = 't', .name = "tolerant", .help = "read the known faults of real terminals as well"},
    {.letter = 'r',
     .name = "reassemble",
     .help = "print a message again, whole, when its last sub-package was there"},
    {.name = NULL},
};
static const struct ctl_option encode_options[] = {
    {.letter = 'e',
     .name = "edition",
     .argument = "YEAR",
     .help = "for documents without: 2011, 2013 or 2019 (2013)"},
    {.name = "phone", .argument = "DIGITS", .help = "for documents without"},
    {.name = "serial", .argument = "N", .help = "for the first document without (0)"},
    {.name = "charset", .argument = "NAME", .help = "of texts: gbk or utf-8 (gbk)"},
    {.name = NULL},
};

const struct ctl_command ctl_jt808_commands[] = {
    {.name = "decode jt808",
     .arguments = "[HEX...]",
     .help = "Explain frames; without arguments one or more a line of the standard input.",
     .options = decode_options,
     .max_arguments = -1,
     .run = run_decode},
    {.name = "encode jt808",
     .arguments = "[JSON...]",
     .help = "Make frames from JSON, as decode prints it or as applications send it.",
     .options = encode_options,
     .max_arguments = -1,
     .run = run_encode},
    {.name = NULL},
};
