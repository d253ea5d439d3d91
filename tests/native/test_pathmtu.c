/* SPDX-License-Identifier: Apache-2.0
 *
 * Path MTUs learnt from ICMP errors.
 */
#include <string.h>

#include "check.h"
#include "pathmtu.h"
#include "segment.h"
#include "vnet.h"

static struct path_mtus mtus;
static uint64_t now;		/* ms */

/* An ICMP error (IPv4: 3/4, IPv6: 2/0) about a packet to `dst`. */
static struct pkt error_about(uint8_t *buf, uint8_t family, const uint8_t *dst,
			      uint32_t mtu)
{
	uint32_t ip = ip_header_min(family), n = addr_len(family);
	uint8_t *icmp = buf + ip, *quoted = icmp + sizeof(struct icmphdr);
	be32 rest = htonl(mtu);
	struct pkt p;

	memset(buf, 0, 2 * ip + 8);
	buf[0] = family == IPV4 ? 0x45 : 0x60;
	icmp[0] = family == IPV4 ? 3 : 2;
	icmp[1] = family == IPV4 ? 4 : 0;
	memcpy(icmp + 4, &rest, sizeof(rest));
	memcpy(quoted + ip - n, dst, n);
	p = (struct pkt){ .ip = buf, .family = family };
	pkt_set_len(&p, 2 * ip + 8);
	if (family == IPV4)
		((struct ip4hdr *)buf)->proto = PROTO_ICMP4;
	else
		((struct ip6hdr *)buf)->next = PROTO_ICMP6;
	CHECK_EQ(pkt_parse(&p, buf, 2 * ip + 8, family), PKT_OK);
	return p;
}

static uint16_t applied(uint8_t *buf, uint8_t family, const uint8_t *dst)
{
	uint32_t n = addr_len(family), ip = ip_header_min(family);
	struct pkt p = { .ip = buf, .family = family, .transport = PROTO_TCP,
			 .len = 4000, .l4 = ip, .payload = ip + 32,
			 .gso_size = 1398 };

	memcpy(buf + ip - n, dst, n);
	path_mtu_apply(&mtus, &p, now);
	return p.gso_size;
}

static uint32_t least(uint8_t family)
{
	return family == IPV4 ? 552 : 1280;
}

static void learns(uint8_t family)
{
	uint8_t dst[16] = { 10, 244, 1, 2, 7 }, other[16] = { 10, 244, 1, 3 };
	uint32_t headers = ip_header_min(family) + 32;
	uint8_t buf[128];
	struct pkt p = error_about(buf, family, dst, 1400);

	memset(&mtus, 0, sizeof(mtus));
	path_mtu_learn(&mtus, &p, now);
	CHECK_EQ(applied(buf, family, dst), 1400 - headers);
	CHECK_EQ(applied(buf, family, other), 1398);
	p = error_about(buf, family, dst, 9000);	/* a lie */
	path_mtu_learn(&mtus, &p, now);
	CHECK_EQ(applied(buf, family, dst), 1400 - headers);
	/* RFC 1191 knows routers that say 0, and anybody can say 300. */
	p = error_about(buf, family, dst, 0);
	path_mtu_learn(&mtus, &p, now);
	CHECK_EQ(applied(buf, family, dst), least(family) - headers);
}

static void each_family(void (*body)(uint8_t family))
{
	body(IPV4);
	body(IPV6);
}

TEST(an_error_teaches)
{
	each_family(learns);
}

