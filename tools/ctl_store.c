/* SPDX-License-Identifier: Apache-2.0 */

/* polygatectl store: the embedded store's files, while no gateway uses them. The log locks its
 * folder, so that a running gateway is not disturbed: the command is refused then. Without a
 * folder, `store stats` asks the gateway. */

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl.h"
#include "ctl_store_json.h"

/* ---- check and repair ----------------------------------------------------------------------- */

static void print_finding(void *context, const struct pg_seglog_finding *finding)
{
    (void)context;
    printf("%s: offset %llu, %llu bytes: %s\n", finding->file, (unsigned long long)finding->offset,
           (unsigned long long)finding->bytes, finding->text);
}

/* The folder of the segments: the one named, or "log" in it, which is then a store's. */
static bool find_log(const struct ctl_run *run, char path[PATH_MAX], bool *store)
{
    struct stat st;
    const char *dir = run->arguments[0];
    *store = false;
    if (stat(dir, &st) != 0) {
        ctl_error(run, "%s: %s", dir, strerror(errno));
        return false;
    }
    int len = snprintf(path, PATH_MAX, "%s/data.mdb", dir);
    bool maps = len < PATH_MAX && stat(path, &st) == 0;
    len = snprintf(path, PATH_MAX, "%s/log", dir);
    if (len < PATH_MAX && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        *store = maps;
        return true;
    }
    len = snprintf(path, PATH_MAX, "%s", dir);
    if (len < PATH_MAX)
        return true;
    ctl_error(run, "%s: %s", dir, strerror(ENAMETOOLONG));
    return false;
}

/* Whether maps and log belong together; 0, 1 if they do not, -1 with an error said. */
static int check_pair(const struct ctl_run *run, bool repair)
{
    struct pg_error error;
    bool differs;
    if (!pg_store_disk_pair(run->arguments[0], repair, &differs, &error)) {
        ctl_error(run, "%s", error.text);
        return -1;
    }
    if (differs)
        printf("the log is not the one that belongs to data.mdb%s\n",
               repair ? ": it does from now on, and what had been queued is lost" : "");
    return differs;
}

static int run_store(struct ctl_run *run, bool repair)
{
    char path[PATH_MAX];
    bool store;
    struct pg_error error;
    struct pg_seglog_summary sum;
    if (!find_log(run, path, &store))
        return CTL_FAILED;
    int code =
        (repair ? pg_seglog_repair : pg_seglog_check)(path, print_finding, NULL, &sum, &error);
    if (code != 0) {
        fflush(stdout);
        ctl_error(run, "%s", error.text);
        return CTL_FAILED;
    }
    printf("%u segments, %llu batches of %llu bytes are sound; %u places are damaged%s\n",
           (unsigned)sum.segments, (unsigned long long)sum.batches,
           (unsigned long long)sum.body_bytes, (unsigned)sum.damages,
           sum.damages == 0 ? ""
           : repair         ? " and were taken out"
                            : ": polygatectl store repair saves the rest");
    if (!repair && sum.damages > 0)
        return CTL_FAILED;
    int differs = store && sum.segments > 0 ? check_pair(run, repair) : 0;
    return differs == 0 || (differs > 0 && repair) ? CTL_OK : CTL_FAILED;
}

static int run_check(struct ctl_run *run)
{
    return run_store(run, false);
}

static int run_repair(struct ctl_run *run)
{
    return run_store(run, true);
}

/* ---- stats ---------------------------------------------------------------------------------- */

static const struct ctl_option stats_options[] = {
    {'j', "json", NULL, "print as JSON"},
    {.name = NULL},
};

static int run_stats(struct ctl_run *run)
{
    struct pg_store_exporter nothing = {.message = NULL};
    struct pg_store_stats stats;
    struct pg_error error;
    if (run->argument_count == 0)
        return ctl_store_status(run);
    if (!pg_store_disk_export(run->arguments[0], &nothing, &stats, &error)) {
        ctl_error(run, "%s", error.text);
        return CTL_FAILED;
    }
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"sessions", stats.sessions},         {"queued", stats.queued},
        {"queued_bytes", stats.queued_bytes}, {"retained", stats.retained},
        {"disk_bytes", stats.disk_bytes},     {"index_bytes", stats.index_bytes},
    };
    bool json = ctl_flag(run, "json");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (json)
            printf("%c\"%s\":%" PRIu64, i == 0 ? '{' : ',', rows[i].name, rows[i].value);
        else
            printf("%-14s %20" PRIu64 "\n", rows[i].name, rows[i].value);
    }
    if (json)
        puts("}");
    return CTL_OK;
}

/* ---- export and import ---------------------------------------------------------------------- */

static int run_export(struct ctl_run *run)
{
    struct pg_error error;
    if (ctl_store_write(run->arguments[0], stdout, &error))
        return CTL_OK;
    ctl_error(run, "%s", error.text);
    return CTL_FAILED;
}

static int run_import(struct ctl_run *run)
{
    struct pg_error error;
    struct ctl_store_counts counts;
    FILE *from = run->argument_count > 1 ? fopen(run->arguments[1], "re") : stdin;
    if (!from) {
        ctl_error(run, "%s: %s", run->arguments[1], strerror(errno));
        return CTL_FAILED;
    }
    bool ok = ctl_store_read(run->arguments[0], from, &counts, &error);
    if (from != stdin)
        fclose(from);
    if (!ok) {
        ctl_error(run, "%s", error.text);
        return CTL_FAILED;
    }
    printf("%" PRIu64 " sessions, %" PRIu64 " messages in %" PRIu64 " places of queues, %" PRIu64
           " retained messages, %" PRIu64 " wills, %" PRIu64 " facts\n",
           counts.sessions, counts.messages, counts.entries, counts.retained, counts.wills,
           counts.facts);
    return CTL_OK;
}

const struct ctl_command ctl_store_commands[] = {
    {.name = "store check",
     .arguments = "DIR",
     .help = "Look through the log of a store that no gateway uses; changes nothing.",
     .min_arguments = 1,
     .max_arguments = 1,
     .run = run_check},
    {.name = "store repair",
     .arguments = "DIR",
     .help = "Take what is damaged out of the log of a store, and say what is lost.",
     .min_arguments = 1,
     .max_arguments = 1,
     .run = run_repair},
    {.name = "store stats",
     .arguments = "[DIR]",
     .help = "What is in the gateway's store, or in one that no gateway uses.",
     .options = stats_options,
     .min_arguments = 0,
     .max_arguments = 1,
     .run = run_stats},
    {.name = "store export",
     .arguments = "DIR",
     .help = "Write all of a store that no gateway uses as lines of JSON.",
     .min_arguments = 1,
     .max_arguments = 1,
     .run = run_export},
    {.name = "store import",
     .arguments = "DIR [FILE]",
     .help = "Make a new store of what was exported.",
     .min_arguments = 1,
     .max_arguments = 2,
     .run = run_import},
    {.name = NULL},
};
