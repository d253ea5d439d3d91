/* SPDX-License-Identifier: Apache-2.0
 *
 * The slow twin of a longest prefix match: a list, scanned bit by bit.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "api.h"

static inline bool lpm_bit(const uint8_t *addr, unsigned i)
{
	return addr[i / 8] >> (7 - i % 8) & 1;
}

static inline bool lpm_holds(const uint8_t *prefix, unsigned length,
			     const uint8_t *addr)
{
	for (unsigned i = 0; i < length; i++)
		if (lpm_bit(prefix, i) != lpm_bit(addr, i))
			return false;
	return true;
}

/* Clears the bits beyond length of an address of `bits` bits. */
static inline void lpm_mask(uint8_t *addr, unsigned length, unsigned bits)
{
	for (unsigned i = length; i < bits; i++)
		addr[i / 8] &= (uint8_t)~(0x80 >> i % 8);
}

/* The last address of a route. */
static inline void lpm_last(const struct vx_route *r, unsigned bits,
			    uint8_t *addr)
{
	memcpy(addr, r->prefix, 16);
	for (unsigned i = r->length; i < bits; i++)
		addr[i / 8] |= (uint8_t)(0x80 >> i % 8);
}

/* The next address, or the one before; wraps. */
static inline void lpm_step(uint8_t *addr, unsigned bits, int by)
{
	for (unsigned i = bits / 8; i-- > 0;) {
		addr[i] = (uint8_t)(addr[i] + by);
		if (addr[i] != (by > 0 ? 0 : 255))
			return;
	}
}

/* The route that wins, NULL: none. */
static inline const struct vx_route *lpm_scan(const struct vx_route *routes,
					      uint32_t n, const uint8_t *addr)
{
	const struct vx_route *best = NULL;

	for (uint32_t i = 0; i < n; i++)
		if ((!best || routes[i].length > best->length) &&
		    lpm_holds(routes[i].prefix, routes[i].length, addr))
			best = &routes[i];
	return best;
}
