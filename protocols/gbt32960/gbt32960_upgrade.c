/* SPDX-License-Identifier: Apache-2.0 */

/* The parameters of a remote upgrade, both ways.
 *
 * Semicolons divide the values, and values that are bytes may contain one: so they are found by
 * their place and width, not by looking for the next semicolon. A value that is not given leaves
 * nothing between two of them.
 *
 * standard  GB/T 32960.3-2016, -2025: Annex B, remote upgrade
 */

#include "gbt32960_upgrade.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gbt32960_codec.h"

enum kind { TEXT, ADDRESS, NUMBER };

/* `width` is that of the value in bytes; 0: as long as the text is. */
static const struct value {
    const char *name, *emqx;
    enum kind kind;
    uint8_t width;
} values[] = {
    {"url", "UpgradeUrl", TEXT, 0},
    {"apn", "DialingName", TEXT, 0},
    {"username", "Username", TEXT, 0},
    {"password", "Password", TEXT, 0},
    {"address", "Ip", ADDRESS, 6},
    {"port", "Port", NUMBER, 2},
    {"manufacturer", "ManufacturerId", TEXT, 4},
    {"hardware_version", "HardwareVer", TEXT, 5},
    {"firmware_version", "SoftwareVer", TEXT, 5},
    {"timeout_min", "Timeout", NUMBER, 2},
};
#define VALUES (sizeof(values) / sizeof(values[0]))

/* The order of the values in each form. */
static const struct form {
    const char *name;
    bool text;
    uint8_t order[VALUES];
} forms[] = {
    {"binary", false, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
    {"table", false, {1, 2, 3, 4, 5, 6, 7, 8, 0, 9}},
    {"text", true, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
};
#define FORMS (sizeof(forms) / sizeof(forms[0]))

static size_t width_of(const struct form *form, const struct value *value)
{
    return form->text ? 0 : value->width;
}

/* ---- in ------------------------------------------------------------------------------------- */

static bool fail(const struct value *value, const char *found, const char *expected,
                 struct wire_error *error)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "body.upgrade.%s", value->name);
    return wire_fails(error, path, found, expected);
}

static bool put_number(const struct form *form, const struct value *value, json_t *given,
                       struct wire_out *out, struct wire_error *error)
{
    json_int_t number = json_is_integer(given) ? json_integer_value(given) : -1;
    char text[16];

    if (number < 0 || number > 65535) {
        return fail(value, "something else", "a number 0..65535", error);
    }
    if (form->text) {
        int n = snprintf(text, sizeof(text), "%u", (unsigned)number);
        wire_out_put(out, (struct pg_bytes){(const uint8_t *)text, (size_t)n});
    } else {
        wire_out_uint(out, (uint64_t)number, value->width);
    }
    return true;
}

/* Text that fills its width with NULs; an IPv4 address has two zeros in front instead. */
static bool put_text(const struct form *form, const struct value *value, json_t *given,
                     struct wire_out *out, struct wire_error *error)
{
    const char *text = json_string_value(given);
    size_t width = width_of(form, value);
    unsigned ip[4];
    int used = 0;
    uint8_t bytes[256];

    if (text == NULL || strchr(text, ';') != NULL) {
        return fail(value, text != NULL ? text : "something else", "a text without a semicolon",
                    error);
    }
    if (width != 0 && value->kind == ADDRESS &&
        sscanf(text, "%3u.%3u.%3u.%3u%n", &ip[0], &ip[1], &ip[2], &ip[3], &used) == 4 &&
        text[used] == '\0' && (ip[0] | ip[1] | ip[2] | ip[3]) <= 255) {
        wire_out_fill(out, 0, width - 4);
        for (size_t i = 0; i < 4; i++) {
            wire_out_uint(out, ip[i], 1);
        }
        return true;
    }
    ssize_t n = wire_text_encode(WIRE_GBK, text, strlen(text), bytes, sizeof(bytes));
    if (n < 0 || (width != 0 && (size_t)n > width)) {
        return fail(value, text,
                    width == 0            ? "at most 256 bytes of text"
                    : value->kind == TEXT ? "a text that fits its 4 or 5 bytes"
                                          : "an IPv4 address, or a name of at most 6 bytes",
                    error);
    }
    wire_out_put(out, (struct pg_bytes){bytes, (size_t)n});
    wire_out_fill(out, 0, width != 0 ? width - (size_t)n : 0);
    return true;
}

static const struct form *form_of(json_t *upgrade, struct wire_error *error)
{
    json_t *given = json_object_get(upgrade, "form");
    const char *name = given != NULL ? json_string_value(given) : forms[0].name;

    for (size_t i = 0; name != NULL && i < FORMS; i++) {
        if (strcmp(forms[i].name, name) == 0) {
            return &forms[i];
        }
    }
    wire_fails(error, "body.upgrade.form", name != NULL ? name : "something else",
               "\"binary\", \"table\" or \"text\"");
    return NULL;
}

