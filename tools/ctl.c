/* SPDX-License-Identifier: Apache-2.0 */

/* What the commands of polygatectl share: option values, errors, safe output, hexadecimal input. */

#include "ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *ctl_value(const struct ctl_run *run, const char *name)
{
    const struct ctl_option *options = run->command->options;
    for (size_t i = 0; options && options[i].name; i++) {
        if (strcmp(options[i].name, name) == 0)
            return run->values[i];
    }
    abort(); /* the command has no option of this name */
}

bool ctl_flag(const struct ctl_run *run, const char *name)
{
    return ctl_value(run, name) != NULL;
}

/* A number with the unit behind it; *unit is lent. */
static bool read_number(const char *text, int64_t *number, const char **unit)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    *number = value;
    *unit = end;
    return end != text && errno == 0;
}

bool ctl_number(const struct ctl_run *run, const char *name, int64_t min, int64_t max,
                int64_t fallback, int64_t *out)
{
    const char *text = ctl_value(run, name), *unit;
    *out = fallback;
    if (!text)
        return true;
    if (read_number(text, out, &unit) && *unit == '\0' && *out >= min && *out <= max)
        return true;
    ctl_error(run, "--%s %s: expected a whole number from %" PRId64 " to %" PRId64, name, text, min,
              max);
    return false;
}

bool ctl_duration_ms(const struct ctl_run *run, const char *name, int64_t min, int64_t max,
                     int64_t fallback, int64_t *out)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    const char *text = ctl_value(run, name), *unit;
    *out = fallback;
    if (!text)
        return true;
    int64_t number;
    bool good = read_number(text, &number, &unit) && number >= 0;
    for (size_t i = 0; good && i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(unit, units[i].name) == 0 && number <= max / units[i].ms) {
            *out = number * units[i].ms;
            if (*out >= min)
                return true;
        }
    }
    ctl_error(run,
              "--%s %s: expected a time such as 500ms, 10s or 2m, from %" PRId64 "ms to %" PRId64
              "s",
              name, text, min, max / 1000);
    return false;
}

void ctl_error(const struct ctl_run *run, const char *format, ...)
{
    va_list args;
    fflush(stdout); /* in order, when both go to one place */
    fprintf(stderr, "polygatectl %s: ", run->command->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* Bytes of the UTF-8 character at the head; 0 if there is none. */
static size_t character_len(struct pg_bytes text)
{
    uint8_t first = text.data[0];
    size_t len = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
    struct pg_bytes head = {.data = text.data, .len = len};
    if (len == 0 || len > text.len || !pg_utf8_valid(head))
        return 0;
    return len;
}

size_t ctl_print_safe(struct pg_bytes text)
{
    size_t columns = 0;
    for (size_t i = 0; i < text.len;) {
        struct pg_bytes rest = {.data = text.data + i, .len = text.len - i};
        size_t len = character_len(rest);
        bool control = len == 1 && (rest.data[0] < ' ' || rest.data[0] == 0x7f);
        bool c1 = len == 2 && rest.data[0] == 0xc2 && rest.data[1] < 0xa0;
        if (len == 0 || control || c1) {
            columns += (size_t)printf("\\x%02x", rest.data[0]);
            i++;
        } else {
            fwrite(rest.data, 1, len, stdout);
            columns++;
            i += len;
        }
    }
    return columns;
}

int64_t ctl_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool ctl_parse_hex(const char *text, uint8_t **out, size_t *len, size_t *bad)
{
    uint8_t *bytes = realloc(*out, *len + strlen(text) / 2 + 1);
    if (!bytes) {
        *bad = 0;
        return false;
    }
    *out = bytes;
    for (size_t i = 0; text[i];) {
        if (strchr(" \t\r\n:,-", text[i])) {
            i++;
        } else if (text[i] == '0' && (text[i + 1] == 'x' || text[i + 1] == 'X')) {
            i += 2;
        } else if (digit_of(text[i]) >= 0 && digit_of(text[i + 1]) >= 0) {
            bytes[(*len)++] = (uint8_t)(digit_of(text[i]) << 4 | digit_of(text[i + 1]));
            i += 2;
        } else {
            *bad = digit_of(text[i]) >= 0 ? i + 1 : i;
            return false;
        }
    }
    return true;
}

void ctl_print_hex(struct pg_bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        printf("%02x", bytes.data[i]);
}

bool ctl_join_arguments(const struct ctl_run *run, char **out)
{
    size_t len = 1;
    for (int i = 0; i < run->argument_count; i++)
        len += strlen(run->arguments[i]) + 1;
    char *text = malloc(len), *at = text;
    if (!text)
        return false;
    for (int i = 0; i < run->argument_count; i++) {
        size_t n = strlen(run->arguments[i]);
        memcpy(at, run->arguments[i], n);
        at[n] = ' ';
        at += n + 1;
    }
    *at = '\0';
    *out = text;
    return true;
}
