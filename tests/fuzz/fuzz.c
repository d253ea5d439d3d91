/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const uint8_t fuzz_mac[6] = { 2, 0, 0, 0, 0, 1 };

const struct vx_peer fuzz_peers[2] = {
	{ { 192, 168, 50, 2 }, { 2, 0, 0, 0, 0, 2 }, { 0 }, 0 },
	{ { 192, 168, 50, 3 }, { 2, 0, 0, 0, 0, 3 }, { 0 }, 1 },
};

static const struct vx_route routes[2] = {
	{ .prefix = { 0 }, .length = 1, .peer = 0 },
	{ .prefix = { 128 }, .length = 2, .peer = 1 },
};

void check_failed(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s:%d: ", file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

void check_mem(const char *file, int line, const char *what, const void *have,
	       const void *want, size_t len)
{
	const uint8_t *a = have, *b = want;

	for (size_t i = 0; i < len; i++)
		if (a[i] != b[i])
			check_failed(file, line, "%s: byte %zu of %zu is "
				     "%#x, not %#x", what, i, len, a[i],
				     b[i]);
}

uint8_t take8(struct input *in)
{
	if (in->size == 0)
		return 0;
	in->size--;
	return *in->data++;
}

uint16_t take16(struct input *in)
{
	uint16_t high = take8(in);

	return (uint16_t)(high << 8 | take8(in));
}

const uint8_t *take(struct input *in, uint32_t *n)
{
	const uint8_t *at = in->data;

	if (*n > in->size)
		*n = (uint32_t)in->size;
	in->data += *n;
	in->size -= *n;
	return at;
}

static struct vx_settings settings_of(uint8_t byte)
{
	static const uint8_t checks[4] = { VX_SOURCE_STRICT, VX_SOURCE_LOOSE,
					   VX_SOURCE_OFF, VX_SOURCE_STRICT };
	struct vx_settings s = {
		.family = byte & FUZZ_IPV6 ? IPV6 : IPV4,
		.source_check = checks[(byte & FUZZ_CHECK) >> 1],
		.vni = FUZZ_VNI,
		.mtu = byte & FUZZ_SMALL ? 576 : 1450,
		.icmp_rate = 1000,
		.workers = 1,
		.sources = 4,
		.port = VXLAN_PORT,
	};

	memcpy(s.mac, fuzz_mac, sizeof(s.mac));
	return s;
}

const struct table *fuzz_table(uint8_t byte)
{
	static struct table *tables[2];
	struct table **t = &tables[byte & FUZZ_IPV6];
	struct vx_settings s = settings_of(byte);
	int error;

	if (!*t)
		*t = table_build(&s, fuzz_peers, 2, routes, 2, &error);
	CHECK(*t);
	return *t;
}

static uint8_t *must_malloc(size_t size)
{
	uint8_t *p = malloc(size);

	CHECK(p);
	return p;
}

/* Not as worker_buffers() has them, one behind the other: the sanitizer is to
 * see where each ends, and a run among its like. */
static void give_buffers(struct worker *w)
{
	uint8_t *runs = must_malloc(RUNS * LARGE_STRIDE);

	for (unsigned i = 0; i < RUNS; i++)
		__asan_poison_memory_region(runs + i * LARGE_STRIDE +
					    IP_MAX_LEN,
					    LARGE_STRIDE - IP_MAX_LEN);
	w->coalescer.memory = runs;
	w->packer.memory = must_malloc(PACK_BYTES);
	w->packet = must_malloc(PACKET_BYTES) + PACKET_FRONT;
}

struct worker *fuzz_worker(uint8_t byte)
{
	static struct worker w;
	static struct vx_settings s;
	static struct path_mtus path_mtus;
	static const int tuns[1];

	if (!w.settings) {
		csum_init();
		w.per_peer = w.sender.per_peer = peers_new();
		CHECK(w.per_peer);
		give_buffers(&w);
		CHECK_EQ(tracer_init(&w.trace, IPV4), 0);
		w.sender.trace = &w.trace;
	}
	s = settings_of(byte);
	w.settings = &s;
	w.trace.family = s.family;
	w.vnet = byte & FUZZ_VNET;
	/* As tun.c grants them: each needs the one before. */
	w.tso = w.vnet && byte & FUZZ_TSO;
	w.uso = w.tso && byte & FUZZ_USO;
	w.coalescer.to = &w;
	w.coalescer.tcp = w.tso;
	w.coalescer.udp = w.uso;
	w.icmp.rate = s.icmp_rate;
	w.sender.n_fds = s.sources;
	w.tuns = tuns;
	w.n_queues = w.ready = 1;
	w.uncut = (struct uncut){ .tap = -1, .family = s.family };
	w.path_mtus = &path_mtus;
	memset(&path_mtus, 0, sizeof(path_mtus));
	memset(&w.counters, 0, sizeof(w.counters));
	return &w;
}

uint64_t fuzz_count(const struct worker *w, enum counter i)
{
	return atomic_load_explicit(&w->counters.v[i], memory_order_relaxed);
}

uint64_t fuzz_drops(const struct worker *w, int kind)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < N_COUNTERS; i++)
		if (vx_counter_kind(i) == kind)
			sum += fuzz_count(w, i);
	return sum;
}

/* Helpers of tests/native ask for these; the same numbers every time. */
uint64_t rnd(void)
{
	static uint64_t state = 1;

	state = state * 6364136223846793005u + 1442695040888963407u;
	return state >> 33 | state << 31;
}

uint64_t rnd_below(uint64_t n)
{
	return rnd() % n;
}

uint64_t rnd_range(uint64_t low, uint64_t high)
{
	return low + rnd_below(high - low + 1);
}

bool rnd_chance(unsigned int percent)
{
	return rnd_below(100) < percent;
}

void rnd_fill(void *data, size_t len)
{
	uint8_t *p = data;

	while (len--)
		*p++ = (uint8_t)rnd();
}
