/* SPDX-License-Identifier: Apache-2.0 */
#include "icmp.h"

enum {
	ICMP4_QUENCH = 4,
	ICMP4_REDIRECT = 5,
	ICMP4_TIME_EXCEEDED = 11,
	ICMP4_PARAMETER = 12,
	ICMP6_UNREACHABLE = 1,
	ICMP6_LAST_ERROR = 127,
};

bool icmp_allowed(struct icmp_limit *limit, uint64_t now)
{
	uint64_t most = limit->rate * 1000ull;
	uint64_t elapsed = now - limit->filled;

	/* A second fills it from empty; no more, so that nothing overflows. */
	limit->credit += (elapsed < 1000 ? elapsed : 1000) * limit->rate;
	if (limit->credit > most)
		limit->credit = most;
	limit->filled = now;
	if (limit->credit < 1000)
		return false;
	limit->credit -= 1000;
	return true;
}

/* IPv6 headers that ICMP may stand behind have 8 bytes, and as many units as
 * their second byte says: bytes of a unit; -1: it is another header. */
static int unit_of(uint8_t proto)
{
	switch (proto) {
	case PROTO_HOPOPT:
	case PROTO_ROUTING:
	case PROTO_DSTOPTS:
		return 8;
	case PROTO_AH:
		return 4;	/* RFC 4302, 2.2 */
	case PROTO_FRAGMENT:
		return 0;
	default:
		return -1;
	}
}

/* RFC 4443, 2.4 (e.1): what cannot be read as far as that may be one. */
static bool is_icmp6_error(const struct pkt *p)
{
	uint32_t at = p->l4;
	uint8_t proto = p->proto;
	int unit;

	while ((unit = unit_of(proto)) >= 0) {
		if (at + 2 > p->len)
			return true;
		proto = p->ip[at];
		at += 8 + unit * p->ip[at + 1];
	}
	return at >= p->len ||
	       (proto == PROTO_ICMP6 && p->ip[at] <= ICMP6_LAST_ERROR);
}

static bool is_icmp_error(const struct pkt *p)
{
	uint8_t type;

	if (p->family == IPV6)
		return is_icmp6_error(p);
	if (p->l4 >= p->len)
		return true;
	if (p->proto != PROTO_ICMP4)
		return false;
	type = p->ip[p->l4];
	return type == ICMP4_UNREACHABLE || type == ICMP4_QUENCH ||
	       type == ICMP4_REDIRECT || type == ICMP4_TIME_EXCEEDED ||
	       type == ICMP4_PARAMETER;
}

/* RFC 1122, 3.2.2: whom no error is sent to or about.  What IPv4 has reserved
 * is among them, though some have Pods there. */
static bool is_nobody(const uint8_t *addr, uint8_t family)
{
	return is_no_host(addr, family) || (family == IPV4 && addr[0] >= 240);
}

static bool is_later_fragment(const struct pkt *p)
{
	be16 field;

	if (!p->fragment)
		return false;
	if (p->family == IPV4)
		return ntohs(pkt_ip4(p)->frag) & IP4_OFFSET;
	memcpy(&field, p->ip + p->l4 + 2, sizeof(field));
	return ntohs(field) & ~7u;
}

/*
 * The source is the address that cannot be reached.  The TUN's own address
 * would be more usual, but this packet enters the kernel through the TUN, and
 * there a local source is a martian (net/ipv4/fib_frontend.c,
 * fib_validate_source) unless accept_local is set.
 */
static void fill_ip(struct pkt *e, const struct pkt *about)
{
	struct ip4hdr *ip4 = pkt_ip4(e);
	struct ip6hdr *ip6 = pkt_ip6(e);
	unsigned n = addr_len(e->family);

	if (ip4) {
		*ip4 = (struct ip4hdr){
			.version_ihl = 0x45,
			.ttl = ICMP_TTL,
			.proto = PROTO_ICMP4,
		};
	} else {
		*ip6 = (struct ip6hdr){
			.version_class_flow = htonl(6u << 28),
			.next = PROTO_ICMP6,
			.hop_limit = ICMP_TTL,
		};
	}
	memcpy(pkt_src(e), pkt_dst(about), n);
	memcpy(pkt_dst(e), pkt_src(about), n);
	pkt_set_len(e, e->len);
}

uint32_t icmp_unreachable(const struct pkt *p, uint8_t *buf)
{
	bool v4 = p->family == IPV4;
	struct icmphdr icmp = { 0 };
	uint32_t head = ip_header_min(p->family) + sizeof(icmp);
	uint32_t most = (v4 ? ICMP_MAX4 : ICMP_MAX6) - head;
	uint32_t quoted = p->len < most ? p->len : most;
	struct pkt e = {
		.ip = buf,
		.family = p->family,
		.proto = v4 ? PROTO_ICMP4 : PROTO_ICMP6,
		.l4 = ip_header_min(p->family),
		.len = head + quoted,
	};
	uint32_t sum;

	if (is_icmp_error(p) || is_later_fragment(p) ||
	    is_nobody(pkt_src(p), p->family) ||
	    is_nobody(pkt_dst(p), p->family))
		return 0;
	fill_ip(&e, p);
	icmp.type = v4 ? ICMP4_UNREACHABLE : ICMP6_UNREACHABLE;
	memcpy(buf + e.l4, &icmp, sizeof(icmp));
	memcpy(buf + head, p->ip, quoted);
	/* Only ICMPv6 sums a pseudo-header (RFC 4443, 2.3). */
	sum = v4 ? 0 : pkt_pseudo(&e, sizeof(icmp) + quoted);
	icmp.csum = csum_finish(csum_add(sum, buf + e.l4,
					 sizeof(icmp) + quoted));
	memcpy(buf + e.l4, &icmp, sizeof(icmp));
	return e.len;
}
