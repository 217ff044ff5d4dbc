/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PG_LOG_H
#define PG_LOG_H

/* The log's own settings; writing to it is PG_LOG in polygate.h. */

#include "polygate.h"
#include "settings.h"

/* Longest line in bytes, its line break included; what does not fit is left out and the line ends
 * with cut=yes. One page: a pipe takes it whole or not at all (pipe(7), PIPE_BUF). */
#define PG_LOG_LINE_MAX 4096u
/* Longest value made of bytes from a peer (PG_F_BYTES, PG_F_HEX) as it is written, with its quotes;
 * a longer one ends with "..." and the line with cut=yes. So an identifier of some kilobytes pushes
 * no other field out of its line. */
#define PG_LOG_VALUE_MAX 256u

/* Lines below `level` are not written; takes effect at once. Any thread. Before the first call:
 * text, PG_INFO. */
void pg_log_configure(enum pg_log_format format, enum pg_level level);
/* Where lines go; standard error at first. The descriptor is lent. Any thread. */
void pg_log_to(int fd);

#endif
