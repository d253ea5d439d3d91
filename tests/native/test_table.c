/* SPDX-License-Identifier: Apache-2.0
 *
 * table and trie against a list that is scanned: every lookup, every refusal.
 */
#include "check.h"
#include "table.h"

#include <errno.h>

#include "lpm_twin.h"

enum { MANY = 65536 };

static struct vx_settings settings = {
	.mac = { 2, 0, 0, 0, 0, 1 },
	.vni = 0x123456,
	.port = 8472,
};

static struct vx_peer peers[MANY];
static struct vx_route routes[MANY];

static unsigned bits(void)
{
	return settings.family == 4 ? 32 : 128;
}

static bool is_route(const struct vx_route *r, uint32_t n)
{
	while (n--)
		if (routes[n].length == r->length &&
		    !memcmp(routes[n].prefix, r->prefix, 16))
			return true;
	return false;
}

/* Prefixes below a few stems, so that many are nested; no duplicates. */
static void random_routes(uint32_t n, uint32_t n_peers)
{
	uint8_t stems[4][16];

	rnd_fill(stems, sizeof(stems));
	for (uint32_t i = 0; i < n;) {
		struct vx_route *r = &routes[i];
		unsigned keep = (unsigned)rnd_below(bits() + 1);

		*r = (struct vx_route){ .peer = rnd_below(n_peers) };
		rnd_fill(r->prefix, bits() / 8);
		if (i && rnd_chance(60))
			memcpy(r->prefix, routes[rnd_below(i)].prefix,
			       keep / 8);
		else
			memcpy(r->prefix, stems[rnd_below(4)], keep / 8);
		r->length = rnd_chance(10) ? bits() * rnd_below(2)
					   : rnd_below(bits() + 1);
		lpm_mask(r->prefix, r->length, bits());
		i += !is_route(r, i);
	}
}

/* Without two of one address, as the plan has them. */
static void random_peers(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		rnd_fill(peers[i].outer, 16);
		memcpy(peers[i].outer, &i, 2);
		rnd_fill(peers[i].mac, 6);
	}
}

static struct table *build(uint32_t n_peers, uint32_t n_routes)
{
	int error = -1;
	struct table *t = table_build(&settings, peers, n_peers, routes,
				      n_routes, &error);

	CHECK_EQ(error, 0);
	CHECK(t);
	return t;
}

static void check_lookup(const struct table *t, uint32_t n,
			 const uint8_t *addr)
{
	const struct vx_route *want = lpm_scan(routes, n, addr);
	const struct peer *have = table_lookup(t, addr);

	CHECK(!want == !have);
	if (!want)
		return;
	CHECK_EQ(have - t->peers, want->peer);
	CHECK_MEM(peer_outer(have), peers[want->peer].outer, bits() / 8);
}

/* The first and last address of every route and their neighbours. */
static void check_borders(const struct table *t, uint32_t n, uint32_t i)
{
	uint8_t first[16], last[16];

	memcpy(first, routes[i].prefix, 16);
	lpm_last(&routes[i], bits(), last);
	check_lookup(t, n, first);
	check_lookup(t, n, last);
	lpm_step(first, bits(), -1);
	lpm_step(last, bits(), 1);
	check_lookup(t, n, first);
	check_lookup(t, n, last);
}

static void check_random(const struct table *t, uint32_t n)
{
	uint8_t addr[16];

	rnd_fill(addr, sizeof(addr));
	if (n && rnd_chance(80))
		memcpy(addr, routes[rnd_below(n)].prefix,
		       rnd_below(bits() / 8 + 1));
	check_lookup(t, n, addr);
}

static void each_family(void (*body)(void))
{
	settings.family = 4;
	body();
	settings.family = 6;
	body();
}

static void nested(void)
{
	for (unsigned round = 0; round < 60; round++) {
		uint32_t n = (uint32_t)rnd_below(round < 30 ? 6 : 300);
		uint32_t n_peers = (uint32_t)rnd_range(1, 40);
		struct table *t;

		check_context("IPv%u, round %u, %u routes", settings.family,
			      round, n);
		random_peers(n_peers);
		random_routes(n, n_peers);
		t = build(n_peers, n);
		for (uint32_t i = 0; i < n; i++)
			check_borders(t, n, i);
		for (unsigned i = 0; i < 300; i++)
			check_random(t, n);
		table_free(t);
	}
}

TEST(nested_prefixes)
{
	each_family(nested);
}

