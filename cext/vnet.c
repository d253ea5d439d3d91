/* SPDX-License-Identifier: Apache-2.0 */
#include "vnet.h"

/* Of 64 KiB; no stack sends less in each (TCP_MIN_GSO_SIZE of Linux). */
enum { MOST_SEGMENTS = IP_MAX_LEN / 8 };

static bool gso_fits(const struct pkt *p, const struct vnethdr *v)
{
	switch (v->gso_type & ~VNET_GSO_ECN) {
	case VNET_GSO_TCP4:
		return p->family == IPV4 && p->transport == PROTO_TCP;
	case VNET_GSO_TCP6:
		return p->family == IPV6 && p->transport == PROTO_TCP;
	case VNET_GSO_UDP:
		return p->transport == PROTO_UDP;
	default:
		return false;
	}
}

bool vnet_take(struct pkt *p, const struct vnethdr *v,
	       uint32_t *csum_start, uint32_t *csum_offset)
{
	p->unfinished = v->flags & VNET_NEEDS_CSUM;
	*csum_start = v->csum_start;
	*csum_offset = v->csum_offset;
	if (p->unfinished && *csum_start + *csum_offset + 2 > p->len)
		return false;
	if (v->gso_type == VNET_GSO_NONE)
		return true;
	/* Segmentation writes every checksum anew, so the header has to
	 * agree with what pkt_parse() found. */
	if (!gso_fits(p, v) || v->gso_size == 0 || !p->unfinished ||
	    *csum_start != p->l4)
		return false;
	/* A Pod may claim any (CAP_NET_RAW), and each costs as a packet. */
	if ((p->len - p->payload) / v->gso_size > MOST_SEGMENTS)
		return false;
	if (p->len - p->payload > v->gso_size)
		p->gso_size = v->gso_size;
	return true;
}

struct vnethdr vnet_make(const struct pkt *p)
{
	struct vnethdr v = { 0 };

	if (!p->unfinished)
		return v;
	v.flags = VNET_NEEDS_CSUM;
	v.csum_start = p->l4;
	v.csum_offset = csum_offset(p->transport);
	if (p->gso_size == 0)
		return v;
	v.hdr_len = p->payload;
	v.gso_size = p->gso_size;
	if (p->transport == PROTO_UDP)
		v.gso_type = VNET_GSO_UDP;
	else
		v.gso_type = p->family == IPV4 ? VNET_GSO_TCP4
					       : VNET_GSO_TCP6;
	/* CWR belongs into the first segment only: whoever cuts must know. */
	if (pkt_tcp(p) && pkt_tcp(p)->flags & TCP_CWR)
		v.gso_type |= VNET_GSO_ECN;
	return v;
}
