/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters for the micro-benchmarks: lease i of 10.0.0.0/8 is 10.x.y.0/24, at
 * underlay address 172.16.0.0 + i.
 */
#pragma once
#include <stdio.h>
#include <stdlib.h>

#include "table.h"

/* splitmix64, as in the tests. */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static inline be32 lease_outer(uint32_t i)
{
	return htonl(0xac100000 + i);
}

static inline be32 lease_address(uint32_t i, uint8_t host)
{
	return htonl(0x0a000000 + i * 256 + host);
}

/* A table of n leases, each of which it finds; ends the program if not. */
static inline struct table *leases_table(const struct vx_settings *settings,
					 uint32_t n)
{
	struct vx_peer *peers = calloc(n, sizeof(*peers));
	struct vx_route *routes = calloc(n, sizeof(*routes));
	struct table *table = NULL;
	int error = -1;

	for (uint32_t i = 0; peers && routes && i < n; i++) {
		be32 outer = lease_outer(i), prefix = lease_address(i, 0);

		memcpy(peers[i].outer, &outer, sizeof(outer));
		memcpy(peers[i].mac + 2, &outer, sizeof(outer));
		memcpy(routes[i].prefix, &prefix, sizeof(prefix));
		routes[i].length = 24;
		routes[i].peer = i;
	}
	if (peers && routes)
		table = table_build(settings, peers, n, routes, n, &error);
	if (!table) {
		fprintf(stderr, "table of %u: %s\n", n, strerror(-error));
		exit(2);
	}
	for (uint32_t i = 0; i < n; i++) {
		if (table_lookup(table, routes[i].prefix) != &table->peers[i]) {
			fprintf(stderr, "lease %u of %u is not found\n", i, n);
			exit(2);
		}
	}
	free(peers);
	free(routes);
	return table;
}
