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
#include "verified.h"

#include <errno.h>
#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>

enum {
	HEADROOM = sizeof(struct overlay),
	/* Of the settings byte: of the packer's memory there is so much left
	 * as the longest packet may need.  (FUZZ_TSO is of the way in.) */
	NEARLY_FULL = FUZZ_TSO,
};

/* What was read in this turn. */
static struct {
	uint8_t *copy;		/* as it was */
	uint32_t len;
	struct vnethdr v;
	uint32_t header, n;	/* of a super-packet; its segments, else 1 */
	uint32_t seen;		/* datagrams of it */
} taken[OUT_BATCH];
static uint32_t n_taken;
/* Of each datagram: of which of those it is, and its number there. */
static struct {
	uint32_t packet, segment;
} of[PACK_DATAGRAMS];
static struct input input;
static struct worker *worker;
static uint32_t skipped;	/* bytes of the packer's memory */

/* The kernel's part: a super-packet's checksum is the pseudo-header's sum. */
static void leave_unfinished(const struct vnethdr *v, uint8_t *ip, uint32_t n)
{
	struct pkt p;

	if (v->gso_type != VNET_GSO_NONE &&
	    pkt_parse(&p, ip, n, worker->settings->family) == PKT_OK &&
	    p.transport)
		pkt_csum_set(&p, csum_fold(pkt_pseudo(&p, p.len - p.l4)));
}

/* Notes what is to become of the n bytes at buf. */
static void note(const struct vnethdr *v, uint8_t *buf, uint32_t n)
{
	uint32_t i = n_taken++, payload;
	struct pkt p;

	taken[i].copy = malloc(n);
	CHECK(taken[i].copy);
	memcpy(taken[i].copy, buf, n);
	taken[i].len = n;
	taken[i].v = *v;
	taken[i].n = 1;
	taken[i].seen = 0;
	if (v->gso_type == VNET_GSO_NONE || v->gso_size == 0 ||
	    pkt_parse(&p, buf, n, worker->settings->family) != PKT_OK)
		return;
	payload = p.len - p.payload;
	taken[i].header = p.payload;
	if (payload > v->gso_size)
		taken[i].n = (payload + v->gso_size - 1) / v->gso_size;
}

/* The packet at hand left whole, in all its segments, or not at all. */
static void check_last(void)
{
	if (n_taken && taken[n_taken - 1].seen)
		CHECK_EQ(taken[n_taken - 1].seen, taken[n_taken - 1].n);
}

int tun_read(int fd, bool vnet, struct vnethdr *v, uint8_t *buf, size_t room)
{
	uint32_t n = sizeof(*v);
	const uint8_t *bytes = take(&input, &n);

	(void)fd;
	check_last();
	worker->sender.now += 100;	/* so that an ICMP error may be sent */
	if (n < sizeof(*v))
		return -EAGAIN;
	CHECK(vnet == worker->vnet && n_taken < OUT_BATCH);
	*v = (struct vnethdr){ 0 };
	if (vnet)
		memcpy(v, bytes, n);
	n = take16(&input);
	bytes = take(&input, &n);
	CHECK(n <= room && buf == worker->packet && room <= IP6_MAX_LEN);
	__asan_unpoison_memory_region(buf, room);
	memcpy(buf, bytes, n);
	leave_unfinished(v, buf, n);
	__asan_poison_memory_region(buf + n, room - n);
	note(v, buf, n);
	return (int)n;
}

/* The only packets to the TUN on this way are ICMP errors. */
int tun_write(int fd, bool vnet, const struct vnethdr *v, const uint8_t *data,
	      size_t len)
{
	static const struct vnethdr none;
	bool v4 = worker->settings->family == IPV4;
	uint32_t sum = 0;
	struct pkt p;

	(void)fd;
	(void)vnet;
	CHECK_MEM(v, &none, sizeof(none));
	CHECK_EQ(pkt_parse(&p, (uint8_t *)data, len,
			   worker->settings->family), PKT_OK);
	CHECK_EQ(p.len, len);
	CHECK_EQ(p.proto, v4 ? PROTO_ICMP4 : PROTO_ICMP6);
	CHECK(p.len <= (v4 ? ICMP_MAX4 : ICMP_MAX6));
	if (!v4)
		sum = twin_pseudo(p.ip, p.proto, p.len - p.l4);
	CHECK_EQ(twin_sum(sum, p.ip + p.l4, p.len - p.l4), 0xffff);
	return 0;
}

struct datagram *__real_pack_take(struct packer *k, uint32_t source,
				  uint32_t len);
struct datagram *__wrap_pack_take(struct packer *k, uint32_t source,
				  uint32_t len);

/* Of the packer's memory only what was taken may be touched (--wrap of the
 * linker). */
