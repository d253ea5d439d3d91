/* SPDX-License-Identifier: Apache-2.0
 *
 * segment, then coalesce: the super-packet comes back byte for byte, with
 * the vnet header it had.  (The other way round is the ledger's, in
 * test_coalesce.c.)
 */
#include "check.h"
#include "coalesce.h"
#include "segment.h"
#include "vnet.h"

#include <stdlib.h>

#include "spec.h"
#include "verified.h"

struct result {
	uint8_t data[IP_MAX_LEN];
	struct vnethdr v;
	uint32_t len, n, deliveries;
};

static void deliver(void *to, struct pkt *p, uint32_t n)
{
	struct result *r = to;

	r->v = vnet_make(p);
	r->len = p->len;
	r->n = n;
	r->deliveries++;
	memcpy(r->data, p->ip, p->len);
}

static void add_segment(struct coalescer *c, const struct pkt *p, uint32_t i,
			uint8_t **segment)
{
	uint32_t len = segment_len(p, i);
	struct pkt s;

	*segment = malloc(len);
	CHECK(*segment);
	segment_write(p, i, *segment);
	CHECK_EQ(pkt_parse(&s, *segment, len, p->family), PKT_OK);
	CHECK_EQ(s.len, len);
	CHECK(verified(&s));
	/* All but the first are like the one before. */
	if (!coalesce_next(c, *segment, len)) {
		CHECK_EQ(i, 0);
		coalesce_add(c, &s);
	}
}

static void cut_and_merge(const struct pkt *p, struct result *r)
{
	static uint8_t memory[RUNS * LARGE_STRIDE];
	static struct coalescer c;
	uint8_t *segments[RUN_MAX];
	uint32_t n = segment_count(p);

	CHECK(n <= RUN_MAX);
	c.deliver = deliver;
	c.to = r;
	c.tcp = true;
	c.udp = true;
	c.memory = memory;
	for (uint32_t i = 0; i < n; i++)
		add_segment(&c, p, i, &segments[i]);
	coalesce_flush(&c);
	while (n)
		free(segments[--n]);
}

static void check_round(const struct spec *s, uint32_t gso)
{
	static struct result r;
	uint8_t *data = spec_new(s);
	struct vnethdr v;
	struct pkt p;

	CHECK_EQ(pkt_parse(&p, data, spec_len(s), s->family), PKT_OK);
	p.unfinished = true;
	p.gso_size = gso;
	v = vnet_make(&p);
	r.deliveries = 0;
	cut_and_merge(&p, &r);
	CHECK_EQ(r.deliveries, 1);
	CHECK_EQ(r.n, segment_count(&p));
	CHECK_EQ(r.len, p.len);
	CHECK_MEM(r.data, data, r.len);
	CHECK_MEM(&r.v, &v, sizeof(v));
	free(data);
}

/* A super-packet as a TUN hands it out. */
static struct spec super(uint8_t family, uint8_t proto, uint32_t n_payload)
{
	struct spec s = spec_random(family, proto, n_payload);

	if (rnd_chance(30))
		s.flags |= TCP_PSH;
	if (rnd_chance(10))
		s.flags |= TCP_FIN;
	if (rnd_chance(10))
		s.flags |= TCP_ECE;
	if (rnd_chance(20))
		s.urgent = (uint16_t)rnd();
	if (rnd_chance(20))
		s.reserved = rnd_below(16);
	s.unfinished = true;
	return s;
}

TEST(random_super_packets)
{
	for (int i = 0; i < 1500; i++) {
		uint32_t gso = (uint32_t)rnd_range(1, 1000);
		uint32_t len = (uint32_t)rnd_range(gso + 1, RUN_MAX * gso);
		struct spec s = super(i & 1 ? IPV4 : IPV6,
				      i & 2 ? PROTO_TCP : PROTO_UDP, len);

		check_context("round %d, %u bytes in pieces of %u", i, len,
			      gso);
		check_round(&s, gso);
	}
}

TEST(largest_super_packets)
{
	for (int i = 0; i < 60; i++) {
		struct spec s = super(i & 1 ? IPV4 : IPV6,
				      i & 2 ? PROTO_TCP : PROTO_UDP, 0);

		s.n_payload = SPEC_MAX - spec_header(&s) -
			      (uint32_t)rnd_below(4);
		s.payload = spec_bytes(s.n_payload);
		check_round(&s, (uint32_t)rnd_range(1100, 33000));
	}
}
