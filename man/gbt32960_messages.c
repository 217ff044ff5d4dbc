/* SPDX-License-Identifier: Apache-2.0 */

/* Prints the fields of every command, information type and parameter of GB/T 32960.3 as the body of
 * polygate-gbt32960-messages(7). */

#include <stdio.h>
#include <stdlib.h>

#include "gbt32960/gbt32960_table.h"
#include "pages.h"

static const char *told(const struct wire_items *items)
{
    return items == &gbt_items ? "list of the information types below"
                               : "list of the parameters below";
}

static void print_message(const struct gbt_message *message)
{
    printf(".Ss 0x%02x %s\n%s %s", message->command, message->name,
           message->up && message->down ? "From and to"
           : message->up                ? "From"
                                        : "To",
           "vehicles or platforms");
    printf("%s: %s.\n", message->since != 0 ? ", since 2025" : "", message->what);
    page_rows(message->rows);
    if (message->answer && !message->up) {
        printf(".Pp\nIts answer:\n");
        page_rows(message->answer);
    }
}

int main(void)
{
    page_tell_items(told);
    printf(".Sh COMMANDS\n");
    for (size_t i = 0; i < gbt_message_count; i++)
        print_message(&gbt_messages[i]);
    page_items("INFORMATION TYPES", &gbt_items);
    page_items("PARAMETERS", &gbt_parameters);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
