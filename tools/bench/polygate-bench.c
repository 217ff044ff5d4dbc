/* SPDX-License-Identifier: Apache-2.0 */

/* polygate-bench: load for one MQTT broker, what it cost the broker, and whether every message
 * came, once, in order. It reads the command line by rows, runs one scenario and prints one line of
 * JSON. The manual is polygate-bench(1). */

#include "bench.h"

#include <getopt.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "build.h"
#include "shape.h"

enum { EXIT_DONE, EXIT_FAILED, EXIT_WRONG_USAGE };

#define UNSET UINT32_MAX /* the scenario decides */

struct bench_options bench_options = {.host = "127.0.0.1"};
struct ev_loop *bench_loop;
json_t *bench_result;
static json_t *failures;

/* Numbers of the command line; 0 in `least` of a switch, which takes no value. */
struct row {
    const char *name;
    size_t offset;
    unsigned initial, least, most;
    bool is_switch;
    const char *help;
};

#define ROW(field) offsetof(struct bench_options, field)
static const struct row rows[] = {
    {"port", ROW(port), 1883, 1, 65535, false, "port of the broker (1883)"},
    {"pid", ROW(pid), 0, 1, 4194304, false, "process of the broker, to be measured"},
    {"mqtt", ROW(version), MQTT_V311, MQTT_V31, MQTT_V5, false, "protocol level: 3, 4 or 5 (4)"},
    {"qos", ROW(qos), 0, 0, 2, false, "of messages and subscriptions (0)"},
    {"publishers", ROW(publishers), UNSET, 1, BENCH_CLIENTS_MAX, false, "their number"},
    {"subscribers", ROW(subscribers), UNSET, 1, BENCH_CLIENTS_MAX, false, "their number"},
    {"burst", ROW(burst), UNSET, 1, 1000, false, "messages in one write"},
    {"outstanding", ROW(outstanding), UNSET, 1, 60000, false,
     "messages of one publisher that may be under way"},
    {"payload", ROW(payload), 100, BENCH_PAYLOAD_MIN, BENCH_PAYLOAD_MAX, false,
     "bytes of a message (100)"},
    {"rate", ROW(rate), UNSET, 0, 10000000, false,
     "messages a second of all publishers; 0 is as fast as they arrive"},
    {"fillers", ROW(fillers), UNSET, 0, 1000000, false, "subscriptions that nothing matches"},
    {"clients", ROW(clients), 18000, 1, BENCH_CLIENTS_MAX, false, "of storm and idle (18000)"},
    {"base", ROW(base), 2000, 1, BENCH_CLIENTS_MAX, false,
     "clients of the first measurement of idle (2000)"},
    {"parallel", ROW(parallel), UNSET, 0, BENCH_CLIENTS_MAX, false,
     "connections opening at a time (100; of storm 0, all at once)"},
    {"warmup", ROW(warmup_ms), 500, 0, 600000, false, "milliseconds before measuring (500)"},
    {"measure", ROW(measure_ms), 3000, 10, 600000, false, "milliseconds of measuring (3000)"},
    {"patience", ROW(patience_ms), 10000, 100, 600000, false,
     "milliseconds without any progress that are a failure (10000)"},
    {"tls", ROW(tls), 0, 0, 1, true, "TLS; the broker's certificate is not verified"},
    {"tls-version", ROW(tls_version), 0, 12, 13, false, "12 or 13; the newest if not given"},
    {"resume", ROW(resume), 0, 0, 1, true, "storm: all resume the TLS session of a first client"},
    {"ws", ROW(websocket), 0, 0, 1, true, "WebSocket, path /mqtt"},
    {"syscalls", ROW(syscalls), 0, 0, 1, true,
     "count system calls with strace instead of processor time"},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static unsigned *field(const struct row *row)
{
    return (unsigned *)(void *)((char *)&bench_options + row->offset);
}

/* ---- result ---------------------------------------------------------------------------------- */

void bench_fail(const char *format, ...)
{
    char text[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "polygate-bench: %s: %s\n", bench_options.scenario, text);
    json_array_append_new(failures, json_string(text));
}

bool bench_failed(void)
{
    return json_array_size(failures) > 0;
}

void bench_report_count(const char *name, uint64_t value)
{
    json_object_set_new(bench_result, name, json_integer((json_int_t)value));
}

void bench_report_number(const char *name, double value)
{
    json_object_set_new(bench_result, name, json_real(value));
}

void bench_report_latency(const char *name, const struct histogram *histogram)
{
    static const struct {
        const char *name;
        double part;
    } parts[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1.0}};
    json_t *object = json_object();

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        json_object_set_new(object, parts[i].name,
                            json_real((double)histogram_at(histogram, parts[i].part) / 1e3));
    json_object_set_new(bench_result, name, object);
}

struct measure_cpu bench_broker_cpu(void)
{
    struct measure_cpu cpu = {0};

