/* SPDX-License-Identifier: Apache-2.0 */

/* A segment file of any bytes: opening, checking and repairing it neither crash nor hang, and what
 * was repaired opens. The input is the file, in a directory of its own in memory where there is
 * /dev/shm; nothing of it is left behind. */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "segment_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static int open_it(const char *dir)
{
    struct pg_seglog_options options = {.segment_bytes = 4096, .fsync = PG_SEGLOG_NEVER};
    struct pg_seglog *log;
    struct pg_error error;
    int code = pg_seglog_open(dir, &options, &log, &error);
    if (code == 0)
        must(pg_seglog_close(&log) == 0);
    else
        must(error.text[0] != '\0');
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dir[64] = "/dev/shm/pg-fuzz-XXXXXX", path[128];
    struct pg_seglog_summary summary;
    struct pg_error error;

    if (!mkdtemp(dir)) {
        strcpy(dir, "/tmp/pg-fuzz-XXXXXX");
        must(mkdtemp(dir) != NULL);
    }
    snprintf(path, sizeof(path), "%s/%016u.seg", dir, 1u);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);

    must(pg_seglog_check(dir, NULL, NULL, &summary, &error) == 0 || error.text[0] != '\0');
    bool sound = summary.damages == 0;
    int code = open_it(dir);
    must(code == 0 ? sound : true);
    if (code != 0 && pg_seglog_repair(dir, NULL, NULL, &summary, &error) == 0)
        must(open_it(dir) == 0);
    unlink(path);
    rmdir(dir);
    return 0;
}
