/* SPDX-License-Identifier: Apache-2.0 */
#include "segment.h"

uint32_t segment_count(const struct pkt *p)
{
	uint32_t payload = p->len - p->payload;

	if (p->gso_size == 0 || payload == 0)
		return 1;
	return (payload + p->gso_size - 1) / p->gso_size;
}

static uint32_t payload_len(const struct pkt *p, uint32_t i)
{
	uint32_t rest = p->len - p->payload - i * p->gso_size;

	return p->gso_size && rest > p->gso_size ? p->gso_size : rest;
}

uint32_t segment_len(const struct pkt *p, uint32_t i)
{
	return p->payload + payload_len(p, i);
}

static void patch_tcp(struct tcphdr *tcp, uint32_t offset, bool first,
		      bool last)
{
	tcp->seq = htonl(ntohl(tcp->seq) + offset);
	if (!first)
		tcp->flags &= ~TCP_CWR;
	if (!last)
		tcp->flags &= ~(TCP_FIN | TCP_PSH);
}

void segment_write(const struct pkt *p, uint32_t i, uint8_t *to)
{
	uint32_t offset = i * p->gso_size;
	uint32_t len = payload_len(p, i);
	uint32_t l4_len = p->payload - p->l4 + len;
	struct pkt s = *p;
	/* Of the pseudo-header, with this segment's length (RFC 1624): where a
	 * routing header stands, its destination is not the one in p->ip. */
	uint32_t sum = pkt_csum_get(p) + htons(l4_len) +
		       (uint16_t)~htons(p->len - p->l4);
	uint16_t csum;

	memcpy(to, p->ip, p->payload);
	s.ip = to;
	s.len = p->payload + len;
	if (pkt_ip4(&s))
		pkt_ip4(&s)->id = htons(ntohs(pkt_ip4(&s)->id) + i);
	pkt_set_len(&s, s.len);

	if (pkt_tcp(&s))
		patch_tcp(pkt_tcp(&s), offset, i == 0,
			  i + 1 == segment_count(p));
	else
		pkt_udp(&s)->len = htons(l4_len);

	pkt_csum_set(&s, 0);
	sum = csum_add(sum, to + p->l4, p->payload - p->l4);
	sum = csum_copy(sum, to + p->payload, p->ip + p->payload + offset, len);
	csum = csum_finish(sum);
	/* RFC 768: a UDP checksum that comes out as zero is sent as ~0. */
	pkt_csum_set(&s, csum || pkt_tcp(&s) ? csum : 0xffff);
}