    if (bench_options.pid != 0 && !measure_cpu_read((pid_t)bench_options.pid, &cpu)) {
        fprintf(stderr, "polygate-bench: the processor time of process %u cannot be read\n",
                bench_options.pid);
        exit(EXIT_FAILED);
    }
    return cpu;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

double bench_own_cpu(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/* ---- command line ---------------------------------------------------------------------------- */

static void print_usage(FILE *out)
{
    fputs("usage: polygate-bench [OPTIONS] SCENARIO\n\nscenarios:\n", out);
    for (unsigned i = 0; shape_at(i); i++)
        fprintf(out, "  %-14s %s\n", shape_at(i)->name, shape_at(i)->help);
    fputs("  storm          all clients connect at once, then leave\n"
          "  idle           clients with one subscription each: the broker's memory\n\noptions:\n"
          "  --host ADDRESS        IPv4 address of the broker (127.0.0.1)\n"
          "  --certificate FILE    the clients' certificate and key, PEM\n",
          out);
    for (size_t i = 0; i < ROWS; i++) {
        char left[40];
        snprintf(left, sizeof(left), "--%s%s", rows[i].name, rows[i].is_switch ? "" : " N");
        fprintf(out, "  %-21s %s\n", left, rows[i].help);
    }
    fputs("  --help, --version\n\n"
          "exit codes: 0 everything held, 1 it did not, 2 wrong usage\n",
          out);
}

static void wrong(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void wrong(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("polygate-bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("; polygate-bench --help lists what there is\n", stderr);
    va_end(arguments);
    exit(EXIT_WRONG_USAGE);
}

static unsigned number(const struct row *row, const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < row->least || value > row->most)
        wrong("--%s: expected a number from %u to %u, found \"%s\"", row->name, row->least,
              row->most, text);
    return (unsigned)value;
}

enum { OPTION_HOST = 1000, OPTION_CERTIFICATE, OPTION_HELP, OPTION_VERSION };

static void read_options(int count, char **words)
{
    struct option options[ROWS + 5] = {0};
    int choice;

    for (size_t i = 0; i < ROWS; i++) {
        options[i] = (struct option){
            rows[i].name, rows[i].is_switch ? no_argument : required_argument, NULL, (int)i};
        *field(&rows[i]) = rows[i].initial;
    }
    options[ROWS] = (struct option){"host", required_argument, NULL, OPTION_HOST};
    options[ROWS + 1] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    options[ROWS + 2] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
    options[ROWS + 3] = (struct option){"certificate", required_argument, NULL, OPTION_CERTIFICATE};

    while ((choice = getopt_long(count, words, "", options, NULL)) != -1) {
        switch (choice) {
        case OPTION_HOST:
            bench_options.host = optarg;
            break;
        case OPTION_CERTIFICATE:
            bench_options.certificate = optarg;
            break;
        case OPTION_HELP:
            print_usage(stdout);
            exit(EXIT_DONE);
        case OPTION_VERSION:
            puts("polygate-bench " PACKAGE_VERSION);
            exit(EXIT_DONE);
        case '?':
            exit(EXIT_WRONG_USAGE); /* getopt has said why */
        default:
            *field(&rows[choice]) = rows[choice].is_switch ? 1 : number(&rows[choice], optarg);
        }
    }
    if (optind + 1 != count)
        wrong("expected one scenario");
    bench_options.scenario = words[optind];
}

static void settle(unsigned *value, unsigned otherwise)
{
    if (*value == UNSET)
        *value = otherwise;
}

/* What was not said, as the scenario has it. */
static void complete_options(const struct shape *shape)
{
    struct bench_options *o = &bench_options;

    settle(&o->parallel, strcmp(o->scenario, "storm") == 0 ? 0 : 100);
    if (o->syscalls && o->pid == 0)
        wrong("--syscalls: --pid must say of which process");
    if (!o->tls && (o->tls_version != 0 || o->resume || o->certificate))
        wrong("--tls-version, --resume, --certificate: --tls is not given");
    if (o->resume && strcmp(o->scenario, "storm") != 0)
        wrong("--resume: only for storm");
    if (strcmp(o->scenario, "idle") == 0 && (o->pid == 0 || o->base >= o->clients))
        wrong("idle: --pid must say of which process, and --base be lower than --clients");
    if (!shape)
        return;
    settle(&o->publishers, shape->publishers);
    settle(&o->subscribers, shape->subscribers > 0 ? shape->subscribers : o->publishers);
    settle(&o->burst, shape->burst);
    settle(&o->outstanding, shape->outstanding);
    settle(&o->rate, shape->rate);
    settle(&o->fillers, shape->fillers);
    const char *refusal = shape_refuses(shape);
    if (refusal)
        wrong("%s: %s", o->scenario, refusal);
    if (o->burst * (o->payload + PEER_FILTER_MAX + 16) > 1u << 20)
        wrong("--burst and --payload: one write may have 1 MiB");
}

static void raise_descriptors(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int count, char **words)
{
    char prefix[32];

    read_options(count, words);
    const struct shape *shape = shape_find(bench_options.scenario);
    bool storm = strcmp(bench_options.scenario, "storm") == 0;
    if (!shape && !storm && strcmp(bench_options.scenario, "idle") != 0)
        wrong("there is no scenario \"%s\"", bench_options.scenario);
    complete_options(shape);
    raise_descriptors();

    snprintf(prefix, sizeof(prefix), "bench%d-", (int)getpid());
    bench_loop = ev_default_loop(0);
    bench_result = json_object();
    failures = json_array();
    json_object_set_new(bench_result, "scenario", json_string(bench_options.scenario));
    bench_report_count("qos", bench_options.qos);
    struct peer_setup setup = {.loop = bench_loop,
                               .host = bench_options.host,
                               .port = (uint16_t)bench_options.port,
                               .wire = {.tls = bench_options.tls,
                                        .websocket = bench_options.websocket,
                                        .tls_version = bench_options.tls_version,
                                        .certificate = bench_options.certificate,
                                        .resume = bench_options.resume},
                               .version = (enum mqtt_version)bench_options.version,
                               .id_prefix = prefix};
    peer_setup(&setup);
    if (shape)
        bench_load();
    else if (storm)
        bench_storm();
    else
        bench_idle();

    bool failed = bench_failed();
    json_object_set_new(bench_result, "ok", json_boolean(!failed));
    json_object_set_new(bench_result, "failures", failures);
    json_dumpf(bench_result, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(bench_result);
    ev_loop_destroy(bench_loop);
    return failed ? EXIT_FAILED : EXIT_DONE;
}
