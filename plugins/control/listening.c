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
#include <pthread.h>
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

/* A socket and its lock. */
struct place {
    struct place *next;
    struct listening *uses; /* newest first */
    int fd;
    int lock_fd;
    char path[LISTENING_PATH_ROOM];
};

struct listening {
    struct listening *next;
    struct place *place;
};

static struct place *all; /* main thread */
/* Over the lists of uses: the main thread changes them, others ask who is newest. */
static pthread_mutex_t uses_lock = PTHREAD_MUTEX_INITIALIZER;

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

static bool take_lock(struct place *place, struct pg_error *error)
{
    char lock[LISTENING_PATH_ROOM + 8];
    snprintf(lock, sizeof(lock), "%s.lock", place->path);
    place->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (place->lock_fd < 0) {
        pg_error_set(error, "socket: cannot make %s: %s", lock, strerror(errno));
        return false;
    }
    if (flock(place->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    pg_error_set(error,
                 "socket: %s is in use by another gateway; stop it, or give this "
                 "one another socket",
                 place->path);
    return false;
}

static bool bind_socket(struct place *place, struct pg_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    memcpy(address.sun_path, place->path, sizeof(address.sun_path));
    if (lstat(place->path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        pg_error_set(error,
                     "socket: %s is there and is not a socket; choose another "
                     "path",
                     place->path);
        return false;
    }
    unlink(place->path); /* stale: the lock is ours */
    place->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (place->fd < 0 || fchmod(place->fd, 0600) != 0 ||
        bind(place->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(place->fd, 16) != 0) {
        pg_error_set(error, "socket: cannot listen at %s: %s", place->path, strerror(errno));
        return false;
    }
    return true;
}

static void free_place(struct place *place)
{
    if (place->fd >= 0)
        close(place->fd);
    if (place->lock_fd >= 0)
        close(place->lock_fd);
    free(place);
}

static struct place *find_place(const char *path)
{
    struct place *place = all;
    while (place && strcmp(place->path, path) != 0)
        place = place->next;
    return place;
}

static struct place *make_place(const char *path, struct pg_error *error)
{
    struct place *place = calloc(1, sizeof(*place));
    if (!place) {
        pg_error_set(error, "out of memory");
        return NULL;
    }
    place->fd = place->lock_fd = -1;
    snprintf(place->path, sizeof(place->path), "%s", path);
    if (!make_default_folder(path, error) || !take_lock(place, error) ||
        !bind_socket(place, error)) {
        free_place(place);
        return NULL;
    }
    place->next = all;
    all = place;
    return place;
}

static void leave_place(struct place *place)
{
    struct place **link = &all;
    while (*link != place)
        link = &(*link)->next;
    *link = place->next;
    unlink(place->path); /* before the lock goes */
    free_place(place);
}

struct listening *listening_open(const char *path, struct pg_error *error)
{
    struct listening *use = calloc(1, sizeof(*use));
    if (!use) {
        pg_error_set(error, "out of memory");
        return NULL;
    }
    use->place = find_place(path);
    if (!use->place)
        use->place = make_place(path, error);
    if (!use->place) {
        free(use);
        return NULL;
    }
    pthread_mutex_lock(&uses_lock);
    use->next = use->place->uses;
    use->place->uses = use;
    pthread_mutex_unlock(&uses_lock);
    return use;
}

int listening_fd(const struct listening *listening)
{
    return listening->place->fd;
}

int listening_accept(struct listening *listening)
{
    int fd = -1;
    pthread_mutex_lock(&uses_lock);
    if (listening == listening->place->uses)
        fd = accept4(listening->place->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    else
        errno = EBUSY;
    pthread_mutex_unlock(&uses_lock);
    return fd;
}

void listening_close(struct listening **listening)
{
    struct listening *use = *listening;
    *listening = NULL;
    if (!use)
        return;
    struct place *place = use->place;
    pthread_mutex_lock(&uses_lock);
    struct listening **link = &place->uses;
    while (*link != use)
        link = &(*link)->next;
    *link = use->next;
    pthread_mutex_unlock(&uses_lock);
    free(use);
    if (!place->uses)
        leave_place(place);
}
