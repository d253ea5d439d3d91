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

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: seeds DIR\n");
		return 2;
	}
	receive(argv[1]);
	segment(argv[1]);
	vnet(argv[1]);
	return 0;
}
