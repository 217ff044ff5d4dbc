/* SPDX-License-Identifier: Apache-2.0 */

/* Who is accepted above a limit of connections waits for a place: a client that closes one
 * connection and opens another must not be refused because the old one's FIN is still on its way,
 * or waits to be read by this worker in this turn, or by another that is busy.
 *
 * Each has place_wait of its own from the moment it is known whose connection it is, and PLACE_S at
 * least, which is when the workers have read what was there. All that wait in the process are in
 * one list, in the order in which they came, and so are given places: whoever comes to a listener
 * for which others wait goes behind them, and a worker that meets somebody else's turn in the list
 * sends for that worker and stops there. Whom only the limit of its own address keeps out is in
 * nobody's way but that of the same address; those of one address on several workers take turns as
 * their workers look.
 *
 * Those that wait hold descriptors, so that a worker has WAITING_MAX of them. Above it, who comes
 * to a listener that is full stays in the kernel's queue, and whom the limit of its address keeps
 * out, or who has come by a proxy, is refused at once, so that one address cannot close a listener
 * to others.
 *
 * Threads: what waits is its worker's. The list, and of its members what says so, are everybody's,
 * under the lock; pg_guard_admit()'s is taken inside it. */

#include "net_place.h"

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "config.h"
#include "conn.h"
#include "guard.h"
#include "net_address.h"
#include "worker.h"

/* No options: one is too short for a peer to notice and too long to burn a CPU, the other enough
 * for a moment's coming and going and no more descriptors than a process has left. */
#define PLACE_S     0.02 /* between two looks whether a place has become free */
#define WAITING_MAX 256  /* per worker */

/* Whose limit keeps one out, and thereby who may not overtake it. */
enum limit_of {
    OF_PROCESS,  /* everybody */
    OF_LISTENER, /* whoever comes to that listener */
    OF_ADDRESS,  /* whoever comes to that listener from the same address */
};

struct waiting {
    struct waiting *next, **link;        /* in the list; under the lock, with the next four */
    struct pg_worker *worker;            /* whose it is; never changes */
    const struct pg_listener_conf *conf; /* never changes */
    struct pg_range peer;                /* bits is 0: has no address; never changes */
    enum limit_of kept_out_by;           /* when it was last looked at */

