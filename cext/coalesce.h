/* SPDX-License-Identifier: Apache-2.0
 *
 * Merging consecutive segments of a flow into one super-packet, so that the
 * TUN and all behind it handle 64 KiB at a time: GRO in userspace.
 *
 * Theory of operation.  A run is a packet that waits for its successors.  A
 * packet that fits is added to it, by a copy of its payload, which is read for
 * its checksum anyway (where it stayed in its place, the kernel's copy of many
 * pieces cost more, docs/decisions/performance.md); one of the same flow that
 * does not fit sends the run on its way first, so a flow is never reordered.
 * Nothing waits longer than the batch of datagrams at hand: its end sends all
 * runs.
 *
 * What may be merged is what the kernel's GRO would merge
 * (net/core/gro.c, net/ipv4/af_inet.c, tcp_offload.c, udp_offload.c), so that
 * cutting the result gives the input back, byte for byte but for such ids as
 * mean nothing:
 *  - same addresses, ports, TTL, TOS, DF; no IP options, no fragments;
 *    IPv4 ids count up by one, or are equal under DF (RFC 6864: they mean
 *    nothing there);
 *  - TCP: same ack, window and options, ACK set, in sequence; FIN and PSH may
 *    close a run, CWR, SYN, RST and URG never join one;
 *  - the first packet gives the segment size; a shorter one closes the run.
 * Checksums of merged packets are verified first, because the merged packet
 * gets a new one.
 */
#pragma once
#include "pkt.h"
#include "stride.h"

enum {
	RUNS = 16,
	RUN_MAX = MAX_PAYLOAD_SEGMENTS,
};

struct run {
	struct pkt first;	/* n == 0: the run is empty */
	uint32_t len;		/* of the merged packet */
	uint32_t n;		/* packets */
	bool copied;		/* the first one; its checksums are right */
	bool closed;		/* nothing may follow */
	bool same_id;		/* under DF: ids are equal */
};

/* Where a finished packet goes, n merged. */
typedef void deliver_fn(void *to, struct pkt *p, uint32_t n);

struct coalescer {
	deliver_fn *deliver;
	void *to;
	bool tcp, udp;		/* what to merge at all */
	uint8_t *memory;	/* LARGE_STRIDE for each run */
	struct run *last;	/* the last packet's, NULL: it had none */
	struct run runs[RUNS];
};

/* Takes one packet; what it displaces, and what cannot wait, is delivered. */
void coalesce_add(struct coalescer *c, const struct pkt *p);

/*
 * Whether the packet of `len` bytes is one that coalesce_add() would add to the
 * run of the last one, and was added.  What came before the packet, the caller
 * has compared.
 */
bool coalesce_next(struct coalescer *c, uint8_t *ip, uint32_t len);

/* Delivers all that waits.  Buffers may be reused afterwards. */
void coalesce_flush(struct coalescer *c);
