/* SPDX-License-Identifier: Apache-2.0 */

/* decode and encode: GB/T 32960 frames between hexadecimal and JSON, without a gateway. */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl_frames.h"
#include "gbt32960/gbt32960_codec.h"
#include "gbt32960/gbt32960_json.h"
#include "wire/json_out.h"

/* What one frame can become as JSON: 64 KiB of which each byte is a value of its own. */
#define JSON_LIMIT (64u * 1024 * 1024)

/* ---- decode ---------------------------------------------------------------------------------- */

struct decoder {
    const struct ctl_run *run;
    bool json;
    struct gbt_json_options options;
    bool failed; /* something was no frame, or did not fit */
};

static void print_frame(struct decoder *d, const struct gbt_frame *frame)
{
    struct json_out out = json_out_heap(JSON_LIMIT);
    struct gbt_json_judgement judgement = {
        .faults = d->json ? 0 : gbt_frame_faults(frame, d->options.uplink)};
    if (d->json)
        gbt_json_write(&out, frame, &d->options, &judgement);
    else
        gbt_dump(&out, frame, d->options.uplink);
    if (out.failed) {
        ctl_error(d->run, "out of memory");
        d->failed = true;
    } else {
        fwrite(out.data, 1, out.len, stdout);
        putchar('\n');
    }
    if ((judgement.faults & ~(unsigned)WIRE_FAULT_SURPLUS) != 0) { /* the object says which, too */
        ctl_error(d->run, "command 0x%02x: the unit does not fit its table", frame->command);
        d->failed = true;
    }
    json_out_free(&out);
}

/* Something that is no frame: in JSON it takes a line of its own, so that lines can be counted. */
static void print_error(struct decoder *d, enum gbt_error error, struct pg_bytes bytes)
{
    const char *name = gbt_error_name(error);
    d->failed = true;
    if (d->json) {
        printf("{\"protocol\":\"gbt32960\",\"error\":\"%s\",\"hex\":\"", name);
        ctl_print_hex(bytes);
        fputs("\"}\n", stdout);
    } else {
        printf("not a frame: %s: ", name);
        ctl_print_hex(bytes);
        putchar('\n');
    }
    ctl_error(d->run, "not a frame: %s", name);
}

/* Cut a stream into frames. With `show` they are printed, and what is none; without, the number of
 * frames is found. */
static size_t walk_stream(struct decoder *d, struct pg_bytes in, bool show)
{
    size_t found = 0;
    for (;;) {
        struct gbt_frame frame;
        enum gbt_error error;
        size_t used;
        enum gbt_result result = gbt_frame_next(in, &used, &frame, &error);
        if (result == GBT_FRAME_MORE)
            break;
        found += result == GBT_FRAME_WHOLE;
        if (show && result == GBT_FRAME_WHOLE)
            print_frame(d, &frame);
        else if (show)
            print_error(d, error, (struct pg_bytes){.data = in.data, .len = used});
        in.data += used;
        in.len -= used;
    }
    if (in.len > 0 && show)
        print_error(d, GBT_ERROR_INCOMPLETE, in);
    return found;
}

/* One frame, or a stream of several. */
static void decode(void *arg, struct pg_bytes in)
{
    struct decoder *d = arg;
    struct gbt_frame frame;
    if (in.len == 0)
        return;
    enum gbt_error error = gbt_frame_decode(in, &frame);
    if (error == GBT_ERROR_NONE)
        print_frame(d, &frame);
    else if (walk_stream(d, in, false) > 0)
        walk_stream(d, in, true);
    else
        print_error(d, error, in);
}

static int run_decode(struct ctl_run *run)
{
    struct decoder d = {
        .run = run,
        .json = ctl_flag(run, "json"),
        .options = {.uplink = ctl_flag(run, "uplink"), .raw = ctl_flag(run, "raw")},
    };
    if (!ctl_shape(run, &d.options.shape))
        return CTL_USAGE;
    bool good = ctl_each_hex(run, decode, &d);
    return good && !d.failed ? CTL_OK : CTL_FAILED;
}

/* ---- encode ---------------------------------------------------------------------------------- */

struct encoder {
    const struct ctl_run *run;
    struct gbt_json_defaults defaults;
};

static bool encode(void *arg, json_t *document, int index)
{
    const struct encoder *e = arg;
    (void)index;
    static uint8_t wire[GBT_WIRE_MAX];
    struct wire_error error;
    struct gbt_json_message message;
    struct wire_out unit = wire_out_heap(2 * GBT_WIRE_MAX);
    bool good = gbt_json_encode(document, &e->defaults, &unit, &message, &error);
    if (good) {
        size_t len = gbt_frame_encode(&message.frame, wire, sizeof(wire));
        ctl_print_hex((struct pg_bytes){.data = wire, .len = len});
        putchar('\n');
    } else {
        ctl_document_error(e->run, &error);
    }
    wire_out_free(&unit);
    return good;
}

static bool read_defaults(const struct ctl_run *run, uint8_t id[GBT_ID_LEN],
                          struct gbt_json_defaults *out)
{
    const char *vin = ctl_value(run, "vin"), *edition = ctl_value(run, "edition");
    out->edition = edition && strcmp(edition, "2025") == 0 ? GBT_2025 : GBT_2016;
    if (edition && out->edition == GBT_2016 && strcmp(edition, "2016") != 0) {
        ctl_error(run, "--edition: expected 2016 or 2025");
        return false;
    }
    if (vin && (strlen(vin) > GBT_ID_LEN || *vin == '\0')) {
        ctl_error(run, "--vin: expected 1 to %u characters", GBT_ID_LEN);
        return false;
    }
    if (vin) {
        memcpy(id, vin, strlen(vin));
        out->id = id;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    out->wall_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    return true;
}

static int run_encode(struct ctl_run *run)
{
    uint8_t id[GBT_ID_LEN] = {0};
    struct encoder e = {.run = run};
    if (!read_defaults(run, id, &e.defaults))
        return CTL_USAGE;
    return ctl_each_json(run, encode, &e) ? CTL_OK : CTL_FAILED;
}

/* ---- the rows -------------------------------------------------------------------------------- */

static const struct ctl_option decode_options[] = {
    {.letter = 'j', .name = "json", .help = "one JSON object a frame, as the gateway publishes it"},
    CTL_SHAPE_OPTIONS,
    {.name = "raw", .help = "with --json: add the frame in hexadecimal"},
    {.letter = 'u',
     .name = "uplink",
     .help = "the frames come from vehicles: 0x80 to 0xbf are answers whatever they say"},
    {.name = NULL},
};
static const struct ctl_option encode_options[] = {
    {.letter = 'e',
     .name = "edition",
     .argument = "YEAR",
     .help = "for documents without: 2016 or 2025 (2016)"},
    {.name = "vin", .argument = "VIN", .help = "for documents without"},
    {.name = NULL},
};

const struct ctl_command ctl_gbt32960_commands[] = {
    {.name = "decode gbt32960",
     .arguments = "[HEX...]",
     .help = "Explain frames; without arguments one or more a line of the standard input.",
     .options = decode_options,
     .max_arguments = -1,
     .run = run_decode},
    {.name = "encode gbt32960",
     .arguments = "[JSON...]",
     .help = "Make frames from JSON, as decode prints it or as applications send it.",
     .options = encode_options,
     .max_arguments = -1,
     .run = run_encode},
    {.name = NULL},
};
