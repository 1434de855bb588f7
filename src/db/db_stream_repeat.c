/*
 * db_stream_repeat.c - the thread that answers appends which were sent before.
 *
 *   commit thread: known --> queue, bounded --> lookup thread: where it lies --> done()
 *
 * That an append is known costs nothing: the producer's number says so. Where it lies is told by a
 * walk back from block to block, each a read, of a disk or of an object store when old runs lie
 * there. On the commit thread all writes would wait for it, and who begins again at number 0 could
 * make them wait for ever. The thread is made when the first repeat comes. Without threads the
 * look-up is its caller's.
 */
#include "base/error.h"
#include "db/db_stream_int.h"

#define LOOKUPS_MAX 1024u

void db_stream_lookups_init(vv_db *db)
{
    vv_mutex_init(&db->lookups.lock, VV_RANK_LEAF);
    vv_cond_init(&db->lookups.wake);
}

void db_stream_lookups_fini(vv_db *db)
{
    vv_cond_fini(&db->lookups.wake);
    vv_mutex_fini(&db->lookups.lock);
}

static db_stream_lookup *take(db_stream_lookups *l)
{
    db_stream_lookup *first = l->head;
    l->head = first->next;
    if (l->head == NULL)
        l->tail = NULL;
    l->count--;
    return first;
}

/* What waits when the store is closed is told so: it may be sent again. */
static void lookup_main(void *arg)
{
    static const vv_error closing = {.status = VV_CLOSED, .msg = "the store is closing"};
    vv_db *db = arg;
    db_stream_lookups *l = &db->lookups;
    vv_mutex_lock(&l->lock);
    for (;;) {
        while (l->head == NULL && !l->stop)
            vv_cond_wait(&l->wake, &l->lock);
        if (l->head == NULL)
            break;
        db_stream_lookup *one = take(l);
        const bool is_over = l->stop;
        vv_mutex_unlock(&l->lock);
        one->run(one, is_over ? &closing : NULL);
        vv_mutex_lock(&l->lock);
    }
    vv_mutex_unlock(&l->lock);
}

/* True: it is queued. */
static bool push(vv_db *db, db_stream_lookup *one)
{
    db_stream_lookups *l = &db->lookups;
    vv_mutex_lock(&l->lock);
    const bool has_room = l->count < LOOKUPS_MAX;
    if (has_room) {
        one->next = NULL;
        if (l->tail == NULL)
            l->head = one;
        else
            l->tail->next = one;
        l->tail = one;
        l->count++;
        vv_cond_signal(&l->wake);
    }
    vv_mutex_unlock(&l->lock);
    return has_room;
}

/* Only the commit thread comes here, so nobody else makes one at the same time. */
static bool has_thread(vv_db *db)
{
    db_stream_lookups *l = &db->lookups;
    return l->thread != NULL ||
           db->env->threads->create("varve-repeat", VV_THREAD_NORMAL, lookup_main, db, &l->thread,
                                    NULL) == VV_OK;
}

void db_stream_lookup_submit(vv_db *db, db_stream_lookup *lookup)
{
    static const vv_error busy = {.status = VV_BUSY,
                                  .msg = "it was written before, and too many repeats are looked "
                                         "up: ask again after a pause"};
    if (db->env->threads == NULL)
        lookup->run(lookup, NULL);
    else if (!has_thread(db) || !push(db, lookup))
        lookup->run(lookup, &busy);
}

void db_stream_lookups_stop(vv_db *db)
{
    db_stream_lookups *l = &db->lookups;
    vv_mutex_lock(&l->lock);
    l->stop = true;
    vv_cond_signal(&l->wake);
    vv_mutex_unlock(&l->lock);
    if (l->thread != NULL)
        db->env->threads->join(l->thread);
    l->thread = NULL;
}
