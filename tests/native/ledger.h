/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps the books of a coalescer, or of all between decapsulation and the
 * TUN: every packet that went in must come out once, byte for byte, in the
 * order of its flow, alone or cut out of a super-packet.
 *
 * What a virtio_net_hdr cannot carry is allowed for: the checksum of an
 * unfinished packet is finished when it was merged, ids that were equal under
 * DF count up (RFC 6864), and 0x0000 and 0xffff are one checksum, except in
 * UDP, where zero means none.
 *
 * Every run that was merged must be one that the kernel's GRO allows.
 */
#pragma once
#include "coalesce.h"

enum { LEDGER_MAX = 4096 };

struct entry {
	struct pkt p;
	uint8_t *bytes;		/* a copy: the coalescer patches headers */
	uint32_t cut;		/* segments of it that came out */
	bool done;
	bool corrupt;		/* must come out alone */
};

struct ledger {
	struct entry in[LEDGER_MAX];
	uint32_t n, done;
	uint32_t merged;	/* packets that came out merged */
	uint32_t deliveries, packets;	/* of ledger_deliver() */
	bool no_vnet;		/* the TUN has no vnet header */
};

/* A packet on its way in. */
void ledger_in(struct ledger *l, const struct pkt *p, bool corrupt);

/* What came out: len bytes under a vnet header. */
void ledger_out(struct ledger *l, uint8_t *ip, uint32_t len,
		const struct vnethdr *v, uint8_t family);

/* A deliver_fn, *to is a struct ledger. */
void ledger_deliver(void *to, struct pkt *p, uint32_t n);

/* All came out; the ledger is empty again. */
void ledger_close(struct ledger *l);
