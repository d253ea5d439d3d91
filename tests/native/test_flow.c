/* SPDX-License-Identifier: Apache-2.0
 *
 * The hash of a flow: one for both directions and for all fragments, and not
 * one for flows that differ a little.
 */
#include <stdlib.h>

#include "check.h"
#include "pkt.h"
#include "spec.h"

enum { SIDE = 256, FLOWS = SIDE * SIDE, BY_CHANCE = 8 };

static uint32_t hash_of(const struct spec *s)
{
	uint8_t *data = spec_new(s);
	struct pkt p;

	CHECK_EQ(pkt_parse(&p, data, spec_len(s), s->family), PKT_OK);
	free(data);
	return p.flow;
}

static void turn(struct spec *s)
{
	uint16_t port = s->sport;
	uint8_t addr[16];

	s->sport = s->dport;
	s->dport = port;
	memcpy(addr, s->src, sizeof(addr));
	memcpy(s->src, s->dst, sizeof(addr));
	memcpy(s->dst, addr, sizeof(addr));
}

TEST(both_directions_have_one)
{
	for (int i = 0; i < 2000; i++) {
		struct spec s = spec_random(i & 1 ? 4 : 6,
					    i & 2 ? SPEC_TCP : SPEC_UDP, 8);
		uint32_t hash = hash_of(&s);

		turn(&s);
		CHECK_EQ(hash_of(&s), hash);
	}
}

TEST(all_fragments_have_one)
{
	for (int i = 0; i < 2000; i++) {
		struct spec s = spec_random(i & 1 ? 4 : 6, SPEC_UDP, 64);
		uint32_t hash;

		s.n_options = i & 2;
		s.frag = s.family == 4 ? 0x2000 : 1;		/* the first */
		hash = hash_of(&s);
		s.sport++;				/* no port there */
		s.frag = s.family == 4 ? 0x2000 | 185 : 185 << 3 | 1;
		CHECK_EQ(hash_of(&s), hash);
		s.frag = s.family == 4 ? 370 : 370 << 3;	/* the last */
		CHECK_EQ(hash_of(&s), hash);
	}
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void are_apart(uint32_t *hashes)
{
	uint32_t met = 0;

	qsort(hashes, FLOWS, sizeof(*hashes), by_value);
	for (uint32_t i = 1; i < FLOWS; i++)
		met += hashes[i] == hashes[i - 1];
	CHECK(met < BY_CHANCE);
}

/* Neighbours: of ports, then of addresses. */
static void neighbours_are_apart(uint8_t family)
{
	struct spec s = spec_random(family, SPEC_UDP, 0);
	uint32_t *hashes = malloc(FLOWS * sizeof(*hashes));
	uint32_t last = addr_len(family) - 1;

	CHECK(hashes);
	for (uint32_t i = 0; i < FLOWS; i++) {
		s.sport = (uint16_t)(32768 + i % SIDE);
		s.dport = (uint16_t)(8000 + i / SIDE);
		hashes[i] = hash_of(&s);
	}
	are_apart(hashes);
	s.src[last - 1]++;	/* another node's */
	for (uint32_t i = 0; i < FLOWS; i++) {
		s.src[last] = (uint8_t)(i % SIDE);
		s.dst[last] = (uint8_t)(i / SIDE);
		hashes[i] = hash_of(&s);
	}
	are_apart(hashes);
	free(hashes);
}

TEST(neighbours_of_ipv4_are_apart)
{
	neighbours_are_apart(4);
}

TEST(neighbours_of_ipv6_are_apart)
{
	neighbours_are_apart(6);
}

/* Where the hash is another, LAYOUT in learned.c must be.  It is made of words
 * of this machine. */
TEST(known_ones_of_little_endian)
{
	struct spec s = { .family = 4, .proto = SPEC_UDP, .ttl = 64,
			  .src = { 10, 244, 1, 2 }, .dst = { 10, 244, 2, 3 },
			  .sport = 40000, .dport = 53 };

	if (htons(1) == 1)
		return;
	CHECK_EQ(hash_of(&s), 0x4888f195);
	s.family = 6;
	CHECK_EQ(hash_of(&s), 0x7f3377a8);
}
