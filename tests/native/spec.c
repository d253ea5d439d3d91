/* SPDX-License-Identifier: Apache-2.0 */
#include "spec.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

enum {
	FIN = 1,
	PSH = 8,
	ACK = 16,
	CWR = 128,
	DSTOPTS = 60,
	FRAGMENT = 44,
};

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

uint32_t twin_sum(uint32_t acc, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		acc += i & 1 ? data[i] : (uint32_t)data[i] << 8;
		if (acc > 0xffff)
			acc -= 0xffff;
	}
	return acc;
}

uint32_t twin_pseudo(const uint8_t *ip, uint8_t proto, uint32_t l4_len)
{
	bool v4 = ip[0] >> 4 == 4;
	uint8_t tail[8];

	put32(tail, l4_len);
	put32(tail + 4, proto);
	return twin_sum(twin_sum(0, ip + (v4 ? 12 : 8), v4 ? 8 : 32), tail, 8);
}

uint32_t spec_l4(const struct spec *s)
{
	if (s->family == 4)
		return 20 + 4 * s->n_options;
	return 40 + 8 * s->n_options + (s->frag ? 8 : 0);
}

uint32_t spec_header(const struct spec *s)
{
	uint32_t l4 = spec_l4(s);

	if (s->proto == SPEC_TCP)
		return l4 + 20 + 4 * s->n_tcp_options;
	return s->proto == SPEC_UDP ? l4 + 8 : l4;
}

uint32_t spec_len(const struct spec *s)
{
	return spec_header(s) + s->n_payload;
}

static void build_ip4(const struct spec *s, uint8_t *ip)
{
	memset(ip, 0, spec_l4(s));
	ip[0] = 0x40 | (5 + s->n_options);
	ip[1] = s->tos;
	put16(ip + 2, spec_len(s));
	put16(ip + 4, s->id);
	put16(ip + 6, s->frag);
	ip[8] = s->ttl;
	ip[9] = s->proto;
	memcpy(ip + 12, s->src, 4);
	memcpy(ip + 16, s->dst, 4);
	/* Options: all of them "no operation". */
	memset(ip + 20, 1, 4 * s->n_options);
	put16(ip + 10, ~twin_sum(0, ip, spec_l4(s)));
}

static void build_ip6(const struct spec *s, uint8_t *ip)
{
	uint8_t *next = ip + 6, *at = ip + 40;

	put32(ip, 6u << 28 | (uint32_t)s->tos << 20 | s->label);
	put16(ip + 4, spec_len(s) - 40);
	ip[7] = s->ttl;
	memcpy(ip + 8, s->src, 16);
	memcpy(ip + 24, s->dst, 16);
	for (unsigned i = 0; i < s->n_options; i++, at += 8) {
		*next = DSTOPTS;
		next = at;
		memcpy(at, "\0\0\1\4\0\0\0\0", 8);	/* PadN */
	}
	if (s->frag) {
		*next = FRAGMENT;
		next = at;
		put16(at, 0);
		put16(at + 2, s->frag);
		put32(at + 4, s->id);
	}
	*next = s->proto;
}

static void build_l4(const struct spec *s, uint8_t *l4)
{
	put16(l4, s->sport);
	put16(l4 + 2, s->dport);
	if (s->proto == SPEC_UDP) {
		put16(l4 + 4, 8 + s->n_payload);
		put16(l4 + 6, 0);
		return;
	}
	put32(l4 + 4, s->seq);
	put32(l4 + 8, s->ack);
	l4[12] = (uint8_t)((5 + s->n_tcp_options) << 4 | s->reserved);
	l4[13] = s->flags;
	put16(l4 + 14, s->window);
	put16(l4 + 16, 0);
	put16(l4 + 18, s->urgent);
	memcpy(l4 + 20, s->tcp_options, 4 * s->n_tcp_options);
}

static void build_csum(const struct spec *s, uint8_t *ip)
{
	uint8_t *l4 = ip + spec_l4(s);
	uint32_t l4_len = spec_len(s) - spec_l4(s);
	uint32_t sum = twin_pseudo(ip, s->proto, l4_len);

	if (s->no_csum)
		return;
	if (!s->unfinished) {
		sum = ~twin_sum(sum, l4, l4_len) & 0xffff;
		if (sum == 0 && s->proto == SPEC_UDP)
			sum = 0xffff;	/* RFC 768 */
	}
	put16(l4 + (s->proto == SPEC_TCP ? 16 : 6), sum);
}

uint32_t spec_build(const struct spec *s, uint8_t *out)
{
	CHECK(spec_len(s) <= SPEC_MAX + 40 * (s->family == 6));
	if (s->family == 4)
		build_ip4(s, out);
	else
		build_ip6(s, out);
	if (s->n_payload)
		memcpy(out + spec_header(s), s->payload, s->n_payload);
	if (s->proto == SPEC_TCP || s->proto == SPEC_UDP) {
		build_l4(s, out + spec_l4(s));
		build_csum(s, out);
	}
	return spec_len(s);
}

uint8_t *spec_new(const struct spec *s)
{
	uint8_t *out = malloc(spec_len(s));

	CHECK(out);
	spec_build(s, out);
	return out;
}

const uint8_t *spec_bytes(uint32_t n)
{
	static uint8_t pool[2 * SPEC_MAX + 8];
	static bool filled;

	if (!filled)
		rnd_fill(pool, sizeof(pool));
	filled = true;
	CHECK(n <= SPEC_MAX);
	return pool + rnd_below(SPEC_MAX);
}

struct spec spec_random(uint8_t family, uint8_t proto, uint32_t n_payload)
{
	struct spec s = {
		.family = family,
		.proto = proto,
		.tos = (uint8_t)rnd(),
		.ttl = (uint8_t)rnd_range(1, 255),
		/* Close to the end now and then, so that they wrap. */
		.id = (uint16_t)(rnd_chance(30) ? 0xfff0 : rnd()),
		.frag = family == 4 && rnd_chance(50) ? SPEC_DF : 0,
		.label = (uint32_t)rnd() & 0xfffff,
		.sport = (uint16_t)rnd(),
		.dport = (uint16_t)rnd(),
		.seq = (uint32_t)(rnd_chance(30) ? 0xfffffe00 : rnd()),
		.ack = (uint32_t)rnd(),
		.flags = ACK,
		.window = (uint16_t)rnd(),
		.n_tcp_options = (uint8_t)(rnd_chance(50) ? 3
							  : rnd_below(11)),
		.payload = spec_bytes(n_payload),
		.n_payload = n_payload,
	};

	rnd_fill(s.src, sizeof(s.src));
	rnd_fill(s.dst, sizeof(s.dst));
	rnd_fill(s.tcp_options, sizeof(s.tcp_options));
	return s;
}

struct spec spec_segment(const struct spec *s, uint32_t gso, uint32_t i)
{
	struct spec one = *s;
	uint32_t rest = s->n_payload - i * gso;

	one.payload = s->payload + i * gso;
	one.n_payload = rest < gso ? rest : gso;
	one.unfinished = false;
	one.id = (uint16_t)(s->id + i);
	one.seq = s->seq + i * gso;
	if (i > 0)
		one.flags &= (uint8_t)~CWR;
	if (rest > gso)
		one.flags &= (uint8_t)~(FIN | PSH);
	return one;
}
