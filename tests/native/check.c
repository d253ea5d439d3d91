/* SPDX-License-Identifier: Apache-2.0
 *
 * main() and the helpers of the native tests; see check.h.
 */
#include "check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static struct test *tests, **last = &tests;
static const struct test *running;
static uint64_t seed, state;
static char context[256];

void test_register(struct test *test)
{
	*last = test;
	last = &test->next;
}

void check_context(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(context, sizeof(context), fmt, ap);
	va_end(ap);
}

void check_failed(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	printf("FAILED %s\n%s:%d: ", running ? running->name : "?", file,
	       line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	if (*context)
		printf("\n  at %s", context);
	printf("\n  again: FWD_TEST_SEED=%llu %s %s\n",
	       (unsigned long long)seed, program_invocation_name,
	       running ? running->name : "");
	fflush(stdout);
	/* Not exit(): a leak report would bury the reason. */
	_exit(1);
}

static void hex(const char *label, const uint8_t *data, size_t from,
		size_t to)
{
	printf("  %s", label);
	for (size_t i = from; i < to; i++)
		printf(" %02x", data[i]);
	printf("\n");
}

void check_mem(const char *file, int line, const char *what, const void *have,
	       const void *want, size_t len)
{
	const uint8_t *a = have, *b = want;
	size_t i = 0, from, to;

	while (i < len && a[i] == b[i])
		i++;
	if (i == len)
		return;
	from = i < 8 ? 0 : i - 8;
	to = len - i < 16 ? len : i + 16;
	printf("bytes %zu to %zu:\n", from, to);
	hex("have", a, from, to);
	hex("want", b, from, to);
	check_failed(file, line, "%s: byte %zu of %zu differs", what, i, len);
}

/* splitmix64 (Steele, Lea, Flood 2014): any seed is a good one. */
uint64_t rnd(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint64_t rnd_below(uint64_t n)
{
	CHECK(n > 0);
	return rnd() % n;
}

uint64_t rnd_range(uint64_t low, uint64_t high)
{
	CHECK(low <= high);
	return low + rnd_below(high - low + 1);
}

bool rnd_chance(unsigned int percent)
{
	return rnd_below(100) < percent;
}

void rnd_fill(void *data, size_t len)
{
	uint8_t *p = data;
	uint64_t word;

	for (; len >= sizeof(word); len -= sizeof(word), p += sizeof(word)) {
		word = rnd();
		memcpy(p, &word, sizeof(word));
	}
	word = rnd();
	memcpy(p, &word, len);
}

static size_t pages(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page - 1) / page * page;
}

void *edge_new(size_t len, bool before)
{
	size_t page = pages(1), room = pages(len);
	uint8_t *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(map != MAP_FAILED);
	CHECK(!mprotect(before ? map : map + room, page, PROT_NONE));
	return before ? map + page : map + room - len;
}

void edge_free(void *data, size_t len, bool before)
{
	size_t page = pages(1), room = pages(len);
	uint8_t *map = data;

	map = before ? map - page : map + len - room;
	CHECK(!munmap(map, room + page));
}

static uint64_t choose_seed(void)
{
	const char *text = getenv("FWD_TEST_SEED");
	uint64_t value = 0;
	char *end;

	if (!text || !*text) {
		CHECK(getrandom(&value, 4, 0) == 4);	/* short to type */
		return value;
	}
	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || *end) {
		fprintf(stderr, "FWD_TEST_SEED=%s is not a number\n", text);
		exit(2);
	}
	return value;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void run(const struct test *test)
{
	double start = seconds();

	running = test;
	*context = 0;
	state = seed;
	for (const char *c = test->name; *c; c++)
		state = (state ^ (uint8_t)*c) * 0x100000001b3;
	test->run();
	printf("ok %s (%.2f s)\n", test->name, seconds() - start);
	fflush(stdout);
}

static bool named(const struct test *test, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strcmp(test->name, *names))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	int ran = 0;

	(void)argc;
	seed = choose_seed();
	printf("FWD_TEST_SEED=%llu\n", (unsigned long long)seed);
	for (const struct test *test = tests; test; test = test->next) {
		if (named(test, argv + 1)) {
			run(test);
			ran++;
		}
	}
	if (!ran)
		fprintf(stderr, "no test of that name\n");
	return ran ? 0 : 2;
}
