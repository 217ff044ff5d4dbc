/* SPDX-License-Identifier: Apache-2.0 */
#ifndef JT808_AUTH_H
#define JT808_AUTH_H

/* The authentication codes that terminals are given at registration (0x8100) and show at the next
 * login (0x0102). A code is derived from a secret and the phone, so that there is no table of
 * codes, it is the same at every registration, and it survives a restart.
 *
 * threads   any
 */

#include "polygate.h"

/* Printable ASCII, as terminals keep it in their flash and some cannot take more. */
#define JT808_CODE_LEN 24u

enum jt808_code {
    JT808_CODE_VALID,   /* issued here to this phone */
    JT808_CODE_STALE,   /* issued here, to another phone or before this one unregistered */
    JT808_CODE_UNKNOWN, /* not issued here */
};

/* The code of a phone now, not NUL-terminated.
 *
 * secret    of the configuration; empty: one is made from /etc/machine-id, or by chance where
 *           there is none (codes then end with the process)
 * phone     digits; leading zeros do not matter
 */
void jt808_code_issue(const char *secret, const char *phone, char code[JT808_CODE_LEN]);

/* What a code that was shown is worth. Takes a time that does not depend on the bytes shown. */
enum jt808_code jt808_code_check(const char *secret, const char *phone,
                                 struct pg_bytes code) PG_CHECKED;

/* The phone unregistered (0x0003): its code is not valid any more, a new registration gives another
 * one. Results as of pg_fact_set(), with token 0. */
enum pg_reason jt808_code_revoke(struct pg_client *client, const char *phone) PG_CHECKED;

#endif
