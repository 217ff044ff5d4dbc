/* SPDX-License-Identifier: Apache-2.0 */

/* Prints the rows that the manual describes, for tests/man: options, reasons and their codes in
 * MQTT, counters, messages of JT/T 808 and GB/T 32960. One row a line, columns separated by tabs:
 *
 *   option   BLOCK NAME DEFAULT VALUE RELOADABLE SENTENCE   BLOCK is "" at top level
 *   reason   NAME ERROR SENTENCE CONNACK CONNACK-3.x DISCONNECT ACK SUBACK
 *   counter  PREFIX NAME SENTENCE
 *   jt808    ID NAME up|down CLAUSE LAYOUTS                 LAYOUTS: name=since-until ...
 *   gbt32960 CODE NAME command|type|parameter EDITIONS      EDITIONS: 2016 2025, or one of them
 */

#include <stdio.h>
#include <stdlib.h>

#include "config.h"
#include "counter.h"
#include "escape.h"
#include "gbt32960/gbt32960_table.h"
#include "jt808/jt808_table.h"
#include "mqtt/mqtt_reason.h"
#include "option.h"
#include "settings.h"
#include "transport.h"

extern const struct pg_transport tcp_transport;
extern const struct pg_transport ws_transport;
extern const struct pg_transport wss_transport;
extern const struct pg_transport tls_transport;
extern const struct pg_transport auto_transport;
extern const struct pg_protocol mqtt_protocol;
extern const struct pg_protocol stomp_protocol;
extern const struct pg_protocol jt808_protocol;
extern const struct pg_protocol gbt32960_protocol;
extern const struct pg_protocol forward_protocol;
extern const struct pg_plugin authfile_plugin;
extern const struct pg_plugin control_plugin;
extern const struct pg_plugin sys_plugin;

static void print_options(const char *block, const struct pg_option *rows)
{
    for (const struct pg_option *row = rows; row && row->name; row++) {
        char expected[256];
        struct pg_text text = {.data = expected, .room = sizeof(expected) - 1};
        pg_option_expected(row, &text);
        expected[text.len] = '\0';
        printf("option\t%s\t%s\t%s\t%s\t%s\t%s\n", block, row->name,
               row->fallback ? row->fallback : "", expected, row->reloadable ? "yes" : "no",
               row->sentence ? row->sentence : "");
    }
}

static void print_reasons(void)
{
    for (unsigned i = 0; i < PG_REASON_COUNT; i++) {
        enum pg_reason reason = (enum pg_reason)i;
        const struct mqtt_reason_codes *c = mqtt_reason_codes(reason);
        printf("reason\t%s\t%s\t%s\t%02X\t%u\t%02X\t%02X\t%02X\n", pg_reason_name(reason),
               pg_reason_is_error(reason) ? "yes" : "no", pg_reason_sentence(reason), c->connack,
               c->connack_3x, c->disconnect, c->ack, c->suback);
    }
}

static void print_counters(void)
{
    (void)pg_counter_register(mqtt_protocol.name, mqtt_protocol.counters);
    (void)pg_counter_register(stomp_protocol.name, stomp_protocol.counters);
    (void)pg_counter_register(jt808_protocol.name, jt808_protocol.counters);
    (void)pg_counter_register(gbt32960_protocol.name, gbt32960_protocol.counters);
    (void)pg_counter_register(forward_protocol.name, forward_protocol.counters);
    for (size_t i = 0; i < pg_counter_total(); i++) {
        struct pg_counter_row row = pg_counter_row(i);
        printf("counter\t%s\t%s\t%s\n", row.prefix, row.name, row.sentence);
    }
}

static void print_messages(void)
{
    for (size_t i = 0; i < jt808_message_count; i++) {
        const struct jt808_message *m = &jt808_messages[i];
        printf("jt808\t%04x\t%s\t%s\t%s\t", m->id, m->name, m->up ? "up" : "down", m->clause);
        for (const struct jt808_layout *l = m->layouts; l->rows; l++)
            printf("%s%s=%u-%u", l == m->layouts ? "" : " ", l->name, l->since, l->until);
        printf("\n");
    }
}

static void print_gbt32960(const char *kind, unsigned code, const char *name, unsigned since,
                           unsigned until)
{
    printf("gbt32960\t%02x\t%s\t%s\t%s%s\n", code, name, kind, since <= 2016 ? "2016" : "",
           until != 0 && until < 2025 ? ""
           : since <= 2016            ? " 2025"
                                      : "2025");
}

static void print_gbt32960_items(const char *kind, const struct wire_items *items)
{
    for (size_t i = 0; i < items->n; i++) {
        const struct wire_item *item = &items->item[i];
        if (item->last_id == 0)
            print_gbt32960(kind, item->id, item->name, item->since, item->until);
    }
}

static void print_vehicles(void)
{
    for (size_t i = 0; i < gbt_message_count; i++)
        print_gbt32960("command", gbt_messages[i].command, gbt_messages[i].name,
                       gbt_messages[i].since, 0);
    print_gbt32960_items("type", &gbt_items);
    print_gbt32960_items("parameter", &gbt_parameters);
}

int main(void)
{
    for (const struct pg_settings_block *b = pg_settings_blocks(); b->name; b++)
        print_options(b->name, b->rows);
    print_options("listener", pg_listener_rows);
    print_options("tcp", tcp_transport.options);
    print_options("ws", ws_transport.options);
    print_options("wss", wss_transport.options);
    print_options("tls", tls_transport.options);
    print_options("auto", auto_transport.options);
    print_options("plugin", pg_plugin_rows);
    print_options(mqtt_protocol.name, mqtt_protocol.options);
    print_options(stomp_protocol.name, stomp_protocol.options);
    print_options(jt808_protocol.name, jt808_protocol.options);
    print_options(gbt32960_protocol.name, gbt32960_protocol.options);
    print_options(forward_protocol.name, pg_call_rows);
    print_options(forward_protocol.name, forward_protocol.options);
    print_options("forward tls", tls_transport.call_options);
    print_options(authfile_plugin.name, authfile_plugin.options);
    print_options(control_plugin.name, control_plugin.options);
    print_options(sys_plugin.name, sys_plugin.options);
    print_reasons();
    print_counters();
    print_messages();
    print_vehicles();
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
