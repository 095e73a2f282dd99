#include "fanout.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"

#define NOBODY (-1)
#define GENERATION_SHIFT 16 /* id = generation << 16 | place: an id that was removed never means another viewer */
#define PLACE_MASK 0xffff

struct fanout {
    uint32_t renditions_max, viewers_max, latency_bounds;
    uint64_t latency_bounds_ns[LATENCY_BUCKETS_MAX];
    int wake_fd, keyframe_fd;
    _Atomic int stopping;
    pthread_mutex_t table_lock; /* who adds and removes; the loop never takes it */
    struct rendition *renditions;
    _Atomic uint32_t rendition_count;
    struct viewer *viewers;
    /* ORDER: rendition of each place, or NOBODY: only a hint that spares the loop the locks of foreign places; what counts is
     * viewer->rendition, read under the viewer's lock. */
    _Atomic int16_t *places;
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

struct fanout *fanout_create(uint32_t renditions_max, uint32_t viewers_max, const uint64_t *latency_bounds_ns,
                             uint32_t latency_bounds)
{
    struct fanout *fanout = calloc(1, sizeof *fanout);
    if (!fanout)
        return NULL;
    fanout->renditions_max = renditions_max;
    fanout->viewers_max = viewers_max;
    fanout->latency_bounds = latency_bounds;
    memcpy(fanout->latency_bounds_ns, latency_bounds_ns, latency_bounds * sizeof *latency_bounds_ns);
    fanout->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fanout->keyframe_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&fanout->table_lock, NULL);
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
    /* ORDER: pairs with the store in fanout_add_rendition: the rendition is whole before it is counted. */
    uint32_t known = atomic_load_explicit(&fanout->rendition_count, memory_order_acquire);
    return rendition >= 0 && (uint32_t)rendition < known ? &fanout->renditions[rendition] : NULL;
}

int fanout_add_rendition(struct fanout *fanout, struct ring *ring, uint32_t reader, int doorbell, enum codec codec, uint32_t ssrc)
{
    pthread_mutex_lock(&fanout->table_lock);
    uint32_t number = atomic_load_explicit(&fanout->rendition_count, memory_order_relaxed);
    int added = FANOUT_FULL;
    if (number < fanout->renditions_max) {
        added = rendition_open(&fanout->renditions[number], ring, reader, doorbell, codec, ssrc) ? FANOUT_REFUSED : (int)number;
        if (added >= 0)
            atomic_store_explicit(&fanout->rendition_count, number + 1, memory_order_release);
    }
    pthread_mutex_unlock(&fanout->table_lock);
    ring_eventfd(fanout->wake_fd);
    return added;
}

