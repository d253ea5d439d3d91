/* SPDX-License-Identifier: Apache-2.0
 *
 * What of which queue is read in one turn, and that nothing is written over
 * before it was sent: behind the worker are queues, a socket and a TAP of the
 * test's own (--wrap of the linker).
 */
#include "check.h"
#include "worker.h"

#include <stdlib.h>
#include <unistd.h>

#include "message.h"
#include "spec.h"
#include "vnet.h"

enum { QUEUES = 3, GSO = 1000, SEGMENTS = 60, SMALL = 64, SOURCE = 1000,
       OVERLAY = sizeof(struct overlay), TAP_HEADER = 24 };

struct queue {
	int fd;
	bool bulk;			/* super-packets, or small ones */
	uint32_t read, sent;		/* packets, datagrams */
};

static struct {
	struct queue queues[QUEUES];
	uint32_t gso;			/* payload of a segment */
	int tap;			/* -1: there is none */
	uint32_t whole;			/* frames that it got */
	uint8_t family;
} world;

/* All of a packet's payload: which queue, and which packet of it. */
static uint8_t mark(uint32_t queue, uint32_t n)
{
	return (uint8_t)(queue << 6 | (n & 63));
}

static struct queue *queue_of(int fd)
{
	for (uint32_t i = 0; i < QUEUES; i++)
		if (world.queues[i].fd == fd)
			return &world.queues[i];
	check_failed(__FILE__, __LINE__, "no queue has descriptor %d", fd);
}

static struct spec packet(struct queue *q)
{
	static uint8_t payload[SEGMENTS * GSO];
	uint32_t n = q->bulk ? SEGMENTS * world.gso : SMALL;
	struct spec s = spec_random(world.family, SPEC_TCP, 0);

	memset(payload, mark((uint32_t)(q - world.queues), q->read), n);
	s.payload = payload;
	s.n_payload = n;
	s.frag = 0;
	s.n_options = s.n_tcp_options = 0;
	s.unfinished = q->bulk;
	/* Each queue has a flow of its own. */
	memset(s.src, 9, sizeof(s.src));
	memset(s.dst, 9, sizeof(s.dst));
	s.src[0] = s.dst[0] = world.family == 4 ? 10 : 0xfd;
	s.src[1] = s.dst[1] = 2;
	s.sport = (uint16_t)(5000 + (q - world.queues));
	s.dport = 80;
	return s;
}

ssize_t __wrap_readv(int fd, const struct iovec *iov, int n);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int n)
{
	struct queue *q = queue_of(fd);
	struct spec s = packet(q);
	struct vnethdr v = { 0 };

	CHECK_EQ(n, 2);
	if (q->bulk)
		v = (struct vnethdr){
			.flags = VNET_NEEDS_CSUM,
			.gso_type = world.family == 4 ? VNET_GSO_TCP4
						      : VNET_GSO_TCP6,
			.hdr_len = (uint16_t)spec_header(&s),
			.gso_size = (uint16_t)world.gso,
			.csum_start = (uint16_t)spec_l4(&s), .csum_offset = 16,
		};
	q->read++;
	memcpy(iov[0].iov_base, &v, sizeof(v));
	return (ssize_t)(sizeof(v) + spec_build(&s, iov[1].iov_base));
}

/* A packet's payload, of its own mark from end to end, in its order. */
static void take(const uint8_t *ip, uint32_t len, uint32_t segments)
{
	uint32_t at = world.family == 4 ? 40 : 60;
	struct queue *q = &world.queues[ip[at] >> 6];
	uint32_t n = q->sent / (q->bulk ? SEGMENTS : 1);

	for (uint32_t i = at; i < len; i++)
		CHECK_EQ(ip[i], mark((uint32_t)(q - world.queues), n));
	q->sent += segments;
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	uint32_t outer = 14 + (world.family == 4 ? 20 : 40) + 8 + OVERLAY;

	CHECK_EQ(fd, world.tap);
	CHECK_EQ(n, 2);
	CHECK_EQ(iov[0].iov_len, TAP_HEADER);
	take((uint8_t *)iov[1].iov_base + outer,
	     (uint32_t)iov[1].iov_len - outer, SEGMENTS);
	world.whole++;
	return (ssize_t)(iov[0].iov_len + iov[1].iov_len);
}

int __wrap_sendmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags)
{
	static uint8_t flat[1 << 16];

	(void)fd;
	(void)flags;
	for (unsigned i = 0; i < n; i++) {
		struct msghdr *m = &msg[i].msg_hdr;
		uint32_t len = 0, size = message_segment(m);

		for (size_t k = 0; k < m->msg_iovlen; k++) {
			CHECK(len + m->msg_iov[k].iov_len <= sizeof(flat));
			memcpy(flat + len, m->msg_iov[k].iov_base,
			       m->msg_iov[k].iov_len);
			len += (uint32_t)m->msg_iov[k].iov_len;
		}
		size = size ? size : len;
		for (uint32_t at = 0; at < len; at += size)
			take(flat + at + OVERLAY,
			     (len - at < size ? len - at : size) - OVERLAY, 1);
		msg[i].msg_len = len;
	}
	return (int)n;
}

static int dummy(void)
{
	int fd = dup(0);

	CHECK(fd >= 0);
	return fd;
}

static struct vx_settings settings;
static struct snapshot snapshot;
static struct path_mtus path_mtus;
static const int sources[1] = { SOURCE };

