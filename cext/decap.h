/* SPDX-License-Identifier: Apache-2.0
 *
 * From a datagram to the inner packet, or to the reason why not.
 */
#pragma once
#include "counters.h"
#include "pkt.h"
#include "table.h"

/* What all datagrams of one received message have in common. */
struct outer {
	const uint8_t *addr;	/* outer source, addr_len bytes */
	uint8_t tos;
	const struct peer *peer;	/* table_sender(addr) */
};

/*
 * Checks one datagram, cheapest check first, and parses the inner packet
 * into *p.  Returns NO_DROP or the drop counter that names what is wrong.
 *
 * A peer on a paravirtual link leaves work undone, which p->unfinished and
 * p->gso_size then tell: the inner checksum may hold the pseudo-header sum
 * only, and an inner TCP packet may be up to 64 KiB of segments (flannel
 * spec 5.7).  An aggregate of inner UDP datagrams is recognised through
 * gso_hint, the segment size that the kernel gave with the message (0: none).
 */
enum counter decap(const struct vx_settings *s, const struct table *t,
		   const struct outer *outer, uint8_t *data, uint32_t len,
		   uint32_t gso_hint, struct pkt *p);

/*
 * Writes the outer header's congestion mark into a packet that passed decap(),
 * which leaves the datagram's bytes as they came (RFC 6040, 4.2).
 */
void decap_take_ecn(const struct outer *outer, const struct pkt *p);

/*
 * Whether a message of len bytes for which the kernel gave segment size
 * gso_hint is one aggregate of inner UDP datagrams and not several VXLAN
 * datagrams.  (udp_cmsg_recv() reports any SKB_GSO_UDP_L4, the inner one of a
 * tunnel packet as well.)
 */
bool decap_is_aggregate(const struct vx_settings *s, uint8_t *data,
			uint32_t len, uint32_t gso_hint);
