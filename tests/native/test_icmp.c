/* SPDX-License-Identifier: Apache-2.0
 *
 * icmp: the error is right to its last byte, is sent about nothing that
 * RFC 1122, 3.2.2 and RFC 4443, 2.4 exclude, and not too often.
 */
#include "check.h"
#include "icmp.h"

#include <stdlib.h>

#include "spec.h"

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static void check_error(const struct spec *s, const uint8_t *packet,
			const uint8_t *e, uint32_t len)
{
	bool v4 = s->family == 4;
	uint32_t head = v4 ? 28 : 48, most = v4 ? 576 : 1280;
	uint32_t n = v4 ? 4 : 16, src = v4 ? 12 : 8;
	uint32_t quoted = spec_len(s) < most - head ? spec_len(s)
						    : most - head;
	const uint8_t *icmp = e + head - 8;
	uint32_t sum = 0;

	CHECK_EQ(len, head + quoted);
	CHECK_MEM(e + head, packet, quoted);
	/* From the address that cannot be reached, to the sender. */
	CHECK_MEM(e + src, s->dst, n);
	CHECK_MEM(e + src + n, s->src, n);
	if (v4) {
		CHECK_EQ(e[0], 0x45);
		CHECK_EQ(get16(e + 2), len);
		CHECK_EQ(e[9], 1);
		CHECK_EQ(e[8], 64);
		CHECK_EQ(twin_sum(0, e, 20), 0xffff);
	} else {
		CHECK_EQ(e[0], 0x60);
		CHECK_EQ(get16(e + 4), len - 40);
		CHECK_EQ(e[6], 58);
		CHECK_EQ(e[7], 64);
		sum = twin_pseudo(e, 58, len - 40);
	}
	/* Net unreachable: 3, 0 (RFC 792); no route: 1, 0 (RFC 4443). */
	CHECK_EQ(icmp[0], v4 ? 3 : 1);
	CHECK_EQ(icmp[1], 0);
	CHECK_MEM(icmp + 4, "\0\0\0", 4);
	CHECK_EQ(twin_sum(sum, icmp, len - (head - 8)), 0xffff);
}

/* The length of the error about s, which is checked if there is one. */
static uint32_t answer(const struct spec *s)
{
	uint8_t *packet = spec_new(s), buf[ICMP_MAX6];
	uint32_t len;
	struct pkt p;

	CHECK_EQ(pkt_parse(&p, packet, spec_len(s), s->family), PKT_OK);
	memset(buf, 0xee, sizeof(buf));
	len = icmp_unreachable(&p, buf);
	if (len)
		check_error(s, packet, buf, len);
	free(packet);
	return len;
}

/* From one ordinary host to another. */
static struct spec between_hosts(uint8_t family, uint8_t proto, uint32_t n)
{
	struct spec s = spec_random(family, proto, n);

	s.src[0] = family == 4 ? (uint8_t)rnd_range(1, 126) : 0xfd;
	s.dst[0] = family == 4 ? (uint8_t)rnd_range(128, 223) : 0x20;
	return s;
}

TEST(every_length)
{
	for (unsigned i = 0; i < 3000; i++) {
		uint8_t family = i & 1 ? IPV4 : IPV6;
		uint8_t proto = i & 2 ? PROTO_TCP : PROTO_UDP;
		struct spec s = between_hosts(family, proto, i / 2);

		check_context("IPv%u, %u bytes", family, spec_len(&s));
		CHECK(answer(&s) > 0);
	}
}

/* The first byte of the payload is the ICMP type. */
static bool about_icmp(uint8_t family, uint8_t type)
{
	struct spec s = between_hosts(family, family == 4 ? 1 : 58, 40);
	uint8_t payload[40] = { type };

	s.payload = payload;
	return answer(&s) > 0;
}

TEST(never_about_icmp_errors)
{
	for (unsigned type = 0; type < 256; type++) {
		bool error = type == 3 || type == 4 || type == 5 ||
			     type == 11 || type == 12;

		check_context("type %u", type);
		CHECK_EQ(about_icmp(IPV4, (uint8_t)type), !error);
		/* RFC 4443, 2.1: errors are 0 to 127. */
		CHECK_EQ(about_icmp(IPV6, (uint8_t)type), type >= 128);
	}
}

/* What stands ahead of the ICMP header: options, a fragment header, AH. */
static bool about_hidden_icmp6(uint8_t type, bool options, bool fragment,
			       bool ah)
{
	struct spec s = between_hosts(IPV6, ah ? 51 : 58, ah ? 64 : 40);
	/* AH: next header, 24 bytes in all, SPI, number, value. */
	uint8_t payload[64] = { 58, 4 };

	payload[ah ? 24 : 0] = type;
	s.payload = payload;
	s.n_options = options;
	s.frag = fragment;	/* the first one, more to come */
	return answer(&s) > 0;
}

