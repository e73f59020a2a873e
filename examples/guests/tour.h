// What the parts of the tour share.

#pragma once

#include <stddef.h>
#include <stdint.h>

void sha256(const uint8_t *data, size_t size, uint8_t digest[32]);

// tour_entry.S: the #PF handler's way into C, and what the processor pushed.
extern void page_fault_entry(void);
void on_page_fault(uint64_t error_code, uint64_t rip);
