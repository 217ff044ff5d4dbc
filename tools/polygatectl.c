/* SPDX-License-Identifier: Apache-2.0 */

/* polygatectl: reads the command line by the rows of its commands, and runs one. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "ctl.h"

static const struct ctl_command *const sections[] = {
    ctl_control_commands,  ctl_mqtt_commands,           ctl_jt808_commands,
    ctl_gbt32960_commands, ctl_simulate_jt808_commands, ctl_simulate_gbt32960_commands,
    ctl_passwd_commands,   ctl_store_commands,
};
#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

static void print_overview(FILE *out)
{
    fputs("usage: polygatectl [-s SOCKET] COMMAND [ARGUMENTS]\n\n", out);
    for (size_t i = 0; i < SECTIONS; i++) {
        for (const struct ctl_command *c = sections[i]; c->name; c++) {
            char left[80];
            snprintf(left, sizeof(left), "%s%s%s", c->name, c->arguments[0] ? " " : "",
                     c->arguments);
            fprintf(out, "  %-30s %s\n", left, c->help);
        }
    }
    fputs("\n  -s, --socket SOCKET            control socket of the gateway (default: "
          "$POLYGATE_SOCKET,\n"
          "                                 /run/polygate/control.sock, "
          "/tmp/polygate-<uid>/control.sock)\n"
          "  -h, --help                     this text, or with a command its options\n"
          "  -V, --version                  the version\n\n"
          "exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not reachable, 4 timed out\n",
          out);
}

static void print_command(FILE *out, const struct ctl_command *command)
{
    fprintf(out, "usage: polygatectl %s%s%s%s\n\n%s\n", command->name,
            command->options ? " [OPTIONS]" : "", command->arguments[0] ? " " : "",
            command->arguments, command->help);
    if (command->options)
        fputc('\n', out);
    for (const struct ctl_option *o = command->options; o && o->name; o++) {
        char left[80], letter[8] = "    ";
        if (o->letter)
            snprintf(letter, sizeof(letter), "-%c, ", o->letter);
        snprintf(left, sizeof(left), "%s--%s%s%s", letter, o->name, o->argument ? " " : "",
                 o->argument ? o->argument : "");
        fprintf(out, "  %-28s %s\n", left, o->help);
    }
}

/* The command at the head of the words, and how many words its name has. */
static const struct ctl_command *find_command(int count, char **words, int *used)
{
    for (size_t i = 0; i < SECTIONS; i++) {
        for (const struct ctl_command *c = sections[i]; c->name; c++) {
            const char *blank = strchr(c->name, ' ');
            size_t first = blank ? (size_t)(blank - c->name) : strlen(c->name);
            if (count < 1 || strlen(words[0]) != first || memcmp(words[0], c->name, first) != 0)
                continue;
            if (blank && (count < 2 || strcmp(words[1], blank + 1) != 0))
                continue;
            *used = blank ? 2 : 1;
            return c;
        }
    }
    return NULL;
}

static int unknown_command(int count, char **words)
{
    bool first_known = false;
    for (size_t i = 0; i < SECTIONS; i++) {
        for (const struct ctl_command *c = sections[i]; c->name; c++) {
            size_t len = strlen(words[0]);
            if (strncmp(c->name, words[0], len) == 0 && c->name[len] == ' ') {
                fprintf(stderr, "polygatectl: %s: expected: %s %s\n", words[0], c->name,
                        c->arguments);
                first_known = true;
            }
        }
    }
    if (!first_known)
        fprintf(stderr, "polygatectl: there is no command \"%s\"; polygatectl --help lists them\n",
                words[0]);
    (void)count;
    return CTL_USAGE;
}

/* ---- options --------------------------------------------------------------------------------- */

static int find_long(const struct ctl_command *command, const char *name, size_t len)
{
    for (int i = 0; command->options && command->options[i].name; i++) {
        const char *have = command->options[i].name;
        if (strlen(have) == len && memcmp(have, name, len) == 0)
            return i;
    }
    return -1;
}

static int find_letter(const struct ctl_command *command, char letter)
{
    for (int i = 0; command->options && command->options[i].name; i++) {
        if (command->options[i].letter == letter)
            return i;
    }
    return -1;
}

static bool refuse_option(const struct ctl_run *run, const char *word, const char *what)
{
    ctl_error(run, "%s: %s; polygatectl %s --help lists the options", word, what,
              run->command->name);
    return false;
}

