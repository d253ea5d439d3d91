/* SPDX-License-Identifier: Apache-2.0
 *
 * A sender is found in a few steps, however the nodes' addresses differ.
 */
#include "check.h"
#include "pkt.h"
#include "table.h"

enum { NODES = 5000 };

static struct vx_settings settings = {
	.mac = { 2, 0, 0, 0, 0, 1 }, .vni = 1, .port = 8472, .mtu = 1450,
};

/* Node i's number is at two bytes of its address. */
static uint32_t longest_run(uint8_t family, unsigned at)
{
	static struct vx_peer peers[NODES];
	uint32_t run = 0, longest = 0;
	struct table *t;
	int error;

	settings.family = family;
	for (uint32_t i = 0; i < NODES; i++) {
		peers[i] = (struct vx_peer){ .mac = { 2 } };
		memset(peers[i].outer, 10, addr_len(family));
		peers[i].outer[at] = (uint8_t)(i >> 8);
		peers[i].outer[at + 1] = (uint8_t)i;
	}
	t = table_build(&settings, peers, NODES, NULL, 0, &error);
	CHECK(t);
	for (uint32_t i = 0; i <= t->outer_mask; i++) {
		run = t->outers[i] ? run + 1 : 0;
		if (run > longest)
			longest = run;
	}
	table_free(t);
	return longest;
}

TEST(neighbours_and_one_node_in_each_subnet_are_found_alike)
{
	for (unsigned at = 0; at < 3; at++)
		CHECK(longest_run(4, at) < 100);
	for (unsigned at = 0; at < 15; at++)
		CHECK(longest_run(6, at) < 100);
}
