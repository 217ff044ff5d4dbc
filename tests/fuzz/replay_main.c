/* SPDX-License-Identifier: Apache-2.0 */
/* The main() of a fuzz target in the normal build.
 *
 * Each target under tests/fuzz/ defines LLVMFuzzerTestOneInput() and nothing else that is global.
 * With --enable-fuzzing libFuzzer brings main(); without, this file does: it gives the target each
 * file named on the command line, and each regular file in each folder named, once. So the corpus
 * is a regression test in every build and under every compiler.
 *
 * The bytes are handed over in a block of exactly their length, so that AddressSanitizer and
 * valgrind see the first byte read behind the end. An input that breaks the target ends the program
 * by a signal, as it does under libFuzzer; its name is the last line printed.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Feed one file. Returns 0, or -1 if it cannot be read. */
static int replay_file(const char *path)
{
    int status = -1;
    uint8_t *data = NULL;
    struct stat st;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &st) != 0)
        goto out;

    size_t size = (size_t)st.st_size;
    data = malloc(size ? size : 1);
    if (!data || fread(data, 1, size, file) != size)
        goto out;

    printf("%s (%zu bytes)\n", path, size);
    fflush(stdout);
    (void)LLVMFuzzerTestOneInput(data, size);
    status = 0;
out:
    if (status != 0)
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    free(data);
    if (file)
        fclose(file);
    return status;
}

/* Feed every regular file of a folder. Returns the number fed, or -1 if one cannot be read. */
static long replay_folder(const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    if (n < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    long fed = 0;
    for (int i = 0; i < n; i++) {
        char name[4096];
        struct stat st;
        int len = snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
        free(entries[i]);
        if (len < 0 || (size_t)len >= sizeof(name) || fed < 0)
            continue;
        if (stat(name, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        fed = replay_file(name) == 0 ? fed + 1 : -1;
    }
    free(entries);
    return fed;
}

int main(int argc, char **argv)
{
    long total = 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        long fed;
        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            fed = replay_folder(argv[i]);
        else
            fed = replay_file(argv[i]) == 0 ? 1 : -1;
        if (fed < 0)
            return EXIT_FAILURE;
        total += fed;
    }
    printf("replayed %ld inputs\n", total);
    /* A corpus that is not found must not look like one that passes. */
    return total > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
