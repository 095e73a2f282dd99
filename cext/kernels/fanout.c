#include "fanout.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"

/* A place: the rendition that its viewer is sent in the low half, its target in the high half. */
#define HALF_BITS 16
#define HALF_MASK 0xffffu
#define NOBODY 0xffffffffu
#define SECOND_NS 1000000000ull
#define GENERATION_SHIFT 16 /* id = generation << 16 | place: an id that was removed never means another viewer */
#define PLACE_MASK 0xffff

/* What another thread wants of the renditions. The loop makes it, so that it never meets one half changed. */
struct change {
    int (*make)(struct fanout *fanout, const struct change *change);
    int number;
    struct ring *ring;
    uint32_t reader;
    int doorbell;
    enum codec codec;
    uint32_t ssrc;
};

struct fanout {
    uint32_t renditions_max, viewers_max;
    struct bounds latency, skew;
    int wake_fd, keyframe_fd;
    _Atomic int stopping;
    pthread_mutex_t table_lock; /* who adds and removes; the loop never takes it */
    pthread_mutex_t change_lock;
    pthread_cond_t change_made;
    const struct change *_Atomic change; /* to be made by the loop; NULL when it has been */
    int change_result, running;          /* under change_lock */
    struct rendition *renditions;
    _Atomic uint32_t rendition_count; /* places ever used */
    struct viewer *viewers;
    /* ORDER: only a hint that spares the loop the locks of foreign places; what counts is viewer->rendition and viewer->target, read
     * under the viewer's lock. */
    _Atomic uint32_t *places;
    _Atomic uint32_t places_used; /* places ever used; the loop looks no further */
    uint32_t first_place;         /* where the next unit begins, so that nobody is always last */
    uint8_t *buffer;
};

static void ring_eventfd(int fd)
{
    const uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one); /* EAGAIN: it is readable already */
    (void)written;
}

struct fanout *fanout_create(uint32_t renditions_max, uint32_t viewers_max, const struct bounds *latency, const struct bounds *skew)
{
    struct fanout *fanout = calloc(1, sizeof *fanout);
    if (!fanout)
        return NULL;
    fanout->renditions_max = renditions_max;
    fanout->viewers_max = viewers_max;
    fanout->latency = *latency;
    fanout->skew = *skew;
    fanout->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fanout->keyframe_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&fanout->table_lock, NULL);
    pthread_mutex_init(&fanout->change_lock, NULL);
    pthread_cond_init(&fanout->change_made, NULL);
    fanout->renditions = calloc(renditions_max, sizeof *fanout->renditions);
    fanout->viewers = calloc(viewers_max, sizeof *fanout->viewers);
    fanout->places = calloc(viewers_max, sizeof *fanout->places);
    fanout->buffer = aligned_alloc(64, SEND_BUFFER_BYTES);
    if (!fanout->renditions || !fanout->viewers || !fanout->places || !fanout->buffer || fanout->wake_fd < 0 || fanout->keyframe_fd < 0) {
        fanout->viewers_max = fanout->viewers ? viewers_max : 0;
        fanout_destroy(fanout);
        return NULL;
    }
    for (uint32_t place = 0; place < viewers_max; place++) {
        pthread_mutex_init(&fanout->viewers[place].lock, NULL);
        atomic_init(&fanout->places[place], NOBODY);
    }
    return fanout;
}

void fanout_destroy(struct fanout *fanout)
{
    for (uint32_t place = 0; place < fanout->viewers_max; place++)
        if (fanout->viewers[place].generation & 1)
            viewer_close(&fanout->viewers[place]);
    for (uint32_t i = 0; i < atomic_load(&fanout->rendition_count); i++)
        rendition_close(&fanout->renditions[i]);
    if (fanout->wake_fd >= 0)
        close(fanout->wake_fd);
    if (fanout->keyframe_fd >= 0)
        close(fanout->keyframe_fd);
    free(fanout->buffer);
    free(fanout->places);
    free(fanout->viewers);
    free(fanout->renditions);
    free(fanout);
}

int fanout_keyframe_fd(const struct fanout *fanout) { return fanout->keyframe_fd; }

