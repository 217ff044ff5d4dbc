/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_LISTENING_H
#define CONTROL_LISTENING_H

#include "polygate.h"

/* A use of a listening Unix socket of this process. After a reload the old and the new instance of
 * the plugin have the same one for a while, so it is shared by path; the newest use accepts, so
 * that nobody is accepted by an instance that is about to stop. */
struct listening;

/* The path that is meant by `configured`, which may be "" for the default. false with error->text:
 * too long. */
#define LISTENING_PATH_ROOM 108
bool listening_path(const char *configured, char path[LISTENING_PATH_ROOM], struct pg_error *error);

/* Listen at `path`, or share the socket that listens there already. NULL with error->text set. Main
 * thread. */
struct listening *listening_open(const char *path, struct pg_error *error) PG_CHECKED;
int listening_fd(const struct listening *listening); /* non-blocking */
/* Accept one connection (close-on-exec, non-blocking): its descriptor, or -1 with errno, which is
 * EBUSY when a newer use accepts. Any thread. */
int listening_accept(struct listening *listening);
/* Let go; the last one closes and removes the file. Main thread. Nulls the pointer. */
void listening_close(struct listening **listening);

#endif
