/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters by peer: what is added where, by several workers, and what a reader
 * sees meanwhile.
 */
#include <pthread.h>

#include "check.h"
#include "peers.h"

enum { SLOTS = 300, ROUNDS = 20000 };

TEST(a_slot_has_what_was_carried_for_it)
{
	uint32_t slots[] = { 7, VX_PEER_SLOTS - 1, 8 };
	struct vx_peer_traffic got[3] = { 0 };
	struct peer_counters *a = peers_new(), *b = peers_new();

	CHECK(a && b);
	peer_sent(&a[7], 3, 300);
	peer_sent(&b[7], 1, 50);
	peer_heard(&a[7], 2, 20, 1000);
	peer_heard(&b[7], 1, 10, 999);
	peer_heard(&b[VX_PEER_SLOTS - 1], 1, 1, 5);
	peers_add(a, slots, 3, got);
	peers_add(b, slots, 3, got);
	CHECK_EQ(got[0].out_packets, 4);
	CHECK_EQ(got[0].out_bytes, 350);
	CHECK_EQ(got[0].in_packets, 3);
	CHECK_EQ(got[0].in_bytes, 30);
	CHECK_EQ(got[0].heard, 1000);
	CHECK_EQ(got[1].in_packets, 1);
	CHECK_EQ(got[1].heard, 5);
	CHECK_EQ(got[2].out_packets + got[2].in_packets + got[2].heard, 0);
	peers_free(a);
	peers_free(b);
}

static void *carry(void *peers)
{
	struct peer_counters *p = peers;

	for (uint32_t i = 0; i < ROUNDS; i++) {
		peer_sent(&p[i % SLOTS], 1, 10);
		peer_heard(&p[i % SLOTS], 2, 20, i);
	}
	return NULL;
}

TEST(a_reader_beside_the_worker_sees_counters_that_only_grow)
{
	struct peer_counters *p = peers_new();
	uint32_t slot = 1;
	struct vx_peer_traffic got = { 0 }, before;
	pthread_t worker;

	CHECK(p);
	CHECK_EQ(pthread_create(&worker, NULL, carry, p), 0);
	do {
		before = got;
		got = (struct vx_peer_traffic){ 0 };
		peers_add(p, &slot, 1, &got);
		CHECK(got.out_packets >= before.out_packets);
		CHECK(got.in_bytes >= before.in_bytes);
		CHECK(got.heard >= before.heard);
	} while (got.heard < ROUNDS / 2);
	pthread_join(worker, NULL);
	got = (struct vx_peer_traffic){ 0 };
	peers_add(p, &slot, 1, &got);
	CHECK_EQ(got.in_packets, 2 * got.out_packets);
	peers_free(p);
}
