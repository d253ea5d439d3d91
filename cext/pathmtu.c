/* SPDX-License-Identifier: Apache-2.0 */
#include "pathmtu.h"

#include <endian.h>

#include "segment.h"

enum {
	TCPOPT_EOL = 0,
	TCPOPT_NOP = 1,
	TCPOPT_MD5 = 19,
	TCPOPT_AO = 29,
	ICMP4_FRAGMENTATION_NEEDED = 4,	/* RFC 1191, 4 */
	ICMP6_TOO_BIG = 2,		/* RFC 4443, 3.2 */
	/* Of `when`, 8.2 s: its 16 bits come around after six days. */
	WHEN_SHIFT = 13,
	GOOD_FOR = 10 * 60 * 1000 >> WHEN_SHIFT,
};

static uint32_t hash_of(const uint8_t *addr, uint8_t family)
{
	uint32_t hash = 0, word;

	for (unsigned i = 0; i < addr_len(family); i += 4) {
		memcpy(&word, addr + i, sizeof(word));
		hash = (hash ^ le32toh(word)) * 0x9e3779b1;
		hash ^= hash >> 15;
	}
	return hash;
}

/*
 * By the upper bits: a product's lower ones do not depend on the upper ones of
 * what was multiplied, and there a little-endian word has an address's last
 * byte, in which the Pods of a node differ.  (Its multiplier is odd, so those
 * of a /24 or a /120 have an entry each.)
 */
static uint32_t index_of(uint32_t hash)
{
	return hash >> (32 - PATH_MTU_BITS);
}

/* RFC 8201, 4; of IPv4 what the kernel takes (net.ipv4.route.min_pmtu). */
static uint32_t least(uint8_t family)
{
	return family == IPV4 ? PATH_MTU_MIN : PATH_MTU_MIN6;
}

static bool is_icmp(const struct pkt *p)
{
	return p->proto == (p->family == IPV4 ? PROTO_ICMP4 : PROTO_ICMP6) &&
	       !p->fragment;
}

static bool is_too_big(const struct pkt *p, const uint8_t *icmp)
{
	if (p->family == IPV4)
		return icmp[0] == ICMP4_UNREACHABLE &&
		       icmp[1] == ICMP4_FRAGMENTATION_NEEDED;
	return icmp[0] == ICMP6_TOO_BIG;
}

static uint16_t when(uint64_t now)
{
	return now >> WHEN_SHIFT;
}

/* Whether the entry is this destination's and good still. */
static bool is_good(uint64_t entry, uint32_t hash, uint64_t now)
{
	uint16_t age = when(now) - (uint16_t)(entry >> 16);

	return entry && entry >> 32 == hash && age <= GOOD_FOR;
}

static void store(_Atomic uint64_t *at, uint32_t hash, uint32_t mtu,
		  uint64_t now)
{
	uint64_t old = atomic_load_explicit(at, memory_order_relaxed);

	if (is_good(old, hash, now) && mtu > (uint16_t)old)
		return;
	atomic_store_explicit(at, (uint64_t)hash << 32 |
				  (uint32_t)when(now) << 16 | mtu,
			      memory_order_relaxed);
}

static void learn(struct path_mtus *m, const struct pkt *p, uint64_t now)
{
	const uint8_t *icmp = p->ip + p->l4;
	uint32_t quoted = p->l4 + sizeof(struct icmphdr);
	struct pkt about = { .ip = p->ip + quoted, .family = p->family };
	uint32_t mtu, hash;

	if (p->len < quoted + ip_header_min(p->family) ||
	    !is_too_big(p, icmp))
		return;
	memcpy(&mtu, icmp + offsetof(struct icmphdr, rest), sizeof(mtu));
	mtu = ntohl(mtu);
	/* IPv4: the upper half is unused.  0: a router older than RFC 1191. */
	if (p->family == IPV4)
		mtu &= 0xffff;
	if (mtu < least(p->family))
		mtu = least(p->family);
	if (mtu > UINT16_MAX)
		mtu = UINT16_MAX;
	hash = hash_of(pkt_dst(&about), p->family);
	store(&m->entry[index_of(hash)], hash, mtu, now);
}

void path_mtu_learn(struct path_mtus *m, const struct pkt *p, uint64_t now)
{
	if (is_icmp(p))
		learn(m, p, now);
}

/* Signed as a whole (RFC 2385, RFC 5925): its parts would not be. */
static bool is_signed(const struct pkt *p)
{
	const uint8_t *at = p->ip + p->l4 + sizeof(struct tcphdr);
	const uint8_t *end = p->ip + p->payload;

	while (at < end && *at != TCPOPT_EOL) {
		if (*at == TCPOPT_NOP) {
			at++;
			continue;
		}
		if (*at == TCPOPT_MD5 || *at == TCPOPT_AO)
			return true;
		if (end - at < 2 || at[1] < 2)
			return false;
		at += at[1];
	}
	return false;
}

/*
 * Whether a packet that its sender did not make to be cut is the same stream
 * after it; a kernel that sends super-packets makes none of the others.  As in
 * decap.c: new headers must not hide a broken one.
 */
static bool may_be_cut(const struct pkt *p)
{
	return !(pkt_tcp(p)->flags & (TCP_SYN | TCP_RST | TCP_URG)) &&
	       p->payload <= SEGMENT_HEADER_MAX && !is_signed(p) &&
	       pkt_header_ok(p);
}

static void apply(const struct path_mtus *m, struct pkt *p, uint64_t now)
{
	uint32_t hash = hash_of(pkt_dst(p), p->family);
	uint64_t entry = atomic_load_explicit(&m->entry[index_of(hash)],
					      memory_order_relaxed);
	uint32_t mtu = (uint16_t)entry;
	uint32_t size = p->gso_size ? p->gso_size : p->len - p->payload;

	if (!is_good(entry, hash, now) || mtu <= p->payload ||
	    mtu - p->payload >= size)
		return;
	if (p->gso_size || may_be_cut(p))
		p->gso_size = mtu - p->payload;
}

void path_mtu_apply(const struct path_mtus *m, struct pkt *p, uint64_t now)
{
	/* Acknowledgements are to cost no hash. */
	if (p->len > PATH_MTU_MIN && p->transport == PROTO_TCP &&
	    (p->gso_size || p->unfinished))
		apply(m, p, now);
}

void path_mtu_save(const struct path_mtus *m, uint64_t *out)
{
	for (unsigned i = 0; i < PATH_MTUS; i++)
		out[i] = atomic_load_explicit(&m->entry[i],
					      memory_order_relaxed);
}

void path_mtu_restore(struct path_mtus *m, const uint64_t *in)
{
	/* The versions before had them in other places, and without `when`:
	 * as of the machine's start. */
	for (unsigned i = 0; i < PATH_MTUS; i++)
		if ((uint16_t)in[i] >= PATH_MTU_MIN)
			atomic_store_explicit(&m->entry[index_of(in[i] >> 32)],
					      in[i], memory_order_relaxed);
}
