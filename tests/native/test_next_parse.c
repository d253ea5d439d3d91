/* SPDX-License-Identifier: Apache-2.0
 *
 * What pkt_parse_next() makes of a packet, pkt_parse() would.
 */
#include "check.h"
#include "pkt.h"
#include "spec.h"

enum { ROUNDS = 40000, ROOM = 2048 };

/* A packet and the one behind it. */
static struct {
	uint8_t bytes[ROOM];
	uint32_t len;
} packets[2];

static void make(uint8_t family)
{
	uint32_t size = (uint32_t)rnd_range(1, 1300);
	struct spec s = spec_random(family, rnd_chance(60) ? PROTO_TCP
							   : PROTO_UDP, size);

	if (rnd_chance(40))
		s.n_options = (uint8_t)rnd_range(1, 4);
	for (unsigned i = 0; i < 2; i++) {
		s.unfinished = rnd_chance(20);
		CHECK(spec_len(&s) + 32 <= ROOM);
		packets[i].len = spec_build(&s, packets[i].bytes);
		/* As a link's padding: bytes that are not the packet's. */
		if (rnd_chance(10))
			packets[i].len += 8 * (uint32_t)rnd_range(1, 4);
		s.seq += s.n_payload;
		s.id++;
		if (s.n_options && rnd_chance(20)) {
			s.n_options--;
			s.n_payload += rnd_chance(50) * (family == 4 ? 4 : 8);
		}
		if (rnd_chance(20))
			s.n_payload = (uint32_t)rnd_below(size + 1);
	}
}

/* One bit of the headers of one or, so that they are alike, of both. */
static void disturb(uint8_t family)
{
	uint32_t at = (uint32_t)rnd_below(80);
	uint8_t bit = (uint8_t)(1u << rnd_below(8));
	bool both = rnd_chance(20);

	if (rnd_chance(25))		/* of options, of the next header */
		at = ip_header_min(family) + at % 4;
	for (unsigned i = both ? 0 : (unsigned)rnd_below(2); i < 2; i++) {
		if (at < packets[i].len)
			packets[i].bytes[at] ^= bit;
		if (!both)
			break;
	}
}

static bool same_pkt(const struct pkt *a, const struct pkt *b)
{
	return a->ip == b->ip && a->len == b->len && a->l4 == b->l4 &&
	       a->payload == b->payload && a->family == b->family &&
	       a->proto == b->proto && a->transport == b->transport &&
	       a->fragment == b->fragment && a->flow == b->flow &&
	       a->unfinished == b->unfinished && a->gso_size == b->gso_size;
}

/* Whether something was made of the second one. */
static bool parse_both(const struct pkt *before, uint8_t family)
{
	uint8_t *ip = packets[1].bytes;
	uint32_t len = packets[1].len;
	struct pkt next, want;

	if (!pkt_parse_next(&next, before, ip, len))
		return false;
	CHECK_EQ(pkt_parse(&want, ip, len, family), PKT_OK);
	CHECK(same_pkt(&next, &want));
	return true;
}

static void check_rounds(uint8_t family)
{
	uint32_t taken = 0, tries = 0;
	struct pkt before;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned odds = rnd_chance(50) ? 0 : (unsigned)rnd_range(1, 3);

		check_context("IPv%u, round %u", family, i);
		make(family);
		for (unsigned k = 0; k < odds; k++)
			disturb(family);
		if (pkt_parse(&before, packets[0].bytes, packets[0].len,
			      family) != PKT_OK)
			continue;
		before.unfinished = rnd_chance(30);
		before.gso_size = rnd_chance(30) ? (uint16_t)rnd() : 0;
		tries++;
		taken += parse_both(&before, family);
	}
	CHECK(taken > tries / 3 && taken < tries - tries / 20);
}

TEST(the_next_packet_is_parsed_as_any_other)
{
	check_rounds(IPV4);
	check_rounds(IPV6);
}