struct rendition *fanout_rendition(struct fanout *fanout, int rendition)
{
    /* ORDER: pairs with the store in open_rendition: the rendition is whole before it is counted. */
    uint32_t known = atomic_load_explicit(&fanout->rendition_count, memory_order_acquire);
    if (rendition < 0 || (uint32_t)rendition >= known || !rendition_is_open(&fanout->renditions[rendition]))
        return NULL;
    return &fanout->renditions[rendition];
}

/* Makes a change between two rounds of the loop, or at once where no loop runs; returns what it gave. */
static int change(struct fanout *fanout, const struct change *wanted)
{
    pthread_mutex_lock(&fanout->change_lock);
    if (fanout->running) {
        atomic_store_explicit(&fanout->change, wanted, memory_order_release);
        ring_eventfd(fanout->wake_fd);
        while (atomic_load_explicit(&fanout->change, memory_order_relaxed))
            pthread_cond_wait(&fanout->change_made, &fanout->change_lock);
    } else {
        fanout->change_result = wanted->make(fanout, wanted);
    }
    int result = fanout->change_result;
    pthread_mutex_unlock(&fanout->change_lock);
    return result;
}

/* The loop's side: makes what is wanted, if anything. With change_lock held. */
static void make_change(struct fanout *fanout)
{
    const struct change *wanted = atomic_load_explicit(&fanout->change, memory_order_relaxed);
    if (!wanted)
        return;
    fanout->change_result = wanted->make(fanout, wanted);
    atomic_store_explicit(&fanout->change, NULL, memory_order_relaxed);
    pthread_cond_broadcast(&fanout->change_made);
}

static void run_or_end(struct fanout *fanout, int running)
{
    pthread_mutex_lock(&fanout->change_lock);
    fanout->running = running;
    make_change(fanout);
    pthread_mutex_unlock(&fanout->change_lock);
}

static int open_rendition(struct fanout *fanout, const struct change *wanted)
{
    uint32_t used = atomic_load_explicit(&fanout->rendition_count, memory_order_relaxed), number = 0;
    while (number < used && rendition_is_open(&fanout->renditions[number]))
        number++;
    if (number >= fanout->renditions_max)
        return FANOUT_FULL;
    if (rendition_open(&fanout->renditions[number], wanted->ring, wanted->reader, wanted->doorbell, wanted->codec, wanted->ssrc))
        return FANOUT_REFUSED;
    if (number == used)
        atomic_store_explicit(&fanout->rendition_count, used + 1, memory_order_release);
    return (int)number;
}

static int set_ring(struct fanout *fanout, const struct change *wanted)
{
    rendition_set_ring(&fanout->renditions[wanted->number], wanted->ring, wanted->reader, wanted->doorbell);
    return 0;
}

static int close_rendition(struct fanout *fanout, const struct change *wanted)
{
    rendition_close(&fanout->renditions[wanted->number]);
    return 0;
}

int fanout_add_rendition(struct fanout *fanout, struct ring *ring, uint32_t reader, int doorbell, enum codec codec, uint32_t ssrc)
{
    struct change wanted = {.make = open_rendition, .ring = ring, .reader = reader, .doorbell = doorbell, .codec = codec, .ssrc = ssrc};
    int added = change(fanout, &wanted);
    ring_eventfd(fanout->wake_fd);
    return added;
}

int fanout_set_ring(struct fanout *fanout, int rendition, struct ring *ring, uint32_t reader, int doorbell)
{
    struct change wanted = {.make = set_ring, .number = rendition, .ring = ring, .reader = reader, .doorbell = doorbell};
    return fanout_rendition(fanout, rendition) ? change(fanout, &wanted) : FANOUT_UNKNOWN;
}

int fanout_remove_rendition(struct fanout *fanout, int rendition)
{
    struct change wanted = {.make = close_rendition, .number = rendition};
    struct rendition *found = fanout_rendition(fanout, rendition);
    if (!found)
        return FANOUT_UNKNOWN;
    /* Safety: no viewer is sent it or moves there, so that nobody looks into its history any more: a viewer's spans name only
     * renditions of one SSRC, which come and go together. */
    return counted(found, VIEWERS) ? FANOUT_REFUSED : change(fanout, &wanted);
}

