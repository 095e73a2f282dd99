#include "assembly.h"

/* No row's time: so long ago that every frame is too late for it, and no difference overflows. */
#define NEVER_NS (INT64_MIN / 2)

#include <stdlib.h>
#include <string.h>

static void set_whole(struct assembly *assembly, int64_t monotonic_ns)
{
    for (uint32_t row = 0; row < assembly->raster.rows; row++)
        assembly->whole_monotonic_ns[row] = monotonic_ns;
}

/* Lets so many frames be open at once. False without memory. */
static bool may_open(struct assembly *assembly, uint32_t frames)
{
    for (; assembly->open_max < frames; assembly->open_max++) {
        struct open_frame *frame = &assembly->open[assembly->open_max];
        frame->coverage = calloc(assembly->raster.pgroups / 64 + 1, sizeof(uint64_t));
        if (!frame->coverage)
            return false;
    }
    return true;
}

/* Senders spread a frame over its interval, and may begin the next one late. */
static int64_t spread_ns(const struct assembly *assembly)
{
    return assembly->frame_interval_ns + assembly->frame_interval_ns / 2;
}

struct assembly *assembly_new(const struct raster *raster, const struct frame_sink *sink, uint8_t payload_type, const uint8_t *neutral)
{
    struct assembly *assembly = calloc(1, sizeof *assembly);
    if (!assembly)
        return NULL;
    assembly->raster = *raster;
    assembly->sink = *sink;
    assembly->paths.count = 1;
    assembly->paths.each[0].payload_type = payload_type;
    assembly->rate_hz = 90000;
    assembly->capture_early_ns_max = assembly->capture_late_ns_max = CAPTURE_DISTANCE_NS_MAX;
    for (uint32_t i = 0; i < PATHS_MAX; i++)
        timing_begin(&assembly->timing[i], &(struct timing_schedule){.rate_numerator = 50, .rate_denominator = 1, .active_numerator = 1,
                                                                     .active_denominator = 1, .rate_hz = 90000});
    memcpy(assembly->neutral, neutral, raster->pgroup_bytes);
    assembly->whole_monotonic_ns = malloc(raster->rows * sizeof(int64_t));
    if (!assembly->whole_monotonic_ns) {
        assembly_free(assembly);
        return NULL;
    }
    set_whole(assembly, NEVER_NS);
    if (!may_open(assembly, FRAMES_OPEN_MIN)) {
        assembly_free(assembly);
        return NULL;
    }
    return assembly;
}

bool assembly_protect(struct assembly *assembly, uint8_t payload_type, uint32_t ssrc_difference, int64_t skew_ns, uint32_t frames_open)
{
    struct paths *paths = &assembly->paths;
    paths->count = PATHS_MAX;
    paths->each[1].payload_type = payload_type;
    paths->ssrc_difference = ssrc_difference;
    paths->skew_ns = skew_ns;
    paths->silence_ns = spread_ns(assembly) > PATH_SILENCE_NS ? spread_ns(assembly) : PATH_SILENCE_NS;
    return may_open(assembly, frames_open < FRAMES_OPEN_MAX ? frames_open : FRAMES_OPEN_MAX);
}

void assembly_free(struct assembly *assembly)
{
    for (uint32_t i = 0; i < FRAMES_OPEN_MAX; i++) {
        if (i < assembly->open_count && assembly->open[i].payload)
            assembly->sink.abandon(assembly->sink.context, assembly->open[i].slot);
        free(assembly->open[i].coverage);
    }
    free(assembly->whole_monotonic_ns);
    free(assembly);
}

void assembly_adopt(struct assembly *assembly, const uint8_t *payload, int64_t monotonic_ns)
{
    assembly->last_payload = payload;
    set_whole(assembly, monotonic_ns);
}

/* Marks pgroups as arrived; returns how many were not before: all of them but for a sender that repeats itself. */
static uint32_t cover(uint64_t *coverage, uint32_t first, uint32_t count)
{
    uint32_t fresh = count;
    while (count) {
        uint32_t at = first % 64, take = count < 64 - at ? count : 64 - at;
        uint64_t *word = &coverage[first / 64], bits = ~0ull >> (64 - take) << at, again = *word & bits;
        if (again)
            fresh -= (uint32_t)__builtin_popcountll(again);
        *word |= bits;
        first += take;
        count -= take;
    }
    return fresh;
}

