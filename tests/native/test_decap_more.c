/* SPDX-License-Identifier: Apache-2.0
 *
 * decap, second part: whose source it is, what kernel peers leave undone, and
 * explicit congestion notification.
 */
#include "check.h"
#include "decap.h"

#include <stdlib.h>

#include "decap_frame.h"
#include "ecn.h"
#include "segment.h"

static void each_family(void (*body)(uint8_t family))
{
	for (unsigned i = 0; i < 40; i++) {
		body(IPV4);
		body(IPV6);
	}
}

static enum counter with_source(struct frame *f, uint8_t mode, bool known,
				const uint8_t *src)
{
	struct pkt p;

	memcpy(f->spec.src, src, 16);
	frame_write(f);
	f->settings.source_check = mode;
	f->outer.peer = known ? &f->table->peers[0] : NULL;
	return frame_decap(f, 0, &p);
}

static void check_source(uint8_t family, const uint8_t *src, bool belongs)
{
	struct frame f = frame_new(family);

	CHECK_EQ(with_source(&f, VX_SOURCE_STRICT, true, src),
		 belongs ? NO_DROP : DROP_IN_SPOOFED_SOURCE);
	CHECK_EQ(with_source(&f, VX_SOURCE_LOOSE, true, src), NO_DROP);
	CHECK_EQ(with_source(&f, VX_SOURCE_LOOSE, false, src),
		 DROP_IN_UNKNOWN_PEER);
	CHECK_EQ(with_source(&f, VX_SOURCE_STRICT, false, src),
		 DROP_IN_UNKNOWN_PEER);
	CHECK_EQ(with_source(&f, VX_SOURCE_OFF, true, src), NO_DROP);
	CHECK_EQ(with_source(&f, VX_SOURCE_OFF, false, src), NO_DROP);
	frame_free(&f);
}

static void sources(uint8_t family)
{
	uint8_t addr[16];

	for (unsigned which = 1; which < 4; which++) {
		frame_addr(family, which, addr);
		check_source(family, addr, which == 1);
	}
}

TEST(modes_of_the_source_check)
{
	each_family(sources);
}

/* A node may speak for itself, and for no other. */
static void node_addresses(uint8_t family)
{
	struct frame f = frame_new(family);

	CHECK_EQ(with_source(&f, VX_SOURCE_STRICT, true, f.peers[0].outer),
		 NO_DROP);
	CHECK_EQ(with_source(&f, VX_SOURCE_STRICT, true, f.peers[1].outer),
		 DROP_IN_SPOOFED_SOURCE);
	frame_free(&f);
}

TEST(node_addresses_as_sources)
{
	each_family(node_addresses);
}

/* An unfinished packet of some length, decapsulated. */
static struct pkt undone(struct frame *f, uint8_t proto, uint32_t n_payload,
			 uint32_t hint, bool unfinished)
{
	struct pkt p;

	f->spec.proto = proto;
	f->spec.n_payload = n_payload;
	f->spec.payload = spec_bytes(n_payload);
	f->spec.unfinished = unfinished;
	frame_write(f);
	CHECK_EQ(frame_decap(f, hint, &p), NO_DROP);
	/* One finished checksum in 65,536 looks unfinished. */
	if (p.transport)
		CHECK(p.unfinished == unfinished || p.unfinished);
	return p;
}

static void kernel_tcp(uint8_t family)
{
	struct frame f = frame_new(family);
	uint32_t header, fits;
	struct pkt p;

	f.spec.proto = PROTO_TCP;
	header = spec_header(&f.spec);
	fits = FRAME_MTU - header;
	for (uint32_t n = fits - 2; n < fits + 3; n++) {
		p = undone(&f, PROTO_TCP, n, 0, true);
		CHECK_EQ(p.gso_size, n > fits ? fits : 0);
		p = undone(&f, PROTO_TCP, n, 0, false);
		CHECK(p.unfinished || p.gso_size == 0);
	}
	p = undone(&f, PROTO_TCP, 65000 - header, 0, true);
	CHECK_EQ(p.gso_size, fits);
	frame_free(&f);
}

TEST(tcp_of_kernel_peers)
{
	each_family(kernel_tcp);
}

/* Another MTU comes with another table, never in the middle of one. */
TEST(mtu_is_the_tables)
{
	struct frame f = frame_new(IPV4);
	uint32_t header;
	struct pkt p;

	f.spec.proto = PROTO_TCP;
	header = spec_header(&f.spec);
	f.settings.mtu = 1000;
	p = undone(&f, PROTO_TCP, 3000, 0, true);
	CHECK_EQ(p.gso_size, FRAME_MTU - header);
	table_free(f.table);
	frame_table(&f);
	p = undone(&f, PROTO_TCP, 3000, 0, true);
	CHECK_EQ(p.gso_size, 1000 - header);
	frame_free(&f);
}

/* Headers nearly as long as the MTU would leave segments of a few bytes, and
 * longer ones none; up to 256 bytes are what segments are made with. */
TEST(tcp_with_absurd_headers)
{
	for (uint32_t i = 1; i <= FRAME_MTU / 8; i++) {
		struct frame f = frame_new(IPV6);
		struct pkt p;

		check_context("%u bytes of options", 8 * i);
		f.spec.n_options = (uint8_t)i;
		p = undone(&f, PROTO_TCP, 4000, 0, true);
		CHECK_EQ(p.gso_size, p.payload > SEGMENT_HEADER_MAX
					     ? 0 : FRAME_MTU - p.payload);
		frame_free(&f);
	}
}

