/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger.h"

#include <stdlib.h>

#include "check.h"
#include "gro_twin.h"
#include "segment.h"
#include "vnet.h"
#include "verified.h"

void ledger_in(struct ledger *l, const struct pkt *p, bool corrupt)
{
	struct entry *e = &l->in[l->n++];

	CHECK(l->n <= LEDGER_MAX);
	*e = (struct entry){ .p = *p, .corrupt = corrupt };
	e->bytes = malloc(p->len);
	CHECK(e->bytes);
	memcpy(e->bytes, p->ip, p->len);
	e->p.ip = e->bytes;
}

static bool same_hosts(const struct pkt *a, const struct pkt *b)
{
	return !memcmp(pkt_src(a), pkt_src(b), 2 * addr_len(a->family));
}

static bool same_flow(const struct pkt *a, const struct pkt *b)
{
	return a->transport == b->transport && same_hosts(a, b) &&
	       (!a->transport || !memcmp(a->ip + a->l4, b->ip + b->l4, 4));
}

static struct entry *next_of_flow(struct ledger *l, const struct pkt *p)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (!l->in[i].done && same_flow(&l->in[i].p, p))
			return &l->in[i];
	check_failed(__FILE__, __LINE__, "more came out than went in");
}

static void done(struct ledger *l, struct entry *e)
{
	e->done = true;
	l->done++;
	if (e->p.transport)
		return;
	/* What is not understood must not overtake its hosts' packets. */
	for (struct entry *i = l->in; i < e; i++)
		CHECK(i->done || !same_hosts(&i->p, &e->p));
}

static bool csum_is(const uint8_t *have, const uint8_t *want)
{
	static const uint8_t zeros[2] = { 0, 0 }, ones[2] = { 255, 255 };

	return !memcmp(have, want, 2) ||
	       (!memcmp(have, zeros, 2) && !memcmp(want, ones, 2)) ||
	       (!memcmp(have, ones, 2) && !memcmp(want, zeros, 2));
}

/* Whether have is the packet e, finished if e is not. */
static bool is_packet(const struct entry *e, const struct pkt *have,
		      bool fixed_id)
{
	struct pkt want = e->p, h = *have;
	bool same;

	if (h.len != want.len)
		return false;
	want.ip = malloc(want.len);
	h.ip = malloc(h.len);
	CHECK(want.ip && h.ip);
	memcpy(want.ip, e->p.ip, want.len);
	memcpy(h.ip, have->ip, h.len);
	if (want.unfinished)
		pkt_finish(&want, want.l4, csum_offset(want.transport));
	if (fixed_id) {
		pkt_ip4(&h)->id = pkt_ip4(&want)->id;
		pkt_set_len(&h, h.len);
	}
	if (want.transport == PROTO_TCP &&
	    csum_is(pkt_csum(&h), pkt_csum(&want)))
		pkt_csum_set(&h, pkt_csum_get(&want));
	if (pkt_ip4(&h) && csum_is(h.ip + 10, want.ip + 10))
		memcpy(h.ip + 10, want.ip + 10, 2);
	same = !memcmp(h.ip, want.ip, want.len);
	free(h.ip);
	free(want.ip);
	return same;
}

/* Segment i of p in memory of its own. */
static struct pkt cut(const struct pkt *p, uint32_t i)
{
	struct pkt s = *p;

	s.len = segment_len(p, i);
	s.ip = malloc(s.len);
	CHECK(s.ip && p->payload <= SEGMENT_HEADER_MAX);
	segment_write(p, i, s.ip);
	return s;
}

/* A super-packet that was not one when it came: the run's inputs. */
static void out_merged(struct ledger *l, const struct pkt *p)
{
	struct gro gro = { 0 };
	bool fixed_id = false;
	uint32_t n = segment_count(p);

	CHECK(n > 1 && n <= MAX_PAYLOAD_SEGMENTS);
	for (uint32_t i = 0; i < n; i++) {
		struct entry *e = next_of_flow(l, p);
		struct pkt s = cut(p, i);

		CHECK(!e->corrupt);
		CHECK(e->p.gso_size == 0 && e->cut == 0);
		if (i == 0)
			CHECK(gro_hold(&gro, e->bytes, e->p.len));
		else
			CHECK(gro_merge(&gro, e->bytes, e->p.len));
		fixed_id = gro.fixed_id;
		if (!is_packet(e, &s, fixed_id))
			CHECK_MEM(s.ip, e->bytes, s.len);
		free(s.ip);
		done(l, e);
	}
	l->merged += n;
}

/* One segment of a super-packet that the TUN does not take whole. */
static void out_cut(struct ledger *l, struct entry *e, const struct pkt *p)
{
	struct pkt s = cut(&e->p, e->cut++);

	CHECK_EQ(p->len, s.len);
	CHECK_MEM(p->ip, s.ip, s.len);
	CHECK(verified(p));
	free(s.ip);
	if (e->cut == segment_count(&e->p))
		done(l, e);
}

static void check_vnet(struct ledger *l, struct pkt *p,
		       const struct vnethdr *v)
{
	uint32_t start, offset;
	static const struct vnethdr none;

	CHECK(vnet_take(p, v, &start, &offset));
	if (l->no_vnet || !p->unfinished) {
		CHECK_MEM(v, &none, sizeof(none));
		return;
	}
	CHECK(p->transport);
	CHECK_EQ(start, p->l4);
	CHECK_EQ(offset, csum_offset(p->transport));
	CHECK(pkt_is_unfinished(p));
	if (v->gso_type != VNET_GSO_NONE) {
		CHECK_EQ(v->hdr_len, p->payload);
		p->gso_size = v->gso_size;
	}
}

void ledger_out(struct ledger *l, uint8_t *ip, uint32_t len,
		const struct vnethdr *v, uint8_t family)
{
	struct entry *e;
	struct pkt p;

	CHECK(len <= IP_MAX_LEN);
	CHECK_EQ(pkt_parse(&p, ip, len, family), PKT_OK);
	CHECK_EQ(p.len, len);
	check_vnet(l, &p, v);
	e = next_of_flow(l, &p);
	if (p.unfinished == e->p.unfinished && p.gso_size == e->p.gso_size &&
	    p.len == e->p.len && e->cut == 0) {
		CHECK_MEM(ip, e->bytes, len);
		done(l, e);
	} else if (p.gso_size) {
		out_merged(l, &p);
	} else if (e->p.gso_size) {
		out_cut(l, e, &p);
	} else {
		/* No vnet header: finished on the way. */
		CHECK(l->no_vnet && e->p.unfinished);
		CHECK(is_packet(e, &p, false));
		done(l, e);
	}
}

void ledger_deliver(void *to, struct pkt *p, uint32_t n)
{
	struct ledger *l = to;
	uint8_t *copy = malloc(p->len);
	struct vnethdr v = vnet_make(p);

	CHECK(copy && n >= 1 && n <= RUN_MAX);
	memcpy(copy, p->ip, p->len);
	ledger_out(l, copy, p->len, &v, p->family);
	free(copy);
	l->deliveries++;
	l->packets += n;
}

void ledger_close(struct ledger *l)
{
	CHECK_EQ(l->done, l->n);
	for (uint32_t i = 0; i < l->n; i++)
		free(l->in[i].bytes);
	l->n = 0;
	l->done = 0;
}