/* First pgroup from `from` on that has arrived (or has not), at most `end`. */
static uint32_t find(const uint64_t *coverage, uint32_t from, uint32_t end, bool arrived)
{
    while (from < end) {
        uint64_t bits = (arrived ? coverage[from / 64] : ~coverage[from / 64]) >> (from % 64);
        if (bits) {
            from += (uint32_t)__builtin_ctzll(bits);
            return from < end ? from : end;
        }
        from += 64 - from % 64;
    }
    return end;
}

/* Fills a hole with the newest published samples of the same place, or with grey if those may be too old. A field's hole shows the other
 * field's row, which lies half a field row away: less than what moves in the time of two fields. */
static void fill(const struct assembly *assembly, struct open_frame *frame, uint32_t start, uint32_t end, bool fresh)
{
    const uint32_t pgroup_bytes = assembly->raster.pgroup_bytes;
    /* Safety: start < end <= raster.pgroups, and both payloads hold raster.pgroups * pgroup_bytes octets. */
    size_t offset = (size_t)start * pgroup_bytes, length = (size_t)(end - start) * pgroup_bytes;
    if (fresh)
        memcpy(frame->payload + offset, assembly->last_payload + offset, length);
    else
        for (size_t i = 0; i < length; i += pgroup_bytes)
            memcpy(frame->payload + offset + i, assembly->neutral, pgroup_bytes);
}

/* Fills the holes of a frame that is about to be published and notes which of its rows are new. Returns how many rows are not whole. */
static uint32_t conceal(struct assembly *assembly, struct open_frame *frame)
{
    const uint32_t row_pgroups = assembly->raster.row_pgroups;
    const int64_t now = frame->first.monotonic_ns;
    uint32_t rows = 0;
    for (uint32_t row = 0; row < frame->pgroups / row_pgroups; row++) {
        uint32_t after = (row + 1) * row_pgroups, start = find(frame->coverage, after - row_pgroups, after, false);
        int64_t *whole = &assembly->whole_monotonic_ns[row];
        if (start == after) {
            *whole = now;
            continue;
        }
        /* Not by the age of the last frame: its own holes may show samples from long before it. */
        bool fresh = now - *whole <= LAST_FRAME_NS_MAX;
        rows++;
        while (start < after) {
            uint32_t end = find(frame->coverage, start, after, true);
            fill(assembly, frame, start, end, fresh);
            start = find(frame->coverage, end, after, false);
        }
    }
    return rows * assembly->raster.pgroup_rows;
}

/* The row that a shorter second field lacks repeats the one above: a slot is always full, and the next field's holes show nothing older. */
static void lengthen(struct assembly *assembly, const struct open_frame *frame)
{
    const struct raster *raster = &assembly->raster;
    /* Safety: fields have a row at least (raster_set), and pgroups is one row more than frame->pgroups. */
    size_t row_bytes = (size_t)raster->row_pgroups * raster->pgroup_bytes, end = (size_t)frame->pgroups * raster->pgroup_bytes;
    memcpy(frame->payload + end, frame->payload + end - row_bytes, row_bytes);
    assembly->whole_monotonic_ns[raster->rows - 1] = assembly->whole_monotonic_ns[raster->rows - 2];
}

/* RTP timestamp to publish: the sender's. Senders of plain RFC 4175 give both fields of a frame one time, and pictures must differ in theirs. */
static uint32_t own_timestamp(const struct assembly *assembly, const struct open_frame *frame)
{
    bool shared = frame->second_field && assembly->closed.valid && !assembly->closed.second_field && assembly->closed.timestamp == frame->timestamp;
    return frame->timestamp + (shared ? (uint32_t)(assembly->frame_interval_ns * assembly->rate_hz / 1000000000) : 0);
}

/* The TAI instant nearest to the arrival that has this RTP timestamp; as appliance.clock.unwrap_rtp_timestamp. */
static int64_t unwrap(const struct assembly *assembly, uint32_t timestamp, int64_t near_tai_ns)
{
    const __int128 second_ns = 1000000000;
    __int128 near_ticks = (__int128)near_tai_ns * assembly->rate_hz / second_ns;
    int32_t difference = (int32_t)(timestamp - assembly->mediaclk_offset - (uint32_t)near_ticks);
    /* Rounded up, so that the timestamp of the result is the timestamp again. */
    return (int64_t)(((near_ticks + difference) * second_ns + assembly->rate_hz - 1) / assembly->rate_hz);
}

