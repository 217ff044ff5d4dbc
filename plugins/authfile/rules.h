/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AUTHFILE_RULES_H
#define AUTHFILE_RULES_H

/* Access rules: text compiled once, then asked for every publication and subscription.
 *
 * One rule a line; the first that applies decides, so order matters:
 *
 *     allow|deny  publish|subscribe|all  WHO  FILTER
 *
 * WHO is `*` (everybody), `anonymous` (no user name), or one or more conditions that must all
 * hold: user:NAME client:ID listener:NAME protocol:NAME address:RANGE. FILTER is a topic filter
 * whose levels may hold one placeholder each: ${client} ${user} ${group} ${device} ${phone} ${vin}.
 * Words with blanks are put in double quotes, in which \" and \\ stand for themselves. A line that
 * begins with # is a comment.
 *
 * An allow rule applies to a subscription only if its filter covers everything that the filter
 * asked for could match; a deny rule applies if they have any topic in common. A filter behind an
 * unquoted '=' is meant as it stands: the rule applies to a subscription (or publication) for this
 * very text only, whatever else overlaps it. */

#include "polygate.h"

struct auth_rules; /* immutable once made */

/* Compile `text` (lent); `name` is the file's name in errors. NULL with error->text set: name,
 * line, what was found, what was expected. */
struct auth_rules *auth_rules_parse(struct pg_bytes text, const char *name,
                                    struct pg_error *error) PG_CHECKED;
void auth_rules_free(struct auth_rules **rules);
size_t auth_rules_count(const struct auth_rules *rules);

/* What the first rule that applies says; PG_NEXT if none does. `topic` is a topic name, or for
 * PG_ACTION_SUBSCRIBE a filter without $share. Allocates nothing. Any thread. */
enum pg_verdict auth_rules_check(const struct auth_rules *rules, const struct pg_identity *who,
                                 enum pg_action action, struct pg_bytes topic);

#endif
