/* SPDX-License-Identifier: Apache-2.0
 *
 * The one door from bytes to headers: nothing outside pkt.[ch] casts a
 * buffer to a header.  pkt_parse() checks lengths once; what it accepted can
 * be asked for by the accessors, which return NULL for what is not there.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "csum.h"
#include "wire.h"

/* An inner IP packet. */
struct pkt {
	uint8_t *ip;		/* first byte of the IP header */
	uint32_t len;		/* of the packet, IP header included */
	uint16_t l4;		/* offset of what follows the IP headers */
	uint16_t payload;	/* offset of the TCP or UDP payload, else l4 */
	uint8_t family;
	uint8_t proto;		/* as the last IP header says */
	uint8_t transport;	/* PROTO_TCP, PROTO_UDP; 0: opaque, fragment */
	bool fragment;
	uint32_t flow;		/* hash: one for a flow's both directions, and
				 * for all fragments of a datagram */
	/* What a paravirtual link or the TUN leaves to do: */
	bool unfinished;	/* L4 checksum is the pseudo-header sum only */
	uint16_t gso_size;	/* L4 payload a segment; 0: one packet */
};

enum pkt_error {
	PKT_OK,
	PKT_SHORT,		/* not even a minimal IP header */
	PKT_VERSION,		/* not of the family asked for */
	PKT_HEADER,		/* impossible header length */
	PKT_LENGTH,		/* says to be longer than it is */
};

/*
 * Parses what starts at ip and has at most `room` bytes.  Bytes behind the
 * IP total length (link padding) are left out of p->len.  A broken TCP or UDP
 * header is no error: the packet is opaque and its receiver's business.
 */
enum pkt_error pkt_parse(struct pkt *p, uint8_t *ip, size_t room,
			 enum family family);

/*
 * The same for a packet that comes behind `before`, of the same flow and with
 * the same headers, at a fraction of the price.  False: it is another's, has
 * other headers, no payload or not `len` bytes, and pkt_parse() has to look.
 */
bool pkt_parse_next(struct pkt *p, const struct pkt *before, uint8_t *ip,
		    uint32_t len);

static inline unsigned addr_len(uint8_t family)
{
	return family == IPV4 ? 4 : 16;
}

/* By lengths that the compiler knows, which spares a call of memcmp(). */
static inline bool same_addr(const uint8_t *a, const uint8_t *b,
			     uint8_t family)
{
	return family == IPV4 ? !memcmp(a, b, 4) : !memcmp(a, b, 16);
}

static inline unsigned ip_header_min(uint8_t family)
{
	return family == IPV4 ? sizeof(struct ip4hdr) : sizeof(struct ip6hdr);
}

static inline struct ip4hdr *pkt_ip4(const struct pkt *p)
{
	return p->family == IPV4 ? (struct ip4hdr *)p->ip : NULL;
}

static inline struct ip6hdr *pkt_ip6(const struct pkt *p)
{
	return p->family == IPV6 ? (struct ip6hdr *)p->ip : NULL;
}

static inline struct tcphdr *pkt_tcp(const struct pkt *p)
{
	return p->transport == PROTO_TCP ? (struct tcphdr *)(p->ip + p->l4)
					 : NULL;
}

static inline struct udphdr *pkt_udp(const struct pkt *p)
{
	return p->transport == PROTO_UDP ? (struct udphdr *)(p->ip + p->l4)
					 : NULL;
}

static inline uint8_t *pkt_src(const struct pkt *p)
{
	return p->ip + (p->family == IPV4 ? offsetof(struct ip4hdr, src)
					  : offsetof(struct ip6hdr, src));
}

static inline uint8_t *pkt_dst(const struct pkt *p)
{
	return pkt_src(p) + addr_len(p->family);
}

/* Whether an address of this family is a group's (RFC 1112, RFC 4291). */
static inline bool is_multicast(const uint8_t *addr, uint8_t family)
{
	return family == IPV4 ? addr[0] >> 4 == 0xe : addr[0] == 0xff;
}

/* Zero, loopback, multicast or broadcast.  What IPv4 has reserved, 240.0.0.0/4,
 * are hosts to Linux, and some clusters' Pods. */
static inline bool is_no_host(const uint8_t *addr, uint8_t family)
{
	static const uint8_t zero[16], all[4] = { 255, 255, 255, 255 };

	if (is_multicast(addr, family))
		return true;
	if (family == IPV4)
		return addr[0] == 0 || addr[0] == 127 || !memcmp(addr, all, 4);
	return !memcmp(addr, zero, 15);
}

/* The overlay headers of a datagram, NULL if it is too short for them. */
static inline const struct overlay *pkt_overlay(const uint8_t *data,
						size_t len)
{
	return len >= sizeof(struct overlay) ? (const struct overlay *)data
					     : NULL;
}

/* Offset of the checksum field in the TCP or UDP header. */
static inline unsigned csum_offset(uint8_t transport)
{
	return transport == PROTO_TCP ? offsetof(struct tcphdr, csum)
				      : offsetof(struct udphdr, csum);
}

/* Where the TCP or UDP checksum stands; NULL for an opaque packet. */
uint8_t *pkt_csum(const struct pkt *p);
uint16_t pkt_csum_get(const struct pkt *p);
void pkt_csum_set(const struct pkt *p, uint16_t csum);

/* Sum of the pseudo-header for an L4 part of l4_len bytes (RFC 9293, 3.1). */
uint32_t pkt_pseudo(const struct pkt *p, uint32_t l4_len);

/* Whether the L4 checksum holds the pseudo-header sum and nothing else. */
bool pkt_is_unfinished(const struct pkt *p);

/* Whether the IPv4 header checksum is right; IPv6 has none. */
bool pkt_header_ok(const struct pkt *p);

/* Whether the IPv4 header checksum and the finished L4 checksum are right; if
 * so, `copy` has the payload. */
bool pkt_verify_copy(const struct pkt *p, uint8_t *copy);

/* Writes IP length and, for IPv4, header checksum for a packet of len. */
void pkt_set_len(const struct pkt *p, uint32_t len);

/* Sums from start to the end, stores at start + offset (CHECKSUM_PARTIAL). */
void pkt_finish(const struct pkt *p, uint32_t start, uint32_t offset);

/* The traffic class byte: DSCP and ECN.  Setting it keeps a header checksum
 * as right or as wrong as it was (RFC 1624). */
uint8_t pkt_tos(const struct pkt *p);
void pkt_set_tos(const struct pkt *p, uint8_t tos);
