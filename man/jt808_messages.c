/* SPDX-License-Identifier: Apache-2.0 */

/* Prints the fields of every message of JT/T 808 as the body of polygate-jt808-messages(7). */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jt808/jt808_table.h"
#include "pages.h"

static const char *told(const struct wire_items *items)
{
    return items == &jt808_location_items ? "the additional items below, by name"
           : items == &jt808_parameters   ? "list of the parameters below"
                                          : "items";
}

static bool is_only_layout(const struct jt808_layout *layouts)
{
    return !layouts[1].rows && strcmp(layouts[0].name, "any") == 0;
}

static void print_message(const struct jt808_message *message)
{
    printf(".Ss 0x%04x %s\n%s a terminal; %s.\n", message->id, message->name,
           message->up ? "From" : "To", message->clause);
    for (const struct jt808_layout *l = message->layouts; l->rows; l++) {
        if (!is_only_layout(message->layouts))
            printf(".Pp\nLayout %s:\n", l->name);
        page_rows(l->rows);
    }
}

int main(void)
{
    page_tell_items(told);
    printf(".Sh MESSAGES\n");
    for (size_t i = 0; i < jt808_message_count; i++)
        print_message(&jt808_messages[i]);
    page_items("ADDITIONAL ITEMS OF LOCATIONS", &jt808_location_items);
    page_items("PARAMETERS", &jt808_parameters);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
