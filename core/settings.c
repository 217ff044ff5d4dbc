/* SPDX-License-Identifier: Apache-2.0 */

/* The rows of the core's own options: name, unit, default with its reason, bounds, and whether a
 * reload changes it. The checker, `config show` and the manual are made from them. */

#include "settings.h"

#include "address.h"
#include "topic.h"

#define KIB    (INT64_C(1) << 10)
#define MIB    (INT64_C(1) << 20)
#define GIB    (INT64_C(1) << 30)
#define TIB    (INT64_C(1) << 40)
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define DAY    (24 * 60 * MINUTE)

#define AT(field) offsetof(struct pg_settings, field)

static const char *const level_words[] = {"debug", "info", "warn", "error", NULL};
static const char *const format_words[] = {"text", "json", NULL};
static const char *const policy_words[] = {"drop_oldest", "drop_newest", "disconnect", NULL};
static const char *const fsync_words[] = {"always", "interval", "never", NULL};
static const char *const store_policy_words[] = {"drop_oldest", "drop_newest", "reject", NULL};
static const char *const anonymous_words[] = {"auto", "yes", "no", NULL};
static const char *const otherwise_words[] = {"auto", "allow", "deny", NULL};

static const struct pg_option top_rows[] = {
    {.name = "workers",
     .type = PG_OPT_INT,
     .offset = AT(workers),
     .fallback = "0",
     .min = 0,
     .max = 64,
     .sentence = "Threads that serve connections; 0 is one for each CPU that the process may use, "
                 "since a worker never waits for anything but its sockets."},
    {.name = "drain_timeout",
     .type = PG_OPT_DURATION,
     .offset = AT(drain_timeout),
     .fallback = "10s",
     .min = 0,
     .max = 10 * MINUTE,
     .reloadable = true,
     .sentence = "Longest time from SIGTERM to the end of the process, for goodbyes and queued "
                 "bytes to leave; shorter than the 90s after which systemd kills."},
    {.name = NULL},
};

static const struct pg_option log_rows[] = {
    {.name = "level",
     .type = PG_OPT_CHOICE,
     .offset = AT(log.level),
     .fallback = "info",
     .choices = level_words,
     .reloadable = true,
     .sentence = "Least level of the lines that are written; info has every refusal and close, and "
                 "nothing per message."},
    {.name = "format",
     .type = PG_OPT_CHOICE,
     .offset = AT(log.format),
     .fallback = "text",
     .choices = format_words,
     .reloadable = true,
     .sentence = "How a line is written: key=value text for people, or one JSON object for "
                 "collectors; both have the same fields."},
    {.name = NULL},
};

