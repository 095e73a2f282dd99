#include "capture.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000ull
#define PCAP_HEADER_BYTES 24u
#define PCAP_RECORD_BYTES 16u
/* Source: draft-ietf-opsawg-pcapng sections 4.1 to 4.4 and appendix A; tcpdump.org/linktypes.html */
#define BLOCK_SECTION 0x0a0d0d0au
#define BLOCK_INTERFACE 1u
#define BLOCK_OLD_PACKET 2u
#define BLOCK_SIMPLE_PACKET 3u
#define BLOCK_PACKET 6u
#define BYTE_ORDER_MAGIC 0x1a2b3c4du
#define OPTION_RESOLUTION 9u
enum { LINK_NULL = 0, LINK_ETHERNET = 1, LINK_RAW_BSD = 12, LINK_RAW_OPENBSD = 14, LINK_RAW = 101, LINK_LOOP = 108, LINK_COOKED = 113,
       LINK_IPV4 = 228, LINK_IPV6 = 229, LINK_COOKED_2 = 276 };

struct interface {
    uint32_t link;
    uint64_t units_per_s; /* of its times */
};

struct reading {
    struct capture *capture;
    const uint8_t *memory;
    size_t length;
    bool swapped;
    uint32_t interface_count;
    struct interface interfaces[CAPTURE_INTERFACES_MAX];
};

static uint32_t u32_at(const struct reading *reading, size_t at)
{
    uint32_t value;
    memcpy(&value, reading->memory + at, 4);
    return reading->swapped ? __builtin_bswap32(value) : value;
}

static uint16_t u16_at(const struct reading *reading, size_t at)
{
    uint16_t value;
    memcpy(&value, reading->memory + at, 2);
    return reading->swapped ? __builtin_bswap16(value) : value;
}

static uint16_t network_u16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

/* The flow's number, or CAPTURE_FLOWS_MAX if there are too many. */
static uint32_t flow_of(struct capture *capture, const uint8_t *address, uint8_t version, uint16_t port)
{
    const size_t bytes = version == 4 ? 4 : 16;
    uint32_t number = 0;
    while (number < capture->flow_count) {
        const struct captured_flow *flow = &capture->flows[number];
        if (flow->version == version && flow->port == port && !memcmp(flow->address, address, bytes))
            return number;
        number++;
    }
    if (number < CAPTURE_FLOWS_MAX) {
        capture->flows[number] = (struct captured_flow){.version = version, .port = port};
        memcpy(capture->flows[number].address, address, bytes);
        capture->flow_count++;
    }
    return number;
}

static int keep(struct reading *reading, uint64_t time_ns, const uint8_t *payload, size_t length, uint32_t flow)
{
    struct capture *capture = reading->capture;
    if (capture->count == capture->room) {
        uint64_t room = capture->room ? 2 * capture->room : 65536;
        struct captured *grown = realloc(capture->packets, room * sizeof *grown);
        if (!grown)
            return CAPTURE_MEMORY;
        capture->packets = grown;
        capture->room = room;
    }
    capture->packets[capture->count++] = (struct captured){.time_ns = time_ns, .at = (uint64_t)(payload - reading->memory), .length = (uint32_t)length, .flow = flow};
    capture->flows[flow].packets++;
    capture->flows[flow].octets += length;
    return 0;
}

static int left_out(struct reading *reading, enum capture_left_out kind)
{
    reading->capture->left_out[kind]++;
    return 0;
}