static void publish(struct assembly *assembly, struct open_frame *frame)
{
    struct assembly_statistics *statistics = &assembly->statistics;
    const struct raster *raster = &assembly->raster;
    const uint32_t timestamp = own_timestamp(assembly, frame);
    int64_t capture = unwrap(assembly, timestamp, frame->first.tai_ns);
    assembly->transit_ns = frame->first.tai_ns - capture;
    if (assembly->transit_ns > assembly->capture_late_ns_max || assembly->transit_ns < -assembly->capture_early_ns_max) {
        capture = frame->first.tai_ns;
        statistics->arrival_timed++;
    }
    struct slot_header header = {
        .number = assembly->number,
        .capture_tai_ns = (uint64_t)capture,
        .first_packet_tai_ns = (uint64_t)frame->first.tai_ns,
        .rtp_timestamp = timestamp,
        .flags = (assembly->discontinuity ? FLAG_DISCONTINUITY : 0) | (frame->second_field ? FLAG_SECOND_FIELD : 0),
        .payload_bytes = raster->pgroups * raster->pgroup_bytes,
    };
    if (frame->covered == frame->pgroups) {
        set_whole(assembly, frame->first.monotonic_ns);
    } else {
        header.flags |= FLAG_INCOMPLETE;
        header.rows_missing = conceal(assembly, frame);
        statistics->rows_missing += header.rows_missing;
        statistics->incomplete++;
    }
    if (frame->pgroups != raster->pgroups)
        lengthen(assembly, frame);
    assembly->sink.publish(assembly->sink.context, frame->slot, &header);
    assembly->last_payload = frame->payload;
    assembly->discontinuity = false;
    statistics->frames++;
    statistics->second_fields += frame->second_field;
}

/* Ends the oldest open frame: published, or dropped and counted. */
static void close_oldest(struct assembly *assembly, bool by_marker)
{
    struct open_frame frame = assembly->open[0];
    assembly->number++;
    if (!frame.payload) {
        assembly->statistics.no_slot++;
    } else if ((uint64_t)frame.covered * SPARSE_DIVISOR < frame.pgroups) {
        assembly->sink.abandon(assembly->sink.context, frame.slot);
        assembly->statistics.sparse++;
    } else {
        publish(assembly, &frame);
    }
    sequence_settle(&assembly->window, frame.last_sequence);
    assembly->closed.valid = true;
    assembly->closed.timestamp = frame.timestamp;
    assembly->closed.last_sequence = frame.last_sequence;
    assembly->closed.complete = frame.covered == frame.pgroups;
    assembly->sender.whole |= assembly->closed.complete;
    assembly->closed.by_marker = by_marker;
    assembly->closed.second_field = frame.second_field;
    assembly->open_count--;
    for (uint32_t i = 0; i < assembly->open_count; i++)
        assembly->open[i] = assembly->open[i + 1];
    assembly->open[assembly->open_count].coverage = frame.coverage; /* its memory goes round */
}

/* The frame's marker came, and what is missing before it will not come any more. A marker before which nothing is missing, in a frame that
 * is not whole, was set too early: more will follow. */
static bool marked(const struct assembly *assembly, const struct open_frame *frame)
{
    if (!frame->marker || !assembly->sender.marker_trusted || !sequence_before(frame->marker_sequence, assembly->window.next_needed))
        return false;
    uint32_t first = assembly->closed.valid ? assembly->closed.last_sequence + 1 : frame->first_sequence;
    return frame->packets < frame->marker_sequence - first + 1;
}

/* Closes, oldest first, every frame that is whole or that nothing outstanding can belong to. */
static void close_finished(struct assembly *assembly)
{
    while (assembly->open_count) {
        const struct open_frame *oldest = &assembly->open[0];
        bool whole = oldest->covered == oldest->pgroups;
        /* A frame before it may be missing altogether, and the other path be about to bring it. */
        if (assembly->paths.together && sequence_before(assembly->window.next_needed, oldest->first_sequence))
            return;
        bool passed = assembly->open_count > 1 && sequence_before(assembly->open[1].first_sequence, assembly->window.next_needed);
        bool by_marker = !whole && marked(assembly, oldest);
        if (!whole && !passed && !by_marker)
            return;
        close_oldest(assembly, by_marker);
    }
}

