/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_STORE_TEXT_H
#define CTL_STORE_TEXT_H

/* What both ways of an export share. */

#define CTL_STORE_VERSION 1 /* of the lines */

#endif
