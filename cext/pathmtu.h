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
 * Shared by the workers without a lock: an entry is one word.  A collision,
 * or a lie, makes segments smaller than they need be, nothing else.
 */
#pragma once
#include <stdatomic.h>

#include "pkt.h"

enum {
	PATH_MTUS = 256,
	/* More than any headers: what is left is always a segment. */
	PATH_MTU_MIN = 256,
};

struct path_mtus {
	_Atomic uint64_t entry[PATH_MTUS];	/* hash << 32 | MTU; 0: none */
};

/* Takes the MTU out of p if it is an ICMP error that has one. */
void path_mtu_learn(struct path_mtus *m, const struct pkt *p);

/* Cuts p->gso_size down to what p's destination is known to take. */
void path_mtu_apply(const struct path_mtus *m, struct pkt *p);

/* All entries, for another plane; and back, as far as they make sense. */
void path_mtu_save(const struct path_mtus *m, uint64_t *out);
void path_mtu_restore(struct path_mtus *m, const uint64_t *in);
