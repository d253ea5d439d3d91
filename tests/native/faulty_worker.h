/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker with two peers, as worker_new() makes it but for its descriptors:
 * behind those is the kernel that fails.  There is one at a time.
 */
#pragma once
#include "faulty_kernel.h"

extern _Atomic bool faulty_stopping;	/* ends worker_main() */
extern struct snapshot faulty_snapshot;	/* that worker_main() reads */

struct worker *worker_begin(uint8_t family, bool vnet);
void worker_end(struct worker *w);
struct table *two_nodes(void);

uint64_t counter(const struct worker *w, enum counter i);
/* Of all counters of this kind, the sum. */
uint64_t drops(const struct worker *w, int kind);

/* Runs a direction until there is nothing more, never for ever. */
void run(struct worker *w,
	 bool (*direction)(struct worker *, const struct table *),
	 const uint32_t *left);

/* What was handed out was taken or counted. */
void check_out(const struct worker *w);
void check_in(const struct worker *w);