static void want_keyframe(struct fanout *fanout, struct rendition *rendition)
{
    if (rendition->packetiser.codec == CODEC_OPUS)
        return; /* the next frame can be decoded by itself */
    count(rendition, KEYFRAMES_WANTED, 1);
    atomic_fetch_add_explicit(&rendition->keyframes_wanted, 1, memory_order_release);
    ring_eventfd(fanout->keyframe_fd);
}

uint64_t fanout_take_keyframes_wanted(struct fanout *fanout, struct rendition *rendition)
{
    uint64_t rings;
    /* The eventfd is emptied before the count is taken: a want that comes in between rings it again. */
    ssize_t got = read(fanout->keyframe_fd, &rings, sizeof rings);
    (void)got;
    uint64_t wanted = atomic_exchange_explicit(&rendition->keyframes_wanted, 0, memory_order_acquire);
    /* What was emptied may have been another rendition's ring. */
    uint32_t known = atomic_load_explicit(&fanout->rendition_count, memory_order_acquire);
    for (uint32_t i = 0; i < known; i++)
        if (atomic_load_explicit(&fanout->renditions[i].keyframes_wanted, memory_order_acquire))
            ring_eventfd(fanout->keyframe_fd);
    return wanted;
}

/* The viewer with its lock held, or NULL. */
static struct viewer *lock_viewer(struct fanout *fanout, int64_t id)
{
    if (id <= 0 || (uint32_t)(id & PLACE_MASK) >= fanout->viewers_max)
        return NULL;
    struct viewer *viewer = &fanout->viewers[id & PLACE_MASK];
    pthread_mutex_lock(&viewer->lock);
    if (viewer->generation == (uint64_t)id >> GENERATION_SHIFT && viewer->generation & 1)
        return viewer;
    pthread_mutex_unlock(&viewer->lock);
    return NULL;
}

static void show_place(struct fanout *fanout, const struct viewer *viewer)
{
    uint32_t place = (uint32_t)(viewer - fanout->viewers);
    atomic_store_explicit(&fanout->places[place], (uint16_t)viewer->rendition | (uint32_t)(uint16_t)viewer->target << HALF_BITS,
                          memory_order_release);
}

static void uncount_viewer(struct fanout *fanout, int rendition)
{
    if (rendition != NO_RENDITION)
        atomic_fetch_sub_explicit(&fanout->renditions[rendition].counters[VIEWERS], 1, memory_order_relaxed);
}

/* What the kernel may space a viewer's packets at, if it can. */
static uint32_t pacing_rate(uint64_t bits_per_s)
{
    uint64_t octets_per_s = bits_per_s / 8 * PACING_MARGIN;
    if (octets_per_s && octets_per_s < PACING_OCTETS_PER_S_MIN)
        octets_per_s = PACING_OCTETS_PER_S_MIN;
    return octets_per_s < UINT32_MAX ? (uint32_t)octets_per_s : 0;
}

static int64_t open_place(struct fanout *fanout, uint32_t place, int rendition, const struct viewer_settings *settings)
{
    struct viewer *viewer = &fanout->viewers[place];
    pthread_mutex_lock(&viewer->lock);
    int64_t id = FANOUT_REFUSED;
    if (!viewer_open(viewer, rendition, fanout->renditions[rendition].ssrc, settings)) {
        viewer->generation++;
        destination_pace(&viewer->destination, pacing_rate(settings->bits_per_s));
        id = (int64_t)viewer->generation << GENERATION_SHIFT | place;
        count(&fanout->renditions[rendition], VIEWERS, 1);
        show_place(fanout, viewer);
    }
    pthread_mutex_unlock(&viewer->lock);
    return id;
}

int64_t fanout_add_viewer(struct fanout *fanout, int rendition, const struct viewer_settings *settings)
{
    struct rendition *wanted = fanout_rendition(fanout, rendition);
    if (!wanted)
        return FANOUT_UNKNOWN;
    int64_t id = FANOUT_FULL;
    pthread_mutex_lock(&fanout->table_lock);
    uint32_t used = atomic_load_explicit(&fanout->places_used, memory_order_relaxed), place = 0;
    while (place < used && atomic_load_explicit(&fanout->places[place], memory_order_relaxed) != NOBODY)
        place++;
    if (place < fanout->viewers_max) {
        id = open_place(fanout, place, rendition, settings);
        if (place == used)
            atomic_store_explicit(&fanout->places_used, used + 1, memory_order_release);
    }
    pthread_mutex_unlock(&fanout->table_lock);
    if (id > 0)
        want_keyframe(fanout, wanted);
    return id;
}

