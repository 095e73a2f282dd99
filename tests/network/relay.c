/* A bad network in a box: a UDP relay between the appliance and its viewers that loses, delays, doubles and limits as it is told.
 *
 * Compiled and driven by tests/network/relay.py: commands come as lines on stdin, each is answered by one line of JSON on stdout.
 * Every packet takes the same number of random draws, so a seed and an order of packets decide all losses. Its sockets are bound to
 * the loopback interface: nothing leaves the machine. It sleeps in epoll; packets that wait lie in a heap ordered by due time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAPPINGS_MAX 1024u
#define FLOWS_MAX 4096u
#define FLOW_PLACES (2u * FLOWS_MAX) /* of the hash table; a power of two */
#define PACKETS_MAX 32768u           /* that wait at once */
#define DATAGRAM_BYTES_MAX 2048u
#define BATCH 64u
#define EVENTS_MAX 64
#define LINE_BYTES_MAX 512u
#define SOCKET_BUFFER_BYTES (4 << 20)
#define IP_UDP_BYTES 28u /* a bottleneck carries the headers too */
#define NS_PER_MS 1000000.0

enum way { DOWN, UP }; /* towards the viewer, towards the appliance */
enum kind { CONTROL, TIMER, FRONT, BACK };

struct impairment {
    double loss_percent;
    double burst_packets;    /* mean length of a run of losses; up to 1: each packet for itself */
    double duplicate_percent;
    double delay_ms;
    double jitter_ms;        /* a packet takes delay_ms plus or minus up to this, evenly */
    double jitter_packets;   /* so many packets in a row share one draw, as those of a frame do behind a busy radio */
    double reorder;          /* 1: jitter lets packets overtake each other */
    double held_percent;     /* of packets that wait held_ms longer, and are overtaken */
    double held_ms;
    double bits_per_second;  /* the bottleneck; 0: none */
    double queue_ms;         /* the bottleneck's queue, drop-tail */
};

struct tally {
    uint64_t packets, octets, delivered, lost, cut, overrun, duplicated, held, refused;
    double queue_ms_max;
};

struct direction {
    struct impairment impairment;
    struct tally tally;
    uint64_t random, busy_until_ns, jitter_left;
    double jitter;
    int in_burst;
};

struct mapping {
    int front;
    struct sockaddr_in box;
};

struct flow {
    uint32_t mapping;
    int back; /* connected to the box */
    struct sockaddr_in viewer;
    uint64_t last_due_ns[2];
};

struct packet {
    uint32_t flow, bytes;
    enum way way;
    uint8_t octets[DATAGRAM_BYTES_MAX];
};

struct waiting {
    uint64_t due_ns, order;
    uint32_t packet;
};

static struct direction directions[2];
static struct mapping mappings[MAPPINGS_MAX];
static struct flow flows[FLOWS_MAX];
static uint32_t flow_places[FLOW_PLACES]; /* flow + 1; 0: empty */
static uint32_t mapping_count, flow_count, flows_refused;
static struct packet *packets;
static uint32_t free_packets[PACKETS_MAX], free_count;
static struct waiting heap[PACKETS_MAX];
static uint32_t heap_count;
static uint64_t orders, armed_ns;
static int poller, timer, cut;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double draw(struct direction *direction) /* splitmix64, 0 <= x < 1 */
{
    uint64_t mixed = direction->random += 0x9E3779B97F4A7C15u;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
    return (double)((mixed ^ mixed >> 31) >> 11) / (double)(1ull << 53);
}

static int earlier(const struct waiting *one, const struct waiting *other)
{
    return one->due_ns != other->due_ns ? one->due_ns < other->due_ns : one->order < other->order;
}

