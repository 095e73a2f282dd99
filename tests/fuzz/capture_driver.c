/* Reads captures that are nearly right, as many as asked, under AddressSanitizer and UBSan.
 *
 * Built and run by test_capture_fuzz.py. Each lies in memory of exactly its size.   capture_driver SEED ROUNDS FILE...
 */
#include "capture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (1u << 20)

static uint64_t state;

static uint32_t below(uint32_t limit) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1dull >> 32) % limit;
}

static size_t read_file(const char *path, uint8_t *octets)
{
    FILE *file = fopen(path, "rb");
    size_t length = file ? fread(octets, 1, FILE_BYTES_MAX, file) : 0;
    if (!length)
        abort();
    fclose(file);
    return length;
}

/* What a length, an offset or a type may be changed to. */
static uint8_t hostile(void) { static const uint8_t octets[] = {0, 1, 4, 0x7f, 0x80, 0xff}; return below(3) ? octets[below(sizeof octets)] : (uint8_t)below(256); }

int main(int argc, char **argv)
{
    static uint8_t original[FILE_BYTES_MAX];
    uint64_t datagrams = 0, left_out = 0, refused = 0;
    state = strtoull(argv[1], NULL, 10) * 2 + 1;
    for (long round = strtol(argv[2], NULL, 10); round > 0; round--) {
        size_t length = read_file(argv[3 + below((uint32_t)argc - 3)], original);
        if (below(4) == 0)
            length = 1 + below((uint32_t)length);
        uint8_t *memory = malloc(length);
        memcpy(memory, original, length);
        for (uint32_t changes = below(8); changes; changes--)
            memory[below(below(2) ? (uint32_t)length : length < 200 ? (uint32_t)length : 200)] = hostile();
        struct capture capture;
        refused += capture_read(&capture, memory, length) != 0;
        for (uint64_t i = 0; i < capture.count; i++) {
            const struct captured *packet = &capture.packets[i];
            if (packet->flow >= capture.flow_count || packet->at + packet->length > length)
                abort();
        }
        datagrams += capture.count;
        for (int i = 0; i < LEFT_OUT_KINDS; i++)
            left_out += capture.left_out[i];
        capture_free(&capture);
        free(memory);
    }
    printf("%lu %lu %lu\n", (unsigned long)datagrams, (unsigned long)left_out, (unsigned long)refused);
    return 0;
}
