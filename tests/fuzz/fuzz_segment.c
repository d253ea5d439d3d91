/* SPDX-License-Identifier: Apache-2.0
 *
 * Invariant: any packet cut at any size gives packets that parse and verify,
 * hold its payload once and in order, and merge again into what they came
 * from, byte for byte.
 *
 * Input: settings byte, gso_size (16 bits), a packet.
 */
#include "fuzz.h"
#include "ledger.h"

#include <stdlib.h>

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
	uint32_t len = segment_payload(p, i);
	uint8_t *ip = malloc(p->payload + len);
	struct pkt s;

	CHECK(ip);
	segment_header(p, i, ip);
	memcpy(ip + p->payload, p->ip + p->payload + i * p->gso_size, len);
	CHECK_EQ(pkt_parse(&s, ip, p->payload + len, p->family), PKT_OK);
	CHECK_EQ(s.len, p->payload + len);
	CHECK_EQ(s.payload, p->payload);
	CHECK_EQ(s.transport, p->transport);
	CHECK(pkt_verify(&s));
	check_header(p, &s, i);
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

static void cut_and_merge(const struct pkt *p)
{
	uint32_t n = segment_count(p), bytes = 0;
	struct pkt *segments = calloc(n, sizeof(*segments));

	CHECK(segments);
	for (uint32_t i = 0; i < n; i++) {
		segments[i] = segment(p, i);
		bytes += segments[i].len - p->payload;
		ledger_in(&ledger, &segments[i], false);
		coalesce_add(&coalescer, &segments[i]);
	}
	coalesce_flush(&coalescer);
	CHECK_EQ(bytes, p->len - p->payload);
	ledger_close(&ledger);
	if (merges(p, n))
		CHECK_EQ(ledger.deliveries, 1);
	while (n)
		free(segments[--n].ip);
	free(segments);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	enum family family = take8(&in) & FUZZ_IPV6 ? IPV6 : IPV4;
	uint16_t gso = take16(&in);
	uint32_t len = IP_MAX_LEN;
	const uint8_t *bytes = take(&in, &len);
	uint8_t *ip = malloc(len);
	struct pkt p;

	CHECK(ip || !len);
	if (len)
		memcpy(ip, bytes, len);
	coalescer.deliver = ledger_deliver;
	coalescer.to = &ledger;
	coalescer.tcp = true;
	coalescer.udp = true;
	ledger.deliveries = 0;
	csum_init();
	if (pkt_parse(&p, ip, len, family) == PKT_OK && p.transport &&
	    p.payload <= SEGMENT_HEADER_MAX && p.payload < p.len) {
		p.gso_size = gso;
		/* As the kernel leaves it; segment_header() begins from it. */
		pkt_csum_set(&p, csum_fold(pkt_pseudo(&p, p.len - p.l4)));
		if (gso && segment_count(&p) <= LEDGER_MAX)
			cut_and_merge(&p);
	}
	free(ip);
	return 0;
}