static bool aggregate(struct frame *f, uint32_t hint)
{
	return decap_is_aggregate(&f->settings, f->data, f->len, hint);
}

static void kernel_udp(uint8_t family)
{
	struct frame f = frame_new(family);
	uint32_t size = (uint32_t)rnd_range(100, 1300);
	uint32_t n = size * (uint32_t)rnd_range(2, 20) + 1;
	struct pkt p;

	p = undone(&f, PROTO_UDP, n, size, true);
	CHECK_EQ(p.gso_size, size);
	CHECK(aggregate(&f, size));
	CHECK(!aggregate(&f, 0));
	CHECK(!aggregate(&f, f.len));
	/* The hint of one datagram is none. */
	p = undone(&f, PROTO_UDP, size, size, true);
	CHECK_EQ(p.gso_size, 0);
	p = undone(&f, PROTO_UDP, n, 0, true);
	CHECK_EQ(p.gso_size, 0);
	p = undone(&f, PROTO_UDP, n, size, false);
	CHECK(p.unfinished || p.gso_size == 0);
	CHECK(p.unfinished || !aggregate(&f, size));
	/* Several datagrams, the first of which ends before the message. */
	undone(&f, PROTO_UDP, size, 0, true);
	f.data = realloc(f.data, 2 * f.len);
	CHECK(f.data);
	memcpy(f.data + f.len, f.data, f.len);
	f.len *= 2;
	CHECK(!aggregate(&f, f.len / 2));
	undone(&f, PROTO_TCP, n, 0, true);
	CHECK(!aggregate(&f, size));
	frame_free(&f);
}

TEST(udp_of_kernel_peers)
{
	each_family(kernel_udp);
}

/* Never look beyond a message that is too short. */
TEST(aggregates_at_every_length)
{
	struct frame f = frame_new(IPV6);

	undone(&f, PROTO_UDP, 60, 0, true);
	for (uint32_t len = 0; len < f.len; len++) {
		uint8_t *data = edge_new(len, false);

		memcpy(data, f.data, len);
		CHECK(!decap_is_aggregate(&f.settings, data, len, 1));
		edge_free(data, len, false);
	}
	frame_free(&f);
}

static void fragments(uint8_t family)
{
	struct frame f = frame_new(family);
	struct pkt p;

	f.spec.frag = family == 4 ? IP4_MF : 1;
	p = undone(&f, PROTO_UDP, 1000, 100, true);
	CHECK(p.fragment && !p.unfinished && !p.transport);
	CHECK_EQ(p.gso_size, 0);
	frame_free(&f);
}

TEST(fragments_are_never_unfinished)
{
	each_family(fragments);
}

/* RFC 6040, figure 4: rows are inner, columns outer Not-ECT, ECT(1), ECT(0),
 * CE as in the header; X is a drop. */
enum { X = -1 };
static const int figure_4[4][4] = {
	[NOT_ECT] = { NOT_ECT, NOT_ECT, NOT_ECT, X },
	[ECT_1] = { ECT_1, ECT_1, ECT_1, ECN_CE },
	[ECT_0] = { ECT_0, ECT_1, ECT_0, ECN_CE },
	[ECN_CE] = { ECN_CE, ECN_CE, ECN_CE, ECN_CE },
};

/* Nothing but the traffic class is new, and the header checksum right. */
static void check_rebuilt(struct frame *f, const struct pkt *p, uint8_t tos)
{
	uint8_t *want;

	f->spec.tos = tos;
	want = spec_new(&f->spec);
	CHECK_EQ(p->len, spec_len(&f->spec));
	CHECK_MEM(p->ip, want, p->len);
	free(want);
}

static void check_ecn(uint8_t family, unsigned inner, unsigned outer)
{
	struct frame f = frame_new(family);
	int want = figure_4[inner][outer];
	uint8_t dscp = (uint8_t)(rnd_below(64) << 2);
	struct pkt p;

	check_context("inner %u, outer %u", inner, outer);
	f.spec.tos = dscp | (uint8_t)inner;
	f.outer.tos = (uint8_t)(rnd_below(64) << 2 | outer);
	frame_write(&f);
	if (want == X) {
		CHECK_EQ(frame_decap(&f, 0, &p), DROP_IN_ECN);
	} else {
		CHECK_EQ(frame_decap(&f, 0, &p), NO_DROP);
		check_rebuilt(&f, &p, dscp | (uint8_t)inner);	/* as it came */
		decap_take_ecn(&f.outer, &p);
		CHECK_EQ(pkt_tos(&p), dscp | want);
		check_rebuilt(&f, &p, dscp | (uint8_t)want);
	}
	frame_free(&f);
}

static void all_ecn(uint8_t family)
{
	for (unsigned inner = 0; inner < 4; inner++)
		for (unsigned outer = 0; outer < 4; outer++)
			check_ecn(family, inner, outer);
}

TEST(ecn_of_rfc_6040)
{
	each_family(all_ecn);
}

/* RFC 6040, 4.1, normal mode, and no DSCP. */
TEST(ecn_on_the_way_out)
{
	for (unsigned tos = 0; tos < 256; tos++)
		CHECK_EQ(ecn_encap((uint8_t)tos), tos & 3);
}