/* Exactly one route, of every length, /0 and /32 or /128 among them. */
static void single(void)
{
	random_peers(1);
	for (unsigned length = 0; length <= bits(); length++) {
		struct table *t;

		check_context("IPv%u, one /%u", settings.family, length);
		routes[0] = (struct vx_route){ .length = length };
		rnd_fill(routes[0].prefix, bits() / 8);
		lpm_mask(routes[0].prefix, length, bits());
		t = build(1, 1);
		check_borders(t, 1, 0);
		for (unsigned i = 0; i < 30; i++)
			check_random(t, 1);
		table_free(t);
	}
}

TEST(one_route_of_every_length)
{
	each_family(single);
}

static void empty(void)
{
	static const uint8_t zeros[16], some[16] = { 10, 1, 2, 3 };
	struct table *t = build(0, 0);

	CHECK(!table_lookup(t, zeros));
	CHECK(!table_lookup(t, some));
	CHECK(!table_sender(t, zeros) && !table_sender(t, some));
	table_free(t);
}

TEST(empty_table)
{
	each_family(empty);
}

static int refused(uint32_t n_peers, uint32_t n_routes)
{
	int error = 0;

	CHECK(!table_build(&settings, peers, n_peers, routes, n_routes,
			   &error));
	return error;
}

static void refusals(void)
{
	const uint32_t n = 50;

	for (unsigned round = 0; round < 60; round++) {
		struct vx_route *r;

		random_peers(5);
		random_routes(n, 5);
		table_free(build(5, n));
		r = &routes[rnd_below(n)];
		r->peer = 5 + (uint32_t)rnd_below(3);
		CHECK_EQ(refused(5, n), -EINVAL);
		CHECK_EQ(refused(0, n), -EINVAL);
		r->peer = 0;
		routes[n] = *r;
		routes[n].peer = 1;
		CHECK_EQ(refused(5, n + 1), -EEXIST);
		r->length = bits() + 1 + (uint8_t)rnd_below(100);
		CHECK_EQ(refused(5, n), -EINVAL);
		r->length = (uint8_t)rnd_below(bits());
		r->prefix[r->length / 8] |= (uint8_t)(0x80 >> r->length % 8);
		CHECK_EQ(refused(5, n), -EINVAL);
	}
}

TEST(what_is_refused)
{
	each_family(refusals);
}

static void check_knows(const struct table *t, uint32_t n)
{
	const struct peer *found = NULL;
	uint8_t outer[16];

	memcpy(outer, peers[rnd_below(n)].outer, 16);
	if (rnd_chance(50))
		outer[rnd_below(bits() / 8)] ^= (uint8_t)(1 << rnd_below(8));
	for (uint32_t p = n; p--;)	/* of two with one address the first */
		if (!memcmp(peers[p].outer, outer, bits() / 8))
			found = &t->peers[p];
	CHECK(table_sender(t, outer) == found);
}

static void knows(void)
{
	for (uint32_t n = 1; n < 300; n = 1 + n * 5 / 4) {
		struct table *t;

		random_peers(n);
		if (n > 2)	/* two nodes behind one address */
			peers[n - 1] = peers[0];
		t = build(n, 0);
		for (unsigned i = 0; i < 2000; i++)
			check_knows(t, n);
		table_free(t);
	}
}

TEST(known_outer_addresses)
{
	each_family(knows);
}

/* As many leases as a cluster can have: /24 of a /8, /64 of a /48. */
static void many(void)
{
	unsigned at = settings.family == 4 ? 1 : 6;
	struct table *t;

	random_peers(MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		routes[i] = (struct vx_route){ .prefix = { 0xfd }, .peer = i,
					       .length = 8 * (at + 2) };
		routes[i].prefix[at] = (uint8_t)(i >> 8);
		routes[i].prefix[at + 1] = (uint8_t)i;
	}
	t = build(MANY, MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		uint8_t addr[16];

		rnd_fill(addr, sizeof(addr));
		memcpy(addr, routes[i].prefix, at + 2);
		CHECK_EQ(table_lookup(t, addr) - t->peers, i);
		CHECK(table_sender(t, peers[i].outer));
		addr[0] ^= 1;
		CHECK(!table_lookup(t, addr));
	}
	for (unsigned i = 0; i < 40; i++)
		check_random(t, MANY);
	table_free(t);
}

TEST(as_many_leases_as_there_can_be)
{
	each_family(many);
}
