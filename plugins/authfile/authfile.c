/* SPDX-License-Identifier: Apache-2.0 */

/* The plugin `authfile`: users from a password file, permissions from a rules file.
 *
 * Both files are read by `check` and by `start`, which runs at start-up and at every reload; a file
 * that cannot be read or has an error refuses the reload, and what was loaded before stays in
 * force. A running instance never opens a file. Passwords are verified by the threads of pool.c,
 * unless verified.c remembers them as right; rules are checked on the worker that asks, at once.
 *
 * Logins: a user of the file is allowed with the right password and denied otherwise; others are
 * left to the next in the chain. Actions: the first rule that applies decides; without one the
 * next in the chain is asked. Without a rules file nobody asks. */

#include "authfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "passwords.h"
#include "pool.h"
#include "rules.h"
#include "verified.h"

struct authfile_conf {
    const char *password_file;
    const char *rules_file;
    int64_t threads;
    int64_t pending;
    int64_t remember; /* milliseconds */
    int64_t remember_max;
};

#define OPTION(member) .name = #member, .offset = offsetof(struct authfile_conf, member)

static const struct pg_option authfile_options[] = {
    {OPTION(password_file), .type = PG_OPT_STRING, .fallback = "", .reloadable = true,
     .sentence = "File with lines USER:HASH, made by `polygatectl passwd`. Without it no user is "
                 "known, and only rules apply."},
    {OPTION(rules_file), .type = PG_OPT_STRING, .fallback = "", .reloadable = true,
     .sentence = "File with access rules, see polygate-rules(5). Without it this plugin allows and "
                 "denies no publication and no subscription."},
    {OPTION(threads), .type = PG_OPT_INT, .fallback = "2", .min = 1, .max = 64, .reloadable = true,
     .sentence = "Threads that verify passwords. Each verification takes some 10 ms of a CPU and "
                 "16 MiB while it runs, by design of the hash; two leave the workers their CPUs."},
    {OPTION(pending), .type = PG_OPT_INT, .fallback = "1024", .min = 1, .max = 1000000,
     .reloadable = true,
     .sentence = "Logins that may wait for a thread. One more is refused as busy and logged as "
                 "authfile_queue_full, so that a flood of logins costs bounded memory."},
    {OPTION(remember), .type = PG_OPT_DURATION, .fallback = "7d",
     .max = INT64_C(3650) * 24 * 3600 * 1000, .reloadable = true,
     .sentence =
         "How long a password that was right lets its user in again without being verified "
         "by the slow hash, counted from the last login; so thousands of devices are back "
         "in seconds after their network was away. What is kept is no password, and is "
         "worthless once the user's line in password_file has changed. 0: nothing is kept."},
    {OPTION(remember_max), .type = PG_OPT_INT, .fallback = "100000", .min = 1, .max = 10000000,
     .reloadable = true,
     .sentence = "Most users that are remembered, at 48 bytes each; beyond it the one seen longest "
                 "ago is verified anew. Another number forgets those before."},
    {.name = NULL},
};

struct authfile {
    struct auth_passwords *passwords; /* with pool; both NULL without a password file */
    struct auth_pool *pool;
    struct auth_verified *verified; /* NULL: nothing is remembered */
    int64_t remember_ms;
    struct auth_rules *rules; /* NULL without a rules file */
    bool exposed;             /* others may read the password file, or write to it */
};

/* No file of an administrator's own hand is larger; a device or a wrong path is. */
#define FILE_MAX (64 * 1024 * 1024)

/* Read a regular file whole; *out is malloc'ed. false with error->text set. */
static bool read_file(const char *path, const char *option, struct pg_bytes *out, mode_t *mode,
                      struct pg_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        pg_error_set(error, "%s: cannot open %s: %s", option, path, strerror(errno));
        return false;
    }
    struct stat st;
    uint8_t *data = NULL;
    size_t len = 0;
    ssize_t n = 0;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
        pg_error_set(error, "%s: %s is not a regular file of at most %d MiB", option, path,
                     FILE_MAX / 1024 / 1024);
        goto failed;
    }
    *mode = st.st_mode;
    size_t size = (size_t)st.st_size;
    data = malloc(size + 1);
    if (!data) {
        pg_error_set(error, "%s: out of memory", option);
        goto failed;
    }
    while (len < size && ((n = read(fd, data + len, size - len)) > 0 || (n < 0 && errno == EINTR)))
        len += n > 0 ? (size_t)n : 0;
    if (len < size) {
        pg_error_set(error, "%s: cannot read %s: %s", option, path,
                     n < 0 ? strerror(errno) : "it became shorter; write it by renaming");
        goto failed;
    }
    close(fd);
    *out = (struct pg_bytes){.data = data, .len = len};
    return true;

failed:
    free(data);
    close(fd);
    return false;
}

static void free_file(struct pg_bytes *file)
{
    if (file->data)
        explicit_bzero((void *)(uintptr_t)file->data, file->len);
    free((void *)(uintptr_t)file->data);
    *file = PG_BYTES_NONE;
}

