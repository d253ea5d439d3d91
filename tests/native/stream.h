/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams of inner packets for a coalescer whose books a ledger keeps: several
 * flows, each in its own order, with everything that happens to packets.
 */
#pragma once
#include "coalesce.h"
#include "ledger.h"
#include "spec.h"

enum { STREAM_MAX = 1024, FLOWS = 6 };

/* One packet, in memory of exactly its length. */
struct sent {
	struct pkt p;
	bool corrupt;
};

/* Percentages. */
struct weather {
	unsigned odd;		/* a header field that ends a run */
	unsigned foreign;	/* fragments, options, other protocols */
	unsigned unfinished;
	unsigned super;
	unsigned corrupt;	/* one payload bit flipped */
	unsigned mangled;	/* one bit anywhere flipped */
	unsigned reordered, duplicated;
	unsigned jump;		/* to another flow, after each packet */
};

struct stream {
	struct coalescer coalescer;
	struct ledger ledger;
	uint8_t family;
	struct sent sent[STREAM_MAX];
	uint32_t n;
	struct {
		struct spec next;
		uint32_t size;		/* of a full segment */
		bool fixed_id;
	} flow[FLOWS];
};

/* The one there is, emptied, with random flows. */
struct stream *stream_new(uint8_t family);

/* Appends n packets as the weather is. */
void stream_random(struct stream *s, const struct weather *w, uint32_t n);
/* Appends the packet that spec describes; gso: as p->gso_size. */
void stream_add(struct stream *s, const struct spec *spec, uint32_t gso);

/* Feeds all of it, flushes, checks the books, frees the packets. */
void stream_run(struct stream *s);
