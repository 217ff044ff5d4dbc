/* SPDX-License-Identifier: Apache-2.0 */

/* polygatectl store: the embedded store's files, while no gateway uses them. The log locks its
 * folder, so that a running gateway is not disturbed: the command is refused then. */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl.h"
#include "segment_log.h"

static void print_finding(void *context, const struct pg_seglog_finding *finding)
{
    (void)context;
    printf("%s: offset %llu, %llu bytes: %s\n", finding->file, (unsigned long long)finding->offset,
           (unsigned long long)finding->bytes, finding->text);
}

/* The folder of the segments: the one named, or "log" in it. */
static bool find_log(const struct ctl_run *run, char path[PATH_MAX])
{
    struct stat st;
    const char *dir = run->arguments[0];
    if (stat(dir, &st) != 0) {
        ctl_error(run, "%s: %s", dir, strerror(errno));
        return false;
    }
    int len = snprintf(path, PATH_MAX, "%s/log", dir);
    if (len < PATH_MAX && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return true;
    len = snprintf(path, PATH_MAX, "%s", dir);
    if (len < PATH_MAX)
        return true;
    ctl_error(run, "%s: %s", dir, strerror(ENAMETOOLONG));
    return false;
}

static int run_store(struct ctl_run *run, bool repair)
{
    char path[PATH_MAX];
    struct pg_error error;
    struct pg_seglog_summary sum;
    if (!find_log(run, path))
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
    return repair || sum.damages == 0 ? CTL_OK : CTL_FAILED;
}

static int run_check(struct ctl_run *run)
{
    return run_store(run, false);
}

static int run_repair(struct ctl_run *run)
{
    return run_store(run, true);
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
    {.name = NULL},
};