TEST(never_about_icmp6_errors_behind_other_headers)
{
	for (unsigned i = 0; i < 8 * 256; i++) {
		uint8_t type = i / 8;

		check_context("type %u, case %u", type, i % 8);
		CHECK_EQ(about_hidden_icmp6(type, i & 1, i & 2, i & 4),
			 type >= 128);
	}
}

TEST(never_about_what_cannot_be_read)
{
	struct spec s = between_hosts(IPV6, 51, 24);
	uint8_t payload[24] = { 58, 4 };	/* AH, and nothing behind */

	s.payload = payload;
	CHECK_EQ(answer(&s), 0);
	payload[1] = 255;
	CHECK_EQ(answer(&s), 0);
	s = between_hosts(IPV6, 58, 0);
	s.frag = 1;
	CHECK_EQ(answer(&s), 0);
	s = between_hosts(IPV6, 51, 1);		/* AH's first byte alone */
	s.payload = payload;
	CHECK_EQ(answer(&s), 0);
}

TEST(never_about_nothing)
{
	struct spec s = between_hosts(IPV4, 1, 0);

	CHECK_EQ(answer(&s), 0);
	s = between_hosts(IPV6, 58, 0);
	CHECK_EQ(answer(&s), 0);
}

TEST(never_about_later_fragments)
{
	for (unsigned i = 0; i < 2000; i++) {
		struct spec s = between_hosts(IPV4, PROTO_UDP, 100);

		s.frag = (uint16_t)rnd();
		CHECK_EQ(answer(&s) > 0, !(s.frag & 0x1fff));
		s = between_hosts(IPV6, PROTO_UDP, 100);
		s.frag = (uint16_t)(rnd() | 1);
		if (rnd_chance(30))
			s.frag &= 7;
		CHECK_EQ(answer(&s) > 0, !(s.frag & 0xfff8));
	}
}

/* Whether there is an error when source or destination begins so. */
static bool address(uint8_t family, const char *bytes, size_t n, bool is_src)
{
	struct spec s = between_hosts(family, PROTO_UDP, 10);

	memcpy(is_src ? s.src : s.dst, bytes, n);
	return answer(&s) > 0;
}

TEST(never_to_or_about_no_host)
{
	static const char zero[16], one[16] = { [15] = 1 };

	for (unsigned i = 0; i < 2; i++) {
		check_context("%s", i ? "source" : "destination");
		CHECK(address(IPV4, "\x0a", 1, i));
		CHECK(address(IPV4, "\xdf", 1, i));
		CHECK(!address(IPV4, zero, 4, i));
		CHECK(!address(IPV4, "\x7f", 1, i));
		CHECK(!address(IPV4, "\xe0", 1, i));
		CHECK(!address(IPV4, "\xf0", 1, i));
		CHECK(!address(IPV4, "\xff\xff\xff\xff", 4, i));
		CHECK(address(IPV6, "\x20\x01", 2, i));
		CHECK(address(IPV6, "\xfe\x80", 2, i));
		CHECK(!address(IPV6, "\xff\x02", 2, i));
		CHECK(!address(IPV6, zero, 16, i));
		CHECK(!address(IPV6, one, 16, i));
	}
}

/* In any window: no more than the burst and what the time gives. */
static void check_rate(uint32_t rate, uint32_t step_max)
{
	enum { ASKED = 20000 };
	uint64_t due;
	struct icmp_limit limit = { .rate = rate };
	uint64_t start = rnd_range(1000, 1u << 30), now = start, n = 0;

	for (unsigned i = 0; i < ASKED; i++) {
		n += icmp_allowed(&limit, now);
		CHECK(n <= rate + (now - start) * rate / 1000);
		now += rnd_below(step_max + 1);
	}
	due = (now - start) * rate / 1000;
	/* And not far less: asked often, it gives what is due. */
	if (step_max <= 2)
		CHECK(n >= (due < ASKED ? due : ASKED) * 4 / 5);
}

TEST(rate_limit)
{
	check_context("rate limit");
	for (unsigned i = 0; i < 20; i++) {
		check_rate(0, 5);
		check_rate(1, 2);
		check_rate(100, 1);
		check_rate(100, 50);
		check_rate(1000, 2);
		check_rate((uint32_t)rnd_range(1, 5000),
			   (uint32_t)rnd_range(0, 2000));
	}
}

TEST(rate_of_zero_is_never)
{
	struct icmp_limit limit = { .rate = 0 };

	for (uint64_t now = 0; now < 100000; now += 7)
		CHECK(!icmp_allowed(&limit, now));
}

/* A burst, silence, and the burst again; never more for a longer silence. */
TEST(bursts)
{
	struct icmp_limit limit = { .rate = 10 };
	uint64_t now = 1000000;

	for (unsigned round = 0; round < 5; round++) {
		unsigned n = 0;

		while (icmp_allowed(&limit, now))
			n++;
		CHECK_EQ(n, 10);
		now += 1000 + 5000 * round;
	}
}