static void push(struct waiting fresh)
{
    uint32_t at = heap_count++;
    for (; at > 0 && earlier(&fresh, &heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = fresh;
}

static struct waiting pop(void)
{
    struct waiting first = heap[0], last = heap[--heap_count];
    uint32_t at = 0, child;
    for (; (child = 2 * at + 1) < heap_count; at = child) {
        if (child + 1 < heap_count && earlier(&heap[child + 1], &heap[child]))
            child++;
        if (!earlier(&heap[child], &last))
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return first;
}

static int lossy(struct direction *direction, double chance)
{
    const struct impairment *is = &direction->impairment;
    double loss = is->loss_percent / 100;
    if (is->burst_packets <= 1)
        return chance < loss;
    /* Gilbert's model: the mean length of a run decides how it ends, the share lost how often one begins. */
    if (direction->in_burst)
        direction->in_burst = chance >= 1 / is->burst_packets;
    else
        direction->in_burst = loss < 1 ? chance < loss / (1 - loss) / is->burst_packets : 1;
    return direction->in_burst;
}

/* When the packet leaves the bottleneck; 0 if its queue is full. */
static uint64_t through_bottleneck(struct direction *direction, uint32_t bytes, uint64_t now)
{
    const struct impairment *is = &direction->impairment;
    if (is->bits_per_second <= 0)
        return now;
    uint64_t start = direction->busy_until_ns > now ? direction->busy_until_ns : now;
    double queued_ms = (double)(start - now) / NS_PER_MS;
    if (queued_ms > is->queue_ms)
        return 0;
    if (queued_ms > direction->tally.queue_ms_max)
        direction->tally.queue_ms_max = queued_ms;
    direction->busy_until_ns = start + (uint64_t)((bytes + IP_UDP_BYTES) * 8 * 1e9 / is->bits_per_second);
    return direction->busy_until_ns;
}

static void enqueue(uint32_t flow, enum way way, const uint8_t *octets, uint32_t bytes, uint64_t due_ns)
{
    if (free_count == 0) {
        directions[way].tally.overrun++;
        return;
    }
    uint32_t slot = free_packets[--free_count];
    packets[slot].flow = flow;
    packets[slot].bytes = bytes;
    packets[slot].way = way;
    memcpy(packets[slot].octets, octets, bytes);
    push((struct waiting){due_ns, orders++, slot});
}

static void admit(uint32_t flow, enum way way, const uint8_t *octets, uint32_t bytes, uint64_t now)
{
    struct direction *direction = &directions[way];
    const struct impairment *is = &direction->impairment;
    struct tally *tally = &direction->tally;
    double loss = draw(direction), duplicate = draw(direction), jitter = draw(direction), hold = draw(direction);
    tally->packets++;
    tally->octets += bytes;
    if (direction->jitter_left == 0) {
        direction->jitter = (2 * jitter - 1) * is->jitter_ms;
        direction->jitter_left = is->jitter_packets > 1 ? (uint64_t)is->jitter_packets : 1;
    }
    direction->jitter_left--;
    if (lossy(direction, loss)) {
        tally->lost++;
        return;
    }
    uint64_t due = through_bottleneck(direction, bytes, now);
    if (due == 0) {
        tally->overrun++;
        return;
    }
    double delay_ms = is->delay_ms + direction->jitter;
    due += delay_ms > 0 ? (uint64_t)(delay_ms * NS_PER_MS) : 0;
    uint64_t *last = &flows[flow].last_due_ns[way];
    if (!is->reorder && due < *last)
        due = *last;
    *last = due;
    if (hold < is->held_percent / 100) {
        due += (uint64_t)(is->held_ms * NS_PER_MS);
        tally->held++;
    }
    enqueue(flow, way, octets, bytes, due);
    if (duplicate < is->duplicate_percent / 100) {
        enqueue(flow, way, octets, bytes, due);
        tally->duplicated++;
    }
}

static int loopback_socket(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), bytes = SOCKET_BUFFER_BYTES;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof "lo") || bind(fd, (struct sockaddr *)&any, sizeof any)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int watch(int fd, enum kind kind, uint32_t index)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)kind << 32 | index};
    return epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

/* The flow of a viewer's address through a mapping, made when it is new; FLOWS_MAX if there is no room. */
static uint32_t flow_of(uint32_t mapping, const struct sockaddr_in *viewer)
{
    uint64_t key = ((uint64_t)viewer->sin_addr.s_addr << 32 | (uint64_t)viewer->sin_port << 16 | mapping) * 0x9E3779B97F4A7C15u;
    uint32_t place = (uint32_t)(key >> 32) & (FLOW_PLACES - 1);
    for (; flow_places[place]; place = (place + 1) & (FLOW_PLACES - 1)) {
        const struct flow *flow = &flows[flow_places[place] - 1];
        if (flow->mapping == mapping && flow->viewer.sin_port == viewer->sin_port && flow->viewer.sin_addr.s_addr == viewer->sin_addr.s_addr)
            return flow_places[place] - 1;
    }
    int back = flow_count < FLOWS_MAX ? loopback_socket() : -1;
    if (back < 0 || connect(back, (const struct sockaddr *)&mappings[mapping].box, sizeof mappings[mapping].box) || watch(back, BACK, flow_count)) {
        if (back >= 0)
            close(back);
        flows_refused++;
        return FLOWS_MAX;
    }
    flows[flow_count] = (struct flow){.mapping = mapping, .back = back, .viewer = *viewer};
    flow_places[place] = ++flow_count;
    return flow_count - 1;
}

