/* SPDX-License-Identifier: Apache-2.0 */

/* The daemon's assembly and command line. This is the one place that names what is built in; a
 * frontend, transport or plugin is added to Polygate by its line here and its folder. */

#include "build.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config.h"
#include "server.h"
#include "transport.h"

extern const struct pg_transport tcp_transport;
extern const struct pg_transport ws_transport;
extern const struct pg_transport wss_transport;
extern const struct pg_transport tls_transport;
extern const struct pg_transport auto_transport;
extern const struct pg_protocol mqtt_protocol;
extern const struct pg_protocol stomp_protocol;
extern const struct pg_protocol jt808_protocol;
extern const struct pg_protocol gbt32960_protocol;
extern const struct pg_protocol forward_protocol;
extern const struct pg_plugin authfile_plugin;
extern const struct pg_plugin control_plugin;
extern const struct pg_plugin sys_plugin;

static const struct pg_assembly assembly = {
    .transports =
        (const struct pg_transport *const[]){&tcp_transport, &tls_transport, &ws_transport,
                                             &wss_transport, &auto_transport, NULL},
    .protocols =
        (const struct pg_protocol *const[]){&mqtt_protocol, &stomp_protocol, &jt808_protocol,
                                            &gbt32960_protocol, &forward_protocol, NULL},
    .plugins =
        (const struct pg_plugin *const[]){&authfile_plugin, &control_plugin, &sys_plugin, NULL},
    .config = "listener \"all\" {\n"
              "    bind = {\"127.0.0.1:1883\", \"[::1]:1883\"}\n"
              "    protocol = auto\n"
              "}\n"
              "listener \"ws\" {\n"
              "    bind = {\"127.0.0.1:8083\", \"[::1]:8083\"}\n"
              "    transport = ws\n"
              "    protocol = auto\n"
              "}\n"
              "listener \"stomp\" {\n"
              "    bind = {\"127.0.0.1:61613\", \"[::1]:61613\"}\n"
              "    protocol = stomp\n"
              "}\n"
              "listener \"jt808\" {\n"
              "    bind = {\"127.0.0.1:6808\", \"[::1]:6808\"}\n"
              "    protocol = jt808\n"
              "}\n"
              "listener \"gbt32960\" {\n"
              "    bind = {\"127.0.0.1:32960\", \"[::1]:32960\"}\n"
              "    protocol = gbt32960\n"
              "}\n"
              "control { }\n"
              "sys { }\n",
};

static const char usage[] =
    "Usage: polygate [-c FILE]       serve until SIGTERM; SIGHUP reads FILE again\n"
    "       polygate -t [-c FILE]    check FILE and say what is wrong\n"
    "       polygate -V              version, what is built in, how it was built\n"
    "       polygate -h              this help\n"
    "\n"
    "Without -c, for this machine only: every protocol on port 1883; over WebSocket on port 8083\n"
    "(/mqtt, /stomp, ...), too; STOMP on port 61613, JT/T 808 on port 6808, GB/T 32960 on port "
    "32960.\n"
    "See polygate(8) and polygate.conf(5).\n";

static int print_version(void)
{
    printf("polygate " PACKAGE_VERSION "\n  transports:  ");
    for (const struct pg_transport *const *t = assembly.transports; *t; t++)
        printf(" %s", (*t)->name);
    printf("\n  protocols:   ");
    for (const struct pg_protocol *const *p = assembly.protocols; *p; p++)
        printf(" %s", (*p)->name);
    printf("\n  plugins:     ");
    for (const struct pg_plugin *const *p = assembly.plugins; *p; p++)
        printf(" %s", (*p)->name);
    printf("\n  plugin ABI:   %u\n" PG_BUILD_SUMMARY, PG_ABI);
    return EXIT_SUCCESS;
}

static int check(const char *path)
{
    struct pg_error error;
    struct pg_config *config = pg_config_load(&assembly, path, &error);
    bool ok = config && pg_config_check_plugins(config, &error) &&
              pg_config_prepare_transports(config, 1, &error);
    pg_config_unref(&config);
    if (!ok) {
        fprintf(stderr, "polygate: %s\n", error.text);
        return EXIT_FAILURE;
    }
    printf("polygate: %s is correct\n", path ? path : "the built-in configuration");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    const char *path = NULL;
    bool check_only = false;
    for (int option; (option = getopt(argc, argv, "c:thVO")) != -1;) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 't':
            check_only = true;
            break;
        case 'V':
            return print_version();
        case 'O': /* for the manual: every option as mdoc; not in the help */
            pg_config_print_options(&assembly);
            return EXIT_SUCCESS;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            fputs(usage, stderr);
            return EXIT_FAILURE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "polygate: unexpected argument \"%s\"\n\n%s", argv[optind], usage);
        return EXIT_FAILURE;
    }
    return check_only ? check(path) : pg_server_run(&assembly, path);
}