static bool check_members(json_t *upgrade, struct wire_error *error)
{
    const char *key;
    json_t *given;

    json_object_foreach(upgrade, key, given)
    {
        size_t i = 0;
        while (i < VALUES && strcmp(values[i].name, key) != 0) {
            i++;
        }
        if (i == VALUES && strcmp(key, "form") != 0) {
            return wire_fails(error, "body.upgrade", key, "only values of an upgrade");
        }
    }
    return true;
}

bool gbt_upgrade_encode(json_t *upgrade, struct wire_out *out, struct wire_error *error)
{
    if (!json_is_object(upgrade)) {
        return wire_fails(error, "body.upgrade", "something else", "an object");
    }
    const struct form *form = form_of(upgrade, error);
    if (form == NULL || !check_members(upgrade, error)) {
        return false;
    }
    for (size_t i = 0; i < VALUES; i++) {
        const struct value *value = &values[form->order[i]];
        json_t *given = json_object_get(upgrade, value->name);
        if (i > 0) {
            wire_out_uint(out, ';', 1);
        }
        if (given != NULL && !(value->kind == NUMBER ? put_number(form, value, given, out, error)
                                                     : put_text(form, value, given, out, error))) {
            return false;
        }
    }
    return true;
}

json_t *gbt_upgrade_of_emqx(json_t *param)
{
    json_t *upgrade = json_pack("{s:s}", "form", "table");

    for (size_t i = 0; i < VALUES; i++) {
        json_t *given = json_object_get(param, values[i].emqx);
        if (given != NULL) {
            json_object_set(upgrade, values[i].name, given);
        }
    }
    return upgrade;
}

/* ---- out ------------------------------------------------------------------------------------ */

/* Divide the bytes from value `i` on. A number that begins like a semicolon may be none at all, so
 * that each way is tried; other bytes do not begin so. */
static bool divide(const struct form *form, size_t i, struct pg_bytes left,
                   struct pg_bytes taken[VALUES])
{
    size_t width = width_of(form, &values[form->order[i]]);
    bool last = i == VALUES - 1;
    const uint8_t *end = left.len > 0 ? memchr(left.data, ';', left.len) : NULL;
    size_t text = last ? left.len : end != NULL ? (size_t)(end - left.data) : SIZE_MAX;
    const size_t ways[2] = {width == 0 || text == 0 ? text : width, width};

    for (unsigned w = 0; w < 2 && (w == 0 || ways[1] != ways[0]); w++) {
        size_t len = ways[w];
        if (len > left.len || (last ? len != left.len : len == left.len || left.data[len] != ';')) {
            continue;
        }
        taken[i] = (struct pg_bytes){left.data, len};
        if (last || divide(form, i + 1, (struct pg_bytes){left.data + len + 1, left.len - len - 1},
                           taken)) {
            return true;
        }
    }
    return false;
}

static bool write_value(struct json_out *out, const struct form *form, const struct value *value,
                        struct pg_bytes bytes)
{
    char text[1024];
    bool ipv4 = value->kind == ADDRESS && !form->text && bytes.data[0] == 0 && bytes.data[1] == 0;

    json_out_key(out, value->name);
    if (value->kind == NUMBER && !form->text) {
        json_out_u64(out, (uint64_t)bytes.data[0] << 8 | bytes.data[1]);
        return true;
    }
    if (ipv4) {
        (void)snprintf(text, sizeof(text), "%u.%u.%u.%u", bytes.data[2], bytes.data[3],
                       bytes.data[4], bytes.data[5]);
        json_out_word(out, text);
        return true;
    }
    bytes = wire_text_strip(bytes);
    if (value->kind == NUMBER) {
        unsigned number = 0;
        for (size_t i = 0; i < bytes.len; i++) {
            number = number * 10 + (unsigned)(bytes.data[i] - '0');
            if (bytes.data[i] < '0' || bytes.data[i] > '9' || number > 65535) {
                return false;
            }
        }
        json_out_u64(out, number);
        return true;
    }
    ssize_t n = bytes.len * WIRE_TEXT_GROWTH > sizeof(text)
                    ? -1
                    : wire_text_decode(WIRE_GBK, bytes, text, sizeof(text));
    if (n >= 0) {
        json_out_text(out, text, (size_t)n);
    }
    return n >= 0;
}

static bool write_form(struct json_out *out, const struct form *form, struct pg_bytes bytes)
{
    struct pg_bytes taken[VALUES];

    if (!divide(form, 0, bytes, taken)) {
        return false;
    }
    json_out_open(out, '{');
    for (size_t i = 0; i < VALUES; i++) {
        if (taken[i].len > 0 && !write_value(out, form, &values[form->order[i]], taken[i])) {
            return false;
        }
    }
    if (form != forms) {
        json_out_key(out, "form");
        json_out_word(out, form->name);
    }
    json_out_close(out, '}');
    return true;
}

bool gbt_upgrade_write(struct json_out *out, struct pg_bytes bytes)
{
    size_t start = out->len;

    for (size_t i = 0; i < FORMS; i++) {
        if (write_form(out, &forms[i], bytes)) {
            return true;
        }
        out->len = start;
    }
    return false;
}
