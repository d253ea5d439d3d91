/* SPDX-License-Identifier: Apache-2.0
 *
 * UDP packets of which no two are alike: each datagram carries its flow and a
 * number, so that whoever takes it knows whether it has been there before,
 * and whether it overtook another.
 */
#pragma once
#include "spec.h"

enum { NUMBERED_FLOWS = 8, NUMBER = 8 };

struct books {
	uint32_t next[NUMBERED_FLOWS];	/* number of the next datagram */
	uint32_t last[NUMBERED_FLOWS];	/* the last one taken, and one */
};

/* `pieces` datagrams of a flow as one packet, each of `size` bytes of payload
 * (at least NUMBER), from 10.1.flow.0 to 10.9.0.0 or from fd01:flow00:: to
 * fd09::. */
struct spec numbered(struct books *books, uint8_t family, unsigned flow,
		     unsigned pieces, uint32_t size);

/* A datagram arrives: it must be new, and overtake none of its flow. */
void numbered_take(struct books *books, const uint8_t *payload, uint32_t len);
