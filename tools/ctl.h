/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_H
#define CTL_H

/* polygatectl: commands as rows, and what they share. Every file ctl_*.c holds the commands of one
 * kind; polygatectl.c lists them and reads the command line. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "polygate.h"

/* Exit codes. */
enum {
    CTL_OK = 0,
    CTL_FAILED = 1,      /* the gateway or the input says no */
    CTL_USAGE = 2,       /* the command line is wrong */
    CTL_UNREACHABLE = 3, /* nobody answers at the socket or address */
    CTL_TIMED_OUT = 4,   /* no answer within the time */
};

struct ctl_option {
    char letter;          /* 0: long form only */
    const char *name;     /* without dashes; NULL ends the rows */
    const char *argument; /* NULL: a flag */
    const char *help;
};

#define CTL_OPTIONS_MAX 24

struct ctl_run;

struct ctl_command {
    const char *name;                 /* one or two words; NULL ends the rows */
    const char *arguments;            /* "CLIENT", "" */
    const char *help;                 /* one sentence */
    const struct ctl_option *options; /* NULL: none */
    int min_arguments, max_arguments; /* -1: any number */
    int (*run)(struct ctl_run *run);  /* returns the exit code */
};

/* The command line, taken apart. */
struct ctl_run {
    const struct ctl_command *command;
    const char *values[CTL_OPTIONS_MAX]; /* by row of command->options; NULL: not given */
    char **arguments;
    int argument_count;
    const char *socket; /* -s; NULL: not given */
};

/* The option's value, "" for a flag; NULL when it was not given. The name must be one of the
 * command's. */
const char *ctl_value(const struct ctl_run *run, const char *name);
bool ctl_flag(const struct ctl_run *run, const char *name);
/* Read a whole number, or a duration such as 500ms, 10s, 2m in milliseconds (a bare number is
 * seconds). false with a sentence on stderr: not one, or not from `min` to `max`. Not given: the
 * fallback. */
bool ctl_number(const struct ctl_run *run, const char *name, int64_t min, int64_t max,
                int64_t fallback, int64_t *out);
bool ctl_duration_ms(const struct ctl_run *run, const char *name, int64_t min, int64_t max,
                     int64_t fallback, int64_t *out);

/* "polygatectl COMMAND: ..." on stderr. */
void ctl_error(const struct ctl_run *run, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Print bytes of others on stdout for people: control characters and what is not UTF-8 are shown as
 * \xNN, so that a terminal cannot be steered by them. Returns the columns used, one per
 * character. */
size_t ctl_print_safe(struct pg_bytes text);

int64_t ctl_now_ms(void); /* monotonic */

/* Hexadecimal digits, with blanks, colons, commas or dashes between bytes, and 0x in front, as they
 * are copied from logs. Appends to *out (malloc'ed, grows). false: *bad is the offending offset in
 * the text. */
bool ctl_parse_hex(const char *text, uint8_t **out, size_t *len, size_t *bad);
/* All arguments as one text, separated by blanks: a dump may be given without quotes. The caller
 * frees it. false: out of memory. */
bool ctl_join_arguments(const struct ctl_run *run, char **out);
void ctl_print_hex(struct pg_bytes bytes); /* lower case, no line break */

/* Ask the gateway for the numbers of its store, and print them; the exit code. */
int ctl_store_status(struct ctl_run *run);

/* The rows of each file. */
extern const struct ctl_command ctl_control_commands[];
extern const struct ctl_command ctl_passwd_commands[];
extern const struct ctl_command ctl_jt808_commands[];
extern const struct ctl_command ctl_gbt32960_commands[];
extern const struct ctl_command ctl_mqtt_commands[];
extern const struct ctl_command ctl_simulate_jt808_commands[];
extern const struct ctl_command ctl_simulate_gbt32960_commands[];
extern const struct ctl_command ctl_store_commands[];

#endif