/* Queues with bulk as told; all are ready, always. */
static void begin(uint8_t family, uint32_t bulk, bool whole, struct worker *w)
{
	static int tuns[QUEUES];

	csum_init();
	memset(&world, 0, sizeof(world));
	world.family = family;
	world.gso = GSO;
	world.tap = whole ? dummy() : -1;
	settings = (struct vx_settings){
		.family = family, .mac = { 2, 1, 1, 1, 1, 1 }, .vni = 1,
		.mtu = 1450, .port = 8472, .workers = 1, .queues = QUEUES,
		.sources = 1, .icmp_rate = 1 };
	for (uint32_t i = 0; i < QUEUES; i++) {
		tuns[i] = world.queues[i].fd = dummy();
		world.queues[i].bulk = bulk >> i & 1;
	}
	memset(w, 0, sizeof(*w));
	*w = (struct worker){
		.settings = &settings, .snapshot = &snapshot,
		.path_mtus = &path_mtus, .tuns = tuns, .n_queues = QUEUES,
		.ready = (1u << QUEUES) - 1, .listen = -1,
		.vnet = true, .tso = true,
		.per_peer = peers_new(),
	};
	CHECK(w->per_peer && worker_buffers(w));
	patience_init(&w->patience, 0, !whole);
	uncut_init(&w->uncut, &settings, world.tap);
	w->sender = (struct sender){
		.fds = sources, .n_fds = 1, .counters = &w->counters,
		.per_peer = w->per_peer, .trace = &w->trace,
		.may_segment = true, .now = 1000 };
	CHECK_EQ(tracer_init(&w->trace, family), 0);
}

static void end(struct worker *w)
{
	for (uint32_t i = 0; i < QUEUES; i++)
		close(world.queues[i].fd);
	if (world.tap >= 0)
		close(world.tap);
	peers_free(w->per_peer);
	tracer_free(&w->trace);
	free(w->buffers);
}

/* Turns; what was read in the last of them is in world. */
static void turns(struct worker *w, unsigned n)
{
	uint8_t net = world.family == 4 ? 10 : 0xfd;
	struct vx_peer peer = { .outer = { 192, 0, 0, 1 }, .mac = { 2, 1 } };
	struct vx_route route = { .prefix = { net, 2 }, .length = 16 };
	int error;
	struct table *t = table_build(&settings, &peer, 1, &route, 1, &error);

	CHECK(t);
	while (n--) {
		for (uint32_t i = 0; i < QUEUES; i++)
			world.queues[i].read = world.queues[i].sent = 0;
		world.whole = 0;
		CHECK(outbound(w, t));
		for (uint32_t i = 0; i < QUEUES; i++) {
			struct queue *q = &world.queues[i];

			CHECK_EQ(q->sent, q->read * (q->bulk ? SEGMENTS : 1));
		}
	}
	table_free(t);
}

static uint32_t bulk_of(uint32_t bytes)
{
	return bytes / (SEGMENTS * GSO) + 1;
}

static void check_turn(uint8_t family, uint32_t bulk, bool whole,
		       uint32_t bytes, uint32_t small)
{
	static struct worker w;

	check_context("IPv%u, bulk in %#x, whole %d", family, bulk, whole);
	begin(family, bulk, whole, &w);
	turns(&w, 3);		/* before, nobody knows that there is bulk */
	for (uint32_t i = 0; i < QUEUES; i++)
		CHECK_EQ(world.queues[i].read,
			 bulk >> i & 1 ? bulk_of(bytes) : small);
	CHECK_EQ(world.whole > 0, whole && bulk);
	end(&w);
}

static void check_beside(uint8_t family, bool whole)
{
	check_turn(family, 1, whole, BULK_TURN, BULK_SMALL / QUEUES);
	check_turn(family, 4, whole, BULK_TURN, BULK_SMALL / QUEUES);
	check_turn(family, 5, whole, BULK_TURN / 2, BULK_SMALL / QUEUES);
}

TEST(bulk_beside_small_packets_has_a_turn_that_others_do_not_bound)
{
	for (uint8_t family = 4; family <= 6; family += 2) {
		check_beside(family, false);
		check_beside(family, true);
		check_turn(family, 7, true, BULK_TURN / 3, 0);
	}
}

TEST(bulk_alone_that_is_cut_has_a_part_each)
{
	check_turn(4, 7, false, TURN_BYTES / 3, 0);
	check_turn(6, 7, false, TURN_BYTES / 3, 0);
}

TEST(small_packets_alone_have_an_equal_part_each)
{
	check_turn(4, 0, false, 0, OUT_BATCH / QUEUES);
	check_turn(6, 0, true, 0, OUT_BATCH / QUEUES);
}

static void check_tiny(uint8_t family, uint32_t gso, bool is_flood)
{
	static struct worker w;

	check_context("IPv%u, segments of %u", family, gso);
	begin(family, 1, false, &w);
	world.gso = gso;
	turns(&w, 3);
	CHECK_EQ(world.queues[0].read > 1, !is_flood);
	CHECK_EQ(patience_carriers(&w.patience) != 0, !is_flood);
	CHECK(w.patience.full);
	CHECK_EQ(world.queues[1].read,
		 (is_flood ? OUT_BATCH : BULK_SMALL) / QUEUES);
	end(&w);
}

TEST(a_flood_in_one_piece_is_no_bulk)
{
	for (uint8_t family = 4; family <= 6; family += 2) {
		check_tiny(family, 72, true);
		check_tiny(family, SMALL_SEGMENT - 1, true);
		check_tiny(family, SMALL_SEGMENT, false);
	}
}
