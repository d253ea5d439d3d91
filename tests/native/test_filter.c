/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters of a capture: each test against packets of both families, and
 * expressions against a plain evaluation of the same.
 */
#include "filter.h"

#include <errno.h>

#include "check.h"
#include "spec.h"

static struct filter filter;

static void add(struct vx_test t)
{
	filter.tests[filter.n++] = t;
}

static bool matches(const struct seen *s)
{
	bool found;

	CHECK_EQ(filter_check(filter.tests, filter.n), 0);
	found = filter_matches(&filter, s);
	filter.n = 0;
	return found;
}

static bool one(const struct seen *s, struct vx_test t)
{
	add(t);
	return matches(s);
}

static struct vx_test net(uint8_t what, uint8_t family, const uint8_t *addr,
			  uint8_t length)
{
	struct vx_test t = { .what = what, .family = family,
			     .length = length };

	memcpy(t.address, addr, addr_len(family));
	return t;
}

static struct vx_test range(uint8_t what, uint16_t low, uint16_t high)
{
	return (struct vx_test){ .what = what, .low = low, .high = high };
}

/* An address that differs from addr in its bit `at` only. */
static void flipped(const uint8_t *addr, unsigned at, uint8_t *to)
{
	memcpy(to, addr, 16);
	to[at / 8] ^= (uint8_t)(0x80 >> at % 8);
}

static void addresses(const struct seen *s, uint8_t what, uint8_t family,
		      const uint8_t *addr)
{
	unsigned bits = 8 * addr_len(family);
	uint8_t other[16];

	for (unsigned at = 0; at < bits; at++) {
		flipped(addr, at, other);
		CHECK(one(s, net(what, family, other, at)));
		CHECK(!one(s, net(what, family, other, at + 1)));
		CHECK(one(s, net(what, family, addr, at + 1)));
	}
	CHECK(!one(s, net(what, family == IPV4 ? IPV6 : IPV4, addr, 0)));
}

static void ranges(const struct seen *s, uint8_t what, uint16_t value)
{
	CHECK(one(s, range(what, value, value)));
	CHECK(one(s, range(what, 0, 0xffff)));
	CHECK(value == 0 || !one(s, range(what, 0, value - 1)));
	CHECK(value == 0xffff || !one(s, range(what, value + 1, 0xffff)));
}

static void check_family(uint8_t family)
{
	uint8_t proto = rnd_chance(50) ? PROTO_TCP : PROTO_UDP;
	struct spec spec = spec_random(family, proto, 100);
	uint8_t bytes[2000], outer[16];
	struct pkt p;
	struct seen s = { .point = VX_TO_TUN, .verdict = 7, .family = family,
			  .outer = outer, .pkt = &p };

	rnd_fill(outer, sizeof(outer));
	spec_build(&spec, bytes);
	CHECK_EQ(pkt_parse(&p, bytes, spec_len(&spec), family), PKT_OK);
	addresses(&s, VX_TEST_SRC, family, pkt_src(&p));
	addresses(&s, VX_TEST_DST, family, pkt_dst(&p));
	addresses(&s, VX_TEST_PEER, family, outer);
	ranges(&s, VX_TEST_FAMILY, family);
	ranges(&s, VX_TEST_PROTO, p.proto);
	ranges(&s, VX_TEST_POINT, VX_TO_TUN);
	ranges(&s, VX_TEST_VERDICT, 7);
	if (p.transport) {
		ranges(&s, VX_TEST_SPORT, spec.sport);
		ranges(&s, VX_TEST_DPORT, spec.dport);
	}
	p.transport = 0;
	CHECK(!one(&s, range(VX_TEST_SPORT, 0, 0xffff)));
	s.pkt = NULL;
	s.outer = NULL;
	CHECK(!one(&s, range(VX_TEST_PROTO, 0, 0xffff)));
	CHECK(!one(&s, net(VX_TEST_PEER, family, outer, 0)));
	CHECK(one(&s, range(VX_TEST_VERDICT, 7, 7)));
}

TEST(every_test_knows_its_packet)
{
	for (unsigned i = 0; i < 100; i++) {
		check_family(IPV4);
		check_family(IPV6);
	}
}

TEST(no_test_at_all_matches_everything)
{
	CHECK(matches(&(struct seen){ .family = IPV4 }));
}

/* Adds a random expression; what it comes to. */
static bool random_expression(unsigned depth)
{
	bool a, b;

	switch (depth ? rnd_below(4) : 0) {
	case 1:
		a = random_expression(depth - 1);
		add(range(VX_TEST_NOT, 0, 0));
		return !a;
	case 2:
		a = random_expression(depth - 1);
		b = random_expression(depth - 1);
		add(range(VX_TEST_AND, 0, 0));
		return a && b;
	case 3:
		a = random_expression(depth - 1);
		b = random_expression(depth - 1);
		add(range(VX_TEST_OR, 0, 0));
		return a || b;
	default:
		a = rnd_chance(50);
		add(range(VX_TEST_VERDICT, a ? 0 : 9, 9));
		return a;
	}
}

TEST(expressions_come_to_what_they_say)
{
	for (unsigned i = 0; i < 3000; i++) {
		bool want = random_expression(6);

		CHECK_EQ(matches(&(struct seen){ .verdict = 7 }), want);
	}
}

TEST(what_is_no_expression_is_refused)
{
	struct vx_test t[VX_MAX_TESTS + 1] = { { 0 } };

	CHECK_EQ(filter_check(t, 1), -EINVAL);		/* and, of nothing */
	t[0].what = t[1].what = VX_TEST_PROTO;
	CHECK_EQ(filter_check(t, 1), 0);
	CHECK_EQ(filter_check(t, 2), -EINVAL);		/* two answers */
	t[2].what = VX_TEST_OR;
	CHECK_EQ(filter_check(t, 3), 0);
	t[1].length = 129;
	CHECK_EQ(filter_check(t, 3), -EINVAL);
	t[1] = range(VX_TEST_LAST + 1, 0, 0);
	CHECK_EQ(filter_check(t, 3), -EINVAL);
	for (unsigned i = 0; i < VX_MAX_TESTS; i++)
		t[i] = range(i <= FILTER_DEPTH ? VX_TEST_PROTO : VX_TEST_OR,
			     0, 0);
	CHECK_EQ(filter_check(t, 2 * FILTER_DEPTH + 1), -EINVAL);
	CHECK_EQ(filter_check(t, VX_MAX_TESTS + 1), -EINVAL);
}