static const struct pg_option limits_rows[] = {
    {.name = "connections",
     .type = PG_OPT_INT,
     .offset = AT(limits.connections),
     .fallback = "0",
     .min = 0,
     .max = 10000000,
     .reloadable = true,
     .sentence = "Most connections of the process; a further one is closed, after place_wait. 0 is "
                 "as many as there are descriptors, which the process raises to its hard limit at "
                 "start."},
    {.name = "login_frame_size",
     .type = PG_OPT_SIZE,
     .offset = AT(limits.login_frame_size),
     .fallback = "16k",
     .min = 256,
     .max = 16 * MIB,
     .reloadable = true,
     .sentence =
         "Longest frame before a client is admitted. Small, because whoever can connect can "
         "make the gateway keep this much; 16k has room for a long token and a will."},
    {.name = "frame_size",
     .type = PG_OPT_SIZE,
     .offset = AT(limits.frame_size),
     .fallback = "1m",
     .min = KIB,
     .max = 256 * MIB,
     .reloadable = true,
     .sentence =
         "Longest frame of an admitted client, unless its frontend has a lower limit of its "
         "own; 1m is more than a vehicle's report and a photo's package need."},
    {.name = "first_byte_timeout",
     .type = PG_OPT_DURATION,
     .offset = AT(limits.first_byte_timeout),
     .fallback = "10s",
     .min = 100,
     .max = 10 * MINUTE,
     .reloadable = true,
     .sentence =
         "Longest time from connecting to the first byte; a client has no reason to wait, a "
         "scanner has."},
    {.name = "login_timeout",
     .type = PG_OPT_DURATION,
     .offset = AT(limits.login_timeout),
     .fallback = "20s",
     .min = 100,
     .max = 10 * MINUTE,
     .reloadable = true,
     .sentence = "Longest time from connecting to being admitted; 20s lets a terminal register and "
                 "authenticate over a slow mobile link."},
    {.name = "frame_timeout",
     .type = PG_OPT_DURATION,
     .offset = AT(limits.frame_timeout),
     .fallback = "60s",
     .min = 0,
     .max = 60 * MINUTE,
     .reloadable = true,
     .sentence = "Time in which an unfinished frame of an admitted client has to be completed, or "
                 "to grow by 1 KiB; else it is closed (stalled). A peer that sends a byte now and "
                 "then holds memory, and its keep-alive does not tell. 0: any time."},
    {.name = "output_high",
     .type = PG_OPT_SIZE,
     .offset = AT(limits.output_high),
     .fallback = "256k",
     .min = 4 * KIB,
     .max = GIB,
     .reloadable = true,
     .sentence =
         "Bytes queued for one peer above which its deliveries wait in the session's queue; "
         "256k keeps a fast link busy, and messages stay where limits and expiry count."},
    {.name = "output_max",
     .type = PG_OPT_SIZE,
     .offset = AT(limits.output_max),
     .fallback = "4m",
     .min = 64 * KIB,
     .max = 4 * GIB,
     .reloadable = true,
     .sentence = "Bytes queued for one peer, answers included, at which it is cut off as a slow "
                 "consumer; at least output_high and one frame_size together."},
    {.name = "linger",
     .type = PG_OPT_DURATION,
     .offset = AT(limits.linger),
     .fallback = "2s",
     .min = 0,
     .max = MINUTE,
     .reloadable = true,
     .sentence = "Longest time for queued bytes to leave before a connection that ends is closed; "
                 "enough for a goodbye on a slow link."},
    {.name = "clients_per_connection",
     .type = PG_OPT_INT,
     .offset = AT(limits.clients_per_connection),
     .fallback = "10000",
     .min = 1,
     .max = 1000000,
     .reloadable = true,
     .sentence = "Most clients admitted on one connection, for links of platforms and forwarders "
                 "that carry many vehicles."},
    {.name = "sessions",
     .type = PG_OPT_INT,
     .offset = AT(limits.sessions),
     .fallback = "1000000",
     .min = 0,
     .max = 100000000,
     .reloadable = true,
     .sentence = "Most sessions of the process, of clients that are here and of those that are "
                 "away; a client that needs a further one is refused. A client may leave a session "
                 "under every name that it thinks of, so that their number is bounded. 0: it is "
                 "not."},
    {.name = "topic_levels",
     .type = PG_OPT_INT,
     .offset = AT(limits.topic_levels),
     .fallback = "128",
     .min = 1,
     .max = PG_TOPIC_LEVELS_MAX,
     .reloadable = true,
     .sentence = "Most levels of a topic or a filter: the work of finding subscribers grows with "
                 "them, and no real topic has so many."},
    {.name = "mailbox_batches",
     .type = PG_OPT_INT,
     .offset = AT(limits.mailbox_batches),
     .fallback = "1024",
     .min = 1,
     .max = 1000000,
     .reloadable = true,
     .sentence = "Batches of messages that may wait at one worker before those who publish to it "
                 "are not read for a while."},
    {.name = NULL},
};