static void ages(uint8_t family)
{
	enum { MINUTE = 60000 };
	uint8_t dst[16] = { 10, 244, 1, 2 }, buf[128];
	uint32_t segment = 1400 - ip_header_min(family) - 32;
	/* Of a machine that has just started, and one whose `when` wraps. */
	uint64_t begin = rnd_chance(50) ? 1 : (0xffffull << 13) - MINUTE;
	struct pkt p = error_about(buf, family, dst, 1400);

	memset(&mtus, 0, sizeof(mtus));
	now = begin;
	path_mtu_learn(&mtus, &p, now);
	now = begin + 9 * MINUTE;
	CHECK_EQ(applied(buf, family, dst), segment);
	now = begin + 11 * MINUTE;
	CHECK_EQ(applied(buf, family, dst), 1398);
	p = error_about(buf, family, dst, 1410);
	path_mtu_learn(&mtus, &p, now);
	CHECK_EQ(applied(buf, family, dst), segment + 10);
	now += 9 * MINUTE;	/* said again, it is good for as long again */
	path_mtu_learn(&mtus, &p, now);
	now += 9 * MINUTE;
	CHECK_EQ(applied(buf, family, dst), segment + 10);
	now = 0;
}

TEST(an_entry_ends)
{
	for (int i = 0; i < 10; i++)
		each_family(ages);
}

static void neighbours(uint8_t family)
{
	uint8_t dst[16] = { 10, 244, 1 }, buf[128];
	uint32_t headers = ip_header_min(family) + 32, used = 0;
	uint8_t *last = &dst[addr_len(family) - 1];

	memset(&mtus, 0, sizeof(mtus));
	for (*last = 2; *last < 255; ++*last) {
		struct pkt p = error_about(buf, family, dst,
					   1300 + *last % 110);

		path_mtu_learn(&mtus, &p, now);
	}
	for (unsigned i = 0; i < PATH_MTUS; i++)
		used += mtus.entry[i] != 0;
	CHECK_EQ(used, 253);
	for (*last = 2; *last < 255; ++*last)
		CHECK_EQ(applied(buf, family, dst),
			 1300 + *last % 110 - headers);
}

TEST(neighbours_have_an_entry_each)
{
	each_family(neighbours);
}

/* As of an older process, which had them in other places. */
static void misplaced(uint8_t family)
{
	uint8_t dst[16] = { 10, 244, 1, 2 }, buf[128];
	uint64_t saved[PATH_MTUS], moved[PATH_MTUS];
	struct pkt p = error_about(buf, family, dst, 1400);
	uint32_t headers = ip_header_min(family) + 32;

	memset(&mtus, 0, sizeof(mtus));
	path_mtu_learn(&mtus, &p, now);
	path_mtu_save(&mtus, saved);
	for (unsigned i = 0; i < PATH_MTUS; i++)
		moved[i] = saved[(i + 1) % PATH_MTUS];
	memset(&mtus, 0, sizeof(mtus));
	path_mtu_restore(&mtus, moved);
	CHECK_EQ(applied(buf, family, dst), 1400 - headers);
}

TEST(an_entry_is_found_wherever_it_was)
{
	each_family(misplaced);
}

/* A packet of `len` bytes without gso_size; what it has after. */
static uint16_t cut_to(uint8_t *buf, uint8_t family, const uint8_t *dst,
		       uint32_t len, bool unfinished)
{
	uint32_t n = addr_len(family), ip = ip_header_min(family);
	struct pkt p = { .ip = buf, .family = family, .transport = PROTO_TCP,
			 .len = len, .l4 = ip, .payload = ip + 32,
			 .unfinished = unfinished };

	memcpy(buf + ip - n, dst, n);
	pkt_set_len(&p, len);
	path_mtu_apply(&mtus, &p, now);
	if (p.gso_size) {
		CHECK(vnet_make(&p).flags & VNET_NEEDS_CSUM);
		CHECK_EQ(segment_count(&p), 2);
	}
	return p.gso_size;
}

static void what_fits_the_device(uint8_t family)
{
	uint8_t dst[16] = { 10, 244, 1, 2 }, other[16] = { 10, 244, 1, 3 };
	uint32_t segment = 1400 - ip_header_min(family) - 32;
	uint8_t buf[128];
	struct pkt p = error_about(buf, family, dst, 1400);

	memset(&mtus, 0, sizeof(mtus));
	path_mtu_learn(&mtus, &p, now);
	CHECK_EQ(cut_to(buf, family, dst, 1432, true), segment);
	CHECK_EQ(cut_to(buf, family, dst, 1401, true), segment);
	CHECK_EQ(cut_to(buf, family, dst, 1400, true), 0);
	CHECK_EQ(cut_to(buf, family, dst, 1432, false), 0);
	CHECK_EQ(cut_to(buf, family, other, 1432, true), 0);
	p = error_about(buf, family, dst, 1);
	path_mtu_learn(&mtus, &p, now);
	CHECK_EQ(cut_to(buf, family, dst, least(family), true), 0);
	CHECK(cut_to(buf, family, dst, least(family) + 1, true));
}

