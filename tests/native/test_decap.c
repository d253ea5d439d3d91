/* SPDX-License-Identifier: Apache-2.0
 *
 * decap: every failure has its counter, the cheapest check is first, and what
 * is right passes, for both families from one body.
 */
#include "check.h"
#include "decap.h"

#include <stdlib.h>

#include "decap_frame.h"

static void each_family(void (*body)(uint8_t family))
{
	for (unsigned i = 0; i < 40; i++) {
		body(IPV4);
		body(IPV6);
	}
}

static void no_flag(struct frame *f)
{
	f->data[0] = (uint8_t)(rnd() & ~8u);
}

static void other_vni(struct frame *f)
{
	f->data[4 + rnd_below(3)] ^= (uint8_t)(1 << rnd_below(8));
}

static void unknown_peer(struct frame *f)
{
	f->outer.peer = NULL;
}

static void wrong_mac(struct frame *f)
{
	f->data[8 + rnd_below(6)] ^= (uint8_t)(1 << rnd_below(8));
}

static void source_mac(struct frame *f)
{
	switch (rnd_below(4)) {
	case 0: memset(f->data + 14, 0, 6); break;
	case 1: memset(f->data + 14, 255, 6); break;
	case 2: f->data[14] |= 1; break;
	default: memcpy(f->data + 14, f->settings.mac, 6); break;
	}
}

static void ethertype(struct frame *f)
{
	bool v4 = f->settings.family == 4;

	/* The other family, ARP, or just wrong. */
	if (rnd_chance(50))
		memcpy(f->data + 20, v4 ? "\x86\xdd" : "\x08\x00", 2);
	else if (rnd_chance(50))
		memcpy(f->data + 20, "\x08\x06", 2);
	else
		f->data[20 + rnd_below(2)] ^= (uint8_t)(1 << rnd_below(8));
}

static void ip_version(struct frame *f)
{
	*frame_ip(f) ^= (uint8_t)(rnd_range(1, 15) << 4);
}

static void ip_header(struct frame *f)
{
	uint8_t *ip = frame_ip(f);

	if (f->settings.family == 4) {
		ip[0] = (ip[0] & 0xf0) | (uint8_t)rnd_below(5);
	} else {
		ip[6] = PROTO_DSTOPTS;
		ip[41] = 255;
	}
}

static void ip_length(struct frame *f)
{
	frame_ip(f)[f->settings.family == 4 ? 2 : 4] += 1;
}

static void spoofed(struct frame *f)
{
	uint8_t addr[16], n = f->settings.family == 4 ? 4 : 16;

	/* The other node's Pod, the other node, or no one's. */
	if (rnd_chance(40))
		frame_addr(f->settings.family, 2, addr);
	else if (rnd_chance(50))
		memcpy(addr, f->peers[1].outer, 16);
	else
		frame_addr(f->settings.family, 3, addr);
	memcpy(frame_ip(f) + (n == 4 ? 12 : 8), addr, n);
}

static void ecn(struct frame *f)
{
	uint8_t *ip = frame_ip(f);

	f->outer.tos |= 3;
	if (f->settings.family == 4)
		ip[1] &= ~3u;
	else
		ip[1] &= ~0x30u;
}

/* In the order of the checks, which is that of drops.def. */
static const struct fault {
	enum counter drop;
	void (*make)(struct frame *f);
} faults[] = {
	{ DROP_IN_NO_VNI_FLAG, no_flag },
	{ DROP_IN_OTHER_VNI, other_vni },
	{ DROP_IN_UNKNOWN_PEER, unknown_peer },
	{ DROP_IN_WRONG_MAC, wrong_mac },
	{ DROP_IN_BAD_SOURCE_MAC, source_mac },
	{ DROP_IN_ETHERTYPE, ethertype },
	{ DROP_IN_IP_VERSION, ip_version },
	{ DROP_IN_IP_HEADER, ip_header },
	{ DROP_IN_IP_LENGTH, ip_length },
	{ DROP_IN_SPOOFED_SOURCE, spoofed },
	{ DROP_IN_ECN, ecn },
};
#define N_FAULTS (sizeof(faults) / sizeof(*faults))

static void right(uint8_t family)
{
	struct frame f = frame_new(family);
	struct pkt p;

	CHECK_EQ(frame_decap(&f, 0, &p), NO_DROP);
	CHECK(p.ip == frame_ip(&f));
	CHECK_EQ(p.len, spec_len(&f.spec));
	CHECK_EQ(p.transport, f.spec.proto);
	CHECK_EQ(p.gso_size, 0);
	frame_free(&f);
}

TEST(right_packets)
{
	each_family(right);
}