/* A packet from its IP header on. */
static int take_ip(struct reading *reading, uint64_t time_ns, const uint8_t *ip, size_t length)
{
    if (length < 20)
        return left_out(reading, LEFT_OUT_CUT);
    const uint8_t version = ip[0] >> 4;
    size_t header = version == 4 ? (size_t)(ip[0] & 15) * 4 : 40, total;
    uint8_t protocol;
    if (version == 4) {
        if (header < 20)
            return left_out(reading, LEFT_OUT_NOT_UDP);
        total = network_u16(ip + 2);
        protocol = ip[9];
        if (network_u16(ip + 6) & 0x3fff)
            return left_out(reading, LEFT_OUT_FRAGMENT);
    } else if (version == 6 && length >= 40) {
        total = 40u + network_u16(ip + 4);
        protocol = ip[6];
    } else {
        return left_out(reading, version == 6 ? LEFT_OUT_CUT : LEFT_OUT_NOT_UDP);
    }
    if (protocol != 17)
        return left_out(reading, LEFT_OUT_NOT_UDP);
    /* Safety: header + 8 <= length before the UDP header is read, and its payload ends within the packet. */
    if (length < header + 8 || total > length)
        return left_out(reading, LEFT_OUT_CUT);
    const uint8_t *udp = ip + header;
    size_t udp_bytes = network_u16(udp + 4);
    if (udp_bytes < 8 || header + udp_bytes > length)
        return left_out(reading, LEFT_OUT_CUT);
    uint32_t flow = flow_of(reading->capture, version == 4 ? ip + 16 : ip + 24, version, network_u16(udp + 2));
    if (flow == CAPTURE_FLOWS_MAX)
        return left_out(reading, LEFT_OUT_FLOWS);
    return keep(reading, time_ns, udp + 8, udp_bytes - 8, flow);
}

/* From the type of an Ethernet frame on, VLAN tags between. */
static int take_type(struct reading *reading, uint64_t time_ns, const uint8_t *packet, size_t length, size_t at)
{
    while (at + 2 <= length && (network_u16(packet + at) == 0x8100 || network_u16(packet + at) == 0x88a8))
        at += 4;
    if (at + 2 > length)
        return left_out(reading, LEFT_OUT_CUT);
    uint16_t type = network_u16(packet + at);
    if (type != 0x0800 && type != 0x86dd)
        return left_out(reading, LEFT_OUT_NOT_UDP);
    return take_ip(reading, time_ns, packet + at + 2, length - at - 2);
}

static int take_packet(struct reading *reading, uint32_t link, uint64_t time_ns, size_t at, size_t captured, size_t original)
{
    const uint8_t *packet = reading->memory + at;
    if (captured < original && captured < 64)
        return left_out(reading, LEFT_OUT_CUT);
    switch (link) {
    case LINK_ETHERNET:
        return take_type(reading, time_ns, packet, captured, 12);
    case LINK_COOKED:
        return take_type(reading, time_ns, packet, captured, 14);
    case LINK_COOKED_2:
        return captured < 20 ? left_out(reading, LEFT_OUT_CUT) : network_u16(packet) == 0x0800 || network_u16(packet) == 0x86dd
            ? take_ip(reading, time_ns, packet + 20, captured - 20) : left_out(reading, LEFT_OUT_NOT_UDP);
    case LINK_NULL:
    case LINK_LOOP:
        return captured < 4 ? left_out(reading, LEFT_OUT_CUT) : take_ip(reading, time_ns, packet + 4, captured - 4);
    case LINK_RAW_BSD:
    case LINK_RAW_OPENBSD:
    case LINK_RAW:
    case LINK_IPV4:
    case LINK_IPV6:
        return take_ip(reading, time_ns, packet, captured);
    default:
        return left_out(reading, LEFT_OUT_LINK);
    }
}

static int read_pcap(struct reading *reading, uint64_t units_per_s)
{
    const uint32_t link = u32_at(reading, 20) & 0xffff;
    size_t at = PCAP_HEADER_BYTES;
    int failed = 0;
    while (!failed && at < reading->length) {
        if (reading->length - at < PCAP_RECORD_BYTES || reading->length - at - PCAP_RECORD_BYTES < u32_at(reading, at + 8)) {
            reading->capture->broken = 1;
            break;
        }
        uint64_t time_ns = u32_at(reading, at) * SECOND_NS + u32_at(reading, at + 4) * (SECOND_NS / units_per_s);
        uint32_t captured = u32_at(reading, at + 8);
        failed = take_packet(reading, link, time_ns, at + PCAP_RECORD_BYTES, captured, u32_at(reading, at + 12));
        at += PCAP_RECORD_BYTES + captured;
    }
    return failed;
}

static uint64_t units_of(uint8_t resolution)
{
    uint64_t units = 1;
    if (resolution & 0x80)
        return 1ull << ((resolution & 0x7f) < 62 ? resolution & 0x7f : 62);
    for (int i = 0; i < resolution && i < 18; i++)
        units *= 10;
    return units;
}

