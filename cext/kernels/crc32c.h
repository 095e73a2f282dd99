/* CRC32c (Castagnoli), the checksum of SCTP packets (RFC 9260 appendix A). */
#ifndef APPLIANCE_CRC32C_H
#define APPLIANCE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* By the processor's instruction where it has one, else by table. */
uint32_t crc32c(const uint8_t *octets, size_t bytes);
uint32_t crc32c_table(const uint8_t *octets, size_t bytes);

#endif