    struct pg_config *config; /* shared; conf is part of it */
    struct pg_listening *listening;
    net_take take;
    ev_tstamp until;
    struct pg_place place;
    enum pg_reason result; /* once it is out of the list: PG_OK, with a place, or why not */
    int fd;
    char *identity; /* NULL: none */
    char text[NET_ADDRESS_TEXT];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct waiting *list, **list_end = &list;
static _Atomic size_t listed; /* how many; to be looked at without the lock */

/* A worker's part. */
static struct {
    struct ev_timer look; /* while any of its own wait; its own thread's, as is `count` */
    size_t count;
    struct pg_task turn; /* posted when it is its turn */
    atomic_bool is_sent_for;
} rooms[PG_WORKERS_MAX];

static struct pg_range address_of(const char *text)
{
    struct pg_address address;
    return pg_address_of_peer(text, &address) ? pg_address_peer(&address)
                                              : (struct pg_range){.bits = 0};
}

static enum limit_of limit_that_keeps_out(struct pg_worker *worker,
                                          const struct pg_listener_conf *conf)
{
    if (pg_conn_limit_reached(worker, conf->config))
        return OF_PROCESS;
    return pg_guard_full(conf) ? OF_LISTENER : OF_ADDRESS;
}

/* Whether `before`, which is in the list, has a right to the next place that one who comes to
 * `conf` from `peer` could take. Under the lock. */
static bool goes_before(const struct waiting *before, const struct pg_listener_conf *conf,
                        const struct pg_range *peer)
{
    if (before->kept_out_by == OF_PROCESS)
        return true;
    return strcmp(before->conf->name, conf->name) == 0 &&
           (before->kept_out_by == OF_LISTENER ||
            (peer->bits > 0 && memcmp(&before->peer, peer, sizeof(*peer)) == 0));
}

/* Whether one who comes now has to wait behind others; then, by whose limit. */
static bool is_behind(const struct pg_listener_conf *conf, const struct pg_range *peer,
                      enum limit_of *limit)
{
    bool found = false;
    *limit = OF_ADDRESS;
    if (atomic_load(&listed) == 0)
        return false;
    pthread_mutex_lock(&lock);
    for (const struct waiting *w = list; w; w = w->next) {
        if (!goes_before(w, conf, peer))
            continue;
        found = true;
        if (w->kept_out_by < *limit)
            *limit = w->kept_out_by;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static void append(struct waiting *w)
{
    pthread_mutex_lock(&lock);
    w->link = list_end;
    *list_end = w;
    list_end = &w->next;
    atomic_fetch_add(&listed, 1);
    pthread_mutex_unlock(&lock);
}

/* Under the lock. */
static void take_out(struct waiting *w)
{
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    else
        list_end = w->link;
    w->next = NULL;
    atomic_fetch_sub(&listed, 1);
}

static void free_waiting(struct waiting *w)
{
    unsigned index = pg_worker_index(w->worker);
    if (--rooms[index].count == 0)
        ev_timer_stop(pg_worker_loop(w->worker), &rooms[index].look);
    pg_config_unref(&w->config);
    free(w->identity);
    free(w);
}

/* It waits no longer. */
static void settle(struct waiting *w)
{
    struct net_guest guest = {.fd = w->fd, .peer = w->text, .place = &w->place};
    if (w->identity)
        guest.identity = pg_bytes_str(w->identity);
    if (w->result == PG_OK) {
        w->take(w->listening, w->worker, w->conf, &guest);
    } else {
        pg_conn_no_place(w->worker, w->conf, w->text, w->result, &w->place);
        close(w->fd);
    }
    free_waiting(w);
}

/* Whether its waiting is over; it gets no place if it `gives_way` to one who came before. Under the
 * lock. */
static bool is_over(struct waiting *w, bool gives_way, ev_tstamp now)
{
    if (!gives_way) {
        w->result = pg_conn_try_place(w->worker, w->conf, w->text, &w->place);
        w->kept_out_by = limit_that_keeps_out(w->worker, w->conf);
    }
    return w->result != PG_CONNECTION_LIMIT || now >= w->until;
}

static void send_for(struct pg_worker *worker)
{
    unsigned index = pg_worker_index(worker);
    if (!atomic_exchange(&rooms[index].is_sent_for, true))
        pg_worker_post(worker, &rooms[index].turn);
}

/* Go through the list for those of `worker`. */
static void look(struct pg_worker *worker)
{
    struct waiting *over = NULL, **end = &over, *next;
    ev_tstamp now = ev_now(pg_worker_loop(worker));
    bool gives_way = false;
    pthread_mutex_lock(&lock);
    for (struct waiting *w = list; w; w = next) {
        next = w->next;
        if (w->worker != worker) {
            if (!gives_way && w->kept_out_by != OF_ADDRESS &&
                limit_that_keeps_out(worker, w->conf) == OF_ADDRESS) {
                gives_way = true;
                send_for(w->worker);
            }
        } else if (is_over(w, gives_way, now)) {
            take_out(w);
            *end = w;
            end = &w->next;
        }
    }
    pthread_mutex_unlock(&lock);
    while (over) {
        next = over->next;
        settle(over);
        over = next;
    }
}

static void on_look(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    look(watcher->data);
}

static void on_turn(struct pg_task *task, struct pg_worker *worker)
{
    (void)task;
    atomic_store(&rooms[pg_worker_index(worker)].is_sent_for, false);
    look(worker);
}

/* Have the guest wait; false: memory is out. */
static bool queue(struct pg_listening *listening, net_take take, struct pg_worker *worker,
                  const struct pg_listener_conf *conf, const struct net_guest *guest,
                  const struct pg_range *peer, enum limit_of kept_out_by)
{
    const struct net_conf *net = conf->transport_conf;
    unsigned index = pg_worker_index(worker);
    struct ev_loop *loop = pg_worker_loop(worker);
    double wait_s = (double)net->place_wait_ms / 1000.;
    struct waiting *w = calloc(1, sizeof(*w));
    if (!w)
        return false;
    if (guest->identity.data) {
        w->identity = strndup((const char *)guest->identity.data, guest->identity.len);
        if (!w->identity) {
            free(w);
            return false;
        }
    }
    w->worker = worker;
    w->conf = conf;
    w->peer = *peer;
    w->kept_out_by = kept_out_by;
    w->result = PG_CONNECTION_LIMIT;
    w->place = *guest->place;
    w->config = pg_config_ref(conf->config);
    w->listening = listening;
    w->take = take;
    w->until = ev_now(loop) + (wait_s > PLACE_S ? wait_s : PLACE_S);
    w->fd = guest->fd;
    snprintf(w->text, sizeof(w->text), "%s", guest->peer);
    if (rooms[index].count++ == 0) {
        rooms[index].turn.run = on_turn;
        ev_timer_init(&rooms[index].look, on_look, PLACE_S, PLACE_S);
        rooms[index].look.data = worker;
        ev_timer_start(loop, &rooms[index].look);
    }
    append(w);
    return true;
}

bool net_place_crowded(struct pg_worker *worker, const struct pg_listener_conf *conf)
{
    const struct pg_range anybody = {.bits = 0};
    enum limit_of limit;
    return rooms[pg_worker_index(worker)].count >= WAITING_MAX &&
           (is_behind(conf, &anybody, &limit) || limit_that_keeps_out(worker, conf) != OF_ADDRESS);
}

void net_place_find(struct pg_listening *listening, net_take take, struct pg_worker *worker,
                    const struct pg_listener_conf *conf, const struct net_guest *newcomer)
{
    enum pg_reason why = PG_CONNECTION_LIMIT;
    enum limit_of limit;
    struct pg_range peer = address_of(newcomer->peer);
    struct pg_place place = PG_PLACE_NONE;
    struct net_guest guest = *newcomer;
    guest.place = &place;
    if (!is_behind(conf, &peer, &limit)) {
        why = pg_conn_try_place(worker, conf, guest.peer, &place);
        if (why == PG_OK) {
            take(listening, worker, conf, &guest);
            return;
        }
        limit = limit_that_keeps_out(worker, conf);
    }
    if (why == PG_CONNECTION_LIMIT && rooms[pg_worker_index(worker)].count < WAITING_MAX) {
        if (queue(listening, take, worker, conf, &guest, &peer, limit))
            return;
        why = PG_NO_MEMORY;
    }
    pg_conn_no_place(worker, conf, guest.peer, why, &place);
    close(guest.fd);
}

void net_places_end(struct pg_worker *worker, const struct pg_listening *listening)
{
    struct waiting *mine = NULL, *next;
    pthread_mutex_lock(&lock);
    for (struct waiting *w = list; w; w = next) {
        next = w->next;
        if (w->worker == worker && w->listening == listening) {
            take_out(w);
            w->next = mine;
            mine = w;
        }
    }
    pthread_mutex_unlock(&lock);
    for (; mine; mine = next) {
        next = mine->next;
        close(mine->fd);
        free_waiting(mine);
    }
}

void net_turn_away(struct pg_worker *worker, const struct net_guest *guest)
{
    pg_conn_give_place(worker, guest->place);
    close(guest->fd);
}