int fanout_remove_viewer(struct fanout *fanout, int64_t id)
{
    pthread_mutex_lock(&fanout->table_lock);
    struct viewer *viewer = lock_viewer(fanout, id);
    if (viewer) {
        uncount_viewer(fanout, viewer->rendition);
        uncount_viewer(fanout, viewer->target);
        viewer->generation++;
        viewer_close(viewer);
        show_place(fanout, viewer);
        pthread_mutex_unlock(&viewer->lock);
    }
    pthread_mutex_unlock(&fanout->table_lock);
    return viewer ? 0 : FANOUT_UNKNOWN;
}

int fanout_redirect_viewer(struct fanout *fanout, int64_t id, const struct destination *destination)
{
    struct viewer *viewer = lock_viewer(fanout, id);
    if (!viewer)
        return FANOUT_UNKNOWN;
    uint32_t pacing_octets_per_s = viewer->destination.pacing_octets_per_s;
    destination_close(&viewer->destination);
    viewer->destination = *destination;
    destination_pace(&viewer->destination, pacing_octets_per_s);
    pthread_mutex_unlock(&viewer->lock);
    return 0;
}

/* The rendition whose keyframe the viewer now wants, or NULL. */
static struct rendition *aim(struct fanout *fanout, struct viewer *viewer, int rendition, int pause)
{
    uncount_viewer(fanout, viewer->target);
    viewer->target = NO_RENDITION;
    if (rendition == viewer->rendition) {
        int missed_units = viewer->held;
        viewer->held = 0;
        return missed_units ? &fanout->renditions[rendition] : NULL;
    }
    viewer->target = (int16_t)rendition;
    count(&fanout->renditions[rendition], VIEWERS, 1);
    if (pause) {
        viewer->held = 1;
        viewer->stats.waiting_keyframe = 1;
    }
    return &fanout->renditions[rendition];
}

int fanout_move_viewer(struct fanout *fanout, int64_t id, int rendition, int pause)
{
    struct rendition *wanted = NULL, *target = fanout_rendition(fanout, rendition);
    struct viewer *viewer = lock_viewer(fanout, id);
    if (!viewer)
        return FANOUT_UNKNOWN;
    int refusal = 0;
    const struct rendition *present = &fanout->renditions[viewer->rendition];
    if (!target)
        refusal = FANOUT_NO_RENDITION;
    else if (target->ssrc != present->ssrc || target->packetiser.codec != present->packetiser.codec)
        refusal = FANOUT_DIFFERENT;
    else
        wanted = aim(fanout, viewer, rendition, pause);
    show_place(fanout, viewer);
    pthread_mutex_unlock(&viewer->lock);
    if (wanted)
        want_keyframe(fanout, wanted);
    return refusal;
}

int fanout_skip_viewer(struct fanout *fanout, int64_t id)
{
    struct viewer *viewer = lock_viewer(fanout, id);
    if (!viewer)
        return FANOUT_UNKNOWN;
    struct rendition *rendition = &fanout->renditions[viewer->held ? viewer->target : viewer->rendition];
    count(rendition, SKIPS, !viewer->stats.waiting_keyframe);
    viewer_skip(viewer);
    pthread_mutex_unlock(&viewer->lock);
    want_keyframe(fanout, rendition);
    return 0;
}

int fanout_viewer_stats(struct fanout *fanout, int64_t id, struct viewer_stats *stats)
{
    struct viewer *viewer = lock_viewer(fanout, id);
    if (!viewer)
        return FANOUT_UNKNOWN;
    *stats = viewer->stats;
    pthread_mutex_unlock(&viewer->lock);
    return 0;
}

