/* SPDX-License-Identifier: Apache-2.0
 *
 * The harness of the native tests: one program a unit, test_<unit>.c, with
 * TEST(name) { ... } for each thing it claims.  check.c has main().
 *
 *	test_unit [name ...]		run all tests, or those named
 *	FWD_TEST_SEED=n			repeat a run: n is what it printed
 *
 * A failed CHECK ends the program with one line and the seed.  Reading past
 * an end is left to the sanitizers, and to edge_new() where there are none.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test {
	const char *name;
	void (*run)(void);
	struct test *next;
};

void test_register(struct test *test);

#define TEST(id)                                                            \
	static void id(void);                                               \
	__attribute__((constructor)) static void register_##id(void)        \
	{                                                                   \
		static struct test test = { #id, id, NULL };                \
		test_register(&test);                                       \
	}                                                                   \
	static void id(void)

/* Where we are in a loop, for the message of a CHECK that fails there. */
__attribute__((format(printf, 1, 2))) void check_context(const char *fmt,
							  ...);
__attribute__((noreturn, format(printf, 3, 4))) void
check_failed(const char *file, int line, const char *fmt, ...);
void check_mem(const char *file, int line, const char *what, const void *have,
	       const void *want, size_t len);

#define CHECK(cond)                                                         \
	do {                                                                \
		if (!(cond))                                                \
			check_failed(__FILE__, __LINE__, "%s", #cond);      \
	} while (0)

/* Two integers; evaluated once. */
#define CHECK_EQ(have, want)                                                \
	do {                                                                \
		long long have_ = (long long)(have);                        \
		long long want_ = (long long)(want);                        \
		if (have_ != want_)                                         \
			check_failed(__FILE__, __LINE__,                    \
				     "%s is %lld (%#llx), not "             \
				     "%s = %lld (%#llx)",                   \
				     #have, have_, have_, #want, want_,     \
				     want_);                                \
	} while (0)

/* len bytes; tells the first that differs. */
#define CHECK_MEM(have, want, len)                                          \
	check_mem(__FILE__, __LINE__, #have " against " #want, (have),      \
		  (want), (len))

/*
 * Pseudo-random, the same for one seed.  Each test starts anew from seed and
 * its name, so that it sees the same numbers when run alone.
 */
uint64_t rnd(void);
/* Uniform in 0 .. n - 1; n > 0. */
uint64_t rnd_below(uint64_t n);
/* Uniform in low .. high, both included. */
uint64_t rnd_range(uint64_t low, uint64_t high);
bool rnd_chance(unsigned int percent);
void rnd_fill(void *data, size_t len);

/*
 * len zeroed bytes with an inaccessible page right behind them (before = false)
 * or right before them: touching one byte too many is a crash, with or
 * without sanitizers.  Slow: two system calls each.
 */
void *edge_new(size_t len, bool before);
void edge_free(void *data, size_t len, bool before);
