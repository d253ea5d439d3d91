/* SPDX-License-Identifier: Apache-2.0 */
#include "numbered.h"

#include "check.h"

static void put32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

struct spec numbered(struct books *books, uint8_t family, unsigned flow,
		     unsigned pieces, uint32_t size)
{
	uint8_t net = family == 4 ? 10 : 0xfd;
	static uint8_t payload[SPEC_MAX];
	struct spec s = {
		.family = family, .proto = SPEC_UDP, .ttl = 64,
		.frag = family == 4 ? SPEC_DF : 0,
		.src = { net, 1, (uint8_t)flow }, .dst = { net, 9 },
		.sport = (uint16_t)(1000 + flow), .dport = 2000,
		.payload = payload, .n_payload = pieces * size,
		.unfinished = pieces > 1,
	};

	for (unsigned i = 0; i < pieces; i++) {
		put32(payload + i * size, flow);
		put32(payload + i * size + 4, books->next[flow]++);
	}
	return s;
}

void numbered_take(struct books *books, const uint8_t *payload, uint32_t len)
{
	uint32_t flow, number;

	CHECK(len >= NUMBER);
	flow = get32(payload);
	number = get32(payload + 4) + 1;
	CHECK(flow < NUMBERED_FLOWS);
	CHECK(number > books->last[flow]);
	books->last[flow] = number;
}
