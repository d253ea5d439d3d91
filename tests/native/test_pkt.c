/* SPDX-License-Identifier: Apache-2.0
 *
 * pkt: what is parsed and what is refused, at every length, with a wall right
 * behind the last byte.
 */
#include "check.h"
#include "pkt.h"

#include <stdlib.h>

#include "spec.h"
#include "verified.h"

static const uint8_t protos[] = { PROTO_TCP, PROTO_UDP, PROTO_ICMP4, 132 };
#define N_PROTOS (sizeof(protos) / sizeof(*protos))

static struct spec any(uint8_t family)
{
	struct spec s = spec_random(family, protos[rnd_below(N_PROTOS)],
				    (uint32_t)rnd_below(64));

	if (rnd_chance(30))
		s.n_options = (uint8_t)rnd_below(family == 4 ? 11 : 6);
	if (rnd_chance(20))
		s.frag = (uint16_t)rnd();
	return s;
}

static bool is_fragment(const struct spec *s)
{
	return s->family == 4 ? s->frag & 0x3fff : s->frag;
}

static uint8_t transport_of(const struct spec *s)
{
	if (is_fragment(s) || (s->proto != PROTO_TCP && s->proto != PROTO_UDP))
		return 0;
	return s->proto;
}

static void check_fields(const struct pkt *p, const struct spec *s)
{
	uint32_t l4 = spec_l4(s);
	bool fragment6 = s->family == 6 && s->frag;

	CHECK_EQ(p->family, s->family);
	CHECK_EQ(p->len, spec_len(s));
	CHECK_EQ(p->fragment, is_fragment(s));
	CHECK_EQ(p->transport, transport_of(s));
	/* The fragment header is the last that is looked at. */
	CHECK_EQ(p->proto, fragment6 ? PROTO_FRAGMENT : s->proto);
	CHECK_EQ(p->l4, fragment6 ? l4 - 8 : l4);
	CHECK_EQ(p->payload, p->transport ? spec_header(s) : p->l4);
	CHECK_EQ(p->unfinished, false);
	CHECK_EQ(p->gso_size, 0);
	CHECK(!!pkt_tcp(p) == (p->transport == PROTO_TCP));
	CHECK(!!pkt_udp(p) == (p->transport == PROTO_UDP));
	CHECK(!!pkt_ip4(p) == (s->family == 4));
	CHECK(!!pkt_ip6(p) == (s->family == 6));
	CHECK_MEM(pkt_src(p), s->src, addr_len(s->family));
	CHECK_MEM(pkt_dst(p), s->dst, addr_len(s->family));
	CHECK_EQ(pkt_tos(p), s->tos);
	CHECK(!!pkt_csum(p) == !!p->transport);
}

/* One finished checksum in 65,536 is the pseudo-header sum as well. */
static void check_csum(const struct pkt *p)
{
	uint32_t l4_len = p->len - p->l4;
	uint16_t pseudo = htons(twin_pseudo(p->ip, p->proto, l4_len));

	CHECK(verified(p));
	CHECK_EQ(csum_fold(pkt_pseudo(p, l4_len)), pseudo);
	CHECK_EQ(pkt_is_unfinished(p), pkt_csum_get(p) == pseudo);
	p->ip[p->len - 1] ^= (uint8_t)(1 << rnd_below(8));
	CHECK(!verified(p));
}

static void valid(uint8_t family)
{
	for (int i = 0; i < 5000; i++) {
		struct spec s = any(family);
		uint32_t pad = (uint32_t)rnd_below(30);
		uint8_t *data = malloc(spec_len(&s) + pad);
		struct pkt p;

		CHECK(data);
		spec_build(&s, data);
		memset(data + spec_len(&s), 0x55, pad);
		CHECK_EQ(pkt_parse(&p, data, spec_len(&s) + pad, family),
			 PKT_OK);
		check_fields(&p, &s);
		if (p.transport)
			check_csum(&p);
		free(data);
	}
}

TEST(valid_packets)
{
	valid(IPV4);
	valid(IPV6);
}

/* What a packet cut to `len` bytes is. */
static enum pkt_error cut_error(const struct spec *s, uint32_t len)
{
	if (len < 1 || len < (s->family == 4 ? 20 : 40))
		return PKT_SHORT;
	if (s->family == 4 && len < spec_l4(s))
		return PKT_HEADER;
	return len < spec_len(s) ? PKT_LENGTH : PKT_OK;
}

