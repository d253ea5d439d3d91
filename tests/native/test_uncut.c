/* SPDX-License-Identifier: Apache-2.0
 *
 * uncut: the frame that goes into the TAP says of itself what the twin says,
 * and the super-packet in it is as it was.  That kernels cut it as we would
 * is tests/netns/test_dataplane_uncut.py's.
 */
#include "check.h"
#include "uncut.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "segment.h"
#include "spec.h"
#include "vnet.h"

enum { VNET = 24, ETH = 14, UDP = 8, OVERLAY = 22, ROOM = UNCUT_ROOM + OVERLAY,
       SOURCES = 3, GSO = 1398, NOW = 5000,
       FRAME_MAX = VNET + ROOM + SPEC_MAX };

struct bed {
	struct uncut uncut;
	int out;			/* where the TAP's frames come out */
	struct peer peer;
	struct spec spec;
	uint8_t *memory;		/* ROOM, then the packet */
	struct pkt pkt;
};

static uint16_t be(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* As the kernel's fields of this header are: of the machine. */
static uint16_t native(const uint8_t *at)
{
	uint16_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static struct peer any_peer(uint8_t family)
{
	struct peer peer = { 0 };

	rnd_fill((uint8_t *)&peer.overlay, sizeof(peer.overlay));
	peer.sa.any.sa_family = family == 4 ? AF_INET : AF_INET6;
	peer.sa.in.sin_port = htons(8472);
	rnd_fill((uint8_t *)peer_outer(&peer), family == 4 ? 4 : 16);
	return peer;
}

static struct bed make(uint8_t family, uint32_t n_payload)
{
	struct bed b = { .spec = spec_random(family, SPEC_TCP, n_payload),
			 .peer = any_peer(family) };
	int both[2];

	b.spec.unfinished = true;
	b.memory = malloc(ROOM + spec_len(&b.spec));
	CHECK(b.memory);
	rnd_fill(b.memory, ROOM);
	spec_build(&b.spec, b.memory + ROOM);
	CHECK_EQ(pkt_parse(&b.pkt, b.memory + ROOM, spec_len(&b.spec), family),
		 PKT_OK);
	b.pkt.unfinished = true;
	b.pkt.gso_size = GSO;
	CHECK_EQ(pipe(both), 0);
	CHECK(fcntl(both[1], F_SETPIPE_SZ, 1 << 20) >= 0);
	b.out = both[0];
	b.uncut = (struct uncut){ .tap = both[1], .family = family,
				  .id = 65530 };
	rnd_fill(b.uncut.local, 16);
	return b;
}

static void unmake(struct bed *b)
{
	close(b->uncut.tap);
	close(b->out);
	free(b->memory);
}

/* What the TAP got of the last packet. */
static const uint8_t *frame_of(struct bed *b, uint32_t len)
{
	static uint8_t frame[FRAME_MAX];

	CHECK_EQ(read(b->out, frame, sizeof(frame)), len);
	return frame;
}

static void check_vnet(const struct bed *b, const uint8_t *v, uint32_t ip_len)
{
	uint32_t udp = ETH + ip_len, inner = udp + UDP + OVERLAY;
	bool v4 = b->spec.family == 4;

	CHECK_EQ(v[0], 1 | 8);
	CHECK_EQ(v[1] & 0x7f, v4 ? 1 | 0x20 : 4 | 0x40);
	CHECK_EQ(native(v + 2), inner + spec_header(&b->spec));
	CHECK_EQ(native(v + 4), GSO);
	CHECK_EQ(native(v + 6), inner + spec_l4(&b->spec));
	CHECK_EQ(native(v + 8), 16);
	CHECK_EQ(v[20] | v[21] << 8, udp);
	CHECK_EQ(v[22] | v[23] << 8, inner);
}

static void check_ip4(const struct bed *b, const uint8_t *ip, uint32_t len)
{
	CHECK_EQ(ip[0], 0x45);
	CHECK_EQ(ip[1], b->spec.tos & 3);
	CHECK_EQ(be(ip + 2), len);
	CHECK_EQ(be(ip + 4), 65530);
	CHECK_EQ(be(ip + 6), 0);
	CHECK_EQ(ip[8], 65);
	CHECK_EQ(ip[9], SPEC_UDP);
	CHECK_EQ(twin_sum(0, ip, 20), 0xffff);
	CHECK_MEM(ip + 12, b->uncut.local, 4);
	CHECK_MEM(ip + 16, peer_outer(&b->peer), 4);
}

static void check_ip6(const struct bed *b, const uint8_t *ip, uint32_t len)
{
	CHECK_EQ(be(ip) >> 4, 0x600 | (b->spec.tos & 3));
	CHECK_EQ((ip[1] & 15) << 16 | be(ip + 2), b->pkt.flow & 0xfffff);
	CHECK_EQ(be(ip + 4), len - 40);
	CHECK_EQ(ip[6], SPEC_UDP);
	CHECK_EQ(ip[7], 65);
	CHECK_MEM(ip + 8, b->uncut.local, 16);
	CHECK_MEM(ip + 24, peer_outer(&b->peer), 16);
}

static void check_frame(struct bed *b, uint32_t source)
{
	uint32_t ip_len = b->spec.family == 4 ? 20 : 40;
	uint32_t inner_len = spec_len(&b->spec);
	uint32_t len = ip_len + UDP + OVERLAY + inner_len;
	const uint8_t *v = frame_of(b, VNET + ETH + len);
	const uint8_t *ip = v + VNET + ETH, *udp = ip + ip_len;

	check_vnet(b, v, ip_len);
	CHECK_MEM(v + VNET, vx_tap_mac(), 6);
	CHECK_EQ(be(v + VNET + 12), b->spec.family == 4 ? 0x0800 : 0x86dd);
	if (b->spec.family == 4)
		check_ip4(b, ip, len);
	else
		check_ip6(b, ip, len);
	CHECK_EQ(be(udp), 50001 + source);
	CHECK_EQ(be(udp + 2), 8472);
	CHECK_EQ(be(udp + 4), len - ip_len);
	/* For the kernel to finish: of the pseudo-header alone. */
	CHECK_EQ(be(udp + 6), twin_pseudo(ip, SPEC_UDP, len - ip_len));
	CHECK_MEM(udp + UDP, (const uint8_t *)&b->peer.overlay, OVERLAY);
	CHECK_MEM(udp + UDP + OVERLAY, b->pkt.ip, inner_len);
}

TEST(frames)
{
	for (unsigned i = 0; i < 400; i++) {
		struct bed b = make(i & 1 ? 4 : 6,
				    (uint32_t)rnd_range(UNCUT_LEAST, 65000));
		uint8_t *before = spec_new(&b.spec);
		uint32_t n = segment_count(&b.pkt), source = i % SOURCES;

		CHECK(uncut_takes(&b.uncut, &b.pkt, NOW));
		CHECK_EQ(uncut_send(&b.uncut, &b.peer, &b.pkt, n,
				    htons(50001 + source), NOW), 0);
		CHECK_MEM(b.pkt.ip, before, spec_len(&b.spec));
		check_frame(&b, source);
		/* Segments of two packets never have one number (RFC 6864). */
		CHECK_EQ(b.uncut.id, (uint16_t)(65530 + n));
		free(before);
		unmake(&b);
	}
}

static bool takes(struct bed *b, uint32_t len)
{
	struct pkt p = b->pkt;

	p.len = len;
	return uncut_takes(&b->uncut, &p, NOW);
}

TEST(what_it_takes)
{
	for (uint8_t family = 4; family <= 6; family += 2) {
		struct bed b = make(family, 20000);
		uint32_t most = (family == 4 ? 65507 : 65527) - OVERLAY;
		struct pkt p = b.pkt;

		CHECK(takes(&b, UNCUT_LEAST));
		CHECK(!takes(&b, UNCUT_LEAST - 1));
		CHECK(takes(&b, most));
		CHECK(!takes(&b, most + 1));
		p.gso_size = 0;
		CHECK(!uncut_takes(&b.uncut, &p, NOW));
		p = b.pkt;
		p.transport = PROTO_UDP;
		CHECK(!uncut_takes(&b.uncut, &p, NOW));
		close(b.uncut.tap);
		b.uncut.tap = -1;
		CHECK(!uncut_takes(&b.uncut, &b.pkt, NOW));
		b.uncut.tap = dup(b.out);
		unmake(&b);
	}
}

TEST(a_tap_that_is_gone)
{
	struct bed b = make(4, 20000);
	int there = b.uncut.tap;

	b.uncut.tap = b.out;		/* nobody can write to it: EBADF */
	CHECK_EQ(uncut_send(&b.uncut, &b.peer, &b.pkt, 15, htons(50001),
			    NOW), -EBADF);
	b.uncut.tap = there;
	CHECK(!uncut_takes(&b.uncut, &b.pkt, NOW));
	CHECK(!uncut_takes(&b.uncut, &b.pkt, NOW + 999));
	CHECK(uncut_takes(&b.uncut, &b.pkt, NOW + 1000));
	unmake(&b);
}
