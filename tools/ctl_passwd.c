/* SPDX-License-Identifier: Apache-2.0 */

/* polygatectl passwd: lines USER:HASH of a password file, as the plugin authfile reads it.
 *
 * The new file is written beside the old one, synced and renamed over it, so a gateway that reloads
 * at any moment reads the one or the other. */

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "ctl.h"

/* As in the plugin: libcrypt looks at no longer ones. */
#define PASSWORD_MAX 511

/* Print a prompt and read one line from the terminal without echo; false: no line. */
static bool ask(FILE *tty, const char *prompt, char *line, size_t size)
{
    struct termios before, quiet;
    int fd = fileno(tty);
    bool is_tty = tcgetattr(fd, &before) == 0;
    if (is_tty) {
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
        tcsetattr(fd, TCSAFLUSH, &quiet);
    }
    fputs(prompt, stderr);
    fflush(stderr);
    bool got = fgets(line, (int)size, tty) != NULL;
    if (is_tty) {
        tcsetattr(fd, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    return got;
}

static bool strip_line(const struct ctl_run *run, char *line)
{
    size_t len = strcspn(line, "\n");
    if (len > PASSWORD_MAX) {
        ctl_error(run, "the password is longer than %d bytes", PASSWORD_MAX);
        return false;
    }
    if (len > 0 && line[len - 1] == '\r')
        len--;
    line[len] = '\0';
    if (len > 0)
        return true;
    ctl_error(run, "the password is empty");
    return false;
}

/* From the terminal twice, or from a standard input that is none, once. */
static bool read_password(const struct ctl_run *run, char *password, size_t size)
{
    char again[PASSWORD_MAX + 3];
    if (!isatty(STDIN_FILENO)) {
        if (fgets(password, (int)size, stdin))
            return strip_line(run, password);
        ctl_error(run, "expected the password as one line on the standard input");
        return false;
    }
    if (!ask(stdin, "password: ", password, size) || !strip_line(run, password))
        return false;
    bool same = ask(stdin, "again: ", again, sizeof(again)) && strip_line(run, again) &&
                strcmp(password, again) == 0;
    explicit_bzero(again, sizeof(again));
    if (!same)
        ctl_error(run, "the two are not the same; nothing was changed");
    return same;
}

/* Hash with yescrypt and a new salt; the result is in `data`. */
static const char *hash_password(const struct ctl_run *run, const char *password,
                                 struct crypt_data *data)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    const char *hash = NULL;
    memset(data, 0, sizeof(*data));
    if (crypt_gensalt_rn("$y$", 0, NULL, 0, setting, (int)sizeof(setting)))
        hash = crypt_rn(password, setting, data, (int)sizeof(*data));
    if (!hash)
        ctl_error(run, "cannot hash the password: %s", strerror(errno));
    return hash;
}

static bool user_is_good(const struct ctl_run *run, const char *user)
{
    bool bad = user[0] == '\0' || user[0] == '#' || strchr(user, ':') ||
               !pg_utf8_valid(pg_bytes_str(user));
    for (const char *c = user; *c && !bad; c++)
        bad = (unsigned char)*c < ' ' || *c == 0x7f;
    if (bad)
        ctl_error(run, "a user name is UTF-8, not empty, without colons and control characters, "
                       "and does not begin with #");
    return !bad;
}

static bool is_line_of(const char *line, const char *user)
{
    size_t len = strlen(user);
    return strncmp(line, user, len) == 0 && line[len] == ':';
}

/* Copy `old` (NULL: there is none) to `to` with the user's line replaced by USER:HASH, or left out
 * without a hash. *found tells whether it was there. */
static bool copy_lines(FILE *old, FILE *to, const char *user, const char *hash, bool *found)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    *found = false;
    while (old && (len = getline(&line, &room, old)) > 0) {
        if (!is_line_of(line, user)) {
            fputs(line, to);
            if (line[len - 1] != '\n')
                fputc('\n', to);
            continue;
        }
        if (hash && !*found)
            fprintf(to, "%s:%s\n", user, hash);
        *found = true;
    }
    free(line);
    if (hash && !*found)
        fprintf(to, "%s:%s\n", user, hash);
    return !(old && ferror(old)) && fflush(to) == 0 && fsync(fileno(to)) == 0;
}

/* Replace the file by one with the user's line changed. */
static int change_file(const struct ctl_run *run, const char *path, const char *user,
                       const char *hash)
{
    char temporary[PATH_MAX + 16];
    bool found = false;
    FILE *old = fopen(path, "re");
    if (!old && (errno != ENOENT || !hash)) {
        ctl_error(run, "cannot open %s: %s", path, strerror(errno));
        return CTL_FAILED;
    }
    snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    FILE *to = fd < 0 ? NULL : fdopen(fd, "w");
    bool good = to && copy_lines(old, to, user, hash, &found);
    if (!good)
        ctl_error(run, "cannot write %s: %s", temporary, strerror(errno));
    if (old) {
        struct stat st; /* root may keep the file for the gateway's user */
        if (good && fstat(fileno(old), &st) == 0 && st.st_uid != geteuid() &&
            fchown(fd, st.st_uid, st.st_gid) != 0) {
            ctl_error(run, "cannot give %s to the owner of the old file: %s", temporary,
                      strerror(errno));
            good = false;
        }
        fclose(old);
    }
    if (to)
        fclose(to);
    if (good && !hash && !found) {
        ctl_error(run, "there is no user \"%s\" in %s", user, path);
        good = false;
    }
    if (good && rename(temporary, path) != 0) {
        ctl_error(run, "cannot rename %s to %s: %s", temporary, path, strerror(errno));
        good = false;
    }
    if (!good && fd >= 0)
        unlink(temporary);
    return good ? CTL_OK : CTL_FAILED;
}

static int run_passwd(struct ctl_run *run)
{
    char password[PASSWORD_MAX + 3], real[PATH_MAX];
    struct crypt_data *data = NULL;
    const char *hash = NULL, *user = run->arguments[1];
    /* Through a symbolic link, the file that it points to is replaced, not the link. */
    const char *path = realpath(run->arguments[0], real) ? real : run->arguments[0];
    bool deletes = ctl_flag(run, "delete");
    if (!user_is_good(run, user))
        return CTL_USAGE;
    if (!deletes) {
        data = malloc(sizeof(*data));
        if (!data || !read_password(run, password, sizeof(password))) {
            free(data);
            return CTL_FAILED;
        }
        hash = hash_password(run, password, data);
        explicit_bzero(password, sizeof(password));
    }
    int code = deletes || hash ? change_file(run, path, user, hash) : CTL_FAILED;
    if (data)
        explicit_bzero(data, sizeof(*data));
    free(data);
    return code;
}

static const struct ctl_option passwd_options[] = {
    {.name = "delete", .help = "take the user out of the file"},
    {.name = NULL},
};

const struct ctl_command ctl_passwd_commands[] = {
    {.name = "passwd",
     .arguments = "FILE USER",
     .help = "Set a user's password in a password file; asks for it, or reads a line of input.",
     .options = passwd_options,
     .min_arguments = 2,
     .max_arguments = 2,
     .run = run_passwd},
    {.name = NULL},
};
