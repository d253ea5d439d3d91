/* SPDX-License-Identifier: Apache-2.0
 *
 * Invariant: any packet cut at any size gives packets that parse and verify,
 * hold its payload once and in order, and merge again into what they came
 * from, byte for byte, whether each piece is looked at or only whether it is
 * like the one before.
 *
 * Input: settings byte, gso_size (16 bits), a packet.
 */
#include "fuzz.h"
#include "ledger.h"
#include "verified.h"

#include <stdlib.h>

/* Of the settings byte: as if each piece were a message of its own. */
enum { APART = 2 };

static struct ledger ledger;
static struct coalescer coalescer;

/* Everything but what segmentation is there to change is a copy. */
static void check_header(const struct pkt *p, const struct pkt *s, uint32_t i)
{
	struct pkt a = *p, b = *s;
	uint8_t want[SEGMENT_HEADER_MAX];

	memcpy(want, p->ip, p->payload);
	a.ip = want;
	if (pkt_ip4(&a)) {
		uint16_t id = ntohs(pkt_ip4(&a)->id);

		CHECK_EQ(ntohs(pkt_ip4(&b)->id), (uint16_t)(id + i));
		pkt_ip4(&a)->id = pkt_ip4(&b)->id;
	}
	pkt_set_len(&a, s->len);
	if (pkt_tcp(&a)) {
		uint32_t seq = ntohl(pkt_tcp(&a)->seq) + i * p->gso_size;
		uint8_t gone = pkt_tcp(&a)->flags & ~pkt_tcp(&b)->flags;

		CHECK_EQ(ntohl(pkt_tcp(&b)->seq), seq);
		CHECK(!(gone & ~(TCP_CWR | TCP_FIN | TCP_PSH)));
		pkt_tcp(&a)->seq = pkt_tcp(&b)->seq;
		pkt_tcp(&a)->flags &= ~gone;
	} else {
		pkt_udp(&a)->len = htons(s->len - s->l4);
	}
	pkt_csum_set(&a, pkt_csum_get(&b));
	CHECK_MEM(s->ip, want, p->payload);
}

/* Segment i in memory of its own. */
static struct pkt segment(const struct pkt *p, uint32_t i)
{
	uint32_t at = p->payload + i * p->gso_size, len = segment_len(p, i);
	uint8_t *ip = malloc(len);
	struct pkt s;

	CHECK(ip && len > p->payload && len <= p->payload + p->gso_size);
	segment_write(p, i, ip);
	CHECK_EQ(pkt_parse(&s, ip, len, p->family), PKT_OK);
	CHECK_EQ(s.len, len);
	CHECK_EQ(s.payload, p->payload);
	CHECK_EQ(s.transport, p->transport);
	CHECK(verified(&s));
	check_header(p, &s, i);
	CHECK_MEM(ip + p->payload, p->ip + at, len - p->payload);
	return s;
}

/* Whether the coalescer has no reason to leave the pieces alone. */
static bool merges(const struct pkt *p, uint32_t n)
{
	const struct tcphdr *tcp = pkt_tcp(p);

	if (n > RUN_MAX || p->l4 != ip_header_min(p->family))
		return false;
	if (pkt_ip4(p) && pkt_ip4(p)->frag & ~htons(IP4_DF))
		return false;
	return !tcp || ((tcp->flags & TCP_ACK) &&
			!(tcp->flags & (TCP_SYN | TCP_RST | TCP_URG |
					TCP_CWR)));
}

/* As inbound.c does; `alike`: s can but be like the one before. */
static void add(const struct pkt *s, bool apart, bool alike)
{
	ledger_in(&ledger, s, false);
	if (!apart && coalesce_next(&coalescer, s->ip, s->len))
		return;
	CHECK(apart || !alike);
	coalesce_add(&coalescer, s);
}

static void cut_and_merge(const struct pkt *p, bool apart)
{
	uint32_t n = segment_count(p), bytes = 0;
	struct pkt *segments = calloc(n, sizeof(*segments));
	bool one = merges(p, n);

	CHECK(segments);
	for (uint32_t i = 0; i < n; i++) {
		segments[i] = segment(p, i);
		bytes += segments[i].len - p->payload;
		add(&segments[i], apart, one && i > 0);
	}
	coalesce_flush(&coalescer);
	CHECK_EQ(bytes, p->len - p->payload);
	ledger_close(&ledger);
	if (one)
		CHECK_EQ(ledger.deliveries, 1);
	while (n)
		free(segments[--n].ip);
	free(segments);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *memory;
	struct input in = { data, size };
	uint8_t settings = take8(&in);
	enum family family = settings & FUZZ_IPV6 ? IPV6 : IPV4;
	uint16_t gso = take16(&in);
	uint32_t len = IP_MAX_LEN;
	const uint8_t *bytes = take(&in, &len);
	uint8_t *ip = malloc(len);
	struct pkt p;

	if (!memory)
		memory = malloc(RUNS * LARGE_STRIDE);
	CHECK(memory && (ip || !len));
	if (len)
		memcpy(ip, bytes, len);
	coalescer.memory = memory;
	coalescer.deliver = ledger_deliver;
	coalescer.to = &ledger;
	coalescer.tcp = true;
	coalescer.udp = true;
	ledger.deliveries = 0;
	csum_init();
	if (pkt_parse(&p, ip, len, family) == PKT_OK && p.transport &&
	    p.payload <= SEGMENT_HEADER_MAX && p.payload < p.len) {
		p.gso_size = gso;
		/* As the kernel leaves it; segment_write() begins from it. */
		pkt_csum_set(&p, csum_fold(pkt_pseudo(&p, p.len - p.l4)));
		if (gso && segment_count(&p) <= LEDGER_MAX)
			cut_and_merge(&p, settings & APART);
	}
	free(ip);
	return 0;
}
