/* SPDX-License-Identifier: Apache-2.0 */

/* Where the control socket is, and who may have it.
 *
 * Beside the socket lies PATH.lock, which the process that owns the socket holds locked (flock)
 * for life. The lock goes with the process, however it dies, so whoever gets it knows that a socket
 * file that is still there is stale and may be replaced, and two gateways that start at once cannot
 * both replace it. The lock file itself stays: removing it would let two processes lock two files
 * of the same name.
 *
 * Only the gateway's own user (and root) may connect: the socket has mode 0600 from its first
 * moment, since Linux makes the file with the mode of the socket's descriptor. */

#include "listening.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(sizeof(((struct sockaddr_un *)NULL)->sun_path) == LISTENING_PATH_ROOM,
               "a path that fits here fits a socket address");

struct listening {
    struct listening *next;
    unsigned refs;
    int fd;
    int lock_fd;
    char path[LISTENING_PATH_ROOM];
};

static struct listening *all; /* main thread */

bool listening_path(const char *configured, char path[LISTENING_PATH_ROOM], struct pg_error *error)
{
    const char *runtime = getenv("RUNTIME_DIRECTORY"); /* set by systemd; see systemd.exec(5) */
    int len;
    if (configured[0])
        len = snprintf(path, LISTENING_PATH_ROOM, "%s", configured);
    else if (runtime && runtime[0] == '/')
        len = snprintf(path, LISTENING_PATH_ROOM, "%.*s/control.sock", (int)strcspn(runtime, ":"),
                       runtime);
    else
        len = snprintf(path, LISTENING_PATH_ROOM, "/tmp/polygate-%u/control.sock",
                       (unsigned)geteuid());
    if (len > 0 && len < LISTENING_PATH_ROOM)
        return true;
    pg_error_set(error,
                 "socket: the path is longer than %d bytes, which is all that a "
                 "Unix socket can have; choose a shorter one",
                 LISTENING_PATH_ROOM - 1);
    return false;
}

/* The default folder in /tmp, which others must not be able to put in our place. */
static bool make_default_folder(const char *path, struct pg_error *error)
{
    char folder[LISTENING_PATH_ROOM];
    char usual[LISTENING_PATH_ROOM];
    struct stat st;
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 0, path);
    snprintf(usual, sizeof(usual), "/tmp/polygate-%u", (unsigned)geteuid());
    if (strcmp(folder, usual) != 0)
        return true;
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        pg_error_set(error, "cannot make the folder %s: %s", folder, strerror(errno));
        return false;
    }
    if (lstat(folder, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
        (st.st_mode & 022) == 0)
        return true;
    pg_error_set(error,
                 "%s is not a folder that belongs to this user alone; remove it, or "
                 "set control { socket }",
                 folder);
    return false;
}

static bool take_lock(struct listening *listening, struct pg_error *error)
{
    char lock[LISTENING_PATH_ROOM + 8];
    snprintf(lock, sizeof(lock), "%s.lock", listening->path);
    listening->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (listening->lock_fd < 0) {
        pg_error_set(error, "socket: cannot make %s: %s", lock, strerror(errno));
        return false;
    }
    if (flock(listening->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    pg_error_set(error,
                 "socket: %s is in use by another gateway; stop it, or give this "
                 "one another socket",
                 listening->path);
    return false;
}

static bool bind_socket(struct listening *listening, struct pg_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    memcpy(address.sun_path, listening->path, sizeof(address.sun_path));
    if (lstat(listening->path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        pg_error_set(error,
                     "socket: %s is there and is not a socket; choose another "
                     "path",
                     listening->path);
        return false;
    }
    unlink(listening->path); /* stale: the lock is ours */
    listening->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listening->fd < 0 || fchmod(listening->fd, 0600) != 0 ||
        bind(listening->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listening->fd, 16) != 0) {
        pg_error_set(error, "socket: cannot listen at %s: %s", listening->path, strerror(errno));
        return false;
    }
    return true;
}

static void free_listening(struct listening *listening)
{
    if (listening->fd >= 0)
        close(listening->fd);
    if (listening->lock_fd >= 0)
        close(listening->lock_fd);
    free(listening);
}

struct listening *listening_open(const char *path, struct pg_error *error)
{
    for (struct listening *l = all; l; l = l->next) {
        if (strcmp(l->path, path) == 0) {
            l->refs++;
            return l;
        }
    }
    struct listening *listening = calloc(1, sizeof(*listening));
    if (!listening) {
        pg_error_set(error, "out of memory");
        return NULL;
    }
    listening->fd = listening->lock_fd = -1;
    snprintf(listening->path, sizeof(listening->path), "%s", path);
    if (!make_default_folder(path, error) || !take_lock(listening, error) ||
        !bind_socket(listening, error)) {
        free_listening(listening);
        return NULL;
    }
    listening->refs = 1;
    listening->next = all;
    all = listening;
    return listening;
}

int listening_fd(const struct listening *listening)
{
    return listening->fd;
}

void listening_close(struct listening **listening)
{
    struct listening *old = *listening;
    *listening = NULL;
    if (!old || --old->refs > 0)
        return;
    struct listening **link = &all;
    while (*link != old)
        link = &(*link)->next;
    *link = old->next;
    unlink(old->path); /* before the lock goes */
    free_listening(old);
}
