#include "pcapng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENHANCED_PACKET_BLOCK 6u
#define PADDING_BLOCK 0x80000000u /* types from here on are for local use (section 11.1): unknown to readers, who pass over them */
#define BLOCK_BYTES_MIN 12u
#define HEADER_BYTES 28u /* block type and length, interface, time, captured and original length */

int pcapng_open(struct pcapng *file, int fd)
{
    *file = (struct pcapng){.fd = fd, .buffer = aligned_alloc(PCAPNG_ALIGNMENT, PCAPNG_BUFFER_BYTES)};
    int flags = fcntl(fd, F_GETFL);
    file->direct = flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0; /* tmpfs, for one, refuses */
    return file->buffer ? 0 : -1;
}

void pcapng_close(struct pcapng *file)
{
    free(file->buffer);
    file->buffer = NULL;
}

static void write_through_cache(struct pcapng *file)
{
    if (file->direct)
        fcntl(file->fd, F_SETFL, fcntl(file->fd, F_GETFL) & ~O_DIRECT);
    file->direct = 0;
}

static int write_out(struct pcapng *file)
{
    size_t done = 0;
    while (done < file->used && !file->error) {
        ssize_t written = write(file->fd, file->buffer + done, file->used - done);
        if (written > 0)
            done += (size_t)written;
        else if (written < 0 && errno == EINVAL && file->direct)
            write_through_cache(file); /* a file system that takes the flag and not the write */
        else if (written == 0 || errno != EINTR)
            file->error = written == 0 ? EIO : errno;
    }
    if (file->error && done)
        (void)!ftruncate(file->fd, (off_t)file->written);
    if (!file->error)
        file->written += file->used;
    file->used = 0;
    return -file->error;
}

/* Fills the gathered blocks up to a multiple of the alignment. Safety: room() keeps two alignments free behind them. */
static void pad(struct pcapng *file)
{
    size_t missing = (PCAPNG_ALIGNMENT - file->used % PCAPNG_ALIGNMENT) % PCAPNG_ALIGNMENT;
    if (missing == 0)
        return;
    if (missing < BLOCK_BYTES_MIN)
        missing += PCAPNG_ALIGNMENT;
    const uint32_t head[] = {PADDING_BLOCK, (uint32_t)missing};
    uint8_t *at = file->buffer + file->used;
    memset(at, 0, missing);
    memcpy(at, head, sizeof head);
    memcpy(at + missing - 4, &head[1], 4);
    file->used += missing;
}

int pcapng_flush(struct pcapng *file)
{
    write_through_cache(file); /* the file's end is seldom aligned */
    return write_out(file);
}

/* Room for `length` octets at the end of the buffer. */
static uint8_t *room(struct pcapng *file, size_t length)
{
    if (file->used + length > PCAPNG_BUFFER_BYTES - 2 * PCAPNG_ALIGNMENT) {
        if (file->direct)
            pad(file);
        write_out(file);
    }
    uint8_t *at = file->buffer + file->used;
    file->used += length;
    return at;
}

void pcapng_packet(struct pcapng *file, uint32_t interface, uint64_t time_ns, const struct iovec *pieces, int piece_count)
{
    size_t length = 0;
    for (int i = 0; i < piece_count; i++)
        length += pieces[i].iov_len;
    if (length > PCAPNG_PACKET_BYTES_MAX)
        return;
    const uint32_t padded = (uint32_t)(length + 3) & ~3u, total = HEADER_BYTES + padded + 4;
    uint8_t *at = room(file, total);
    const uint32_t words[] = {ENHANCED_PACKET_BLOCK, total, interface, (uint32_t)(time_ns >> 32), (uint32_t)time_ns, (uint32_t)length, (uint32_t)length};
    memcpy(at, words, HEADER_BYTES);
    at += HEADER_BYTES;
    for (int i = 0; i < piece_count; i++) {
        memcpy(at, pieces[i].iov_base, pieces[i].iov_len);
        at += pieces[i].iov_len;
    }
    memset(at, 0, padded - length);
    memcpy(at + padded - length, &total, 4);
}

void pcapng_block(struct pcapng *file, const uint8_t *block, size_t length)
{
    if (length <= PCAPNG_BUFFER_BYTES / 2)
        memcpy(room(file, length), block, length);
}