TEST(what_fits_the_device_is_cut_for_a_smaller_path)
{
	each_family(what_fits_the_device);
}

/* What no kernel makes a super-packet of. */
static void left_whole(uint8_t family)
{
	static const struct { uint8_t flags, option[4]; bool cut; } cases[] = {
		{ TCP_ACK, { 1, 1, 8, 10 }, true },	/* timestamps */
		{ TCP_ACK | TCP_PSH, { 1, 0, 19, 18 }, true },	/* padding */
		{ TCP_ACK | TCP_URG, { 0 }, false },
		{ TCP_SYN, { 0 }, false },
		{ TCP_RST, { 0 }, false },
		{ TCP_ACK, { 19, 18 }, false },
		{ TCP_ACK, { 1, 1, 29, 8 }, false },
		{ TCP_ACK, { 8, 1, 19, 18 }, true },	/* nonsense */
	};
	uint8_t dst[16] = { 10, 244, 1, 2 }, buf[128];
	uint8_t *tcp = buf + ip_header_min(family);
	struct pkt p = error_about(buf, family, dst, 1400);

	memset(&mtus, 0, sizeof(mtus));
	path_mtu_learn(&mtus, &p, now);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		memset(tcp, 0, sizeof(buf) - (tcp - buf));
		tcp[13] = cases[i].flags;
		memcpy(tcp + 20, cases[i].option, sizeof(cases[i].option));
		CHECK_EQ(cut_to(buf, family, dst, 1432, true) > 0,
			 cases[i].cut);
	}
}

TEST(what_is_no_plain_stream_is_not_cut)
{
	each_family(left_whole);
}

TEST(a_broken_header_is_not_cut)
{
	uint8_t dst[4] = { 10, 244, 1, 2 }, buf[128];
	struct pkt p = error_about(buf, IPV4, dst, 1400);

	memset(&mtus, 0, sizeof(mtus));
	path_mtu_learn(&mtus, &p, now);
	p = (struct pkt){ .ip = buf, .family = IPV4, .transport = PROTO_TCP,
			  .len = 1432, .l4 = 20, .payload = 52,
			  .unfinished = true };
	memcpy(buf + 16, dst, sizeof(dst));
	pkt_set_len(&p, p.len);
	buf[8] ^= 1;		/* TTL */
	path_mtu_apply(&mtus, &p, now);
	CHECK_EQ(p.gso_size, 0);
	buf[8] ^= 1;
	path_mtu_apply(&mtus, &p, now);
	CHECK_EQ(p.gso_size, 1400 - 52);
}

static void learns_nothing(uint8_t family)
{
	uint8_t dst[16] = { 10, 244, 1, 2 }, buf[128];
	struct pkt p = error_about(buf, family, dst, 1400);

	memset(&mtus, 0, sizeof(mtus));
	for (uint32_t len = ip_header_min(family); len < p.len; len++) {
		struct pkt shorter = p;
		uint8_t *copy = edge_new(len, false);

		memcpy(copy, buf, len);
		shorter.ip = copy;
		shorter.len = len;
		path_mtu_learn(&mtus, &shorter, now);
		edge_free(copy, len, false);
	}
	/* Host unreachable; time exceeded. */
	buf[p.l4 + (family == IPV4)] = family == IPV4 ? 1 : 3;
	path_mtu_learn(&mtus, &p, now);
	CHECK_EQ(applied(buf, family, dst), 1398);
}

TEST(other_packets_teach_nothing)
{
	each_family(learns_nothing);
}
