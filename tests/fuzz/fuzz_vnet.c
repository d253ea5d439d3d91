/* SPDX-License-Identifier: Apache-2.0
 *
 * Invariant: of anything a TUN hands out, every packet is counted once, as
 * sent or as one drop; a datagram is its peer's overlay header and then the
 * packet, changed in its checksum only, or a segment of it that verifies; and
 * nothing outside what was read is looked at.
 *
 * The real outbound() runs; the TUN and the sockets are the functions below.
 * Input: settings byte, then packets of: vnet header (10 bytes), length (16
 * bits), bytes.
 */
#include "fuzz.h"
#include "spec.h"
#include "tun.h"
#include "vnet.h"

#include <errno.h>
#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>

enum {
	HEADROOM = sizeof(struct overlay),
	FRONT = UNCUT_ROOM + HEADROOM,	/* of a packet, to be written */
};

/* What was read and not yet sent. */
static struct {
	uint8_t *at, *copy;	/* in the arena, as it was */
	uint32_t len;
	struct vnethdr v;
} taken[OUT_BATCH];
static uint32_t n_taken;
static struct input input;
static struct worker *worker;
static uint64_t clock_ms;

uint64_t now_ms(void)
{
	return clock_ms += 100;
}

/* The kernel's part: a super-packet's checksum is the pseudo-header's sum. */
static void leave_unfinished(const struct vnethdr *v, uint8_t *ip, uint32_t n)
{
	struct pkt p;

	if (v->gso_type != VNET_GSO_NONE &&
	    pkt_parse(&p, ip, n, worker->settings->family) == PKT_OK &&
	    p.transport)
		pkt_csum_set(&p, csum_fold(pkt_pseudo(&p, p.len - p.l4)));
}

int tun_read(int fd, bool vnet, struct vnethdr *v, uint8_t *buf, size_t room)
{
	uint32_t n = sizeof(*v);
	const uint8_t *bytes = take(&input, &n);

	(void)fd;
	if (n < sizeof(*v))
		return -EAGAIN;
	CHECK(vnet == worker->vnet && n_taken < OUT_BATCH);
	*v = (struct vnethdr){ 0 };
	if (vnet)
		memcpy(v, bytes, n);
	n = take16(&input);
	bytes = take(&input, &n);
	CHECK(n <= room && buf + room <= worker->arena + ARENA_BYTES);
	CHECK(buf - FRONT >= worker->arena);
	__asan_unpoison_memory_region(buf - FRONT, FRONT + room);
	memcpy(buf, bytes, n);
	leave_unfinished(v, buf, n);
	__asan_poison_memory_region(buf + n, room - n);
	taken[n_taken].at = buf;
	taken[n_taken].len = n;
	taken[n_taken].v = *v;
	taken[n_taken].copy = malloc(n);
	CHECK(taken[n_taken].copy);
	memcpy(taken[n_taken].copy, buf, n);
	n_taken++;
	return (int)n;
}

/* The only packets to the TUN on this way are ICMP errors. */
int tun_write(int fd, bool vnet, const struct vnethdr *v, struct iovec *iov,
	      uint32_t n)
{
	static const struct vnethdr none;
	bool v4 = worker->settings->family == IPV4;
	uint32_t sum = 0;
	struct pkt p;

	(void)fd;
	(void)vnet;
	CHECK_EQ(n, 2);
	CHECK_MEM(v, &none, sizeof(none));
	CHECK_EQ(pkt_parse(&p, iov[1].iov_base, iov[1].iov_len,
			   worker->settings->family), PKT_OK);
	CHECK_EQ(p.len, iov[1].iov_len);
	CHECK_EQ(p.proto, v4 ? PROTO_ICMP4 : PROTO_ICMP6);
	CHECK(p.len <= (v4 ? ICMP_MAX4 : ICMP_MAX6));
	if (!v4)
		sum = twin_pseudo(p.ip, p.proto, p.len - p.l4);
	CHECK_EQ(twin_sum(sum, p.ip + p.l4, p.len - p.l4), 0xffff);
	return 0;
}

/* The last that was read there: the place of one that left is used again. */
static uint32_t origin(const uint8_t *piece)
{
	for (uint32_t i = n_taken; i-- > 0;)
		if (piece >= taken[i].at && piece < taken[i].at + taken[i].len)
			return i;
	check_failed(__FILE__, __LINE__, "a datagram from nowhere");
}