static void each_fault(uint8_t family)
{
	for (unsigned i = 0; i < N_FAULTS; i++) {
		struct frame f = frame_new(family);
		struct pkt p;

		check_context("IPv%u, %s", family,
			      vx_counter_name(faults[i].drop));
		faults[i].make(&f);
		CHECK_EQ(frame_decap(&f, 0, &p), faults[i].drop);
		frame_free(&f);
	}
}

TEST(each_fault_has_its_counter)
{
	each_family(each_fault);
}

/* Any set of faults is counted once, as the first of them. */
static void two_faults(uint8_t family, unsigned i, unsigned j)
{
	struct frame f = frame_new(family);
	enum counter want = faults[i].drop;
	struct pkt p;

	check_context("IPv%u, %s and %s", family, vx_counter_name(want),
		      vx_counter_name(faults[j].drop));
	/* Extension headers are looked for within the length. */
	if (family == 6 && want == DROP_IN_IP_HEADER &&
	    faults[j].drop == DROP_IN_IP_LENGTH)
		want = DROP_IN_IP_LENGTH;
	faults[j].make(&f);
	faults[i].make(&f);
	CHECK_EQ(frame_decap(&f, 0, &p), want);
	frame_free(&f);
}

static void all_pairs(uint8_t family)
{
	for (unsigned i = 0; i < N_FAULTS; i++)
		for (unsigned j = i + 1; j < N_FAULTS; j++)
			two_faults(family, i, j);
}

TEST(order_of_checks)
{
	each_family(all_pairs);
}

static enum counter cut_drop(const struct frame *f, uint32_t len)
{
	if (len < 22u + (f->settings.family == 4 ? 20 : 40))
		return DROP_IN_TOO_SHORT;
	if (f->settings.family == 4 && len < 22 + spec_l4(&f->spec))
		return DROP_IN_IP_HEADER;
	return len < f->len ? DROP_IN_IP_LENGTH : NO_DROP;
}

/* Whatever else is wrong with it: too short comes first. */
static void cut(uint8_t family)
{
	struct frame f = frame_new(family);

	f.spec.n_options = (uint8_t)rnd_below(6);
	f.outer.addr = f.peers[0].outer;
	frame_write(&f);
	for (uint32_t len = 0; len <= f.len; len++) {
		uint8_t *data = edge_new(len, false);
		struct pkt p;

		check_context("IPv%u, %u of %u bytes", family, len, f.len);
		memcpy(data, f.data, len);
		CHECK_EQ(decap(&f.settings, f.table, &f.outer, data, len, 0,
			       &p), cut_drop(&f, len));
		edge_free(data, len, false);
	}
	for (uint32_t len = 0; len < 42; len++) {
		uint8_t noise[42];
		struct pkt p;

		rnd_fill(noise, sizeof(noise));
		CHECK_EQ(decap(&f.settings, f.table, &f.outer, noise, len, 0,
			       &p), DROP_IN_TOO_SHORT);
	}
	frame_free(&f);
}

TEST(every_truncation)
{
	for (unsigned i = 0; i < 8; i++) {
		cut(IPV4);
		cut(IPV6);
	}
}

/* RFC 7348, 5: reserved bits are ignored. */
static void reserved_bits(uint8_t family)
{
	struct frame f = frame_new(family);
	struct pkt p;

	f.data[0] |= (uint8_t)rnd();
	rnd_fill(f.data + 1, 3);
	f.data[7] = (uint8_t)rnd();
	CHECK_EQ(frame_decap(&f, 0, &p), NO_DROP);
	frame_free(&f);
}

TEST(reserved_bits_are_ignored)
{
	each_family(reserved_bits);
}

static void broadcast(uint8_t family)
{
	struct frame f = frame_new(family);
	struct pkt p;

	memset(f.data + 8, 255, 6);
	CHECK_EQ(frame_decap(&f, 0, &p), NO_DROP);
	/* Another group address is not for us. */
	f.data[8 + rnd_below(6)] = 0x55;
	CHECK_EQ(frame_decap(&f, 0, &p), DROP_IN_WRONG_MAC);
	frame_free(&f);
}

TEST(broadcast_is_for_us)
{
	each_family(broadcast);
}

/* What stands behind the IP packet is no part of it. */
static void padded(uint8_t family)
{
	struct frame f = frame_new(family);
	uint32_t pad = (uint32_t)rnd_range(1, 50);
	struct pkt p;

	f.data = realloc(f.data, f.len + pad);
	CHECK(f.data);
	memset(f.data + f.len, 0xaa, pad);
	f.len += pad;
	CHECK_EQ(frame_decap(&f, 0, &p), NO_DROP);
	CHECK_EQ(p.len, spec_len(&f.spec));
	frame_free(&f);
}

TEST(padding_is_left_out)
{
	each_family(padded);
}