int fanout_nack(struct fanout *fanout, int64_t id, const uint16_t *sequences, uint32_t sequence_count)
{
    int found = 0;
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < sequence_count && i < NACKS_PER_CALL_MAX; i++) {
        /* The lock is taken anew for each packet, so that the loop waits for one packet at most. */
        struct viewer *viewer = lock_viewer(fanout, id);
        if (!viewer)
            return FANOUT_UNKNOWN;
        struct rendition *rendition = &fanout->renditions[viewer->rendition];
        struct packet packet;
        struct span span;
        uint64_t index;
        int sent = 0;
        if (numbering_allows_resend(&viewer->numbering, sequences[i], now_ns, &index, &span)) {
            rendition = &fanout->renditions[span.rendition];
            sent = rendition_copy_packet(rendition, index + span.offset, &packet) && viewer_resend(viewer, &packet, index, &span);
        }
        viewer->stats.resends_refused += !sent;
        pthread_mutex_unlock(&viewer->lock);
        count(rendition, sent ? RESENDS : RESENDS_REFUSED, 1);
        found += sent;
    }
    return found;
}

/* A keyframe of the viewer's target came. Moves the viewer, unless it has seen newer pictures: then it is held until the next. */
static int move(struct fanout *fanout, struct viewer *viewer, const struct unit *keyframe, struct send_tally *tally)
{
    struct rendition *present = &fanout->renditions[viewer->rendition];
    /* What is under way must be whole before another picture begins. */
    struct pass rest = {.unit = &present->unit, .first = present->passed, .end = present->unit.packets};
    if (rendition_under_way(present) && rest.first && !viewer->held && !viewer->stats.waiting_keyframe)
        viewer_send(viewer, rest, fanout->buffer, tally);
    if (!viewer_can_move_to(viewer, keyframe->rtp_timestamp)) {
        viewer->held = 1;
        viewer->stats.waiting_keyframe = 1;
        return 0;
    }
    uncount_viewer(fanout, viewer->rendition);
    viewer_move(viewer, keyframe);
    show_place(fanout, viewer);
    return 1;
}

static enum viewer_outcome visit(struct fanout *fanout, int number, struct viewer *viewer, struct pass pass, struct send_tally *tally)
{
    if (!(viewer->generation & 1))
        return VIEWER_HELD; /* it left just now */
    if (viewer->rendition != number) {
        if (viewer->target != number)
            return VIEWER_HELD; /* it moved just now */
        if (!pass.unit->keyframe || pass.end == 0 || pass.first)
            return VIEWER_WAITING;
        if (!move(fanout, viewer, pass.unit, tally))
            return VIEWER_SKIPPED;
    }
    return viewer_send(viewer, pass, fanout->buffer, tally);
}

/* One pass of a unit to every viewer of the rendition, or that moves there. */
static void send_to_viewers(struct fanout *fanout, int number, struct rendition *rendition, struct pass pass, uint64_t now_ns)
{
    struct send_tally tally = {.now_ns = now_ns};
    uint32_t outcomes[VIEWER_OUTCOMES] = {0};
    uint64_t first_ns = 0;
    uint32_t used = atomic_load_explicit(&fanout->places_used, memory_order_acquire);
    uint32_t place = used ? rendition->first_place % used : 0;
    for (uint32_t i = 0; i < used; i++, place = place + 1 == used ? 0 : place + 1) {
        uint32_t halves = atomic_load_explicit(&fanout->places[place], memory_order_acquire);
        if ((halves & HALF_MASK) != (uint32_t)number && halves >> HALF_BITS != (uint32_t)number)
            continue;
        struct viewer *viewer = &fanout->viewers[place];
        viewer_prefetch(&fanout->viewers[place + 1 == used ? 0 : place + 1]);
        pthread_mutex_lock(&viewer->lock);
        outcomes[visit(fanout, number, viewer, pass, &tally)]++;
        pthread_mutex_unlock(&viewer->lock);
        if (outcomes[VIEWER_SENT] == 1 && !first_ns)
            first_ns = tally.now_ns;
    }
    rendition_count_pass(rendition, &tally);
    if (outcomes[VIEWER_SENT] && !rendition_under_way(rendition))
        rendition_count_unit(rendition, &fanout->latency, &fanout->skew, tally.now_ns - first_ns);
    if (pass.first == 0)
        rendition->units_waited = outcomes[VIEWER_WAITING] ? rendition->units_waited + 1 : 0;
    if (outcomes[VIEWER_SKIPPED] || rendition->units_waited >= KEYFRAME_REPEAT_UNITS) {
        rendition->units_waited = 0;
        want_keyframe(fanout, rendition);
    }
}