/* Whether a packet's raw frame is a second field; the second segment of PsF is part of a whole frame. */
static bool own_field(const struct assembly *assembly, const struct rfc4175_packet *packet)
{
    return packet->second_field && assembly->raster.scan == SCAN_INTERLACED;
}

/* RTP ticks by which a time is ahead of where the sender's would be, had it gone on as our clock did. Modulo 2^32: a silence may be of any length. */
static int64_t ahead(const struct assembly *assembly, uint32_t timestamp, const struct instant *now)
{
    const struct sender *sender = &assembly->sender;
    __int128 passed = (__int128)(now->monotonic_ns - sender->steady.monotonic_ns) * assembly->rate_hz / 1000000000;
    return (int32_t)(timestamp - sender->steady.timestamp - (uint32_t)passed);
}

/* Keeps the course of the sender's time. Frames that waited for us in a buffer while we did not run are none of it. */
static void note_course(struct assembly *assembly, uint32_t timestamp, const struct instant *now)
{
    struct sender *sender = &assembly->sender;
    if (llabs(ahead(assembly, timestamp, now)) < assembly->rate_hz / 2 || now->monotonic_ns - sender->steady.monotonic_ns > STEADY_NS_MAX) {
        sender->steady.timestamp = timestamp;
        sender->steady.monotonic_ns = now->monotonic_ns;
    }
}

static struct open_frame *open_at(struct assembly *assembly, uint32_t place, const struct rfc4175_packet *packet, const struct instant *now)
{
    uint64_t *coverage = assembly->open[assembly->open_count].coverage;
    for (uint32_t i = assembly->open_count; i > place; i--)
        assembly->open[i] = assembly->open[i - 1];
    assembly->open_count++;
    struct open_frame *frame = &assembly->open[place];
    *frame = (struct open_frame){.timestamp = packet->timestamp, .first_sequence = packet->sequence, .last_sequence = packet->sequence,
                                 .second_field = own_field(assembly, packet), .first = *now, .coverage = coverage};
    frame->pgroups = frame->second_field ? assembly->raster.second_pgroups : assembly->raster.pgroups;
    memset(coverage, 0, (assembly->raster.pgroups / 64 + 1) * sizeof *coverage);
    frame->payload = assembly->sink.claim(assembly->sink.context, &frame->slot);
    note_course(assembly, packet->timestamp, now);
    return frame;
}

/* The open frame that a packet belongs to, opened if need be; NULL if its frame is closed. */
static struct open_frame *frame_of(struct assembly *assembly, const struct rfc4175_packet *packet, const struct instant *now)
{
    const bool second_field = own_field(assembly, packet);
    for (uint32_t i = assembly->open_count; i-- > 0;)
        if (assembly->open[i].timestamp == packet->timestamp && assembly->open[i].second_field == second_field)
            return &assembly->open[i];
    if (sequence_before(packet->sequence, assembly->window.settled))
        return NULL;
    if (assembly->closed.valid && assembly->closed.timestamp == packet->timestamp && assembly->closed.second_field == second_field) {
        if (assembly->closed.by_marker && assembly->sender.marker_trusted) {
            /* The sender sets it before the end: from here on only coverage and time close its frames. */
            assembly->sender.marker_trusted = false;
            assembly->statistics.markers_early++;
        }
        return NULL;
    }
    if (assembly->open_count == assembly->open_max) {
        if (sequence_before(packet->sequence, assembly->open[0].first_sequence))
            return NULL;
        close_oldest(assembly, false);
    }
    uint32_t place = assembly->open_count;
    while (place && sequence_before(packet->sequence, assembly->open[place - 1].first_sequence))
        place--;
    return open_at(assembly, place, packet, now);
}

static void write_segments(struct assembly *assembly, struct open_frame *frame, const struct rfc4175_packet *packet)
{
    const uint8_t *samples = packet->samples;
    for (uint32_t i = 0; i < packet->segment_count; i++) {
        const struct rfc4175_segment *segment = &packet->segments[i];
        /* Safety: rfc4175_read proved first_pgroup + pgroups <= raster.pgroups, and that the lengths add up to the packet's samples. */
        if (frame->payload)
            memcpy(frame->payload + (size_t)segment->first_pgroup * assembly->raster.pgroup_bytes, samples, segment->length);
        frame->covered += cover(frame->coverage, segment->first_pgroup, segment->pgroups);
        samples += segment->length;
    }
}