/* A packet that was sent whole. */
static void check_whole(const struct slot *s)
{
	const uint8_t *ip = (uint8_t *)s->iov[0].iov_base + HEADROOM;
	uint32_t k = origin(ip);
	uint8_t *want = taken[k].copy;
	const struct vnethdr *v = &taken[k].v;

	CHECK(ip == taken[k].at && s->inner_len <= taken[k].len);
	if (v->flags & VNET_NEEDS_CSUM) {
		uint32_t at = (uint32_t)v->csum_start + v->csum_offset;

		CHECK(at + 2 <= s->inner_len);
		memcpy(want + at, ip + at, 2);
	}
	CHECK_MEM(ip, want, s->inner_len);
}

/* One segment of a super-packet. */
static void check_segment(const struct slot *s)
{
	uint32_t head = s->iov[0].iov_len - HEADROOM, len = s->iov[1].iov_len;
	uint32_t k = origin(s->iov[1].iov_base);
	uint8_t *ip = malloc(head + len);
	struct pkt p;

	CHECK(ip && len <= taken[k].v.gso_size);
	CHECK_EQ(((uint8_t *)s->iov[1].iov_base - taken[k].at - head) %
		 taken[k].v.gso_size, 0);
	memcpy(ip, (uint8_t *)s->iov[0].iov_base + HEADROOM, head);
	memcpy(ip + head, s->iov[1].iov_base, len);
	CHECK_EQ(pkt_parse(&p, ip, head + len, worker->settings->family),
		 PKT_OK);
	CHECK_EQ(p.len, head + len);
	CHECK_EQ(p.payload, head);
	CHECK(p.transport && pkt_verify(&p));
	CHECK_MEM(s->iov[1].iov_base,
		  taken[k].copy + ((uint8_t *)s->iov[1].iov_base -
				   taken[k].at), len);
	free(ip);
}

static void check_datagram(const struct slot *s)
{
	uint32_t len = 0;

	for (unsigned i = 0; i < s->n_iov; i++)
		len += s->iov[i].iov_len;
	CHECK_EQ(len, s->len);
	CHECK_EQ(s->inner_len + HEADROOM, s->len);
	CHECK(s->tos <= 3);
	CHECK_MEM(s->iov[0].iov_base, &s->peer->overlay, HEADROOM);
	if (s->n_iov == 1)
		check_whole(s);
	else
		check_segment(s);
	count(&worker->counters, COUNT_OUT_SENT, 1);
}

void udp_send_all(struct sender *s, struct packer *k)
{
	CHECK(s == &worker->sender && k->n <= SLOTS);
	for (uint32_t source = 0; source < s->n_fds; source++) {
		uint16_t at = k->head[source];

		if (!(k->used >> source & 1))
			continue;
		for (; at != NO_SLOT; at = k->slots[at].next)
			check_datagram(&k->slots[at]);
	}
	pack_reset(k);
}

/* Some super-packets go whole: into a TAP that takes everything. */
bool udp_proven(const struct sender *s, const struct peer *peer, uint32_t size)
{
	CHECK(s == &worker->sender && peer);
	return size & 1;
}

void udp_account(struct sender *s, const struct peer *peer, uint32_t packets,
		 uint64_t bytes)
{
	CHECK(s == &worker->sender && peer && bytes >= packets);
	CHECK_EQ(worker->packer.n, 0);	/* nothing of the flow is behind */
	count(&worker->counters, COUNT_OUT_SENT, packets);
}

static void forget(void)
{
	while (n_taken)
		free(taken[--n_taken].copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *arena;
	static int tap;
	uint8_t settings;

	if (!arena) {
		arena = malloc(ARENA_BYTES);
		tap = open("/dev/null", O_WRONLY);
	}
	input = (struct input){ data, size };
	settings = take8(&input);
	worker = fuzz_worker(settings);
	worker->arena = arena;
	worker->uncut.tap = tap;
	do {
		forget();
		__asan_unpoison_memory_region(arena, ARENA_BYTES);
	} while (outbound(worker, fuzz_table(settings)));
	CHECK_EQ(fuzz_count(worker, COUNT_OUT_PACKETS),
		 fuzz_count(worker, COUNT_OUT_SENT) +
		 fuzz_drops(worker, VX_COUNT_DROP_OUT));
	return 0;
}
