/* SPDX-License-Identifier: Apache-2.0 */
#include "pkt.h"

static enum pkt_error parse_ip4(struct pkt *p, size_t room)
{
	const struct ip4hdr *ip = (const struct ip4hdr *)p->ip;
	uint16_t frag = ntohs(ip->frag);

	p->l4 = (ip->version_ihl & 0x0f) * 4;
	p->len = ntohs(ip->len);
	if (p->l4 < sizeof(*ip) || p->l4 > room)
		return PKT_HEADER;
	if (p->len > room)
		return PKT_LENGTH;
	if (p->len < p->l4)
		return PKT_HEADER;
	p->proto = ip->proto;
	p->fragment = frag & (IP4_MF | IP4_OFFSET);
	return PKT_OK;
}

/* RFC 8200, 4.1: the headers that may stand before the upper layer. */
static bool is_extension(uint8_t next)
{
	return next == PROTO_HOPOPT || next == PROTO_ROUTING ||
	       next == PROTO_DSTOPTS;
}

static enum pkt_error parse_ip6(struct pkt *p, size_t room)
{
	const struct ip6hdr *ip = (const struct ip6hdr *)p->ip;
	uint32_t end;

	p->l4 = sizeof(*ip);
	p->len = sizeof(*ip) + ntohs(ip->payload_len);
	p->proto = ip->next;
	if (p->len > room)
		return PKT_LENGTH;
	while (is_extension(p->proto) || p->proto == PROTO_FRAGMENT) {
		if (p->l4 + 8u > p->len)
			return PKT_HEADER;
		if (p->proto == PROTO_FRAGMENT) {
			p->fragment = true;
			return PKT_OK;
		}
		/* Checked before it is narrowed: an offset that wraps could
		 * lead around for ever. */
		end = p->l4 + 8 + 8 * p->ip[p->l4 + 1];
		if (end > p->len || end > IP_MAX_LEN)
			return PKT_HEADER;
		p->proto = p->ip[p->l4];
		p->l4 = end;
	}
	return PKT_OK;
}

static void parse_transport(struct pkt *p)
{
	uint32_t rest = p->len - p->l4;
	uint8_t *l4 = p->ip + p->l4;

	p->payload = p->l4;
	if (p->fragment)
		return;
	if (p->proto == PROTO_TCP && rest >= sizeof(struct tcphdr)) {
		uint32_t hlen = (((struct tcphdr *)l4)->doff >> 4) * 4;

		/* Checked before it is narrowed, as p->l4 was. */
		if (hlen < sizeof(struct tcphdr) || hlen > rest ||
		    p->l4 + hlen > IP_MAX_LEN)
			return;
		p->transport = PROTO_TCP;
		p->payload = p->l4 + hlen;
	} else if (p->proto == PROTO_UDP && rest >= sizeof(struct udphdr)) {
		if (ntohs(((struct udphdr *)l4)->len) != rest ||
		    p->l4 + sizeof(struct udphdr) > IP_MAX_LEN)
			return;
		p->transport = PROTO_UDP;
		p->payload = p->l4 + sizeof(struct udphdr);
	}
}

static uint64_t mix(uint64_t hash)
{
	hash *= 0x9e3779b97f4a7c15;	/* 2^64 by the golden ratio, odd */
	return hash ^ hash >> 32;
}

/* Of an address of n bytes, and what else tells its end of the flow. */
static inline uint64_t end_hash(const uint8_t *addr, unsigned n, uint64_t hash)
{
	uint32_t word;

	for (unsigned i = 0; i < n; i += sizeof(word)) {
		memcpy(&word, addr + i, sizeof(word));
		hash = mix(hash ^ word);
	}
	return mix(hash);	/* once more: IPv4 has one word */
}

/*
 * The sum of its ends' hashes has no order.  (Nor has the exclusive-or of the
 * ends themselves, but that is the same for many flows of neighbours.)
 */
static inline uint32_t flow_hash(const struct pkt *p, unsigned n)
{
	uint64_t proto = (uint64_t)p->proto << 48, ports[2] = { proto, proto };
	const uint8_t *addr = pkt_src(p);

	if (p->transport) {
		uint16_t port[2];

		memcpy(port, p->ip + p->l4, sizeof(port));
		ports[0] |= (uint64_t)port[0] << 32;
		ports[1] |= (uint64_t)port[1] << 32;
	}
	return mix(end_hash(addr, n, ports[0]) +
		   end_hash(addr + n, n, ports[1]));
}

enum pkt_error pkt_parse(struct pkt *p, uint8_t *ip, size_t room,
			 enum family family)
{
	enum pkt_error error;

	*p = (struct pkt){ .ip = ip, .family = family };
	if (room < 1)
		return PKT_SHORT;
	if (ip[0] >> 4 != family)
		return PKT_VERSION;
	if (room < ip_header_min(family))
		return PKT_SHORT;
	error = family == IPV4 ? parse_ip4(p, room) : parse_ip6(p, room);
	if (error != PKT_OK)
		return error;
	parse_transport(p);
	/* By lengths that the compiler knows. */
	p->flow = family == IPV4 ? flow_hash(p, 4) : flow_hash(p, 16);
	return PKT_OK;
}

static bool same_ip4(const struct ip4hdr *a, const struct ip4hdr *b)
{
	return a->version_ihl == b->version_ihl && a->frag == b->frag &&
	       a->proto == b->proto;
}

