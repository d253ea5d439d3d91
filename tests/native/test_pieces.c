/* SPDX-License-Identifier: Apache-2.0
 *
 * Behind a TUN that takes no super-packets: what a kernel peer did not cut is
 * written in pieces, each the one that its twin is.
 */
#include "check.h"
#include "decap_frame.h"
#include "worker.h"

#include <errno.h>

#include "message.h"
#include "segment.h"

enum { OVERLAY = sizeof(struct overlay), ROUNDS = 300, TUN_FD = 1,
       LISTEN_FD = 2, UDP_HEADERS = 40 + 8,
       FIT = (SEGMENT_HEADER_MAX - UDP_HEADERS) / 8 };

static struct {
	uint32_t gso;			/* payload of a piece */
	uint32_t written;		/* pieces */
	bool vnet, received;
} world;

static struct frame frame;
static struct worker worker;

int __wrap_recvmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags,
		    struct timespec *timeout);
int __wrap_recvmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags,
		    struct timespec *timeout)
{
	struct msghdr *m = &msg->msg_hdr;

	CHECK(fd == LISTEN_FD && n && flags && !timeout);
	if (world.received) {
		errno = EAGAIN;
		return -1;
	}
	world.received = true;
	message_from(m, frame.settings.family == 4, frame.peers[0].outer, 0);
	/* Of datagrams in one the socket tells the size, of TCP the MTU. */
	if (frame.spec.proto == SPEC_UDP)
		message_tell(m, SOL_UDP, UDP_GRO, (int)world.gso);
	CHECK(frame.len <= m->msg_iov->iov_len);
	memcpy(m->msg_iov->iov_base, frame.data, frame.len);
	msg->msg_len = frame.len;
	return 1;
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	static const uint8_t no_vnet[sizeof(struct vnethdr)];
	struct spec one = spec_segment(&frame.spec, world.gso,
				       world.written++);
	uint8_t *want = spec_new(&one);

	CHECK_EQ(fd, TUN_FD);
	CHECK_EQ(n, world.vnet ? 2 : 1);
	if (world.vnet) {
		CHECK_EQ(iov->iov_len, sizeof(no_vnet));
		CHECK_MEM(iov->iov_base, no_vnet, sizeof(no_vnet));
		iov++;
	}
	CHECK_EQ(iov->iov_len, spec_len(&one));
	CHECK_MEM(iov->iov_base, want, spec_len(&one));
	free(want);
	return (ssize_t)(iov->iov_len + (world.vnet ? sizeof(no_vnet) : 0));
}

/* The TUN takes super-packets at most of the other protocol. */
static void begin(uint8_t family, uint8_t proto, bool vnet)
{
	static const int tuns[1] = { TUN_FD };
	static struct path_mtus path_mtus;
	struct worker *w = &worker;

	check_context("IPv%u, protocol %u, vnet header %d", family, proto,
		      vnet);
	csum_init();
	frame = frame_new(family);
	world.vnet = vnet;
	memset(w, 0, sizeof(*w));
	*w = (struct worker){ .settings = &frame.settings, .tuns = tuns,
			      .path_mtus = &path_mtus, .n_queues = 1,
			      .listen = LISTEN_FD, .vnet = vnet,
			      .tso = vnet && proto != SPEC_TCP,
			      .uso = vnet && proto != SPEC_UDP,
			      .per_peer = peers_new() };
	CHECK(w->per_peer && worker_buffers(w));
	CHECK_EQ(tracer_init(&w->trace, family), 0);
	w->coalescer.to = w;
	w->coalescer.tcp = w->tso;
	w->coalescer.udp = w->uso;
}

static void end(void)
{
	frame_free(&frame);
	peers_free(worker.per_peer);
	tracer_free(&worker.trace);
	free(worker.buffers);
}

/* So many pieces as one packet, the last one mostly shorter. */
static void receive(uint8_t proto, uint8_t n_options, uint32_t pieces)
{
	uint8_t family = frame.settings.family;
	struct spec s = spec_random(family, proto, 0);

	frame_addr(family, 1, s.src);
	s.dst[0] = 7;
	s.flags = (uint8_t)rnd();
	s.n_options = n_options;
	s.unfinished = true;
	world.gso = proto == SPEC_TCP ? FRAME_MTU - spec_header(&s)
				      : (uint32_t)rnd_range(1, 1400);
	s.n_payload = (pieces - 1) * world.gso +
		      (uint32_t)rnd_range(1, world.gso);
	s.payload = spec_bytes(s.n_payload);
	frame.spec = s;
	frame_write(&frame);
	world.written = 0;
	world.received = false;
	memset(&worker.counters, 0, sizeof(worker.counters));
	inbound(&worker, frame.table);
}

static uint64_t counter(enum counter i)
{
	return atomic_load(&worker.counters.v[i]);
}

static void check_pieces(uint8_t family, uint8_t proto, bool vnet)
{
	begin(family, proto, vnet);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t pieces = (uint32_t)rnd_range(2, 40);

		receive(proto, 0, pieces);
		CHECK_EQ(world.written, pieces);
		CHECK_EQ(counter(COUNT_IN_WRITES), pieces);
		CHECK_EQ(counter(COUNT_IN_WRITTEN), 1);
		CHECK_EQ(counter(COUNT_IN_BYTES), spec_len(&frame.spec));
	}
	end();
}

static void each(uint8_t proto)
{
	for (uint8_t family = IPV4; family <= IPV6; family += 2) {
		check_pieces(family, proto, true);
		check_pieces(family, proto, false);
	}
}

TEST(datagrams_in_one_are_written_one_by_one)
{
	each(SPEC_UDP);
}

TEST(a_super_packet_of_tcp_is_written_in_segments)
{
	each(SPEC_TCP);
}

TEST(headers_that_are_too_long_to_repeat_are_refused_with_their_packet)
{
	begin(IPV6, SPEC_UDP, true);
	receive(SPEC_UDP, FIT, 5);
	CHECK_EQ(world.written, 5);
	receive(SPEC_UDP, FIT + 1, 5);
	CHECK_EQ(world.written, 0);
	CHECK_EQ(counter(DROP_IN_TUN_ERROR), 1);
	CHECK_EQ(counter(COUNT_IN_WRITTEN), 0);
	end();
}
