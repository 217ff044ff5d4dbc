/* SPDX-License-Identifier: Apache-2.0 */

/* The loader of plugins; see plugin.h. Loading runs no function of the plugin except what its own
 * libraries' initialisers do. Main thread. */

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

#define SYMBOL "pg_plugin_descriptor"

struct loaded {
    struct loaded *next;
    char *path; /* as realpath(3) has it */
    const struct pg_plugin *plugin;
};

static struct loaded *all;

static bool is_complete(const struct pg_plugin *plugin, const char *path, struct pg_error *error)
{
    const char *fault = NULL;
    if (!plugin->name || plugin->name[0] == '\0')
        fault = "it has no name";
    else if (!plugin->protocol && !plugin->authenticator && !plugin->start)
        fault = "it brings no protocol, no authenticator and no start function";
    else if (plugin->start && !plugin->stop)
        fault = "it has a start function and no stop function";
    if (fault)
        pg_error_set(error, "%s: the plugin's descriptor is not complete: %s", path, fault);
    return !fault;
}

/* Whether it may be used; the number first, since nothing else has a known place without it. */
static bool is_ours(const struct pg_plugin *plugin, const char *path, struct pg_error *error)
{
    if (!plugin) {
        pg_error_set(error, "%s: not a plugin: it has no symbol " SYMBOL, path);
        return false;
    }
    if (plugin->abi != PG_ABI) {
        pg_error_set(error,
                     "%s: built for version %u of the plugin ABI, wanted %u; build it again with "
                     "this version's polygate.h",
                     path, (unsigned)plugin->abi, PG_ABI);
        return false;
    }
    if (plugin->protocol && plugin->protocol->abi != PG_ABI) {
        pg_error_set(error, "%s: its protocol is built for version %u of the plugin ABI, wanted %u",
                     path, (unsigned)plugin->protocol->abi, PG_ABI);
        return false;
    }
    return is_complete(plugin, path, error);
}

static const struct pg_plugin *open_file(const char *path, struct pg_error *error)
{
    /* RTLD_NOW: a missing symbol is an error here and not in the middle of a connection. */
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        pg_error_set(error, "cannot load the plugin: %s", dlerror());
        return NULL;
    }
    const struct pg_plugin *plugin = dlsym(handle, SYMBOL);
    if (is_ours(plugin, path, error))
        return plugin;
    dlclose(handle);
    return NULL;
}

const struct pg_plugin *pg_plugin_load(const char *path, struct pg_error *error)
{
    /* dlopen() would look for a bare name in the folders of libraries. */
    char *real = realpath(path, NULL);
    if (!real) {
        pg_error_set(error, "cannot find the plugin %s: %m", path);
        return NULL;
    }
    for (const struct loaded *l = all; l; l = l->next) {
        if (strcmp(l->path, real) == 0) {
            free(real);
            return l->plugin;
        }
    }
    struct loaded *l = malloc(sizeof(*l));
    const struct pg_plugin *plugin = l ? open_file(real, error) : NULL;
    if (!l)
        pg_error_set(error, "%s: out of memory", path);
    if (!plugin) {
        free(l);
        free(real);
        return NULL;
    }
    *l = (struct loaded){.next = all, .path = real, .plugin = plugin};
    all = l;
    return plugin;
}
