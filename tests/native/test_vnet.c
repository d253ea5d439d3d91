/* SPDX-License-Identifier: Apache-2.0
 *
 * vnet: every header the kernel may hand over is taken for what it says, a
 * header that contradicts its packet is refused, and what we write the
 * kernel would understand.
 */
#include "check.h"
#include "vnet.h"

#include <stdlib.h>

#include "spec.h"

/* A random packet, parsed, for free(p.ip). */
static struct pkt packet(uint8_t family, uint8_t proto, uint32_t n_payload)
{
	struct spec s = spec_random(family, proto, n_payload);
	struct pkt p;

	if (rnd_chance(20))
		s.n_options = (uint8_t)rnd_below(5);
	CHECK_EQ(pkt_parse(&p, spec_new(&s), spec_len(&s), family), PKT_OK);
	return p;
}

static uint8_t gso_type(const struct pkt *p)
{
	if (p->transport == PROTO_UDP)
		return VNET_GSO_UDP;
	return p->family == IPV4 ? VNET_GSO_TCP4 : VNET_GSO_TCP6;
}

static struct vnethdr right_header(const struct pkt *p, uint16_t gso_size)
{
	return (struct vnethdr){
		.flags = VNET_NEEDS_CSUM,
		.gso_type = gso_type(p),
		.hdr_len = p->payload,
		.gso_size = gso_size,
		.csum_start = p->l4,
		.csum_offset = p->transport == PROTO_TCP ? 16 : 6,
	};
}

static bool takes(struct pkt p, const struct vnethdr *v)
{
	uint32_t start, offset;

	return vnet_take(&p, v, &start, &offset);
}

static void each_kind(void (*body)(struct pkt *p))
{
	for (unsigned i = 0; i < 400; i++) {
		struct pkt p = packet(i & 1 ? IPV4 : IPV6,
				      i & 2 ? PROTO_TCP : PROTO_UDP,
				      (uint32_t)rnd_range(2, 3000));

		body(&p);
		free(p.ip);
	}
}

/* What is taken and then written is the header that was read. */
static void there_and_back(struct pkt *p)
{
	uint32_t len = p->len - p->payload, start, offset;
	uint16_t size = (uint16_t)rnd_range(1, len - 1);
	struct vnethdr v = right_header(p, size), back;

	CHECK(vnet_take(p, &v, &start, &offset));
	CHECK(p->unfinished);
	CHECK_EQ(p->gso_size, size);
	CHECK_EQ(start, p->l4);
	CHECK_EQ(offset, v.csum_offset);
	back = vnet_make(p);
	CHECK_MEM(&back, &v, sizeof(v));
	/* "Congestion window reduced" changes nothing for us. */
	v.gso_type |= VNET_GSO_ECN;
	CHECK(vnet_take(p, &v, &start, &offset));
	CHECK_EQ(p->gso_size, size);
}

TEST(super_packets)
{
	each_kind(there_and_back);
}

static void one_segment(struct pkt *p)
{
	uint32_t len = p->len - p->payload;
	struct vnethdr v = right_header(p, (uint16_t)len);
	uint32_t start, offset;

	CHECK(vnet_take(p, &v, &start, &offset));
	CHECK_EQ(p->gso_size, 0);
	v.gso_size++;
	CHECK(vnet_take(p, &v, &start, &offset));
	CHECK_EQ(p->gso_size, 0);
}

TEST(super_packets_of_one_segment)
{
	each_kind(one_segment);
}

static void plain(struct pkt *p)
{
	struct vnethdr v = { 0 }, none = { 0 }, back;
	uint32_t start, offset;

	CHECK(vnet_take(p, &v, &start, &offset));
	CHECK(!p->unfinished && !p->gso_size);
	back = vnet_make(p);
	CHECK_MEM(&back, &none, sizeof(none));

	v = right_header(p, 0);
	v.gso_type = VNET_GSO_NONE;
	v.hdr_len = 0;
	CHECK(vnet_take(p, &v, &start, &offset));
	CHECK(p->unfinished && !p->gso_size);
	back = vnet_make(p);
	CHECK_MEM(&back, &v, sizeof(v));
	/* Numbers without the flag or type that makes them count. */
	v = (struct vnethdr){ .gso_size = 9, .csum_start = 0xffff };
	CHECK(vnet_take(p, &v, &start, &offset));
	CHECK(!p->unfinished && !p->gso_size);
}

TEST(single_packets)
{
	each_kind(plain);
}

