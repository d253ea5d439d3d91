/* SPDX-License-Identifier: Apache-2.0
 *
 * seeds DIR: writes inputs to begin with, made of valid packets, to
 * DIR/<target>/.
 */
#include "fuzz.h"
#include "spec.h"

#include <stdio.h>
#include <stdlib.h>

static uint8_t buf[1 << 17];
static size_t at;

static void put8(unsigned v)
{
	buf[at++] = (uint8_t)v;
}

static void put16(unsigned v)
{
	put8(v >> 8);
	put8(v);
}

static void save(const char *dir, const char *target, unsigned n)
{
	char name[512];
	FILE *f;

	snprintf(name, sizeof(name), "%s/%s/seed-%02u", dir, target, n);
	f = fopen(name, "w");
	if (!f || fwrite(buf, 1, at, f) != at || fclose(f)) {
		perror(name);
		exit(1);
	}
	at = 0;
}

/* From node 0 to node 1, so that the table knows both. */
static struct spec packet(unsigned settings, unsigned kind, uint32_t n_payload)
{
	static const uint8_t protos[4] = { PROTO_TCP, PROTO_UDP, PROTO_TCP,
					   PROTO_ICMP4 };
	struct spec s = spec_random(settings & FUZZ_IPV6 ? IPV6 : IPV4,
				    protos[kind % 4], n_payload);

	s.src[0] &= 0x7f;
	s.dst[0] = 0x80 | (s.dst[0] & 0x3f);
	s.tos = 2;
	s.n_tcp_options = 3;
	/* IPv4: the longest header; IPv6: beyond SEGMENT_HEADER_MAX. */
	if (kind == 6)
		s.n_options = s.family == 4 ? 10 : 27;
	if (kind == 7)
		s.frag = 1;
	return s;
}

static void put_frame(const struct spec *s)
{
	static const uint8_t vxlan[8] = { 8, 0, 0, 0, 0, 0, FUZZ_VNI, 0 };

	memcpy(buf + at, vxlan, 8);
	memcpy(buf + at + 8, fuzz_mac, 6);
	memcpy(buf + at + 14, fuzz_peers[0].mac, 6);
	at += 20;
	put16(s->family == 4 ? 0x0800 : 0x86dd);
	at += spec_build(s, buf + at);
}

/* n datagrams of one flow in one message, the last one short. */
static void put_message(unsigned settings, unsigned kind, unsigned n)
{
	struct spec s = packet(settings, kind, 20);
	uint32_t frame = 22 + spec_len(&s);

	put16(n * frame - 7);
	put16(n > 1 ? frame : 0);
	for (unsigned i = 0; i < n; i++, s.seq += 20, s.id++) {
		s.n_payload = i + 1 < n ? 20 : 13;
		put_frame(&s);
	}
}

/* What a kernel peer leaves in one piece. */
static void put_unfinished(unsigned settings, unsigned kind)
{
	struct spec s = packet(settings, kind, 800);

	s.unfinished = true;
	put16(22 + spec_len(&s));
	put16(100);
	put_frame(&s);
}

static void receive(const char *dir)
{
	static const unsigned settings[] = { 0x38, 0xb8, 0x00, 0x88, 0x98 };

	for (unsigned i = 0; i < 40; i++) {
		unsigned byte = settings[i % 5] | (i & 1 ? FUZZ_IPV6 : 0);

		put8(byte);
		put8(i & 3);
		if (i % 3 == 0)
			put_unfinished(byte, i & 1);
		put_message(byte, i % 8, 1 + i % 5);
		put_message(byte, (i + 1) % 8, 1);
		save(dir, "fuzz_receive", i);
	}
}

enum part { OVERLAY, IP, TRANSPORT, PAYLOAD, PARTS };

/* Where a datagram may be unlike the one before it: bits to flip in a byte of
 * that part, of IP in two families. */
enum { IP_OF_6 = PARTS, CHANGES = 5 };
static const struct change {
	uint8_t at, flip;
} changes[PARTS + 1][CHANGES] = {
	/* Flags, VNI, receiver, sender, type. */
	[OVERLAY] = { { 0, 8 }, { 6, 1 }, { 8, 1 }, { 14, 1 }, { 20, 1 } },
	/* Version, length, protocol, source, destination. */
	[IP] = { { 0, 1 }, { 3, 8 }, { 9, 0x17 }, { 12, 1 }, { 16, 1 } },
	[IP_OF_6] = { { 0, 16 }, { 5, 8 }, { 6, 0x17 }, { 8, 1 }, { 24, 1 } },
	/* Ports, UDP's length or a part of TCP's sequence, TCP's own length
	 * and flags. */
	[TRANSPORT] = { { 0, 1 }, { 2, 1 }, { 5, 8 }, { 12, 16 }, { 13, 16 } },
	[PAYLOAD] = { { 0, 1 }, { 1, 1 }, { 2, 1 }, { 3, 1 }, { 4, 1 } },
};

