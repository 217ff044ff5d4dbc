/* SPDX-License-Identifier: Apache-2.0 */

/* JSON documents of applications; see document.h. */

#include "wire/document.h"

#include <stdio.h>
#include <string.h>

#include "wire/text.h"

static void write_found(const json_t *value, char *text, size_t size)
{
    switch (value == NULL ? -1 : (int)json_typeof(value)) {
    case -1:
        snprintf(text, size, "nothing");
        break;
    case JSON_STRING:
        snprintf(text, size, "\"%.48s\"", json_string_value(value));
        break;
    case JSON_INTEGER:
        snprintf(text, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        snprintf(text, size, "%g", json_real_value(value));
        break;
    case JSON_ARRAY:
        snprintf(text, size, "a list of %zu", json_array_size(value));
        break;
    case JSON_OBJECT:
        snprintf(text, size, "an object");
        break;
    default:
        snprintf(text, size, "%s",
                 json_is_true(value)   ? "true"
                 : json_is_null(value) ? "null"
                                       : "false");
        break;
    }
}

bool wire_refuse(struct wire_error *error, const char *path, const json_t *found,
                 const char *expected)
{
    char text[sizeof(error->found)];

    write_found(found, text, sizeof(text));
    return wire_fails(error, path, text, expected);
}

json_t *wire_document(const char *text, size_t len, struct wire_error *error)
{
    json_error_t syntax;
    json_t *document = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &syntax);

    if (document == NULL) {
        char found[sizeof(error->found)];
        snprintf(found, sizeof(found), "line %d column %d: %.36s", syntax.line, syntax.column,
                 syntax.text);
        (void)wire_fails(error, "document", found, "JSON");
    }
    return document;
}

bool wire_has_only(json_t *object, const char *const *known, size_t count, const char *expected,
                   struct wire_error *error)
{
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        bool found = false;
        for (size_t i = 0; i < count; i++) {
            found = found || strcmp(known[i], key) == 0;
        }
        if (!found) {
            return wire_refuse(error, key[0] != '\0' ? key : "document", value, expected);
        }
    }
    return true;
}

bool wire_take_hex(const json_t *hex, const char *path, struct wire_out *out,
                   struct wire_error *error)
{
    size_t digits = json_is_string(hex) ? json_string_length(hex) : 1;
    size_t used = 0, start = out->len;
    uint8_t *at = digits % 2 == 0 ? wire_out_take(out, digits / 2) : NULL;

    if (digits == 0 && !out->failed) {
        return true;
    }
    if (at != NULL && wire_hex_decode(json_string_value(hex), digits, at, digits / 2, &used)) {
        return true;
    }
    if (out->failed) {
        return wire_refuse(error, path, hex, "fewer digits");
    }
    out->len = start;
    return wire_refuse(error, path, hex, "an even number of hexadecimal digits");
}