static const struct pg_option session_rows[] = {
    {.name = "queue_messages",
     .type = PG_OPT_INT,
     .offset = AT(session.queue_messages),
     .fallback = "10000",
     .min = 1,
     .max = 10000000,
     .reloadable = true,
     .sentence =
         "Most messages that wait for one session; 10000 is some hours of a vehicle that is "
         "out of reach."},
    {.name = "queue_bytes",
     .type = PG_OPT_SIZE,
     .offset = AT(session.queue_bytes),
     .fallback = "16m",
     .min = KIB,
     .max = TIB,
     .reloadable = true,
     .sentence = "Most bytes that wait for one session, topics and properties included; whichever "
                 "of the two limits is reached first counts."},
    {.name = "queue_policy",
     .type = PG_OPT_CHOICE,
     .offset = AT(session.queue_policy),
     .fallback = "drop_oldest",
     .choices = policy_words,
     .reloadable = true,
     .sentence = "What happens to a message for a full queue: the oldest one makes room, it is "
                 "dropped itself, or the session's client is disconnected. The oldest goes, since "
                 "the newest position and state of a vehicle say most."},
    {.name = "queue_qos_0",
     .type = PG_OPT_BOOL,
     .offset = AT(session.queue_qos_0),
     .fallback = "no",
     .reloadable = true,
     .sentence = "Whether messages with QoS 0 wait for a client that is away, as those with QoS 1 "
                 "and 2 do. Nobody has promised them to anybody, and positions that come every "
                 "second fill a queue with what is old."},
    {.name = "expiry_max",
     .type = PG_OPT_DURATION,
     .offset = AT(session.expiry_max),
     .fallback = "7d",
     .min = 0,
     .max = 49711 * DAY,
     .reloadable = true,
     .sentence = "Longest life of a session without a client; what a client asks for beyond it is "
                 "cut, and the client told where its protocol can. 0: no session outlives its "
                 "client; 49711d: nothing is cut, and one that asks for no end has none."},
    {.name = "inflight",
     .type = PG_OPT_INT,
     .offset = AT(session.inflight),
     .fallback = "256",
     .min = 1,
     .max = 65535,
     .reloadable = true,
     .sentence = "Most deliveries that are out to a client without its acknowledgement, whatever "
                 "the client grants; 256 fills a link with a long way, and bounds what is sent "
                 "again."},
    {.name = "inflight_bytes",
     .type = PG_OPT_SIZE,
     .offset = AT(session.inflight_bytes),
     .fallback = "0",
     .min = 0,
     .max = TIB,
     .reloadable = true,
     .sentence = "Most bytes of such deliveries, topics and properties not counted; one delivery "
                 "is always let out. For clients with little memory and large messages. 0: as many "
                 "as inflight allows."},
    {.name = "upgrade_qos",
     .type = PG_OPT_BOOL,
     .offset = AT(session.upgrade_qos),
     .fallback = "no",
     .reloadable = true,
     .sentence = "Whether a delivery has the QoS of its subscription also where the message was "
                 "published with a lower one, instead of the lower of the two, which is what the "
                 "standard asks for. For subscribers that want to acknowledge everything."},
    {.name = "receipts",
     .type = PG_OPT_INT,
     .offset = AT(session.receipts),
     .fallback = "65535",
     .min = 1,
     .max = 65535,
     .reloadable = true,
     .sentence =
         "Most identifiers of incoming QoS 2 messages held between publication and release, at 4 "
         "bytes each. It is behind the limits of the frontends, which are what clients are told: "
         "lower than those, it refuses what was granted."},
    {.name = "subscriptions",
     .type = PG_OPT_INT,
     .offset = AT(session.subscriptions),
     .fallback = "10000",
     .min = 1,
     .max = 10000000,
     .reloadable = true,
     .sentence = "Most subscriptions of one session; an application that follows single vehicles "
                 "needs thousands, nobody needs millions."},
    {.name = NULL},
};

static const struct pg_option retained_rows[] = {
    {.name = "messages",
     .type = PG_OPT_INT,
     .offset = AT(retained.messages),
     .fallback = "1000000",
     .min = 0,
     .max = 100000000,
     .reloadable = true,
     .sentence = "Most retained messages; a further one is refused, replacing goes on. 0: none are "
                 "kept."},
    {.name = "bytes",
     .type = PG_OPT_SIZE,
     .offset = AT(retained.bytes),
     .fallback = "256m",
     .min = 0,
     .max = TIB,
     .reloadable = true,
     .sentence = "Most bytes of all retained messages together, topics included; anybody who may "
                 "publish may leave some, so the sum is bounded."},
    {.name = NULL},
};

