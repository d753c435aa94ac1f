/* Which kernels.h this library was built with: a library that is older than the Python beside it must not be called. */
#include "kernels.h"

uint32_t header_crc(void) { return HEADER_CRC; }