/* Takes what has come on a socket: a front's from any viewer, a back's from the box. */
static void receive(int fd, enum kind kind, uint32_t index)
{
    static uint8_t octets[BATCH][DATAGRAM_BYTES_MAX];
    struct sockaddr_in from[BATCH];
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    for (uint32_t i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){octets[i], DATAGRAM_BYTES_MAX};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    int count = recvmmsg(fd, messages, BATCH, 0, NULL);
    uint64_t now = now_ns();
    for (int i = 0; i < count; i++) {
        enum way way = kind == FRONT ? UP : DOWN;
        uint32_t flow = kind == FRONT ? flow_of(index, &from[i]) : index;
        if (cut)
            directions[way].tally.cut++;
        else if (flow < FLOWS_MAX)
            admit(flow, way, octets[i], messages[i].msg_len, now);
    }
}

/* Sends packets that are due one after the other through one socket, and frees them. */
static void deliver(const uint32_t *slots, uint32_t count)
{
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    struct flow *flow = &flows[packets[slots[0]].flow];
    enum way way = packets[slots[0]].way;
    for (uint32_t i = 0; i < count; i++) {
        parts[i] = (struct iovec){packets[slots[i]].octets, packets[slots[i]].bytes};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
        if (way == DOWN) {
            messages[i].msg_hdr.msg_name = &flow->viewer;
            messages[i].msg_hdr.msg_namelen = sizeof flow->viewer;
        }
    }
    /* An error belongs to the first packet of a call, often to an earlier one that met a closed port: it costs that packet alone. */
    for (uint32_t done = 0; done < count;) {
        int sent = sendmmsg(way == DOWN ? mappings[flow->mapping].front : flow->back, messages + done, count - done, 0);
        directions[way].tally.delivered += sent > 0 ? (uint64_t)sent : 0;
        directions[way].tally.refused += sent > 0 ? 0 : 1;
        done += sent > 0 ? (uint32_t)sent : 1;
    }
    for (uint32_t i = 0; i < count; i++)
        free_packets[free_count++] = slots[i];
}

static void deliver_due(uint64_t now)
{
    uint32_t run[BATCH], count = 0;
    while (heap_count && heap[0].due_ns <= now) {
        uint32_t slot = pop().packet;
        if (cut) { /* what was under way when the cable was pulled */
            directions[packets[slot].way].tally.cut++;
            free_packets[free_count++] = slot;
            continue;
        }
        if (count && (count == BATCH || packets[slot].flow != packets[run[0]].flow || packets[slot].way != packets[run[0]].way)) {
            deliver(run, count);
            count = 0;
        }
        run[count++] = slot;
    }
    if (count)
        deliver(run, count);
}

