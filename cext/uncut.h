/* SPDX-License-Identifier: Apache-2.0
 *
 * A super-packet's short cut: whole, through a TAP device of ours, into the
 * kernel's forwarding.
 *
 * Theory of operation.  What the TUN hands over uncut need not be cut here:
 * since Linux 6.17 a TAP takes a tunnel's packet whole, with outer headers
 * that its writer made (virtio 1.4, 5.1.6: VIRTIO_NET_HDR_GSO_UDP_TUNNEL_*;
 * a TUN takes none: the check behind it asks for an Ethernet header).  The
 * kernel forwards it, as a router would, to the interface that leads to the
 * peer, and cuts it there, or its network card does, or nobody where the other
 * end is on this machine too.  That spares a header and a checksum for each
 * segment, and on most links all reading of the payload.
 *
 * A socket knows what a path takes, forwarding does not: it would drop what is
 * too large for an IPv6 path, and nobody would hear of it.  So a super-packet
 * goes this way only for a second after the socket has taken segments as large
 * to the same peer (udp_proven()); then it asks the socket again.
 *
 * A flow keeps its order as far as its packets keep their way: both ways have
 * the same outer ports and end in the interface's queue before the system call
 * returns, but on a card with many queues and no XPS those of a TAP all have
 * the first one (skb_tx_hash: the queue that they came from), and over IPv6
 * the flow label is another.
 */
#pragma once
#include "pkt.h"
#include "table.h"

/* Bytes; less is sent together with others.  A fuzzer's packets are small. */
#ifndef UNCUT_LEAST
#define UNCUT_LEAST (16 << 10)
#endif

enum {
	UNCUT_ROOM = sizeof(struct ethernet) + sizeof(struct ip6hdr) +
		     sizeof(struct udphdr),
	UNCUT_BROKEN_MS = 1000,
};

struct uncut {
	int tap;		/* -1: there is none */
	uint8_t family;
	uint8_t local[VX_ADDR_LEN];
	uint16_t id;		/* RFC 791: the next segment's identification */
	uint64_t broken_until;	/* ms: the TAP took nothing */
};

/* For packets from settings->local. */
void uncut_init(struct uncut *u, const struct vx_settings *settings, int tap);

/* Whether p may go whole at `now`. */
static inline bool uncut_takes(const struct uncut *u, const struct pkt *p,
			       uint64_t now)
{
	uint32_t most = p->family == IPV4 ? UDP_MAX_PAYLOAD4
					  : UDP_MAX_PAYLOAD6;

	return u->tap >= 0 && p->transport == PROTO_TCP && p->gso_size &&
	       p->len >= UNCUT_LEAST &&
	       sizeof(struct overlay) + p->len <= most &&
	       u->broken_until <= now;
}

/*
 * Sends p, of n segments, to the peer from this port; the headers are written
 * into the UNCUT_ROOM and the struct overlay in front of p->ip, p stays as it
 * is.
 * -errno: it was not sent, and nothing will be for UNCUT_BROKEN_MS.
 */
int uncut_send(struct uncut *u, const struct peer *peer, const struct pkt *p,
	       uint32_t n, be16 port, uint64_t now);