/* Whether the followed sender goes on with this packet after a gap, its own, the network's or ours: its time went on as our clock did, and its
 * numbers by what that time can hold. `*packets`: how many the gap took, where its numbers tell. */
static bool resumes(const struct assembly *assembly, const struct rfc4175_packet *packet, const struct instant *now, uint32_t *packets)
{
    const struct sender *sender = &assembly->sender;
    int64_t step = (int32_t)(packet->timestamp - sender->newest_timestamp);
    if (packet->ssrc != sender->ssrc || step <= 0 || llabs(ahead(assembly, packet->timestamp, now)) >= assembly->rate_hz / 2)
        return false;
    uint32_t gap = packet->sequence - assembly->window.arrived.highest - 1;
    *packets = sender->high_half_broken ? 0 : gap;
    if (sender->high_half_broken)
        return step > assembly->rate_hz * TIMESTAMP_STEP_S_MAX; /* only the time tells that there was one */
    return gap <= (now->monotonic_ns - sender->steady.monotonic_ns) / PACKET_NS_MIN;
}

/* Ends what was open of the followed sender: what comes next does not continue it. */
static void leave(struct assembly *assembly)
{
    while (assembly->open_count)
        close_oldest(assembly, false);
    paths_settle(&assembly->paths, &assembly->window.arrived, assembly->window.arrived.highest);
    assembly->discontinuity = true;
}

/* The sender's own numbers say how many packets the gap took, on every path. */
static void count_outage(struct assembly *assembly, uint32_t packets)
{
    assembly->window.lost += packets;
    for (uint32_t i = 0; i < assembly->paths.count; i++)
        assembly->paths.each[i].statistics.lost += packets;
    assembly->statistics.outages++;
}

/* Follows the sender of this packet from here on. */
static void lock_on(struct assembly *assembly, const struct rfc4175_packet *packet, const struct instant *now)
{
    assembly->sender = (struct sender){.locked = true, .marker_trusted = true, .ssrc = packet->ssrc, .newest_timestamp = packet->timestamp,
                                       .locked_monotonic_ns = now->monotonic_ns, .accepted_monotonic_ns = now->monotonic_ns,
                                       .steady = {packet->timestamp, now->monotonic_ns}};
    assembly->closed.valid = false;
    sequence_begin(&assembly->window, packet->sequence);
    paths_begin(&assembly->paths, packet->sequence);
}

/* Why a sound packet does not continue what the followed sender sent; MALFORMED_NOT and its place in the sequence if it does. */
static enum malformed foreign(struct assembly *assembly, const struct rfc4175_packet *packet, int32_t *difference)
{
    struct sender *sender = &assembly->sender;
    if (packet->ssrc != sender->ssrc)
        return MALFORMED_SSRC;
    int32_t step = (int32_t)(packet->timestamp - sender->newest_timestamp), step_max = (int32_t)(assembly->rate_hz * TIMESTAMP_STEP_S_MAX);
    if (step > step_max || step < -step_max / 4)
        return MALFORMED_TIMESTAMP;
    int16_t short_difference = (int16_t)(packet->sequence - assembly->window.arrived.highest);
    *difference = (int32_t)(packet->sequence - assembly->window.arrived.highest);
    if (*difference != short_difference && !sender->high_half_broken) {
        /* The low half goes on and the high half does not: some senders leave it at zero. A loss that looks like it, of a multiple
         * of 65536 packets, comes with a larger step in time. */
        bool continues = short_difference >= -(int)REORDER_PACKETS_MAX && short_difference <= (int)REORDER_PACKETS_MAX &&
                         step <= step_max / 20 && step >= -step_max / 20;
        sender->high_half_broken = continues;
        assembly->statistics.high_half_wrong += continues;
    }
    if (sender->high_half_broken)
        *difference = short_difference;
    if (*difference >= (int32_t)SEQUENCE_REACH || *difference <= -(int32_t)SEQUENCE_REACH)
        return MALFORMED_SEQUENCE;
    /* Older than all that is open, and yet of a newer time. */
    if (step > 0 && sequence_before(assembly->window.arrived.highest + (uint32_t)*difference, assembly->window.settled))
        return MALFORMED_SEQUENCE;
    return MALFORMED_NOT;
}