static bool same_ip6(const struct ip6hdr *a, const struct ip6hdr *b)
{
	return !((a->version_class_flow ^ b->version_class_flow) &
		 htonl(0xf0000000)) && a->next == b->next;
}

/* Whether its lengths say so, the transport's header included. */
static bool has_len(const struct pkt *p, const struct pkt *before)
{
	uint32_t rest = p->len - p->l4;

	if (pkt_ip4(p) ? ntohs(pkt_ip4(p)->len) != p->len
		       : ntohs(pkt_ip6(p)->payload_len) != rest)
		return false;
	return pkt_tcp(p) ? pkt_tcp(p)->doff == pkt_tcp(before)->doff
			  : ntohs(pkt_udp(p)->len) == rest;
}

bool pkt_parse_next(struct pkt *p, const struct pkt *before, uint8_t *ip,
		    uint32_t len)
{
	/* Without options and extension headers, which might differ. */
	if (!before->transport || len <= before->payload ||
	    before->l4 != ip_header_min(before->family))
		return false;
	*p = *before;
	p->ip = ip;
	p->len = len;
	p->unfinished = false;
	p->gso_size = 0;
	return (pkt_ip4(p) ? same_ip4(pkt_ip4(before), pkt_ip4(p))
			   : same_ip6(pkt_ip6(before), pkt_ip6(p))) &&
	       same_addr(pkt_src(before), pkt_src(p), p->family) &&
	       same_addr(pkt_dst(before), pkt_dst(p), p->family) &&
	       !memcmp(before->ip + p->l4, ip + p->l4, 4) &&
	       has_len(p, before);
}

uint8_t *pkt_csum(const struct pkt *p)
{
	if (!p->transport)
		return NULL;
	return p->ip + p->l4 + csum_offset(p->transport);
}

uint16_t pkt_csum_get(const struct pkt *p)
{
	uint16_t csum;

	memcpy(&csum, pkt_csum(p), sizeof(csum));
	return csum;
}

void pkt_csum_set(const struct pkt *p, uint16_t csum)
{
	memcpy(pkt_csum(p), &csum, sizeof(csum));
}

uint32_t pkt_pseudo(const struct pkt *p, uint32_t l4_len)
{
	be32 tail[2] = { htonl(l4_len), htonl(p->proto) };
	uint32_t sum = csum_sum(pkt_src(p), 2 * addr_len(p->family));

	return csum_add(sum, tail, sizeof(tail));
}

bool pkt_is_unfinished(const struct pkt *p)
{
	return p->transport &&
	       pkt_csum_get(p) == csum_fold(pkt_pseudo(p, p->len - p->l4));
}

bool pkt_header_ok(const struct pkt *p)
{
	return p->family == IPV6 ||
	       csum_fold(csum_sum(p->ip, p->l4)) == 0xffff;
}

bool pkt_verify_copy(const struct pkt *p, uint8_t *copy)
{
	uint8_t *payload = p->ip + p->payload;
	uint32_t len = p->len - p->payload;
	uint32_t sum;

	if (!pkt_header_ok(p))
		return false;
	if (p->unfinished) {
		memcpy(copy, payload, len);
		return true;
	}
	/* RFC 768: zero means that the sender made none. */
	if (p->transport == PROTO_UDP && pkt_csum_get(p) == 0)
		return false;
	sum = csum_add(pkt_pseudo(p, p->len - p->l4), p->ip + p->l4,
		       p->payload - p->l4);
	sum = csum_copy(sum, copy, payload, len);
	return csum_fold(sum) == 0xffff;
}

void pkt_set_len(const struct pkt *p, uint32_t len)
{
	struct ip4hdr *ip4 = pkt_ip4(p);

	if (!ip4) {
		pkt_ip6(p)->payload_len = htons(len - sizeof(struct ip6hdr));
		return;
	}
	ip4->len = htons(len);
	ip4->csum = 0;
	ip4->csum = csum_finish(csum_sum(ip4, p->l4));
}

void pkt_finish(const struct pkt *p, uint32_t start, uint32_t offset)
{
	uint16_t csum = csum_finish(csum_sum(p->ip + start, p->len - start));

	/* As CSUM_MANGLED_0: zero would mean "none" in UDP, and the two
	 * zeros are one number in ones' complement. */
	if (csum == 0)
		csum = 0xffff;
	memcpy(p->ip + start + offset, &csum, sizeof(csum));
}

uint8_t pkt_tos(const struct pkt *p)
{
	if (p->family == IPV4)
		return pkt_ip4(p)->tos;
	return ntohl(pkt_ip6(p)->version_class_flow) >> 20;
}

void pkt_set_tos(const struct pkt *p, uint8_t tos)
{
	struct ip4hdr *ip4 = pkt_ip4(p);
	struct ip6hdr *ip6 = pkt_ip6(p);

	if (ip4) {
		/* RFC 1624, 3: ~(~checksum + ~old + new), 16-bit words. */
		uint32_t sum = (uint16_t)~ip4->csum +
			       (uint16_t)~htons(ip4->tos) + htons(tos);

		ip4->tos = tos;
		ip4->csum = csum_finish(sum);
	} else {
		uint32_t word = ntohl(ip6->version_class_flow);

		word = (word & ~(0xffu << 20)) | (uint32_t)tos << 20;
		ip6->version_class_flow = htonl(word);
	}
}
