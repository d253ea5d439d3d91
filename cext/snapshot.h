/* SPDX-License-Identifier: Apache-2.0
 *
 * The published table and its exchange while workers read it.
 *
 * Theory of operation.  Tables are immutable.  A commit builds a new one,
 * publishes its pointer, then advances the generation; the old table is
 * retired with the new generation's number G.  A reader begins each turn with
 * snapshot_read(): it loads the generation, stores it to its `seen`, then loads
 * the pointer.  A retired table is freed when every reader's `seen` is at least
 * G or OFFLINE.  Why that is safe, all operations being sequentially
 * consistent:
 *
 *  - seen >= G: the reader had loaded a generation >= G, which was stored after
 *    the pointer was exchanged, and it loads the pointer after that; so it has
 *    the new table or a newer one.  Whatever it read of the old one came
 *    before its store to `seen`, which the commit has read.
 *  - seen == OFFLINE: the reader reads no table.  Before it reads one again it
 *    stores a generation to `seen`; that store comes after our load in the
 *    single total order, and our load after the exchange of the pointer; so
 *    the pointer it loads next is the new one.
 *
 * A reader asleep is OFFLINE, so an idle node frees at once.  A commit never
 * waits: what cannot be freed yet is freed at the next one.
 */
#pragma once
#include <stdatomic.h>

#include "table.h"

#define OFFLINE UINT64_MAX

/* One thread's place; its own cache line, for it is stored every turn. */
struct reader {
	_Alignas(64) _Atomic uint64_t seen;
	_Atomic uint64_t turns;		/* quiet points so far: a heartbeat */
};

struct snapshot {
	struct table *_Atomic table;
	_Atomic uint64_t generation;
	struct table *retired;		/* newest first */
	uint32_t n_readers;
	struct reader readers[VX_MAX_WORKERS];
};

/* Publishes t; the table before it is retired. */
void snapshot_publish(struct snapshot *s, struct table *t);

/*
 * For a pointer beside the table that readers load after snapshot_read(), and
 * that has just been exchanged: the generation from which on a reader has the
 * new one.  The argument is the table's.
 */
uint64_t snapshot_withdraw(struct snapshot *s);

/* Whether all readers have come to that generation, or sleep. */
bool snapshot_passed(struct snapshot *s, uint64_t generation);

/* Frees what nobody reads any more; the number of tables that remain. */
uint32_t snapshot_reap(struct snapshot *s);

/* Frees all.  No reader may be left. */
void snapshot_free(struct snapshot *s);

/* A quiet point: what this reader read before is forgotten; the table to
 * read until the next one. */
static inline const struct table *snapshot_read(struct snapshot *s,
						struct reader *r)
{
	uint64_t turns = atomic_load_explicit(&r->turns, memory_order_relaxed);

	atomic_store_explicit(&r->turns, turns + 1, memory_order_relaxed);
	atomic_store(&r->seen, atomic_load(&s->generation));
	return atomic_load(&s->table);
}

/* Reads no table until snapshot_read() is called again. */
static inline void snapshot_leave(struct reader *r)
{
	atomic_store(&r->seen, OFFLINE);
}
