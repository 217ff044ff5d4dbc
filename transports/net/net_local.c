/* SPDX-License-Identifier: Apache-2.0 */

/* Sockets of the file system: making their files, and taking them away again.
 *
 * A file stays when its process is killed, and bind(2) refuses a path that is there. It is replaced
 * only after a connect(2) has shown that nobody listens. Two gateways that start at once could both
 * find that, and the second would remove the file of the first, which would then listen to nothing:
 * so the folder is locked meanwhile. The mode is set before listen(2), until when nobody can
 * connect. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net_local.h"

/* How long somebody else may hold the lock: he, too, only binds a socket. */
#define LOCK_TRIES    100
#define LOCK_PAUSE_NS (10 * 1000 * 1000)

/* The folder of the path, locked until it is closed; -1 with errno. */
static int lock_folder(const struct sockaddr_un *address)
{
    char folder[sizeof(address->sun_path)];
    snprintf(folder, sizeof(folder), "%s", address->sun_path);
    char *slash = strrchr(folder, '/');
    slash[slash == folder ? 1 : 0] = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; tries++) {
        if (errno != EWOULDBLOCK)
            break; /* a file system without locks */
        if (tries == LOCK_TRIES) {
            close(fd);
            errno = EADDRINUSE;
            return -1;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_NS}, NULL);
    }
    return fd;
}

/* Whether the path is free, or was made so; errno otherwise. */
static bool make_free(const struct sockaddr_un *address)
{
    struct stat found;
    if (lstat(address->sun_path, &found) != 0)
        return errno == ENOENT;
    if (!S_ISSOCK(found.st_mode)) {
        errno = EEXIST;
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int result = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    int error_number = errno;
    close(fd);
    if (result != 0 && error_number == ECONNREFUSED)
        return unlink(address->sun_path) == 0;
    errno = result == 0 || error_number == EAGAIN ? EADDRINUSE : error_number;
    return false;
}

static bool bind_file(int fd, const struct sockaddr_un *address, mode_t mode,
                      struct net_local_file *file)
{
    struct stat made;
    if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) != 0)
        return false;
    if (lstat(address->sun_path, &made) == 0) {
        *file = (struct net_local_file){.device = made.st_dev, .number = made.st_ino};
        if (chmod(address->sun_path, mode) == 0)
            return true;
    }
    int error_number = errno;
    net_local_remove(address, file);
    errno = error_number;
    return false;
}

int net_local_listen(const struct sockaddr_un *address, mode_t mode, int backlog,
                     struct net_local_file *file)
{
    int folder = lock_folder(address);
    if (folder < 0)
        return -1;
    int fd = -1, error_number;
    *file = (struct net_local_file){0};
    if (make_free(address))
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (!bind_file(fd, address, mode, file) || listen(fd, backlog) != 0)) {
        error_number = errno;
        net_local_remove(address, file);
        close(fd);
        errno = error_number;
        fd = -1;
    }
    error_number = errno;
    close(folder);
    errno = error_number;
    return fd;
}

void net_local_remove(const struct sockaddr_un *address, struct net_local_file *file)
{
    struct stat found;
    if (file->number != 0 && lstat(address->sun_path, &found) == 0 &&
        found.st_dev == file->device && found.st_ino == file->number)
        (void)unlink(address->sun_path);
    *file = (struct net_local_file){0};
}

void net_local_peer(int fd, char out[NET_ADDRESS_TEXT])
{
    struct ucred who;
    socklen_t len = sizeof(who);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0)
        snprintf(out, NET_ADDRESS_TEXT, "unix:pid=%ld,uid=%lu", (long)who.pid,
                 (unsigned long)who.uid);
    else
        snprintf(out, NET_ADDRESS_TEXT, "unix");
}