static bool load_passwords(struct authfile *self, const struct authfile_conf *conf,
                           struct pg_error *error)
{
    struct pg_bytes file;
    mode_t mode;
    if (!conf->password_file[0])
        return true;
    if (!read_file(conf->password_file, "password_file", &file, &mode, error))
        return false;
    self->exposed = (mode & (S_IROTH | S_IWOTH)) != 0;
    self->passwords = auth_passwords_parse(file, conf->password_file, error);
    free_file(&file);
    return self->passwords != NULL;
}

static bool load_rules(struct authfile *self, const struct authfile_conf *conf,
                       struct pg_error *error)
{
    struct pg_bytes file;
    mode_t mode;
    if (!conf->rules_file[0])
        return true;
    if (!read_file(conf->rules_file, "rules_file", &file, &mode, error))
        return false;
    self->rules = auth_rules_parse(file, conf->rules_file, error);
    free_file(&file);
    return self->rules != NULL;
}

/* Everything that the files say; no threads yet. */
static bool load_files(struct authfile *self, const struct authfile_conf *conf,
                       struct pg_error *error)
{
    if (!conf->password_file[0] && !conf->rules_file[0]) {
        pg_error_set(error, "neither password_file nor rules_file is set; set one, or "
                            "leave the block out");
        return false;
    }
    return load_passwords(self, conf, error) && load_rules(self, conf, error);
}

static void unload(struct authfile *self)
{
    auth_pool_stop(&self->pool);
    auth_verified_close(&self->verified);
    auth_passwords_free(&self->passwords);
    auth_rules_free(&self->rules);
}

static bool authfile_check(const void *conf, struct pg_error *error)
{
    struct authfile files = {.passwords = NULL};
    bool good = load_files(&files, conf, error);
    unload(&files);
    return good;
}

static void authfile_stop(void *arg)
{
    struct authfile *self = arg;
    unload(self);
    free(self);
}

/* What verifies passwords: threads, and what they found right before. */
static bool start_verifying(struct authfile *self, const struct authfile_conf *conf,
                            struct pg_error *error)
{
    if (!self->passwords)
        return true;
    if (conf->remember > 0) {
        self->remember_ms = conf->remember;
        self->verified = auth_verified_open((size_t)conf->remember_max, error);
        if (!self->verified)
            return false;
    }
    self->pool = auth_pool_start(self->passwords, self->verified, (unsigned)conf->threads,
                                 (size_t)conf->pending, error);
    return self->pool != NULL;
}

static void *authfile_start(const void *arg, struct pg_error *error)
{
    const struct authfile_conf *conf = arg;
    struct authfile *self = calloc(1, sizeof(*self));
    if (!self) {
        pg_error_set(error, "out of memory");
        return NULL;
    }
    if (!load_files(self, conf, error) || !start_verifying(self, conf, error)) {
        authfile_stop(self);
        return NULL;
    }
    if (self->exposed)
        PG_LOG(PG_WARN, "authfile_exposed", PG_F_TEXT("file", conf->password_file),
               PG_F_TEXT("detail", "every user of this machine can read its hashes; chmod o= it"));
    PG_LOG(PG_INFO, "authfile_loaded",
           PG_F_INT("users", self->passwords ? auth_passwords_count(self->passwords) : 0),
           PG_F_INT("rules", self->rules ? auth_rules_count(self->rules) : 0));
    return self;
}

/* Whether this password let this user in before. */
static bool is_remembered(const struct authfile *self, const struct pg_identity *who)
{
    if (!self->verified || !who->password.data || who->password.len > AUTH_PASSWORD_MAX)
        return false;
    bool known;
    const char *hash = auth_passwords_find(self->passwords, who->username, &known);
    return known && auth_verified_knows(self->verified, who->username, who->password, hash,
                                        pg_now_ms(), self->remember_ms);
}

static enum pg_verdict authfile_authenticate(void *arg, const struct pg_identity *who,
                                             struct pg_access_request *request)
{
    struct authfile *self = arg;
    if (!self->pool || !who->username.data)
        return PG_NEXT;
    if (is_remembered(self, who))
        return PG_ALLOW;
    if (auth_pool_ask(self->pool, who->username, who->password, request))
        return PG_LATER;
    PG_LOG(PG_WARN, "authfile_queue_full", PG_F_BYTES("client", who->client_id),
           PG_F_TEXT("peer", who->peer));
    return PG_UNAVAILABLE;
}

static enum pg_verdict authfile_authorize(void *arg, const struct pg_identity *who,
                                          enum pg_action action, struct pg_bytes topic,
                                          struct pg_access_request *request)
{
    struct authfile *self = arg;
    (void)request;
    return auth_rules_check(self->rules, who, action, topic);
}

static bool authfile_judges(void *arg)
{
    struct authfile *self = arg;
    return self->rules != NULL;
}

static const struct pg_authenticator authfile_authenticator = {
    .authenticate = authfile_authenticate,
    .authorize = authfile_authorize,
    .judges = authfile_judges,
};

const struct pg_plugin authfile_plugin = {
    .abi = PG_ABI,
    .name = "authfile",
    .options = authfile_options,
    .conf_size = sizeof(struct authfile_conf),
    .authenticator = &authfile_authenticator,
    .start = authfile_start,
    .stop = authfile_stop,
    .check = authfile_check,
};