/* One pass of the rendition at most, so that a large unit or many waiting ones cannot hold up the others. A pass waits until it is due,
 * but not when the next unit has come. */
static void serve(struct fanout *fanout, int number, struct rendition *rendition)
{
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    if (rendition_under_way(rendition)) {
        if (now_ns < rendition->pass_due_ns && !rendition->pending)
            return;
    } else {
        int taken = rendition->pending && rendition_take_unit(rendition);
        rendition->pending = 0;
        if (!taken)
            return;
        rendition->first_place = fanout->first_place++;
    }
    send_to_viewers(fanout, number, rendition, rendition_next_pass(rendition, now_ns), now_ns);
    /* One ring of the doorbell may have been for several units. */
    rendition->pending |= !rendition_under_way(rendition);
}

/* How long nothing has to be done unless a doorbell rings: NULL for ever. */
static const struct timespec *time_to_wait(struct fanout *fanout, uint32_t renditions, struct timespec *wait)
{
    uint64_t now_ns = clock_ns(CLOCK_MONOTONIC), wait_ns = UINT64_MAX;
    for (uint32_t i = 0; i < renditions; i++) {
        const struct rendition *rendition = &fanout->renditions[i];
        uint64_t due_ns = rendition->pending ? now_ns : rendition_under_way(rendition) ? rendition->pass_due_ns : UINT64_MAX;
        uint64_t left_ns = due_ns > now_ns ? due_ns - now_ns : 0;
        if (due_ns != UINT64_MAX && left_ns < wait_ns)
            wait_ns = left_ns;
    }
    *wait = (struct timespec){.tv_sec = (time_t)(wait_ns / SECOND_NS), .tv_nsec = (long)(wait_ns % SECOND_NS)};
    return wait_ns == UINT64_MAX ? NULL : wait;
}

/* Sleeps until a doorbell or the wake eventfd rings or something is due; notes which rang. 0 or -errno. */
static int wait_for_units(struct fanout *fanout, uint32_t renditions)
{
    struct pollfd polled[FANOUT_RENDITIONS_MAX + 1];
    struct timespec wait;
    for (uint32_t i = 0; i < renditions; i++)
        polled[i] = (struct pollfd){.fd = fanout->renditions[i].doorbell, .events = POLLIN};
    polled[renditions] = (struct pollfd){.fd = fanout->wake_fd, .events = POLLIN};
    if (ppoll(polled, renditions + 1, time_to_wait(fanout, renditions, &wait), NULL) < 0)
        return errno == EINTR ? 0 : -errno;
    for (uint32_t i = 0; i <= renditions; i++) {
        uint64_t rings;
        if (polled[i].revents & (POLLNVAL | POLLERR))
            return -EBADF;
        /* The doorbell is emptied before the ring is looked at: what is published later rings it again. */
        if (polled[i].revents & POLLIN && read(polled[i].fd, &rings, sizeof rings) == sizeof rings && i < renditions)
            fanout->renditions[i].pending = 1;
    }
    return 0;
}

int fanout_run(struct fanout *fanout)
{
    int error = 0;
    run_or_end(fanout, 1);
    while (!error && !atomic_load_explicit(&fanout->stopping, memory_order_acquire)) {
        if (atomic_load_explicit(&fanout->change, memory_order_acquire))
            run_or_end(fanout, 1);
        uint32_t renditions = atomic_load_explicit(&fanout->rendition_count, memory_order_acquire);
        error = wait_for_units(fanout, renditions);
        for (uint32_t i = 0; i < renditions && !error; i++)
            serve(fanout, (int)i, &fanout->renditions[i]);
    }
    run_or_end(fanout, 0);
    return error;
}

void fanout_stop(struct fanout *fanout)
{
    atomic_store_explicit(&fanout->stopping, 1, memory_order_release);
    ring_eventfd(fanout->wake_fd);
}