/* True once enough packets in order came from elsewhere, by one path, while the followed sender was silent on both or brought nothing whole. */
static bool proven(const struct assembly *assembly, struct candidate *candidate, const struct rfc4175_packet *packet, const struct instant *now)
{
    uint16_t ahead = (uint16_t)((uint16_t)packet->sequence - candidate->next);
    bool in_order = candidate->count && candidate->ssrc == packet->ssrc && ahead < REORDER_PACKETS_MAX;
    candidate->count = in_order ? candidate->count + 1 : 1;
    candidate->ssrc = packet->ssrc;
    candidate->next = (uint16_t)(packet->sequence + 1);
    const struct sender *sender = &assembly->sender;
    bool silent = now->monotonic_ns - sender->accepted_monotonic_ns >= PROOF_SILENCE_NS;
    bool fruitless = !sender->whole && now->monotonic_ns - sender->locked_monotonic_ns >= PROOF_SILENCE_NS + 2 * spread_ns(assembly);
    return candidate->count >= PROOF_PACKETS && (silent || fruitless);
}

/* Decides whether a sound packet is the followed sender's, following another one where that is due. */
static enum malformed follow(struct assembly *assembly, struct candidate *candidate, const struct rfc4175_packet *packet, const struct instant *now,
                             int32_t *difference)
{
    struct sender *sender = &assembly->sender;
    if (!sender->locked) {
        lock_on(assembly, packet, now);
        *difference = 1;
        return MALFORMED_NOT;
    }
    enum malformed reason = foreign(assembly, packet, difference);
    if (reason != MALFORMED_NOT) {
        uint32_t gap = 0;
        bool same = resumes(assembly, packet, now, &gap);
        if (!same && !proven(assembly, candidate, packet, now))
            return reason;
        leave(assembly);
        if (same) {
            count_outage(assembly, gap);
        } else {
            assembly->statistics.restarts++;
            set_whole(assembly, NEVER_NS); /* another scene, for all we know */
        }
        lock_on(assembly, packet, now);
        *difference = 1;
    }
    sender->accepted_monotonic_ns = now->monotonic_ns;
    if ((int32_t)(packet->timestamp - sender->newest_timestamp) > 0)
        sender->newest_timestamp = packet->timestamp;
    return MALFORMED_NOT;
}

/* The other path had brought this number: shows that its frame is still being sent, and whether both carry the same. */
static void compare(struct assembly *assembly, const struct rfc4175_packet *packet, const struct instant *now)
{
    const bool second_field = own_field(assembly, packet);
    struct open_frame *frame = NULL;
    for (uint32_t i = assembly->open_count; i-- > 0 && !frame;)
        if (assembly->open[i].timestamp == packet->timestamp && assembly->open[i].second_field == second_field)
            frame = &assembly->open[i];
    assembly->statistics.redundant++;
    if (!frame)
        return;
    frame->last_monotonic_ns = now->monotonic_ns;
    if (packet->sequence % COMPARED_PACKETS || !frame->payload)
        return;
    const uint8_t *samples = packet->samples;
    bool differing = false;
    for (uint32_t i = 0; i < packet->segment_count; i++) {
        const struct rfc4175_segment *segment = &packet->segments[i];
        /* Safety: as in write_segments. */
        differing |= memcmp(frame->payload + (size_t)segment->first_pgroup * assembly->raster.pgroup_bytes, samples, segment->length) != 0;
        samples += segment->length;
    }
    assembly->statistics.differing += differing;
}

/* Writes a packet that no path had brought before to its frame. */
static void accept(struct assembly *assembly, struct path *path, const struct rfc4175_packet *packet, enum arrival arrival, size_t length,
                   const struct instant *now)
{
    struct assembly_statistics *statistics = &assembly->statistics;
    struct open_frame *frame = frame_of(assembly, packet, now);
    if (!frame) {
        bool surplus = arrival == ARRIVAL_EARLIER || (assembly->closed.complete && arrival == ARRIVAL_IN_ORDER);
        statistics->surplus += surplus;
        path->statistics.late += !surplus;
        return;
    }
    statistics->packets++;
    statistics->octets += length;
    path->statistics.first++;
    path->statistics.reordered += packet->sequence != path->newest;
    if (sequence_before(packet->sequence, frame->first_sequence))
        frame->first_sequence = packet->sequence;
    if (sequence_before(frame->last_sequence, packet->sequence))
        frame->last_sequence = packet->sequence;
    frame->packets++;
    frame->last_monotonic_ns = now->monotonic_ns;
    /* Source: ST 2110-20 6.1.2, each segment of PsF ends with a marker: the first one's is not the frame's end. */
    if (packet->marker && (assembly->raster.scan != SCAN_SEGMENTED || packet->second_field)) {
        frame->marker = true;
        frame->marker_sequence = packet->sequence;
    }
    write_segments(assembly, frame, packet);
}