struct datagram *__wrap_pack_take(struct packer *k, uint32_t source,
				  uint32_t len)
{
	uint8_t *next = k->memory + k->bytes;
	uint32_t at = k->n, packet = n_taken - 1;
	struct datagram *s;

	CHECK(k == &worker->packer && at < PACK_DATAGRAMS && n_taken);
	CHECK(source < worker->sender.n_fds);
	s = __real_pack_take(k, source, len);
	CHECK(s == &k->datagrams[at] && s->data == next && s->len == len);
	CHECK(s->data + len <= k->memory + PACK_BYTES);
	CHECK_EQ(k->bytes, s->data + len - k->memory);
	__asan_unpoison_memory_region(s->data, len);
	of[at].packet = packet;
	of[at].segment = taken[packet].seen++;
	return s;
}

/* A packet that was sent whole. */
static void check_whole(uint32_t k, uint8_t *ip, uint32_t len)
{
	uint8_t *want = taken[k].copy;
	const struct vnethdr *v = &taken[k].v;
	uint32_t start = v->csum_start, at = start + v->csum_offset, csum;

	CHECK(len <= taken[k].len);
	if (v->flags & VNET_NEEDS_CSUM) {
		CHECK(at + 2 <= len);
		csum = ~twin_sum(0, want + start, len - start) & 0xffff;
		if (csum == 0)
			csum = 0xffff;
		want[at] = (uint8_t)(csum >> 8);
		want[at + 1] = (uint8_t)csum;
	}
	CHECK_MEM(ip, want, len);
}

/* One segment of a super-packet. */
static void check_segment(uint32_t k, uint32_t i, uint8_t *ip, uint32_t len)
{
	uint32_t head = taken[k].header, size = taken[k].v.gso_size;
	struct pkt p;

	CHECK(len > head && len <= head + size);
	CHECK(len == head + size || i + 1 == taken[k].n);
	CHECK(head + i * size + (len - head) <= taken[k].len);
	CHECK_EQ(pkt_parse(&p, ip, len, worker->settings->family), PKT_OK);
	CHECK_EQ(p.len, len);
	CHECK_EQ(p.payload, head);
	CHECK(p.transport && verified(&p));
	CHECK_MEM(ip + head, taken[k].copy + head + i * size, len - head);
}

/* In memory of its own, so that its end is one to the sanitizer too. */
static void check_datagram(const struct datagram *s, uint32_t packet,
			   uint32_t i)
{
	uint32_t len = s->len - HEADROOM;
	uint8_t *ip = malloc(len);
	bool v4 = worker->settings->family == IPV4;

	CHECK(ip && s->len > HEADROOM && i < taken[packet].n && !s->lost);
	memcpy(ip, s->data + HEADROOM, len);
	CHECK_MEM(s->data, &s->peer->overlay, HEADROOM);
	if (taken[packet].n == 1)
		check_whole(packet, ip, len);
	else
		check_segment(packet, i, ip, len);
	CHECK_EQ(s->tos, (v4 ? ip[1] : ip[1] >> 4) & 3);
	free(ip);
	count(&worker->counters, COUNT_OUT_SENT, 1);
}

/* One behind the other, as they were taken. */
static void check_places(const struct packer *k)
{
	const uint8_t *end = k->memory;

	CHECK(k->n <= PACK_DATAGRAMS && k->bytes <= PACK_BYTES);
	for (uint32_t i = 0; i < k->n; i++) {
		CHECK(k->datagrams[i].data >= end);
		end = k->datagrams[i].data + k->datagrams[i].len;
	}
	CHECK(end <= k->memory + k->bytes);
}

void udp_send_all(struct sender *s, struct packer *k)
{
	uint32_t n = 0;

	CHECK(s == &worker->sender);
	check_places(k);
	for (uint32_t source = 0; source < s->n_fds; source++) {
		uint16_t at = k->head[source];

		if (!(k->used >> source & 1))
			continue;
		for (; at != NO_DATAGRAM; at = k->datagrams[at].next, n++)
			check_datagram(&k->datagrams[at], of[at].packet,
				       of[at].segment);
	}
	CHECK_EQ(n, k->n);
	__asan_poison_memory_region(k->memory, k->bytes);
	pack_reset(k);
	k->bytes = skipped;
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
	CHECK_EQ(taken[n_taken - 1].seen, 0);
	CHECK_EQ(packets, taken[n_taken - 1].n);
	count(&worker->counters, COUNT_OUT_SENT, packets);
}

static void forget(void)
{
	while (n_taken)
		free(taken[--n_taken].copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int tap = -1;
	uint8_t settings;

	input = (struct input){ data, size };
	settings = take8(&input);
	worker = fuzz_worker(settings);
	if (tap < 0) {
		tap = open("/dev/null", O_WRONLY);
		__asan_poison_memory_region(worker->packer.memory, PACK_BYTES);
	}
	worker->uncut.tap = tap;
	skipped = settings & NEARLY_FULL ? PACK_BYTES - HEADROOM - size : 0;
	worker->packer.bytes = skipped;
	do {
		forget();
	} while (outbound(worker, fuzz_table(settings)));
	check_last();
	CHECK_EQ(fuzz_count(worker, COUNT_OUT_PACKETS),
		 fuzz_count(worker, COUNT_OUT_SENT) +
		 fuzz_drops(worker, VX_COUNT_DROP_OUT));
	return 0;
}