static void put_sum(uint8_t *field, uint32_t sum)
{
	sum = sum == 0xffff ? 0xffff : ~sum;	/* RFC 768 */
	field[0] = (uint8_t)(sum >> 8);
	field[1] = (uint8_t)sum;
}

/* Checksums as if all else were right. */
static void sum_anew(const struct spec *s, uint8_t *ip)
{
	uint32_t len = spec_len(s) - spec_l4(s);
	uint8_t *l4 = ip + spec_l4(s);
	uint8_t *field = l4 + (s->proto == PROTO_TCP ? 16 : 6);

	if (s->family == 4) {
		memset(ip + 10, 0, 2);
		put_sum(ip + 10, twin_sum(0, ip, spec_l4(s)));
	}
	memset(field, 0, 2);
	put_sum(field, twin_sum(twin_pseudo(ip, s->proto, len), l4, len));
}

/*
 * Three datagrams in one message, the second and the third unlike the first.
 * Their checksums are right, but not where the payload is what is changed: the
 * first one's is left undone then, and must not hide that.
 */
static void put_unlike(unsigned settings, unsigned kind, enum part part,
		       struct change c)
{
	struct spec s = packet(settings, kind, 20);
	uint32_t frame = 22 + spec_len(&s);
	const uint32_t start[PARTS] = { 0, 22, 22 + spec_l4(&s),
					22 + spec_header(&s) };

	put16(3 * frame);
	put16(frame);
	for (unsigned i = 0; i < 3; i++, s.seq += 20, s.id++) {
		uint8_t *data = buf + at;

		s.unfinished = part == PAYLOAD && i == 0;
		s.payload = spec_bytes(20);
		put_frame(&s);
		if (i == 0)
			continue;
		data[start[part] + c.at] ^= c.flip;
		if (part != PAYLOAD)
			sum_anew(&s, data + 22);
	}
}

/* For inbound.c's in_next(), which must not take one for the other. */
static void receive_unlike(const char *dir)
{
	for (unsigned i = 0; i < 4 * PARTS; i++) {
		bool v6 = i & 1;
		unsigned byte = 0x38 | (v6 ? FUZZ_IPV6 : 0);
		enum part part = i / 4;
		uint32_t row = v6 && part == IP ? IP_OF_6 : part;

		put8(byte);
		put8(0);
		for (unsigned k = 0; k < CHANGES; k++)
			put_unlike(byte, i / 2 % 2, part, changes[row][k]);
		save(dir, "fuzz_receive", 40 + i);
	}
}

static void segment(const char *dir)
{
	for (unsigned i = 0; i < 16; i++) {
		struct spec s = packet(i & 1, i / 2, 100 + i);

		put8(i & 1);
		put16(10 * (i + 1));
		at += spec_build(&s, buf + at);
		save(dir, "fuzz_segment", i);
	}
}

static void put_vnet(const struct spec *s, unsigned gso_size)
{
	bool tcp = s->proto == PROTO_TCP;
	struct vnethdr v = { 0 };

	if (tcp || s->proto == PROTO_UDP)
		v = (struct vnethdr){
			.flags = VNET_NEEDS_CSUM,
			.gso_type = !tcp ? VNET_GSO_UDP
				    : s->family == 4 ? VNET_GSO_TCP4
						     : VNET_GSO_TCP6,
			.hdr_len = spec_header(s),
			.gso_size = gso_size,
			.csum_start = spec_l4(s),
			.csum_offset = tcp ? 16 : 6,
		};
	if (!gso_size)
		v.gso_type = VNET_GSO_NONE;
	memcpy(buf + at, &v, sizeof(v));
	at += sizeof(v);
	put16(spec_len(s));
	at += spec_build(s, buf + at);
}

static void vnet(const char *dir)
{
	for (unsigned i = 0; i < 24; i++) {
		unsigned byte = FUZZ_VNET | (i & 1);

		put8(byte);
		for (unsigned k = 0; k < 1 + i % 3; k++) {
			struct spec s = packet(byte, i / 2 % 7, 90 + 7 * i);

			s.unfinished = true;
			if (k == 1)
				s.dst[0] |= 0xc0;	/* nobody's */
			put_vnet(&s, i % 4 ? 20 + i : 0);
		}
		save(dir, "fuzz_vnet", i);
	}
}

/* More segments than the packer has room for, or bytes if that is set. */
static void vnet_many(const char *dir)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned byte = FUZZ_VNET | (i & 1) | (i & 2 ? FUZZ_TSO : 0);
		struct spec s = packet(byte, 1, PACK_DATAGRAMS + 10);

		s.unfinished = true;
		put8(byte);
		put_vnet(&s, i & 2 ? 100 : 1);
		save(dir, "fuzz_vnet", 24 + i);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: seeds DIR\n");
		return 2;
	}
	receive(argv[1]);
	segment(argv[1]);
	vnet(argv[1]);
	/* Newer ones come last, so that those before stay the same. */
	receive_unlike(argv[1]);
	vnet_many(argv[1]);
	return 0;
}