/* The followed sender's SSRC where it is that one's by the other path. */
static uint32_t flow_ssrc(const struct assembly *assembly, uint32_t ssrc)
{
    const uint32_t followed = assembly->sender.ssrc;
    return (ssrc ^ assembly->paths.ssrc_difference) == followed ? followed : ssrc;
}

/* Whether a packet, sound or not, is somebody else's while the followed sender is heard. */
static bool stray(const struct assembly *assembly, const uint8_t *bytes, size_t length, const struct instant *now)
{
    const struct sender *sender = &assembly->sender;
    return sender->locked && length >= RTP_HEADER_BYTES && now->monotonic_ns - sender->accepted_monotonic_ns < HEARD_NS &&
           flow_ssrc(assembly, read_u32(bytes + 8)) != sender->ssrc;
}

void assembly_packet(struct assembly *assembly, uint32_t path_number, const uint8_t *bytes, size_t length, const struct instant *now)
{
    struct paths *paths = &assembly->paths;
    struct path *path = &paths->each[path_number];
    struct rfc4175_packet packet;
    int32_t difference = 0;
    enum malformed reason = rfc4175_read(bytes, length, path->payload_type, &assembly->raster, &packet);
    if (assembly->survey.wanted && !stray(assembly, bytes, length, now))
        survey_note(&assembly->survey, bytes, length, path->payload_type);
    if (reason == MALFORMED_NOT) {
        packet.ssrc = flow_ssrc(assembly, packet.ssrc);
        reason = follow(assembly, &path->candidate, &packet, now, &difference);
    } else if (reason >= MALFORMED_SRD_LENGTH && stray(assembly, bytes, length, now)) {
        reason = MALFORMED_SSRC;
    }
    if (reason != MALFORMED_NOT) {
        path->statistics.malformed[reason]++;
        return;
    }
    /* From here on the number is ours: the sender's where its high half counts. */
    packet.sequence = assembly->window.arrived.highest + (uint32_t)difference;
    timing_packet(&assembly->timing[path_number], packet.sequence, packet.timestamp, packet.second_field, now->tai_ns);
    if (paths_note(paths, path, packet.sequence, now, &assembly->window.arrived)) {
        path->statistics.duplicate++;
        return;
    }
    enum arrival arrival = sequence_note(&assembly->window, difference);
    sequence_advance(&assembly->window, paths_edge(paths, path, now));
    if (arrival == ARRIVAL_DUPLICATE) {
        path->statistics.reordered += packet.sequence != path->newest;
        compare(assembly, &packet, now);
    } else {
        accept(assembly, path, &packet, arrival, length, now);
    }
    close_finished(assembly);
}

void assembly_tick(struct assembly *assembly, int64_t now_monotonic_ns)
{
    const int64_t skew_ns = assembly->paths.together ? assembly->paths.skew_ns : 0;
    const int64_t open_ns_max = (spread_ns(assembly) > FRAME_OPEN_NS ? spread_ns(assembly) : FRAME_OPEN_NS) + skew_ns;
    const int64_t reorder_ns_max = skew_ns > REORDER_NS_MAX ? skew_ns : REORDER_NS_MAX;
    if (assembly->sender.locked)
        paths_tick(&assembly->paths, &assembly->window.arrived, now_monotonic_ns);
    while (assembly->open_count) {
        const struct open_frame *oldest = &assembly->open[0];
        bool overdue = now_monotonic_ns - oldest->first.monotonic_ns > open_ns_max;
        bool finished = assembly->open_count > 1 || oldest->covered == oldest->pgroups;
        bool overtaken = finished && now_monotonic_ns - oldest->last_monotonic_ns > reorder_ns_max;
        if (!overdue && !overtaken)
            return;
        close_oldest(assembly, false);
        close_finished(assembly); /* the next one may have waited for this */
    }
}
