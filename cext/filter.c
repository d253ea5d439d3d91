/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <errno.h>

int filter_check(const struct vx_test *tests, uint32_t n)
{
	uint32_t depth = 0;

	if (n > VX_MAX_TESTS)
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t takes = tests[i].what == VX_TEST_NOT	? 1
				 : tests[i].what == VX_TEST_AND ||
				   tests[i].what == VX_TEST_OR	? 2
								: 0;

		if (tests[i].what > VX_TEST_LAST || depth < takes ||
		    tests[i].length > 8 * VX_ADDR_LEN)
			return -EINVAL;
		depth += 1 - takes;
		if (depth > FILTER_DEPTH)
			return -EINVAL;
	}
	return n == 0 || depth == 1 ? 0 : -EINVAL;
}

static bool within(const uint8_t *address, uint8_t family,
		   const struct vx_test *t)
{
	unsigned bytes = t->length / 8, bits = t->length % 8;

	if (t->family != family || t->length > 8 * addr_len(family) ||
	    memcmp(address, t->address, bytes))
		return false;
	return !bits || !((address[bytes] ^ t->address[bytes]) >> (8 - bits));
}

static bool between(const struct vx_test *t, uint16_t value)
{
	return t->low <= value && value <= t->high;
}

/* The ports are the first of a TCP or UDP header. */
static bool port_is(const struct pkt *p, unsigned which,
		    const struct vx_test *t)
{
	be16 port;

	if (!p->transport)
		return false;
	memcpy(&port, p->ip + p->l4 + which * sizeof(port), sizeof(port));
	return between(t, ntohs(port));
}

static bool inner_is(const struct pkt *p, const struct vx_test *t)
{
	switch (t->what) {
	case VX_TEST_FAMILY:
		return between(t, p->family);
	case VX_TEST_PROTO:
		return between(t, p->proto);
	case VX_TEST_SRC:
		return within(pkt_src(p), p->family, t);
	case VX_TEST_DST:
		return within(pkt_dst(p), p->family, t);
	case VX_TEST_SPORT:
		return port_is(p, 0, t);
	case VX_TEST_DPORT:
		return port_is(p, 1, t);
	default:
		return false;
	}
}

static bool test_is(const struct seen *s, const struct vx_test *t)
{
	switch (t->what) {
	case VX_TEST_POINT:
		return between(t, s->point);
	case VX_TEST_VERDICT:
		return between(t, s->verdict);
	case VX_TEST_PEER:
		return s->outer && within(s->outer, s->family, t);
	default:
		return s->pkt && inner_is(s->pkt, t);
	}
}

bool filter_matches(const struct filter *f, const struct seen *s)
{
	uint64_t stack = f->n == 0, above;

	for (uint32_t i = 0; i < f->n; i++) {
		const struct vx_test *t = &f->tests[i];

		switch (t->what) {
		case VX_TEST_NOT:
			stack ^= 1;
			break;
		case VX_TEST_AND:
			above = stack | ~1ull;
			stack = stack >> 1 & above;
			break;
		case VX_TEST_OR:
			above = stack & 1;
			stack = stack >> 1 | above;
			break;
		default:
			stack = stack << 1 | test_is(s, t);
		}
	}
	return stack & 1;
}
