/* SPDX-License-Identifier: Apache-2.0
 *
 * The slow twin of what may be merged: the kernel's own GRO rules, packet by
 * packet, on raw bytes and with naive checksums.  Written down from
 * net/ipv4/af_inet.c inet_gro_receive(), net/ipv6/ip6_offload.c
 * ipv6_gro_receive(), include/net/gro.h inet_gro_flush() and
 * ipv6_gro_flush(), net/ipv4/tcp_offload.c tcp_gro_receive(),
 * net/ipv4/udp_offload.c udp_gro_receive_segment(), net/core/gro.c
 * skb_gro_receive(), Linux 6.12.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* A packet held by GRO, with what was merged into it. */
struct gro {
	const uint8_t *first;
	uint32_t l4, header;
	uint32_t len;		/* merged */
	uint32_t size;		/* gso_size */
	uint32_t count;
	bool fixed_id;
	bool flushed;		/* went up, takes no more */
};

/* Whether GRO would hold the packet of len bytes for more to come. */
bool gro_hold(struct gro *g, const uint8_t *ip, uint32_t len);

/* Whether GRO would merge this packet into the one held. */
bool gro_merge(struct gro *g, const uint8_t *ip, uint32_t len);
