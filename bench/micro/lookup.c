/* SPDX-License-Identifier: Apache-2.0
 *
 * Time of table_lookup() at 3 and at 65,536 leases, in the same network.
 *
 * Fails (exit 1) when the larger table takes more than 1.5 times as long: per
 * lookup, all destinations in random order, each known before the one before
 * it is done, as those of a batch are.  That order is the worst there is; a
 * node's traffic is runs of packets to one destination, shown beside it.
 *
 * Two more lines read the peer's prepared headers too, as encap does.  In
 * random order that times the memory: 65,536 peers are 4 MiB of headers, more
 * than a second-level cache, whatever finds them.
 */
#include "leases.h"
#include "timing.h"

enum {
	FEW = 3,
	MANY = 65536,
	BATCH = 4096,	/* destinations; 64 KiB of them stay in L2 */
	RUN = 32,	/* packets of one destination in a row */
	ROUNDS = 400,
};
static const double limit = 1.5;

struct trace {
	const char *name;
	uint32_t run;		/* packets in a row to one destination */
	bool touch;		/* reads the peer as well */
	double best[2];		/* ns a lookup: few, many */
};

static struct trace traces[] = {
	{ .name = "random", .run = 1 },
	{ .name = "runs of 32", .run = RUN },
	{ .name = "random, reading the peer", .run = 1, .touch = true },
	{ .name = "runs of 32, reading it", .run = RUN, .touch = true },
};
#define N_TRACES (sizeof(traces) / sizeof(*traces))

static double time_one(const struct table *table, uint32_t leases,
		       const struct trace *trace, uint64_t *seed)
{
	static uint8_t dst[BATCH][4];
	uint64_t sum = 0;
	be32 addr = 0;
	double start;

	for (uint32_t i = 0; i < BATCH; i++) {
		uint64_t random = next_random(seed);

		if (i % trace->run == 0)
			addr = lease_address((uint32_t)(random % leases),
					     (uint8_t)(random >> 56));
		memcpy(dst[i], &addr, sizeof(addr));
	}
	start = now_ns();
	for (uint32_t i = 0; i < BATCH; i++) {
		const struct peer *peer = table_lookup(table, dst[i]);

		sum += trace->touch ? peer->overlay.eth.dst[5]
				    : (uintptr_t)peer;
	}
	KEEP(sum);
	return (now_ns() - start) / BATCH;
}

int main(void)
{
	static const uint32_t sizes[2] = { FEW, MANY };
	static const struct vx_settings settings = {
		.family = IPV4, .vni = 1, .port = VXLAN_PORT,
	};
	struct table *tables[2] = { leases_table(&settings, FEW),
				    leases_table(&settings, MANY) };
	uint64_t seed = 1;
	bool passed;

	for (int round = 0; round < ROUNDS; round++) {
		for (size_t t = 0; t < N_TRACES; t++) {
			for (int i = 0; i < 2; i++) {
				double *best = &traces[t].best[i];
				double ns = time_one(tables[i], sizes[i],
						     &traces[t], &seed);

				*best = round ? least(*best, ns) : ns;
			}
		}
	}
	printf("%-26s %8s %8s\n", "ns a lookup, leases:", "3", "65,536");
	for (size_t t = 0; t < N_TRACES; t++)
		printf("%-26s %8.2f %8.2f   ratio %.2f\n", traces[t].name,
		       traces[t].best[0], traces[t].best[1],
		       traces[t].best[1] / traces[t].best[0]);
	passed = traces[0].best[1] <= limit * traces[0].best[0];
	printf("%s: ratio %.2f, at most %.2f\n", passed ? "ok" : "FAILED",
	       traces[0].best[1] / traces[0].best[0], limit);
	table_free(tables[0]);
	table_free(tables[1]);
	return !passed;
}
