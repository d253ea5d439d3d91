/* SPDX-License-Identifier: Apache-2.0
 *
 * segment against a twin that builds every segment from scratch.
 */
#include "check.h"
#include "segment.h"

#include <stdlib.h>

#include "spec.h"
#include "verified.h"

/* The super-packet of s, parsed; its bytes are for free(). */
static struct pkt super_packet(const struct spec *s, uint32_t gso)
{
	uint8_t *data = spec_new(s);
	struct pkt p;

	CHECK_EQ(pkt_parse(&p, data, spec_len(s), s->family), PKT_OK);
	CHECK_EQ(p.transport, s->proto);
	CHECK_EQ(p.payload, spec_header(s));
	p.unfinished = true;
	p.gso_size = gso;
	return p;
}

static void check_segment(const struct pkt *p, const struct spec *s,
			  uint32_t gso, uint32_t i)
{
	struct spec one = spec_segment(s, gso, i);
	uint32_t len = p->payload + one.n_payload;
	uint8_t *want = spec_new(&one), *have = malloc(len);

	CHECK(have);
	CHECK_EQ(segment_len(p, i), len);
	segment_write(p, i, have);
	CHECK_MEM(have, want, len);
	free(have);
	free(want);
}

/* Cuts the packet that s describes and compares each piece. */
static void check_cut(struct spec s, uint32_t gso)
{
	uint32_t n = s.n_payload ? (s.n_payload + gso - 1) / gso : 1;
	struct pkt p;

	s.unfinished = true;
	p = super_packet(&s, gso);
	CHECK_EQ(segment_count(&p), n);
	for (uint32_t i = 0; i < n; i++) {
		check_context("IPv%u, protocol %u, flags %#x, %u bytes in "
			      "pieces of %u, piece %u", s.family, s.proto,
			      s.flags, s.n_payload, gso, i);
		check_segment(&p, &s, gso, i);
	}
	free(p.ip);
}

static uint8_t any_family(void)
{
	return rnd_chance(50) ? IPV4 : IPV6;
}

static uint8_t any_transport(void)
{
	return rnd_chance(60) ? PROTO_TCP : PROTO_UDP;
}

static struct spec any_spec(uint32_t n_payload)
{
	struct spec s = spec_random(any_family(), any_transport(), n_payload);

	s.flags = (uint8_t)rnd();
	s.urgent = (uint16_t)rnd();
	s.reserved = rnd_below(16);
	if (rnd_chance(20))
		s.n_options = (uint8_t)rnd_below(s.family == 4 ? 11 : 5);
	return s;
}

TEST(random_packets)
{
	for (int i = 0; i < 4000; i++) {
		uint32_t gso = (uint32_t)rnd_range(1, 1500);
		uint32_t len = (uint32_t)rnd_below(gso * 8 + 1);

		check_cut(any_spec(len), gso);
	}
}

TEST(full_size_packets)
{
	for (int i = 0; i < 60; i++) {
		struct spec s = any_spec(0);
		/* The length of IPv6 does not count its own header. */
		uint32_t len = SPEC_MAX - spec_header(&s) +
			       40 * (s.family == 6);

		s.n_payload = len - (uint32_t)rnd_below(3);
		check_cut(s, (uint32_t)rnd_range(500, 65000));
	}
}

TEST(all_flags)
{
	for (unsigned flags = 0; flags < 256; flags++) {
		struct spec s = spec_random(any_family(), PROTO_TCP, 2500);

		s.flags = (uint8_t)flags;
		check_cut(s, 1000);
	}
}

TEST(ids_and_sequence_numbers_wrap)
{
	for (uint32_t i = 0; i < 20; i++) {
		struct spec s = spec_random(IPV4, PROTO_TCP, 14000);

		s.id = (uint16_t)(0xfff0 + i);
		s.seq = 0xffffffff - 1000 * i;
		check_cut(s, 1000);
	}
}

/* Every length around the borders between one, two and three pieces. */
TEST(borders)
{
	for (uint32_t gso = 1; gso < 20; gso++)
		for (uint32_t len = 0; len <= 3 * gso + 1; len++)
			check_cut(any_spec(len), gso);
}

TEST(no_super_packet)
{
	struct spec s = spec_random(IPV4, PROTO_TCP, 3000);
	struct pkt p = super_packet(&s, 0);

	CHECK_EQ(segment_count(&p), 1);
	CHECK_EQ(segment_len(&p, 0), p.len);
	free(p.ip);
}

/* RFC 768: a sum of zero goes out as ~0 in UDP; TCP has no such rule. */
static void zero_sum(uint8_t family, uint8_t proto)
{
	struct spec s = spec_random(family, proto, 100);
	uint8_t payload[100], *data, segment[SEGMENT_HEADER_MAX + 100];
	uint16_t csum;
	struct pkt p;

	memcpy(payload, s.payload, sizeof(payload));
	s.payload = payload;
	memset(payload, 0, 2);
	data = spec_new(&s);
	/* What the checksum is now makes it zero as a part of the data. */
	CHECK_EQ(pkt_parse(&p, data, spec_len(&s), family), PKT_OK);
	csum = pkt_csum_get(&p);
	memcpy(payload, &csum, 2);
	free(data);
	s.unfinished = true;
	p = super_packet(&s, 100);
	segment_write(&p, 0, segment);
	memcpy(&csum, segment + p.l4 + csum_offset(proto), 2);
	CHECK_EQ(csum, proto == PROTO_UDP ? 0xffff : 0);
	free(p.ip);
	check_cut(s, 100);
}

TEST(sum_of_zero)
{
	for (int i = 0; i < 50; i++)
		zero_sum(any_family(), any_transport());
}

TEST(longest_headers)
{
	struct spec s = spec_random(IPV4, PROTO_TCP, 5000);

	s.n_options = 10;
	s.n_tcp_options = 10;
	check_cut(s, 700);
	s = spec_random(IPV6, PROTO_TCP, 5000);
	s.n_tcp_options = 10;
	s.n_options = (SEGMENT_HEADER_MAX - 40 - 60) / 8;
	check_cut(s, 700);
}

/* RFC 8200, 8.1: the pseudo-header has the final destination, which the kernel
 * has summed; the one in the packet is where it goes next. */
TEST(a_routing_header_keeps_its_final_destination)
{
	struct spec s = spec_random(IPV6, any_transport(), 5000);
	uint8_t final[16], segment[SEGMENT_HEADER_MAX + 1000];
	uint8_t *routing;
	struct pkt p;

	s.n_options = 3;
	s.unfinished = true;
	memcpy(final, s.dst, sizeof(final));
	p = super_packet(&s, 1000);	/* summed for s.dst, */
	routing = p.ip + 40;
	p.ip[6] = PROTO_ROUTING;
	memcpy(routing, (uint8_t[]){ s.proto, 2, 2, 1, 0, 0, 0, 0 }, 8);
	memcpy(routing + 8, final, sizeof(final));
	p.ip[24] ^= 0xff;		/* and sent to another node */
	for (uint32_t i = 0; i < 5; i++) {
		struct pkt one;

		segment_write(&p, i, segment);
		memcpy(segment + 24, final, sizeof(final));
		CHECK_EQ(pkt_parse(&one, segment, p.payload + 1000, IPV6),
			 PKT_OK);
		CHECK_EQ(one.transport, s.proto);
		CHECK(verified(&one));
	}
	free(p.ip);
}
