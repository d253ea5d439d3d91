/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot.h"

uint64_t snapshot_withdraw(struct snapshot *s)
{
	return atomic_fetch_add(&s->generation, 1) + 1;
}

void snapshot_publish(struct snapshot *s, struct table *t)
{
	struct table *old = atomic_exchange(&s->table, t);

	if (!old)
		return;
	old->retired = snapshot_withdraw(s);
	old->next = s->retired;
	s->retired = old;
	snapshot_reap(s);
}

static uint64_t oldest_seen(struct snapshot *s)
{
	uint64_t oldest = OFFLINE;

	for (uint32_t i = 0; i < s->n_readers; i++) {
		uint64_t seen = atomic_load(&s->readers[i].seen);

		oldest = seen < oldest ? seen : oldest;
	}
	return oldest;
}

bool snapshot_passed(struct snapshot *s, uint64_t generation)
{
	return oldest_seen(s) >= generation;
}

static void free_from(struct table **at)
{
	while (*at) {
		struct table *t = *at;

		*at = t->next;
		table_free(t);
	}
}

uint32_t snapshot_reap(struct snapshot *s)
{
	struct table **at = &s->retired;
	uint64_t oldest = oldest_seen(s);
	uint32_t n = 0;

	for (; *at && (*at)->retired > oldest; n++)
		at = &(*at)->next;
	free_from(at);
	return n;
}

void snapshot_free(struct snapshot *s)
{
	free_from(&s->retired);
	table_free(s->table);
}