static const struct pg_option store_rows[] = {
    {.name = "path",
     .type = PG_OPT_STRING,
     .offset = AT(store.path),
     .fallback = "",
     .sentence = "Folder in which sessions, what waits for them, and retained messages are kept "
                 "over a restart; it is made if the folder above it is there. Not given: they are "
                 "in memory alone, and end with the process."},
    {.name = "fsync",
     .type = PG_OPT_CHOICE,
     .offset = AT(store.fsync),
     .fallback = "always",
     .choices = fsync_words,
     .sentence = "When what was written is made safe against a loss of power: always is before it "
                 "is acknowledged, many messages at a time; interval and never acknowledge what "
                 "the system has taken, which a crash of the process does not lose, and a crash "
                 "of the machine may."},
    {.name = "fsync_interval",
     .type = PG_OPT_DURATION,
     .offset = AT(store.fsync_interval),
     .fallback = "100ms",
     .min = 1,
     .max = MINUTE,
     .sentence = "With fsync = interval, how much time of acknowledged messages a loss of power "
                 "may take at the most."},
    {.name = "retention",
     .type = PG_OPT_DURATION,
     .offset = AT(store.retention),
     .fallback = "3d",
     .min = SECOND,
     .max = 3650 * DAY,
     .sentence = "Longest time that a message waits for a session, whatever expiry it has; whoever "
                 "stays away longer has little use for it, and the disk gets its space back."},
    {.name = "session_messages",
     .type = PG_OPT_INT,
     .offset = AT(store.session_messages),
     .fallback = "1000000",
     .min = 0,
     .max = INT64_C(1) << 30,
     .sentence = "Most messages with QoS 1 and 2 that the store keeps for one session; it takes "
                 "the place of session.queue_messages, which is about memory. Each costs 24 bytes "
                 "of memory beside the disk. 0: any number."},
    {.name = "session_bytes",
     .type = PG_OPT_SIZE,
     .offset = AT(store.session_bytes),
     .fallback = "4g",
     .min = 0,
     .max = 1024 * TIB,
     .sentence = "Most bytes that wait in the store for one session; 0: any number."},
    {.name = "messages",
     .type = PG_OPT_INT,
     .offset = AT(store.messages),
     .fallback = "20000000",
     .min = 0,
     .max = INT64_C(1) << 40,
     .sentence = "Most messages that wait in the store for all sessions together; 20000000 takes "
                 "about 500 MB of memory for their index. 0: any number."},
    {.name = "bytes",
     .type = PG_OPT_SIZE,
     .offset = AT(store.bytes),
     .fallback = "64g",
     .min = 0,
     .max = 1024 * TIB,
     .sentence = "Most bytes that wait in the store for all sessions together, a message counted "
                 "for each; set it below the size of the disk. 0: any number."},
    {.name = "policy",
     .type = PG_OPT_CHOICE,
     .offset = AT(store.policy),
     .fallback = "drop_oldest",
     .choices = store_policy_words,
     .sentence = "What happens to a message for a session whose quota, or that of all, is used up: "
                 "the session's oldest makes room, it is dropped itself, or it is refused and its "
                 "publisher told. Each drop is in the log with its client."},
    {.name = "maps_size",
     .type = PG_OPT_SIZE,
     .offset = AT(store.maps_size),
     .fallback = "4g",
     .min = MIB,
     .max = 1024 * TIB,
     .sentence = "Most bytes that sessions, subscriptions, retained messages, wills and tokens may "
                 "take in the store. The file grows as it is needed; this much of the process's "
                 "addresses is set aside."},
    {.name = NULL},
};