static uint64_t to_ns(uint64_t units, uint64_t units_per_s)
{
    return units / units_per_s * SECOND_NS + (uint64_t)((unsigned __int128)(units % units_per_s) * SECOND_NS / units_per_s);
}

/* An interface description: `at` is the body's place, `end` behind it. */
static void read_interface(struct reading *reading, size_t at, size_t end)
{
    struct interface found = {.link = end - at >= 8 ? u16_at(reading, at) : UINT32_MAX, .units_per_s = 1000000};
    for (size_t option = at + 8; option + 4 <= end;) {
        uint16_t code = u16_at(reading, option), bytes = u16_at(reading, option + 2);
        if (code == 0 || option + 4 + bytes > end)
            break;
        if (code == OPTION_RESOLUTION && bytes == 1)
            found.units_per_s = units_of(reading->memory[option + 4]);
        option += 4 + ((bytes + 3u) & ~3u);
    }
    if (reading->interface_count < CAPTURE_INTERFACES_MAX)
        reading->interfaces[reading->interface_count++] = found;
}

static int read_packet_block(struct reading *reading, uint32_t kind, size_t at, size_t end)
{
    if (end - at < 20)
        return left_out(reading, LEFT_OUT_CUT);
    uint32_t number = kind == BLOCK_OLD_PACKET ? u16_at(reading, at) : u32_at(reading, at);
    uint64_t units = (uint64_t)u32_at(reading, at + 4) << 32 | u32_at(reading, at + 8);
    uint32_t captured = u32_at(reading, at + 12);
    if (captured > end - at - 20)
        return left_out(reading, LEFT_OUT_CUT);
    if (number >= reading->interface_count)
        return left_out(reading, LEFT_OUT_LINK);
    const struct interface *interface = &reading->interfaces[number];
    return take_packet(reading, interface->link, to_ns(units, interface->units_per_s), at + 20, captured, u32_at(reading, at + 16));
}

static int read_pcapng(struct reading *reading)
{
    size_t at = 0;
    int failed = 0;
    while (!failed && at < reading->length) {
        if (reading->length - at < 12)
            goto broken;
        uint32_t kind = u32_at(reading, at);
        if (kind == BLOCK_SECTION) {
            uint32_t magic;
            memcpy(&magic, reading->memory + at + 8, 4);
            if (magic != BYTE_ORDER_MAGIC && magic != __builtin_bswap32(BYTE_ORDER_MAGIC))
                goto broken;
            reading->swapped = magic != BYTE_ORDER_MAGIC;
            reading->interface_count = 0;
        }
        uint32_t length = u32_at(reading, at + 4);
        if (length < 12 || length % 4 || length > reading->length - at)
            goto broken;
        const size_t body = at + 8, end = at + length - 4;
        if (kind == BLOCK_INTERFACE)
            read_interface(reading, body, end);
        else if (kind == BLOCK_PACKET || kind == BLOCK_OLD_PACKET)
            failed = read_packet_block(reading, kind, body, end);
        else if (kind == BLOCK_SIMPLE_PACKET)
            failed = left_out(reading, LEFT_OUT_LINK); /* it has no time */
        at += length;
    }
    return failed;
broken:
    reading->capture->broken = 1;
    return 0;
}

int capture_read(struct capture *capture, const uint8_t *memory, size_t length)
{
    struct reading reading = {.capture = capture, .memory = memory, .length = length};
    memset(capture, 0, sizeof *capture);
    if (length < PCAP_HEADER_BYTES)
        return CAPTURE_UNKNOWN;
    uint32_t magic = u32_at(&reading, 0);
    if (magic == BLOCK_SECTION)
        return read_pcapng(&reading);
    reading.swapped = magic == 0xd4c3b2a1u || magic == 0x4d3cb2a1u;
    magic = u32_at(&reading, 0);
    if (magic != 0xa1b2c3d4u && magic != 0xa1b23c4du)
        return CAPTURE_UNKNOWN;
    return read_pcap(&reading, magic == 0xa1b23c4du ? SECOND_NS : 1000000);
}

void capture_free(struct capture *capture)
{
    free(capture->packets);
    capture->packets = NULL;
}