/* --name, --name=value, --name value; *at is moved to the last word used. */
static bool take_long(struct ctl_run *run, int count, char **words, int *at)
{
    const char *word = words[*at], *name = word + 2;
    size_t len = strcspn(name, "=");
    int row = find_long(run->command, name, len);
    if (row < 0)
        return refuse_option(run, word, "there is no such option");
    bool wants = run->command->options[row].argument != NULL;
    if (name[len] == '=' && !wants)
        return refuse_option(run, word, "this option takes no value");
    if (name[len] == '=')
        run->values[row] = name + len + 1;
    else if (!wants)
        run->values[row] = "";
    else if (*at + 1 < count)
        run->values[row] = words[++*at];
    else
        return refuse_option(run, word, "a value must follow");
    return true;
}

/* -v, -C 1, -C1, -vC1 */
static bool take_letters(struct ctl_run *run, int count, char **words, int *at)
{
    const char *word = words[*at];
    for (const char *c = word + 1; *c; c++) {
        int row = find_letter(run->command, *c);
        if (row < 0)
            return refuse_option(run, word, "there is no such option");
        if (!run->command->options[row].argument) {
            run->values[row] = "";
            continue;
        }
        if (c[1])
            run->values[row] = c + 1;
        else if (*at + 1 < count)
            run->values[row] = words[++*at];
        else
            return refuse_option(run, word, "a value must follow");
        break;
    }
    return true;
}

/* Sort the words behind the command's name into options and arguments. false: said why. */
static bool read_words(struct ctl_run *run, int count, char **words)
{
    bool only_arguments = false;
    run->arguments = words; /* arguments move to the front */
    for (int i = 0; i < count; i++) {
        char *word = words[i];
        if (only_arguments || word[0] != '-' || word[1] == '\0') {
            run->arguments[run->argument_count++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_arguments = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            /* -h may be a command's own letter, as in --host. */
            if (word[1] == 'h' && find_letter(run->command, 'h') >= 0) {
                if (!take_letters(run, count, words, &i))
                    return false;
                continue;
            }
            print_command(stdout, run->command);
            exit(CTL_OK);
        } else if (word[1] == '-') {
            if (!take_long(run, count, words, &i))
                return false;
        } else if (!take_letters(run, count, words, &i)) {
            return false;
        }
    }
    return true;
}

static bool check_argument_count(const struct ctl_run *run)
{
    const struct ctl_command *c = run->command;
    if (run->argument_count >= c->min_arguments &&
        (c->max_arguments < 0 || run->argument_count <= c->max_arguments))
        return true;
    if (run->argument_count < c->min_arguments)
        ctl_error(run, "an argument is missing; usage: polygatectl %s %s", c->name, c->arguments);
    else
        ctl_error(run, "\"%s\" is one argument too many; usage: polygatectl %s %s",
                  run->arguments[c->max_arguments], c->name, c->arguments);
    return false;
}

int main(int argc, char **argv)
{
    struct ctl_run run = {.socket = NULL};
    int at = 1, used = 0;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if ((strcmp(argv[at], "-s") == 0 || strcmp(argv[at], "--socket") == 0) && at + 1 < argc) {
            run.socket = argv[++at];
        } else if (strncmp(argv[at], "--socket=", 9) == 0) {
            run.socket = argv[at] + 9;
        } else if (strcmp(argv[at], "-h") == 0 || strcmp(argv[at], "--help") == 0) {
            print_overview(stdout);
            return CTL_OK;
        } else if (strcmp(argv[at], "-V") == 0 || strcmp(argv[at], "--version") == 0) {
            puts("polygatectl " PACKAGE_VERSION);
            return CTL_OK;
        } else {
            fprintf(stderr,
                    "polygatectl: %s: expected -s SOCKET, --help or --version in front of "
                    "the command\n",
                    argv[at]);
            return CTL_USAGE;
        }
    }
    if (at == argc) {
        print_overview(stderr);
        return CTL_USAGE;
    }
    run.command = find_command(argc - at, argv + at, &used);
    if (!run.command)
        return unknown_command(argc - at, argv + at);
    if (!read_words(&run, argc - at - used, argv + at + used) || !check_argument_count(&run))
        return CTL_USAGE;
    int code = run.command->run(&run);
    if (fflush(stdout) != 0 && code == CTL_OK) {
        ctl_error(&run, "cannot write the output");
        code = CTL_FAILED;
    }
    return code;
}
