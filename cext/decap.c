/* SPDX-License-Identifier: Apache-2.0 */
#include "decap.h"

#include "ecn.h"
#include "segment.h"

static const uint8_t broadcast[6] = { 255, 255, 255, 255, 255, 255 };
static const uint8_t zero[6];

static enum counter check_overlay(const struct vx_settings *s,
				  const struct outer *outer,
				  const struct overlay *o)
{
	uint16_t type = s->family == IPV4 ? ETHERTYPE_IP4 : ETHERTYPE_IP6;

	if (!(o->vxlan.flags & VXLAN_I))
		return DROP_IN_NO_VNI_FLAG;
	if (ntohl(o->vxlan.vni) >> 8 != s->vni)
		return DROP_IN_OTHER_VNI;
	if (!outer->peer && s->source_check != VX_SOURCE_OFF)
		return DROP_IN_UNKNOWN_PEER;
	if (memcmp(o->eth.dst, s->mac, 6) && memcmp(o->eth.dst, broadcast, 6))
		return DROP_IN_WRONG_MAC;
	if (o->eth.src[0] & 1 || !memcmp(o->eth.src, zero, 6) ||
	    !memcmp(o->eth.src, s->mac, 6))
		return DROP_IN_BAD_SOURCE_MAC;
	if (o->eth.type != htons(type))
		return DROP_IN_ETHERTYPE;
	return NO_DROP;
}

/*
 * Strict: the inner source is in the subnet of the node that the datagram
 * came from, or is that node's own address (what its host sends through
 * the overlay without masquerade).
 */
static bool source_belongs(const struct table *t, const struct outer *outer,
			   const struct pkt *p)
{
	const struct peer *owner = table_lookup(t, pkt_src(p));

	if (owner)
		return owner == outer->peer ||
		       same_addr(peer_outer(owner), outer->addr, p->family);
	return same_addr(pkt_src(p), outer->addr, p->family);
}

static void take_unfinished(uint32_t mtu, struct pkt *p, uint32_t gso_hint)
{
	uint32_t dlen = p->len - p->payload;

	p->unfinished = pkt_is_unfinished(p);
	/* Cutting makes new headers, which must not hide a broken one. */
	if (!p->unfinished || !pkt_header_ok(p))
		return;
	/* An aggregate of datagrams may be shorter than the MTU. */
	if (p->transport == PROTO_UDP && gso_hint < dlen)
		p->gso_size = gso_hint;
	/* Longer than this node's MTU and not yet checksummed: segments of
	 * the sender's path MTU, by rights ours (but see pathmtu.h).  Beside
	 * very long headers they would be tiny, and thousands. */
	if (p->transport == PROTO_TCP && p->len > mtu && p->payload < mtu &&
	    p->payload <= SEGMENT_HEADER_MAX)
		p->gso_size = mtu - p->payload;
}

enum counter decap(const struct vx_settings *s, const struct table *t,
		   const struct outer *outer, uint8_t *data, uint32_t len,
		   uint32_t gso_hint, struct pkt *p)
{
	const struct overlay *o = pkt_overlay(data, len);
	enum counter drop;

	if (!o || len < sizeof(*o) + ip_header_min(s->family))
		return DROP_IN_TOO_SHORT;
	drop = check_overlay(s, outer, o);
	if (drop != NO_DROP)
		return drop;
	switch (pkt_parse(p, data + sizeof(*o), len - sizeof(*o), s->family)) {
	case PKT_OK:
		break;
	case PKT_SHORT:
		return DROP_IN_TOO_SHORT;
	case PKT_VERSION:
		return DROP_IN_IP_VERSION;
	case PKT_HEADER:
		return DROP_IN_IP_HEADER;
	case PKT_LENGTH:
		return DROP_IN_IP_LENGTH;
	}
	if (s->source_check == VX_SOURCE_STRICT &&
	    !source_belongs(t, outer, p))
		return DROP_IN_SPOOFED_SOURCE;
	/* The kernel would take a group's or, with route_localnet, 127.0.0.1's
	 * for its own; no node of flannel's sends such (spec 5.6). */
	if (s->source_check != VX_SOURCE_OFF &&
	    is_no_host(pkt_dst(p), s->family))
		return DROP_IN_NO_HOST;
	take_unfinished(t->mtu, p, gso_hint);
	if (ecn_matters(outer->tos) && ecn_decap(pkt_tos(p), outer->tos) < 0)
		return DROP_IN_ECN;
	return NO_DROP;
}

void decap_take_ecn(const struct outer *outer, const struct pkt *p)
{
	uint8_t tos, ecn;

	if (!ecn_matters(outer->tos))
		return;
	tos = pkt_tos(p);
	ecn = ecn_decap(tos, outer->tos);
	if (ecn != (tos & ECN_MASK))
		pkt_set_tos(p, (tos & ~ECN_MASK) | ecn);
}

bool decap_is_aggregate(const struct vx_settings *s, uint8_t *data,
			uint32_t len, uint32_t gso_hint)
{
	struct pkt p;

	if (gso_hint == 0 || gso_hint >= len || !pkt_overlay(data, len) ||
	    pkt_parse(&p, data + sizeof(struct overlay),
		      len - sizeof(struct overlay), s->family) != PKT_OK)
		return false;
	return p.transport == PROTO_UDP && pkt_is_unfinished(&p) &&
	       p.len == len - sizeof(struct overlay);
}
