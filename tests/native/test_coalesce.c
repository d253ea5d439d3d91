/* SPDX-License-Identifier: Apache-2.0
 *
 * coalesce, on streams: whatever comes in comes out once, in its flow's order,
 * byte for byte after cutting, and no run is one that the kernel's GRO would
 * not make (ledger.c, gro_twin.c).
 */
#include "check.h"
#include "stream.h"

#include <stdlib.h>

#include "gro_twin.h"

static void run_weather(const char *name, const struct weather *w)
{
	uint32_t merged = 0;

	for (unsigned i = 0; i < 120; i++) {
		struct stream *s = stream_new(i & 1 ? IPV6 : IPV4);

		check_context("%s weather, stream %u", name, i);
		for (unsigned batch = 0; batch < 3; batch++) {
			stream_random(s, w, (uint32_t)rnd_range(1, 250));
			stream_run(s);
		}
		merged += s->ledger.merged;
	}
	/* Or else the tests above said nothing. */
	CHECK(merged > 1000);
}

TEST(fair)
{
	static const struct weather w = { .jump = 20 };

	run_weather("fair", &w);
}

TEST(mixed)
{
	static const struct weather w = {
		.odd = 10, .foreign = 5, .unfinished = 20, .super = 3,
		.corrupt = 3, .mangled = 2, .reordered = 3, .duplicated = 3,
		.jump = 20,
	};

	run_weather("mixed", &w);
}

TEST(odd)
{
	static const struct weather w = { .odd = 45, .jump = 5 };

	run_weather("odd", &w);
}

TEST(foreign)
{
	static const struct weather w = { .foreign = 15, .jump = 30 };

	run_weather("foreign", &w);
}

TEST(corrupt)
{
	static const struct weather w = { .corrupt = 25, .jump = 10 };

	run_weather("corrupt", &w);
}

TEST(mangled)
{
	static const struct weather w = { .mangled = 25, .jump = 10 };

	run_weather("mangled", &w);
}

TEST(reordered)
{
	static const struct weather w = { .reordered = 25, .duplicated = 10,
					  .jump = 30 };

	run_weather("reordered", &w);
}

TEST(unfinished)
{
	static const struct weather w = { .unfinished = 60, .super = 15,
					  .jump = 10 };

	run_weather("unfinished", &w);
}

/* Super-packets that the kernel's GRO would send up for one flow; at most
 * RUN_MAX a run as udp_offload.c says for UDP. */
static uint32_t kernel_deliveries(const struct stream *s)
{
	struct gro g = { 0 };
	bool held = false;
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		const struct pkt *p = &s->sent[i].p;

		if (held && g.count < RUN_MAX && gro_merge(&g, p->ip, p->len))
			continue;
		held = gro_hold(&g, p->ip, p->len);
		n++;
	}
	return n;
}

/* One flow, nothing that coalesce.h excludes: as good as the kernel. */
TEST(merges_what_the_kernel_merges)
{
	static const struct weather w = { .unfinished = 10, .corrupt = 5,
					  .reordered = 5, .duplicated = 2 };

	for (unsigned i = 0; i < 300; i++) {
		struct stream *s = stream_new(i & 1 ? IPV6 : IPV4);
		uint32_t want;

		check_context("stream %u", i);
		stream_random(s, &w, (uint32_t)rnd_range(2, 300));
		want = kernel_deliveries(s);
		stream_run(s);
		CHECK_EQ(s->ledger.deliveries, want);
	}
}

static void bulk(uint8_t family, uint8_t proto, uint32_t size, uint32_t n)
{
	struct stream *s = stream_new(family);
	struct spec p = spec_random(family, proto, size);
	uint32_t most = (IP_MAX_LEN - spec_header(&p)) / size;

	most = most < RUN_MAX ? most : RUN_MAX;
	check_context("IPv%u, protocol %u, %u of %u bytes", family, proto, n,
		      size);
	for (uint32_t i = 0; i < n; i++, p.id++, p.seq += size)
		stream_add(s, &p, 0);
	stream_run(s);
	CHECK_EQ(s->ledger.deliveries, (n + most - 1) / most);
}

/* Nothing larger than 65,535 bytes, nor more than RUN_MAX packets. */
TEST(limits)
{
	static const uint32_t sizes[] = { 1, 2, 500, 1023, 1024, 1398, 1448,
					  8898, 32700, 60000 };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (unsigned k = 0; k < 4; k++)
			bulk(k & 1 ? IPV4 : IPV6,
			     k & 2 ? PROTO_TCP : PROTO_UDP, sizes[i], 200);
}

/* The last byte that fits, and the first that does not. */
TEST(exact_size)
{
	for (unsigned k = 0; k < 4; k++) {
		uint8_t proto = k & 2 ? PROTO_TCP : PROTO_UDP;
		struct spec p = spec_random(k & 1 ? IPV4 : IPV6, proto, 1);
		uint32_t room = IP_MAX_LEN - spec_header(&p);

		for (uint32_t over = 0; over < 2; over++) {
			struct stream *s = stream_new(p.family);
			struct spec q = p;

			q.n_payload = 40000;
			q.payload = spec_bytes(q.n_payload);
			stream_add(s, &q, 0);
			q.seq += q.n_payload;
			q.id++;
			q.n_payload = room - 40000 + over;
			stream_add(s, &q, 0);
			stream_run(s);
			CHECK_EQ(s->ledger.deliveries, 1 + over);
		}
	}
}

/* Nothing is merged for a TUN that cannot take it. */
TEST(switched_off)
{
	static const struct weather w = { .jump = 20 };

	for (unsigned i = 0; i < 4; i++) {
		struct stream *s = stream_new(IPV4);

		s->coalescer.tcp = i & 1;
		s->coalescer.udp = i & 2;
		for (unsigned f = 0; f < FLOWS; f++)
			s->flow[f].next.proto = i & 1 ? PROTO_UDP : PROTO_TCP;
		stream_random(s, &w, 200);
		stream_run(s);
		if (i != 3)
			CHECK_EQ(s->ledger.merged, 0);
	}
}
