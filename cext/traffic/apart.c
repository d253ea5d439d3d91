/* SPDX-License-Identifier: Apache-2.0
 *
 * How far apart two processors are: a word goes there and back between their
 * caches.  On a virtual machine that changes when the hypervisor moves them.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "api.h"
#include "clock.h"

enum {
	TRIPS = 500,		/* of which the mean is taken, */
	TRIES = 20,		/* so often, and the least of these */
	PATIENCE = 50000000,	/* looks at the word: tenths of a second */
};

struct apart {
	_Alignas(128) _Atomic uint32_t word;	/* odd: asked, even: answered */
	_Alignas(128) _Atomic bool stop;
	uint32_t patience;
	int error;
	uint32_t ns;
};

static void *answer(void *apart)
{
	struct apart *a = apart;
	uint32_t seen;

	while (!atomic_load_explicit(&a->stop, memory_order_relaxed)) {
		seen = atomic_load_explicit(&a->word, memory_order_relaxed);
		if (seen & 1)
			atomic_store_explicit(&a->word, seen + 1,
					      memory_order_relaxed);
	}
	return NULL;
}

static bool trip(struct apart *a, uint32_t ask)
{
	atomic_store_explicit(&a->word, ask, memory_order_relaxed);
	for (; a->patience; a->patience--)
		if (atomic_load_explicit(&a->word, memory_order_relaxed) ==
		    ask + 1)
			return true;
	return false;
}

static void *ask(void *apart)
{
	struct apart *a = apart;
	uint32_t number = 1;

	a->ns = UINT32_MAX;
	for (int i = 0; i < TRIES && !a->error; i++) {
		uint64_t begin = now_ns();
		uint32_t ns;

		for (int k = 0; k < TRIPS && !a->error; k++, number += 2)
			if (!trip(a, number))
				a->error = -ETIMEDOUT;
		ns = (now_ns() - begin) / TRIPS;
		a->ns = ns < a->ns ? ns : a->ns;
	}
	atomic_store(&a->stop, true);
	return NULL;
}

static int start(pthread_t *thread, uint32_t cpu, void *(*body)(void *),
		 struct apart *a)
{
	pthread_attr_t attr;
	cpu_set_t set;
	int error;

	if (cpu >= CPU_SETSIZE)
		return EINVAL;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	error = pthread_create(thread, &attr, body, a);
	pthread_attr_destroy(&attr);
	return error;
}

int tg_apart(uint32_t cpu, uint32_t other, uint32_t *ns)
{
	struct apart a = { .patience = PATIENCE };
	pthread_t answering, asking;
	int error;

	if (cpu == other)
		return -EINVAL;
	error = start(&answering, other, answer, &a);
	if (error)
		return -error;
	error = start(&asking, cpu, ask, &a);
	if (!error)
		pthread_join(asking, NULL);
	atomic_store(&a.stop, true);
	pthread_join(answering, NULL);
	*ns = a.ns;
	return error ? -error : a.error;
}