static void contradictions(struct pkt *p)
{
	const struct vnethdr right = right_header(p, 1);
	struct vnethdr v = right;

	CHECK(takes(*p, &v));
	for (unsigned type = 1; type < 256; type++) {
		v.gso_type = (uint8_t)type;
		CHECK_EQ(takes(*p, &v), (type & 0x7f) == right.gso_type);
	}
	v = right;
	v.gso_size = 0;
	CHECK(!takes(*p, &v));
	v = right;
	v.flags = 0;
	CHECK(!takes(*p, &v));
	v = right;
	v.csum_start += 1 + (uint16_t)rnd_below(3);
	CHECK(!takes(*p, &v));
	v.csum_start = p->l4 - 1;
	CHECK(!takes(*p, &v));
}

TEST(contradictions_are_refused)
{
	each_kind(contradictions);
}

/* The checksum has to lie within the packet, to its last byte. */
static void csum_place(struct pkt *p)
{
	struct vnethdr v = { .flags = VNET_NEEDS_CSUM };

	for (unsigned i = 0; i < 30; i++) {
		uint32_t start = (uint32_t)rnd_below(p->len + 4);
		uint32_t end = p->len + (uint32_t)rnd_below(3) - 1;

		v.csum_start = (uint16_t)start;
		v.csum_offset = (uint16_t)(end - 2 - start);
		if (start + 2 > end)
			v.csum_offset = 0;
		CHECK_EQ(takes(*p, &v),
			 (uint32_t)v.csum_start + v.csum_offset + 2 <= p->len);
	}
	v.csum_start = 0xffff;
	v.csum_offset = 0xffff;
	CHECK(!takes(*p, &v));
}

TEST(place_of_the_checksum)
{
	each_kind(csum_place);
}

/* A fragment or another protocol is never a super-packet. */
TEST(only_what_can_be_segmented)
{
	for (unsigned i = 0; i < 200; i++) {
		struct pkt p = packet(i & 1 ? IPV4 : IPV6, 132, 500);
		struct vnethdr v = right_header(&p, 10);

		for (unsigned type = 1; type < 256; type++) {
			v.gso_type = (uint8_t)type;
			CHECK(!takes(p, &v));
		}
		free(p.ip);
	}
}

TEST(random_headers)
{
	for (unsigned i = 0; i < 20000; i++) {
		struct pkt p = packet(i & 1 ? IPV4 : IPV6,
				      i & 2 ? PROTO_TCP : PROTO_UDP,
				      (uint32_t)rnd_below(300));
		struct vnethdr v;
		uint32_t start, offset;

		rnd_fill(&v, sizeof(v));
		if (rnd_chance(50))
			v.gso_type = gso_type(&p);
		if (rnd_chance(70))
			v.csum_start = p.l4;
		if (rnd_chance(70))
			v.csum_offset = (uint16_t)rnd_below(40);
		if (vnet_take(&p, &v, &start, &offset)) {
			CHECK(!p.gso_size || p.unfinished);
			CHECK(p.gso_size < p.len - p.payload || !p.gso_size);
			if (p.unfinished && !p.gso_size)
				pkt_finish(&p, start, offset);
		}
		free(p.ip);
	}
}

static void tells_cwr(uint8_t family)
{
	uint8_t buf[128] = { 0 }, type = family == IPV4 ? VNET_GSO_TCP4
							: VNET_GSO_TCP6;
	uint32_t ip = ip_header_min(family);
	struct pkt p = { .ip = buf, .family = family, .transport = PROTO_TCP,
			 .len = 4000, .l4 = ip, .payload = ip + 20,
			 .gso_size = 1398, .unfinished = true };

	CHECK_EQ(vnet_make(&p).gso_type, type);
	pkt_tcp(&p)->flags = TCP_ACK | TCP_CWR;
	CHECK_EQ(vnet_make(&p).gso_type, type | VNET_GSO_ECN);
}

TEST(cwr_is_told_to_whoever_cuts)
{
	tells_cwr(IPV4);
	tells_cwr(IPV6);
}

/* No stack sends them; a Pod with a packet socket may. */
static void tiny(uint8_t family, uint8_t proto)
{
	struct pkt p = packet(family, proto, 65000);
	struct vnethdr v = right_header(&p, 7);

	CHECK(!takes(p, &v));
	v.gso_size = 8;
	CHECK(takes(p, &v));
	free(p.ip);
	p = packet(family, proto, 3);
	v = right_header(&p, 1);
	CHECK(takes(p, &v));
	free(p.ip);
}

TEST(segments_that_no_stack_makes)
{
	for (uint8_t family = 4; family <= 6; family += 2) {
		tiny(family, PROTO_TCP);
		tiny(family, PROTO_UDP);
	}
}
