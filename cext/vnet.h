/* SPDX-License-Identifier: Apache-2.0
 *
 * The virtio_net_hdr in front of every packet of a TUN with IFF_VNET_HDR:
 * what the kernel left undone (virtio 1.3, 5.1.6; linux/virtio_net.h).
 */
#pragma once
#include "pkt.h"

/*
 * Takes the kernel's word for a packet just read into p->unfinished,
 * p->gso_size and *csum_start, *csum_offset (from p->ip; valid if
 * p->unfinished).  False: the header contradicts the packet.
 */
bool vnet_take(struct pkt *p, const struct vnethdr *v,
	       uint32_t *csum_start, uint32_t *csum_offset);

/* The header under which p is written, from the same two fields. */
struct vnethdr vnet_make(const struct pkt *p);
