/* SPDX-License-Identifier: Apache-2.0 */
#include "ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "counters.h"

int ring_init(struct ring *r, uint32_t size)
{
	memset(r, 0, sizeof(*r));
	r->size = size;
	r->data = malloc(size);
	return r->data ? 0 : -ENOMEM;
}

void ring_free(struct ring *r)
{
	free(r->data);
	r->data = NULL;
}

/* Copies to the ring from `at` on, around its end if need be. */
static void write_at(struct ring *r, uint64_t at, const void *from,
		     uint32_t len)
{
	uint32_t start = at & (r->size - 1);
	uint32_t first = r->size - start < len ? r->size - start : len;

	memcpy(r->data + start, from, first);
	memcpy(r->data, (const uint8_t *)from + first, len - first);
}

static void read_at(const struct ring *r, uint64_t at, void *to, uint32_t len)
{
	uint32_t start = at & (r->size - 1);
	uint32_t first = r->size - start < len ? r->size - start : len;

	memcpy(to, r->data + start, first);
	memcpy((uint8_t *)to + first, r->data, len - first);
}

bool ring_put(struct ring *r, const struct iovec *pieces, uint32_t n,
	      uint32_t total)
{
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
	uint64_t at = head;

	if (total > r->size - (head - tail)) {
		add_to(&r->lost, 1);
		return false;
	}
	for (uint32_t i = 0; i < n; at += pieces[i++].iov_len)
		write_at(r, at, pieces[i].iov_base, pieces[i].iov_len);
	atomic_store_explicit(&r->head, head + total, memory_order_release);
	return true;
}

uint32_t ring_take(struct ring *r, uint8_t *to, uint32_t room)
{
	uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	uint64_t end = tail;
	uint32_t size;

	while (end < head) {
		read_at(r, end, &size, sizeof(size));
		if (end - tail + size > room)
			break;
		end += size;
	}
	read_at(r, tail, to, end - tail);
	atomic_store_explicit(&r->tail, end, memory_order_release);
	return end - tail;
}
