/* SPDX-License-Identifier: Apache-2.0 */

/* Configurations. The input is the text of a file; one that would open other files (include,
 * plugin) is passed over.
 *
 * What must hold: a refusal has a text that starts with a place; what is accepted can be shown; and
 * whatever was read, the next configuration is read as if nothing had been before, which is what a
 * reload after a failed one needs. */

#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "server.h"
#include "transport.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct talk_conf {
    const char *greeting;
    struct pg_strings names;
    int64_t wait;
};
static const struct pg_option talk_options[] = {
    {.name = "greeting",
     .type = PG_OPT_STRING,
     .offset = offsetof(struct talk_conf, greeting),
     .fallback = "hello",
     .sentence = "What is said."},
    {.name = "names",
     .type = PG_OPT_LIST,
     .offset = offsetof(struct talk_conf, names),
     .fallback = "",
     .sentence = "To whom."},
    {.name = "wait",
     .type = PG_OPT_DURATION,
     .offset = offsetof(struct talk_conf, wait),
     .fallback = "1s",
     .max = 60000,
     .sentence = "How late."},
    {.name = NULL},
};
static const struct pg_protocol talk = {
    .abi = PG_ABI, .name = "talk", .options = talk_options, .conf_size = sizeof(struct talk_conf)};
static const struct pg_transport pipe_transport = {.name = "tcp"};

static const char good[] = "listener \"a\" { bind = \"127.0.0.1:0\" protocol = talk }\n"
                           "talk { greeting = \"as ever\" names = {a, b} } # end\n";

static struct pg_config *load(const char *text, struct pg_error *error)
{
    const struct pg_assembly assembly = {
        .transports = (const struct pg_transport *const[]){&pipe_transport, NULL},
        .protocols = (const struct pg_protocol *const[]){&talk, NULL},
        .plugins = (const struct pg_plugin *const[]){NULL},
        .config = text,
    };
    error->text[0] = '\0';
    return pg_config_load(&assembly, NULL, error);
}

static void show_and_free(struct pg_config *config)
{
    char *json = pg_config_json(config);
    if (!json || json[0] != '{' || json[strlen(json) - 1] != '}')
        abort();
    free(json);
    pg_config_unref(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    /* A word may be put together from quotes, but not these two in a way that opens a file:
     * `include` counts as a bare word only, and a plugin is looked for by its whole word. */
    if (!strstr(text, "include") && !strstr(text, "path")) {
        struct pg_error error;
        struct pg_config *config = load(text, &error);
        if (config)
            show_and_free(config);
        else if (strncmp(error.text, "built-in configuration", 22) != 0)
            abort();
        config = load(good, &error);
        if (!config || strcmp(((struct talk_conf *)config->protocols[0].conf)->greeting, "as ever"))
            abort();
        pg_config_unref(&config);
    }
    free(text);
    return 0;
}