static void cut_everywhere(const struct spec *s)
{
	uint8_t *whole = spec_new(s);
	struct pkt p;

	for (uint32_t len = 0; len <= spec_len(s); len++) {
		uint8_t *data = edge_new(len, false);

		memcpy(data, whole, len);
		check_context("IPv%u, %u of %u bytes", s->family, len,
			      spec_len(s));
		CHECK_EQ(pkt_parse(&p, data, len, s->family),
			 cut_error(s, len));
		edge_free(data, len, false);
	}
	free(whole);
}

TEST(every_truncation)
{
	for (int i = 0; i < 60; i++) {
		struct spec s = any(i & 1 ? IPV4 : IPV6);

		cut_everywhere(&s);
	}
}

/* IP lengths that say less than there is: nothing beyond is looked at. */
static void shorter(const struct spec *s)
{
	uint8_t *data = spec_new(s);
	uint32_t head = s->family == 4 ? 20 : 40;

	for (uint32_t len = head; len < spec_len(s); len++) {
		uint8_t *cut = edge_new(len, false);
		struct pkt p = { .ip = data, .family = s->family, .l4 = 20 };
		enum pkt_error error;

		pkt_set_len(&p, len);
		memcpy(cut, data, len);
		error = pkt_parse(&p, cut, len, s->family);
		if (len < spec_l4(s) - (s->family == 6 && s->frag ? 8 : 0)) {
			CHECK_EQ(error, PKT_HEADER);
		} else if (error == PKT_OK) {
			CHECK_EQ(p.len, len);
			CHECK(p.payload <= len && p.l4 <= p.payload);
			if (len < spec_header(s) || s->proto == PROTO_UDP)
				CHECK_EQ(p.transport, 0);
		}
		edge_free(cut, len, false);
	}
	free(data);
}

TEST(every_shorter_length)
{
	for (int i = 0; i < 60; i++) {
		struct spec s = any(i & 1 ? IPV4 : IPV6);

		shorter(&s);
	}
}

static enum pkt_error mangled(uint8_t family, unsigned offset, uint8_t value)
{
	struct spec s = spec_random(family, PROTO_TCP, 20);
	uint8_t *data = spec_new(&s);
	enum pkt_error error;
	struct pkt p;

	data[offset] = value;
	error = pkt_parse(&p, data, spec_len(&s), family);
	if (error == PKT_OK)
		CHECK(p.payload <= p.len && p.len <= spec_len(&s));
	free(data);
	return error;
}

TEST(header_fields)
{
	for (unsigned v = 0; v < 256; v++) {
		bool v4 = v >> 4 == 4, v6 = v >> 4 == 6;

		check_context("first byte %#x", v);
		if (!v4)
			CHECK_EQ(mangled(IPV4, 0, v), PKT_VERSION);
		else if ((v & 15) < 5)
			CHECK_EQ(mangled(IPV4, 0, v), PKT_HEADER);
		if (!v6)
			CHECK_EQ(mangled(IPV6, 0, v), PKT_VERSION);
		else
			CHECK_EQ(mangled(IPV6, 0, v), PKT_OK);
	}
	CHECK_EQ(mangled(IPV4, 2, 1), PKT_LENGTH);
	CHECK_EQ(mangled(IPV6, 4, 1), PKT_LENGTH);
	/* The other family's parser refuses it as well. */
	CHECK_EQ(mangled(IPV4, 3, 19), PKT_HEADER);
}

/* A broken TCP header makes the packet opaque, not wrong. */
TEST(tcp_data_offset)
{
	for (unsigned v = 0; v < 16; v++) {
		struct spec s = spec_random(IPV4, PROTO_TCP, 8);
		uint8_t *data;
		struct pkt p;

		s.n_tcp_options = 0;
		data = spec_new(&s);
		data[20 + 12] = (uint8_t)(v << 4);
		CHECK_EQ(pkt_parse(&p, data, spec_len(&s), IPV4), PKT_OK);
		CHECK_EQ(p.transport, v >= 5 && v <= 7 ? PROTO_TCP : 0);
		CHECK_EQ(p.payload, 20 + (p.transport ? 4 * v : 0));
		free(data);
	}
}

TEST(changing_ecn_keeps_a_broken_checksum_broken)
{
	for (unsigned i = 0; i < 10000; i++) {
		struct spec s = spec_random(IPV4, PROTO_TCP, 10);
		bool flip = rnd_chance(50);
		struct pkt p;

		p.ip = spec_new(&s);
		CHECK_EQ(pkt_parse(&p, p.ip, spec_len(&s), IPV4), PKT_OK);
		CHECK(pkt_header_ok(&p));
		if (flip)
			p.ip[rnd_range(12, 19)] ^= 1u << rnd_below(8);
		pkt_set_tos(&p, rnd());
		CHECK_EQ(pkt_header_ok(&p), !flip);
		free(p.ip);
	}
}
