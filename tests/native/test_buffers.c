/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's memory: no part of it reaches into another or behind the end, and
 * the packer stays in its own.
 */
#include <malloc.h>
#include <string.h>

#include "check.h"
#include "faulty_worker.h"
/* For BUFFER_BYTES: what is rounded up to whole pages hides a missing part. */
#include "worker.c"

enum { REGIONS = 3 + IN_BATCH, BULK_READ = 100, TAP = 1000 };

static_assert(PACK_BYTES / BULK_SIZE < PACK_DATAGRAMS,
	      "bulk fills the packer by bytes, not by datagrams");

struct region {
	uint8_t *at;
	size_t len;
};

static void regions_of(const struct worker *w, struct region *r)
{
	*r++ = (struct region){ w->packet - PACKET_FRONT,
				PACKET_FRONT + IP6_MAX_LEN };
	*r++ = (struct region){ w->packer.memory, PACK_BYTES };
	*r++ = (struct region){ w->coalescer.memory, RUNS * LARGE_STRIDE };
	for (uint32_t i = 0; i < IN_BATCH; i++) {
		const struct iovec *iov = &w->receiver.iov[i];

		CHECK_EQ(iov->iov_len, IN_ROOM);
		*r++ = (struct region){ iov->iov_base, iov->iov_len };
	}
}

static bool is_full_of(const struct region *r, uint8_t value)
{
	return r->at[0] == value && !memcmp(r->at, r->at + 1, r->len - 1);
}

TEST(full_to_the_brim_none_spills)
{
	static struct worker w;
	struct region regions[REGIONS];

	CHECK(worker_buffers(&w));
	CHECK(malloc_usable_size(w.buffers) >= BUFFER_BYTES);
	regions_of(&w, regions);
	for (uint32_t i = 0; i < REGIONS; i++) {
		const struct region *r = &regions[i];

		check_context("region %u", i);
		CHECK(r->at >= w.buffers);
		CHECK(r->at + r->len <= w.buffers + BUFFER_BYTES);
		memset(r->at, (int)i + 1, r->len);
	}
	for (uint32_t i = 0; i < REGIONS; i++) {
		check_context("region %u", i);
		CHECK(is_full_of(&regions[i], (uint8_t)(i + 1)));
	}
	free(w.buffers);
}

/* What is received is behind it. */
static void check_packer(uint8_t family)
{
	struct worker *w = worker_begin(family, true);
	struct region behind = { w->receiver.iov[0].iov_base, IN_ROOM };

	check_context("IPv%u", family);
	CHECK(behind.at >= w->packer.memory + PACK_BYTES);
	memset(behind.at, 0xa5, behind.len);
	w->uncut.tap = TAP;		/* with one bulk has a longer turn */
	kernel.bulk = true;
	kernel.to_read = BULK_READ;
	run(w, outbound, &kernel.to_read);
	check_out(w);
	CHECK_EQ(counter(w, COUNT_OUT_SENT), BULK_READ * BULK_PIECES);
	CHECK(is_full_of(&behind, 0xa5));
	worker_end(w);
}

TEST(a_full_packer_is_sent_before_the_datagram_that_has_no_room)
{
	check_packer(4);
	check_packer(6);
}