static void want_keyframe(struct fanout *fanout, struct rendition *rendition)
{
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
    for (int i = 0; fanout_rendition(fanout, i); i++)
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

static int64_t open_place(struct fanout *fanout, uint32_t place, int rendition, const struct viewer_settings *settings)
{
    struct viewer *viewer = &fanout->viewers[place];
    pthread_mutex_lock(&viewer->lock);
    int64_t id = FANOUT_REFUSED;
    if (!viewer_open(viewer, rendition, fanout->renditions[rendition].ssrc, settings)) {
        viewer->generation++;
        id = (int64_t)viewer->generation << GENERATION_SHIFT | place;
        count(&fanout->renditions[rendition], VIEWERS, 1);
        atomic_store_explicit(&fanout->places[place], (int16_t)rendition, memory_order_release);
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
        atomic_fetch_sub_explicit(&fanout->renditions[viewer->rendition].counters[VIEWERS], 1, memory_order_relaxed);
        atomic_store_explicit(&fanout->places[id & PLACE_MASK], NOBODY, memory_order_relaxed);
        viewer->generation++;
        viewer_close(viewer);
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
    destination_close(&viewer->destination);
    viewer->destination = *destination;
    pthread_mutex_unlock(&viewer->lock);
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
        uint64_t index;
        int sent = viewer_allows_resend(viewer, sequences[i], now_ns, &index) && rendition_copy_packet(rendition, index, &packet) &&
                   viewer_resend(viewer, &packet);
        pthread_mutex_unlock(&viewer->lock);
        count(rendition, sent ? RESENDS : RESENDS_REFUSED, 1);
        found += sent;
    }
    return found;
}

static void observe_latency(struct fanout *fanout, struct rendition *rendition, uint64_t capture_tai_ns)
{
    uint64_t now_tai_ns = clock_tai_ns();
    uint64_t latency_ns = now_tai_ns > capture_tai_ns ? now_tai_ns - capture_tai_ns : 0;
    uint32_t bucket = 0;
    while (bucket < fanout->latency_bounds && latency_ns > fanout->latency_bounds_ns[bucket])
        bucket++;
    atomic_fetch_add_explicit(&rendition->latency_buckets[bucket], 1, memory_order_relaxed);
    count(rendition, LATENCY_SUM_NS, latency_ns);
}

static void count_tally(struct rendition *rendition, const struct send_tally *tally)
{
    count(rendition, PACKETS, tally->packets);
    count(rendition, OCTETS, tally->octets);
    count(rendition, SEND_CALLS, tally->calls);
    count(rendition, SEND_ERRORS, tally->errors);
    count(rendition, EAGAINS, tally->full);
    count(rendition, GSO_FALLBACKS, tally->fallbacks);
    count(rendition, SKIPS, tally->skips);
    count(rendition, ENCRYPT_NS, tally->encrypt_ns);
    count(rendition, SEND_NS, tally->send_ns);
}

static void count_skew(struct rendition *rendition, uint64_t skew_ns)
{
    count(rendition, SKEW_SUM_NS, skew_ns);
    if (skew_ns > counted(rendition, SKEW_MAX_NS)) /* only this thread writes it */
        atomic_store_explicit(&rendition->counters[SKEW_MAX_NS], skew_ns, memory_order_relaxed);
}

/* One unit to every viewer of the rendition. */
static void send_to_viewers(struct fanout *fanout, int number, struct rendition *rendition, const struct unit *unit)
{
    struct send_tally tally = {0};
    uint32_t outcomes[VIEWER_WAITING + 1] = {0};
    uint64_t first_ns = 0;
    uint32_t used = atomic_load_explicit(&fanout->places_used, memory_order_acquire);
    uint32_t place = used ? fanout->first_place++ % used : 0;
    for (uint32_t i = 0; i < used; i++, place = place + 1 == used ? 0 : place + 1) {
        if (atomic_load_explicit(&fanout->places[place], memory_order_acquire) != number)
            continue;
        struct viewer *viewer = &fanout->viewers[place];
        pthread_mutex_lock(&viewer->lock);
        if (viewer->generation & 1 && viewer->rendition == number)
            outcomes[viewer_send_unit(viewer, unit, fanout->buffer, &tally)]++;
        pthread_mutex_unlock(&viewer->lock);
        if (outcomes[VIEWER_SENT] == 1 && !first_ns)
            first_ns = clock_ns(CLOCK_MONOTONIC);
    }
    count_tally(rendition, &tally);
    if (outcomes[VIEWER_SENT]) {
        count_skew(rendition, clock_ns(CLOCK_MONOTONIC) - first_ns);
        observe_latency(fanout, rendition, unit->capture_tai_ns);
    }
    rendition->units_waited = outcomes[VIEWER_WAITING] ? rendition->units_waited + 1 : 0;
    if (outcomes[VIEWER_SKIPPED] || rendition->units_waited >= KEYFRAME_REPEAT_UNITS) {
        rendition->units_waited = 0;
        want_keyframe(fanout, rendition);
    }
}

/* One unit of the rendition, so that a rendition with many waiting cannot hold up the others. */
static void serve(struct fanout *fanout, int number, struct rendition *rendition)
{
    struct unit unit;
    rendition->pending = rendition_take_unit(rendition, &unit);
    if (rendition->pending)
        send_to_viewers(fanout, number, rendition, &unit);
}

/* Sleeps until a doorbell or the wake eventfd rings (not at all if units are pending); notes which. 0 or -errno. */
static int wait_for_units(struct fanout *fanout, uint32_t renditions, int timeout_ms)
{
    struct pollfd polled[FANOUT_RENDITIONS_MAX + 1];
    for (uint32_t i = 0; i < renditions; i++)
        polled[i] = (struct pollfd){.fd = fanout->renditions[i].doorbell, .events = POLLIN};
    polled[renditions] = (struct pollfd){.fd = fanout->wake_fd, .events = POLLIN};
    if (poll(polled, renditions + 1, timeout_ms) < 0)
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
    while (!atomic_load_explicit(&fanout->stopping, memory_order_acquire)) {
        uint32_t renditions = atomic_load_explicit(&fanout->rendition_count, memory_order_acquire);
        int pending = 0;
        for (uint32_t i = 0; i < renditions; i++)
            pending |= fanout->renditions[i].pending;
        int error = wait_for_units(fanout, renditions, pending ? 0 : -1);
        if (error)
            return error;
        for (uint32_t i = 0; i < renditions; i++)
            if (fanout->renditions[i].pending)
                serve(fanout, (int)i, &fanout->renditions[i]);
    }
    return 0;
}

void fanout_stop(struct fanout *fanout)
{
    atomic_store_explicit(&fanout->stopping, 1, memory_order_release);
    ring_eventfd(fanout->wake_fd);
}