static void arm(void)
{
    uint64_t due = heap_count ? heap[0].due_ns : 0;
    if (due == armed_ns)
        return;
    struct itimerspec when = {.it_value = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
    armed_ns = due;
}

static void answer_map(const char *host, unsigned port)
{
    struct mapping *mapping = &mappings[mapping_count];
    struct sockaddr_in bound;
    socklen_t bytes = sizeof bound;
    mapping->box = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (mapping_count == MAPPINGS_MAX || inet_pton(AF_INET, host, &mapping->box.sin_addr) != 1 || (mapping->front = loopback_socket()) < 0) {
        printf("{\"error\": \"no mapping to %s:%u: not an IPv4 address, or too many\"}\n", host, port);
        return;
    }
    watch(mapping->front, FRONT, mapping_count++);
    getsockname(mapping->front, (struct sockaddr *)&bound, &bytes);
    printf("{\"port\": %u}\n", ntohs(bound.sin_port));
}

/* "loss_percent=5 delay_ms=20": what is not named is off. */
static void answer_impair(enum way way, char *settings)
{
#define SETTING(name) {#name, offsetof(struct impairment, name)}
    static const struct { const char *name; size_t at; } known[] = {
        SETTING(loss_percent), SETTING(burst_packets), SETTING(duplicate_percent), SETTING(delay_ms), SETTING(jitter_ms), SETTING(jitter_packets),
        SETTING(reorder), SETTING(held_percent), SETTING(held_ms), SETTING(bits_per_second), SETTING(queue_ms)};
    struct impairment wanted = {0};
    for (char *word = strtok(settings, " "); word; word = strtok(NULL, " ")) {
        char *value = strchr(word, '=');
        size_t i = 0, count = sizeof known / sizeof known[0];
        if (value)
            *value++ = 0;
        while (i < count && strcmp(word, known[i].name))
            i++;
        if (!value || i == count) {
            printf("{\"error\": \"no setting %s=NUMBER\"}\n", word);
            return;
        }
        *(double *)((char *)&wanted + known[i].at) = strtod(value, NULL);
    }
    directions[way].impairment = wanted;
    directions[way].jitter_left = 0;
    directions[way].in_burst = 0;
    printf("{}\n");
}

static void print_tally(const char *name, const struct tally *tally)
{
    printf("\"%s\": {\"packets\": %lu, \"octets\": %lu, \"delivered\": %lu, \"lost\": %lu, \"cut\": %lu, \"overrun\": %lu, \"duplicated\": %lu, "
           "\"held\": %lu, \"refused\": %lu, \"queue_ms_max\": %.1f}", name, tally->packets, tally->octets, tally->delivered, tally->lost,
           tally->cut, tally->overrun, tally->duplicated, tally->held, tally->refused, tally->queue_ms_max);
}

static void answer(char *line)
{
    char host[INET_ADDRSTRLEN];
    unsigned number;
    if (sscanf(line, "map %15s %u", host, &number) == 2 && number - 1 < 65535) {
        answer_map(host, number);
    } else if (sscanf(line, "cut %u", &number) == 1) {
        cut = number != 0;
        printf("{}\n");
    } else if (!strncmp(line, "down", 4) || !strncmp(line, "up", 2)) {
        answer_impair(line[0] == 'd' ? DOWN : UP, line + (line[0] == 'd' ? 4 : 2));
    } else if (!strcmp(line, "tally")) {
        printf("{\"flows\": %u, \"flows_refused\": %u, \"waiting\": %u, ", flow_count, flows_refused, heap_count);
        print_tally("down", &directions[DOWN].tally);
        printf(", ");
        print_tally("up", &directions[UP].tally);
        printf("}\n");
    } else {
        printf("{\"error\": \"unknown command\"}\n");
    }
    fflush(stdout);
}

/* Reads commands; 0 when whoever gives them has gone. */
static int obey(void)
{
    static char buffer[LINE_BYTES_MAX];
    static size_t kept;
    ssize_t count = read(STDIN_FILENO, buffer + kept, sizeof buffer - kept);
    if (count <= 0 || kept + (size_t)count == sizeof buffer)
        return 0;
    kept += (size_t)count;
    for (char *end; (end = memchr(buffer, '\n', kept));) {
        size_t line = (size_t)(end - buffer) + 1;
        *end = 0;
        answer(buffer);
        memmove(buffer, buffer + line, kept -= line);
    }
    return 1;
}

int main(int count, char **arguments)
{
    uint64_t seed = count > 1 ? strtoull(arguments[1], NULL, 10) : 1;
    struct epoll_event events[EVENTS_MAX];
    packets = calloc(PACKETS_MAX, sizeof *packets);
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (!packets || watch(STDIN_FILENO, CONTROL, 0) || watch(timer, TIMER, 0))
        return 1;
    while (free_count < PACKETS_MAX) {
        free_packets[free_count] = free_count;
        free_count++;
    }
    directions[DOWN].random = seed;
    directions[UP].random = ~seed;
    for (;;) {
        arm();
        int ready = epoll_wait(poller, events, EVENTS_MAX, -1);
        if (ready < 0 && errno != EINTR)
            return 1;
        for (int i = 0; i < ready; i++) {
            enum kind kind = (enum kind)(events[i].data.u64 >> 32);
            uint32_t index = (uint32_t)events[i].data.u64;
            uint64_t expirations;
            if (kind == CONTROL && !obey())
                return 0;
            if (kind == TIMER && read(timer, &expirations, sizeof expirations) > 0)
                armed_ns = 0;
            if (kind == FRONT || kind == BACK)
                receive(kind == FRONT ? mappings[index].front : flows[index].back, kind, index);
        }
        deliver_due(now_ns());
    }
}
