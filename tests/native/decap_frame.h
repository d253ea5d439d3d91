/* SPDX-License-Identifier: Apache-2.0
 *
 * A datagram for decap(), right in everything, and two nodes: a and b, with
 * the subnets 10.1.0.0/16 and 10.2.0.0/16, or fd01::/16 and fd02::/16.
 */
#pragma once
#include "check.h"
#include "decap.h"
#include "spec.h"

#include <stdlib.h>

enum { FRAME_VNI = 0x654321, FRAME_MTU = 1450 };

struct frame {
	struct vx_settings settings;
	struct table *table;
	struct vx_peer peers[2];
	struct outer outer;		/* a's */
	struct spec spec;
	uint8_t *data;			/* exactly len bytes, for free() */
	uint32_t len;
};

static inline uint8_t *frame_ip(const struct frame *f)
{
	return f->data + 22;
}

/* An address of node `which` (1: a, 2: b). */
static inline void frame_addr(uint8_t family, unsigned which, uint8_t *addr)
{
	rnd_fill(addr, 16);
	addr[0] = family == 4 ? 10 : 0xfd;
	addr[1] = (uint8_t)which;
}

static inline void frame_table(struct frame *f)
{
	uint8_t family = f->settings.family;
	struct vx_route routes[2] = { 0 };
	int error;

	for (unsigned i = 0; i < 2; i++) {
		rnd_fill(&f->peers[i], sizeof(f->peers[i]));
		f->peers[i].outer[0] = (uint8_t)(192 + i);
		f->peers[i].mac[0] = 2;
		routes[i].prefix[0] = family == 4 ? 10 : 0xfd;
		routes[i].prefix[1] = (uint8_t)(i + 1);
		routes[i].length = 16;
		routes[i].peer = i;
	}
	f->table = table_build(&f->settings, f->peers, 2, routes, 2, &error);
	CHECK(f->table);
}

/* Writes the datagram for f->spec. */
static inline void frame_write(struct frame *f)
{
	static const uint8_t vxlan[8] = { 8, 0, 0, 0, 0x65, 0x43, 0x21, 0 };
	bool v4 = f->settings.family == 4;

	free(f->data);
	f->len = 22 + spec_len(&f->spec);
	f->data = malloc(f->len);
	CHECK(f->data);
	memcpy(f->data, vxlan, 8);
	memcpy(f->data + 8, f->settings.mac, 6);
	memcpy(f->data + 14, f->peers[0].mac, 6);
	memcpy(f->data + 20, v4 ? "\x08\x00" : "\x86\xdd", 2);
	spec_build(&f->spec, f->data + 22);
}

static inline struct frame frame_new(uint8_t family)
{
	struct frame f = {
		.settings = {
			.family = family,
			.source_check = VX_SOURCE_STRICT,
			.mac = { 2, 1, 1, 1, 1, 1 },
			.vni = FRAME_VNI,
			.mtu = FRAME_MTU,
			.port = 8472,
		},
		.spec = spec_random(family, rnd_chance(50) ? PROTO_TCP
							   : PROTO_UDP,
				    (uint32_t)rnd_below(300)),
	};

	frame_table(&f);
	f.outer.peer = &f.table->peers[0];
	f.spec.tos = (f.spec.tos & 0xfc) | 2;
	f.spec.dst[0] = 7;
	frame_addr(family, 1, f.spec.src);
	frame_write(&f);
	return f;
}

/* f->outer.addr points into f, so it is set late. */
static inline enum counter frame_decap(struct frame *f, uint32_t hint,
				       struct pkt *p)
{
	if (!f->outer.addr)
		f->outer.addr = f->peers[0].outer;
	return decap(&f->settings, f->table, &f->outer, f->data, f->len, hint,
		     p);
}

static inline void frame_free(struct frame *f)
{
	table_free(f->table);
	free(f->data);
}
