/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <stdlib.h>

#include "check.h"

enum { ODD_FLAGS = TCP_SYN | TCP_RST | TCP_URG | TCP_CWR | TCP_ECE };

static void new_flow(struct stream *s, unsigned i)
{
	uint8_t proto = rnd_chance(65) ? PROTO_TCP : PROTO_UDP;
	struct spec *next = &s->flow[i].next;

	*next = spec_random(s->family, proto, 0);
	s->flow[i].size = (uint32_t)rnd_range(1, 1400);
	s->flow[i].fixed_id = rnd_chance(30);
	if (i == 0)
		return;
	/* Flows that differ little, and hosts with several of them. */
	if (rnd_chance(60)) {
		memcpy(next->src, s->flow[i - 1].next.src, 16);
		memcpy(next->dst, s->flow[i - 1].next.dst, 16);
	}
	if (rnd_chance(40))
		next->sport = s->flow[i - 1].next.sport;
}

struct stream *stream_new(uint8_t family)
{
	static uint8_t memory[RUNS * LARGE_STRIDE];
	static struct stream s;

	CHECK_EQ(s.n, 0);
	s.family = family;
	s.ledger.deliveries = 0;
	s.ledger.merged = 0;
	s.coalescer.deliver = ledger_deliver;
	s.coalescer.to = &s.ledger;
	s.coalescer.tcp = true;
	s.coalescer.udp = true;
	s.coalescer.memory = memory;
	for (unsigned i = 0; i < FLOWS; i++)
		new_flow(&s, i);
	return &s;
}

void stream_add(struct stream *s, const struct spec *spec, uint32_t gso)
{
	struct sent *new = &s->sent[s->n++];

	CHECK(s->n <= STREAM_MAX);
	*new = (struct sent){ 0 };
	CHECK_EQ(pkt_parse(&new->p, spec_new(spec), spec_len(spec),
			   s->family), PKT_OK);
	new->p.unfinished = pkt_is_unfinished(&new->p);
	new->p.gso_size = gso;
}

/* What ends a run, or is no part of one. */
static void make_odd(struct spec *p)
{
	switch (rnd_below(10)) {
	case 0: p->ttl ^= 1; break;
	case 1: p->tos ^= 1u << rnd_below(8); break;
	case 2: p->id ^= 1u << rnd_below(16); break;
	case 3: p->seq += rnd_below(3) - 1; break;
	case 4: p->ack++; break;
	case 5: p->window--; break;
	case 6: p->flags ^= 1u << rnd_below(8); break;
	case 7: p->flags |= 1u << rnd_below(8) & ODD_FLAGS; break;
	case 8: p->tcp_options[rnd_below(12)]++; break;
	default: p->reserved = rnd_below(16); break;
	}
	if (p->family == 4 && rnd_chance(10))
		p->frag ^= rnd_chance(50) ? SPEC_DF : 0x8000;
	if (p->family == 6 && rnd_chance(10))
		p->label ^= 1;
	if (rnd_chance(5))
		p->no_csum = p->proto == PROTO_UDP;
	if (rnd_chance(10))
		p->urgent = rnd();
}

static void make_foreign(struct spec *p)
{
	switch (rnd_below(4)) {
	case 0: p->frag = p->family == 4 ? IP4_MF : 1; break;
	case 1: p->frag = 0x10; break;
	case 2: p->n_options = 1; break;
	default: p->proto = 132; break;
	}
}

static void flip(struct stream *s, bool payload_only)
{
	struct sent *last = &s->sent[s->n - 1];
	uint32_t from = payload_only ? last->p.payload : 0;

	if (last->p.len == from || (payload_only && (!last->p.transport ||
						     last->p.unfinished)))
		return;
	last->p.ip[from + rnd_below(last->p.len - from)] ^=
		(uint8_t)(1 << rnd_below(8));
	last->corrupt = payload_only;
}

/* A mangled header may have become another packet, or none. */
static void parse_again(struct stream *s)
{
	struct sent *last = &s->sent[s->n - 1];
	uint8_t *ip = last->p.ip;

	if (pkt_parse(&last->p, ip, last->p.len, s->family) != PKT_OK) {
		free(ip);
		s->n--;
		return;
	}
	last->p.unfinished = pkt_is_unfinished(&last->p);
}

static void one(struct stream *s, const struct weather *w, unsigned i)
{
	struct spec *next = &s->flow[i].next, p;
	uint32_t size = s->flow[i].size;
	bool super = rnd_chance(w->super);

	next->n_payload = rnd_chance(85) ? size : rnd_below(size + 1);
	if (super)
		next->n_payload = size * (uint32_t)rnd_range(2, 9);
	next->payload = spec_bytes(next->n_payload);
	next->flags = rnd_chance(90) ? TCP_ACK
				     : TCP_ACK | (rnd_chance(50) ? TCP_PSH
								 : TCP_FIN);
	p = *next;
	p.unfinished = super || rnd_chance(w->unfinished);
	if (rnd_chance(w->odd) && !super)
		make_odd(&p);
	if (rnd_chance(w->foreign) && !super)
		make_foreign(&p);
	stream_add(s, &p, super ? size : 0);
	next->seq += next->n_payload;
	next->id += !s->flow[i].fixed_id;
	if (rnd_chance(w->corrupt) && !super)
		flip(s, true);
	if (rnd_chance(w->mangled) && !super) {
		flip(s, false);
		parse_again(s);
	}
}

static void disturb(struct stream *s, const struct weather *w, uint32_t at)
{
	struct sent *a = &s->sent[at], *b = a + 1, t = *a;

	if (rnd_chance(w->reordered)) {
		*a = *b;
		*b = t;
	} else if (rnd_chance(w->duplicated)) {
		uint8_t *copy = malloc(a->p.len);

		CHECK(copy);
		memcpy(copy, a->p.ip, a->p.len);
		free(b->p.ip);
		*b = *a;
		b->p.ip = copy;
	}
}

void stream_random(struct stream *s, const struct weather *w, uint32_t n)
{
	unsigned flow = 0;
	uint32_t from = s->n;

	while (s->n < from + n) {
		if (rnd_chance(w->jump))
			flow = (unsigned)rnd_below(FLOWS);
		one(s, w, flow);
	}
	for (uint32_t i = from; i + 1 < s->n; i++)
		disturb(s, w, i);
}

void stream_run(struct stream *s)
{
	s->ledger.packets = 0;
	for (uint32_t i = 0; i < s->n; i++) {
		struct pkt *p = &s->sent[i].p;

		ledger_in(&s->ledger, p, s->sent[i].corrupt);
		/* As inbound.c does within a message. */
		if (!rnd_chance(70) ||
		    !coalesce_next(&s->coalescer, p->ip, p->len))
			coalesce_add(&s->coalescer, p);
	}
	coalesce_flush(&s->coalescer);
	CHECK_EQ(s->ledger.packets, s->n);
	ledger_close(&s->ledger);
	for (unsigned i = 0; i < RUNS; i++)
		CHECK_EQ(s->coalescer.runs[i].n, 0);
	for (uint32_t i = 0; i < s->n; i++)
		free(s->sent[i].p.ip);
	s->n = 0;
}
