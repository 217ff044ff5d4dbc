/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCRATCH_H
#define SCRATCH_H

/* A folder of a test's own: in memory, where there is that, since syncs are quick there. */

#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCRATCH_PATH_MAX 64

/* Make it, empty, and put its path in `path`. */
static inline void scratch_make(char path[SCRATCH_PATH_MAX])
{
    strcpy(path, "/dev/shm/polygate-test.XXXXXX");
    if (!mkdtemp(path)) {
        strcpy(path, "/tmp/polygate-test.XXXXXX");
        CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(path));
    }
}

/* Remove a folder, or a file, with all that is in it. */
static inline void scratch_remove(const char *path)
{
    char command[SCRATCH_PATH_MAX + 64];
    CU_ASSERT_FATAL((size_t)snprintf(command, sizeof(command), "rm -rf '%s'", path) <
                    sizeof(command));
    CU_ASSERT_EQUAL(system(command), 0);
}

#endif