static const struct pg_option bans_rows[] = {
    {.name = "after",
     .type = PG_OPT_INT,
     .offset = AT(bans.after),
     .fallback = "0",
     .min = 0,
     .max = 1000000,
     .reloadable = true,
     .sentence = "Offences after which an address (a /64 of IPv6) is banned by itself: refused "
                 "logins, malformed bytes, connections that say nothing or come too fast. 0: none "
                 "is, since many may be behind one address; polygatectl ban bans by hand."},
    {.name = "within",
     .type = PG_OPT_DURATION,
     .offset = AT(bans.within),
     .fallback = "1m",
     .min = SECOND,
     .max = DAY,
     .reloadable = true,
     .sentence =
         "Time within which they have to come; a device that was set up wrongly tries "
         "again every few seconds or minutes, somebody who guesses passwords all the time."},
    {.name = "time",
     .type = PG_OPT_DURATION,
     .offset = AT(bans.time),
     .fallback = "10m",
     .min = SECOND,
     .max = 365 * DAY,
     .reloadable = true,
     .sentence = "How long such an address is banned; short, since it may be somebody else's "
                 "tomorrow."},
    {.name = "exempt",
     .type = PG_OPT_LIST,
     .offset = AT(bans.exempt),
     .fallback = "",
     .reloadable = true,
     .sentence = "Addresses and ranges that are never banned by themselves, as in "
                 "{\"127.0.0.0/8\", \"2001:db8::/32\"}: monitors, and gateways that have many "
                 "behind them."},
    {.name = NULL},
};

static const struct pg_option access_rows[] = {
    {.name = "allow_anonymous",
     .type = PG_OPT_CHOICE,
     .offset = AT(access.allow_anonymous),
     .fallback = "auto",
     .choices = anonymous_words,
     .reloadable = true,
     .sentence = "Whether a client may come in that no authenticator has judged: auto is yes "
                 "while every listener is on loopback and no authenticator is configured, else no. "
                 "A listener on another address needs an authenticator or yes."},
    {.name = "otherwise",
     .type = PG_OPT_CHOICE,
     .offset = AT(access.otherwise),
     .fallback = "auto",
     .choices = otherwise_words,
     .reloadable = true,
     .sentence = "What becomes of a publication or subscription on which no rule has an opinion: "
                 "auto denies it as soon as there are rules (a rules_file, a plugin that judges), "
                 "since rules name what is allowed, and allows it while there are none. allow is "
                 "for rules that only name what is forbidden."},
    {.name = NULL},
};

static const struct pg_settings_block blocks[] = {
    {"", top_rows},
    {"log", log_rows},
    {"limits", limits_rows},
    {"session", session_rows},
    {"retained", retained_rows},
    {"store", store_rows},
    {"bans", bans_rows},
    {"access", access_rows},
    {NULL, NULL},
};

const struct pg_settings_block *pg_settings_blocks(void)
{
    return blocks;
}

bool pg_settings_check(const struct pg_settings *settings, struct pg_error *error)
{
    if (settings->limits.login_frame_size > settings->limits.frame_size) {
        pg_error_set(error, "limits.login_frame_size is above limits.frame_size: a login would be "
                            "allowed more than what follows it; lower the first or raise the "
                            "second");
        return false;
    }
    if (settings->limits.output_max < settings->limits.output_high + settings->limits.frame_size) {
        pg_error_set(error, "limits.output_max is below limits.output_high and limits.frame_size "
                            "together: one long delivery would cut its reader off; raise "
                            "limits.output_max");
        return false;
    }
    for (size_t i = 0; i < settings->bans.exempt.count; i++) {
        struct pg_range range;
        const char *text = settings->bans.exempt.items[i];
        if (!pg_range_parse(pg_bytes_str(text), &range)) {
            pg_error_set(error,
                         "bans.exempt: found \"%.64s\", expected an address, or a range as "
                         "10.0.0.0/8 with no bits behind its prefix",
                         text);
            return false;
        }
    }
    if (settings->limits.first_byte_timeout > settings->limits.login_timeout) {
        pg_error_set(error, "limits.first_byte_timeout is above limits.login_timeout, which ends "
                            "first; lower the first or raise the second");
        return false;
    }
    return true;
}
