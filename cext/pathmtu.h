/* SPDX-License-Identifier: Apache-2.0
 *
 * Segment sizes of super-packets that a kernel peer did not cut.
 *
 * How the sender would have cut them is not on the wire; decap.c guesses
 * segments that fill this device's MTU.  If something behind this node takes
 * less (a Pod's own tunnel, a Pod older than a change of MTU), the kernel
 * answers each guess with "fragmentation needed", to a sender that has obeyed
 * that MTU all along, and the flow would stall for ever.  So what the kernel
 * says on its way out is remembered, by inner destination.
 *
 * A packet that fits this device's MTU is guessed to be one segment, and is
 * more where such a sender knows of a smaller MTU: it leaves two segments
 * uncut as well.  Only what has no checksum yet may be cut.
 *
 * An entry is good for ten minutes, as in the kernel (mtu_expires; RFC 1191,
 * 6.3): the address may be another Pod's by then.  A flow that needs it loses
 * a super-packet, and has it again.
 *
 * Until then nobody raises it: any Pod of this node may say what the kernel
 * says, and a lie that made segments too large would stall its neighbour's
 * flows.  One that makes them smaller than they need be costs them speed.
 *
 * Shared by the workers without a lock: an entry is one word.  Two destinations
 * that share an entry take it from each other: while both are sent to, or a
 * Pod lies about one of them, each loses super-packets until the kernel answers
 * again.  Neighbours do not share one, see index_of().
 */
#pragma once
#include <stdatomic.h>

#include "pkt.h"

enum {
	PATH_MTU_BITS = 8,
	PATH_MTUS = 1 << PATH_MTU_BITS,
	/* More than any headers: what is left is always a segment. */
	PATH_MTU_MIN = 552,
	PATH_MTU_MIN6 = 1280,
};

struct path_mtus {
	/* hash << 32 | when << 16 | MTU; 0: none */
	_Atomic uint64_t entry[PATH_MTUS];
};

/* Takes the MTU out of p if it is an ICMP error that has one; now is in ms. */
void path_mtu_learn(struct path_mtus *m, const struct pkt *p, uint64_t now);

/* Sets p->gso_size to what p's destination is known to take, if p may be cut
 * and its segments, or p itself, are larger. */
void path_mtu_apply(const struct path_mtus *m, struct pkt *p, uint64_t now);

/* All entries, for another plane; and back, as far as they make sense. */
void path_mtu_save(const struct path_mtus *m, uint64_t *out);
void path_mtu_restore(struct path_mtus *m, const uint64_t *in);
