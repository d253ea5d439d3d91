/* SPDX-License-Identifier: Apache-2.0
 *
 * Every system call of the hot loop fails, in every way that it can: each
 * packet is still counted exactly once, none is sent twice, none overtakes
 * another of its flow, and no call is tried for ever.
 */
#include "check.h"
#include "decap_frame.h"
#include "faulty_kernel.h"

#include <errno.h>
#include <sys/epoll.h>

enum { ARENA_BYTES = ARENA + 2 * ARENA_ALIGN + sizeof(struct overlay) +
		     IP_MAX_LEN,
       TUN_FD = 1, LISTEN_FD = 2 };

static struct path_mtus path_mtus;
static struct steering steering;
static const int sources[4] = { 3, 4, 5, 6 }, tuns[1] = { TUN_FD };
static struct frame frame;
static struct snapshot snapshot;
static _Atomic bool stopping;
static struct capture *_Atomic no_capture;

static struct table *two_nodes(void)
{
	struct vx_peer peers[2] = { { .outer = { 192, 0, 0, 1 },
				      .mac = { 2, 1 } },
				    { .outer = { 192, 0, 0, 2 },
				      .mac = { 2, 2 } } };
	struct vx_route routes[2] = { { .prefix = { 10, 1 }, .length = 16 },
				      { .prefix = { 10, 2 }, .length = 16,
					.peer = 1 } };
	int error;
	struct table *t = table_build(&frame.settings, peers, 2, routes, 2,
				      &error);

	CHECK(t);
	return t;
}

/* A worker as worker_new() makes it, but for the descriptors. */
static struct worker *worker_begin(bool vnet)
{
	static struct worker w;
	uint8_t *memory = malloc(ARENA_BYTES + IN_BATCH * IN_STRIDE);

	csum_init();
	kernel_reset();
	kernel.vnet = vnet;
	frame = (struct frame){ .settings = {
		.family = 4, .source_check = VX_SOURCE_STRICT,
		.mac = { 2, 1, 1, 1, 1, 1 }, .vni = FRAME_VNI,
		.mtu = FRAME_MTU, .port = 8472 } };
	memset(&w, 0, sizeof(w));
	CHECK(memory);
	w = (struct worker){
		.settings = &frame.settings, .snapshot = &snapshot,
		.reader = &snapshot.readers[0], .stopping = &stopping,
		.path_mtus = &path_mtus, .steering = &steering, .tuns = tuns,
		.tun = TUN_FD, .listen = LISTEN_FD, .epoll = -1,
		.vnet = vnet, .tso = vnet, .uso = vnet, .arena = memory,
	};
	w.icmp.rate = 1000000;
	w.sender.fds = sources;
	w.sender.n_fds = 4;
	w.sender.counters = &w.counters;
	w.peers = peers_new();
	CHECK(w.peers);
	w.sender.peers = w.peers;
	CHECK_EQ(tracer_init(&w.trace, 4), 0);
	w.sender.trace = &w.trace;
	w.capture = &no_capture;
	w.sender.segment = true;
	w.coalescer.to = &w;
	w.coalescer.tcp = w.coalescer.udp = vnet;
	udp_receiver_init(&w.receiver, memory + ARENA_BYTES);
	return &w;
}

static uint64_t counter(const struct worker *w, enum counter i)
{
	return atomic_load(&w->counters.v[i]);
}

static uint64_t drops(const struct worker *w, int kind)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < N_COUNTERS; i++)
		if (vx_counter_kind(i) == kind)
			sum += counter(w, i);
	return sum;
}

/* Runs a direction until there is nothing more, never for ever. */
static void run(struct worker *w, bool (*direction)(struct worker *,
						    const struct table *),
		const uint32_t *left)
{
	struct table *t = two_nodes();
	unsigned turns = 0;

	while (*left || turns == 0) {
		direction(w, t);
		CHECK(++turns < 100000);
	}
	table_free(t);
}

static void check_out(const struct worker *w)
{
	CHECK_EQ(counter(w, COUNT_OUT_PACKETS), kernel.handed_out);
	CHECK_EQ(counter(w, COUNT_OUT_PACKETS),
		 counter(w, COUNT_OUT_SENT) + drops(w, VX_COUNT_DROP_OUT));
	CHECK_EQ(counter(w, COUNT_OUT_SENT), kernel.taken);
	CHECK_EQ(counter(w, COUNT_ICMP_SENT), kernel.icmp);
}

static void check_in(const struct worker *w)
{
	CHECK_EQ(counter(w, COUNT_IN_PACKETS), kernel.handed_out);
	CHECK_EQ(counter(w, COUNT_IN_PACKETS),
		 counter(w, COUNT_IN_WRITTEN) + drops(w, VX_COUNT_DROP_IN));
	CHECK_EQ(counter(w, COUNT_IN_WRITTEN), kernel.taken);
}

static void worker_end(struct worker *w)
{
	peers_free(w->peers);
	tracer_free(&w->trace);
	free(w->arena);
}

TEST(all_calls_fail_at_random)
{
	uint64_t failed[N_CALLS] = { 0 }, halved = 0;

	for (int round = 0; round < 300; round++) {
		struct worker *w = worker_begin(round & 1);

		check_context("round %d", round);
		for (unsigned i = 0; i < N_CALLS; i++)
			kernel.percent[i] = (unsigned)rnd_below(60);
		kernel.no_segment = rnd_chance(10);
		kernel.to_read = (uint32_t)rnd_range(1, 200);
		run(w, outbound, &kernel.to_read);
		check_out(w);
		kernel.handed_out = kernel.taken = 0;
		kernel.to_receive = (uint32_t)rnd_range(1, 200);
		run(w, inbound, &kernel.to_receive);
		check_in(w);
		for (unsigned i = 0; i < N_CALLS; i++)
			failed[i] += kernel.failed[i];
		halved += kernel.halved;
		worker_end(w);
	}
	for (unsigned i = 0; i < EPOLL_WAIT; i++)
		CHECK(failed[i] > 100);
	CHECK(halved > 100);
}

/* One errno at a time, so that each ends in the counter that names it. */
static void check_send_error(int error, enum counter reason)
{
	struct worker *w = worker_begin(true);

	check_context("errno %d", error);
	kernel.percent[SENDMMSG] = 30;
	kernel.percent[POLL] = 50;
	kernel.only = error;
	kernel.to_read = 500;
	run(w, outbound, &kernel.to_read);
	check_out(w);
	CHECK(kernel.failed[SENDMMSG] > 0);
	CHECK_EQ(counter(w, reason), drops(w, VX_COUNT_DROP_OUT) -
				     counter(w, DROP_OUT_NO_ROUTE));
	CHECK(counter(w, reason) > 0);
	if (error != EAGAIN && error != EMSGSIZE && error != EIO &&
	    error != EINVAL)
		CHECK_EQ(counter(w, reason), kernel.by_errno[error]);
	worker_end(w);
}

TEST(each_send_error_has_its_counter)
{
	check_send_error(ENOBUFS, DROP_OUT_NO_BUFFER);
	check_send_error(ENOMEM, DROP_OUT_NO_BUFFER);
	check_send_error(EAGAIN, DROP_OUT_SOCKET_FULL);
	check_send_error(ENETUNREACH, DROP_OUT_UNREACHABLE);
	check_send_error(EHOSTUNREACH, DROP_OUT_UNREACHABLE);
	check_send_error(ENETDOWN, DROP_OUT_UNREACHABLE);
	check_send_error(EPERM, DROP_OUT_SEND_ERROR);
	check_send_error(EMSGSIZE, DROP_OUT_SEND_ERROR);
	check_send_error(EINVAL, DROP_OUT_SEND_ERROR);
	check_send_error(EIO, DROP_OUT_SEND_ERROR);
}

TEST(an_interrupted_call_loses_nothing)
{
	struct worker *w = worker_begin(true);

	for (unsigned i = 0; i < N_CALLS; i++)
		kernel.percent[i] = i == READV ? 0 : 40;
	kernel.only = EINTR;
	kernel.to_read = 500;
	run(w, outbound, &kernel.to_read);
	check_out(w);
	CHECK(kernel.failed[SENDMMSG] > 0);
	CHECK_EQ(drops(w, VX_COUNT_DROP_OUT), counter(w, DROP_OUT_NO_ROUTE));
	worker_end(w);
}

TEST(a_device_that_refuses_segments_gets_every_datagram_by_itself)
{
	struct worker *w = worker_begin(true);

	kernel.no_segment = true;
	kernel.to_read = 500;
	run(w, outbound, &kernel.to_read);
	check_out(w);
	CHECK_EQ(drops(w, VX_COUNT_DROP_OUT), counter(w, DROP_OUT_NO_ROUTE));
	CHECK(!atomic_load(&w->sender.segment));
	worker_end(w);
}

TEST(a_full_tun_costs_the_packet_and_nothing_else)
{
	struct worker *w = worker_begin(true);

	kernel.percent[WRITEV] = 50;
	kernel.only = ENOBUFS;
	kernel.to_receive = 1000;
	run(w, inbound, &kernel.to_receive);
	check_in(w);
	CHECK(counter(w, DROP_IN_TUN_ERROR) > 0);
	worker_end(w);
}

static void *stop_soon(void *nothing)
{
	struct timespec a_moment = { .tv_nsec = 30000000 };

	(void)nothing;
	nanosleep(&a_moment, NULL);
	atomic_store(&stopping, true);
	return NULL;
}

/* The loop itself: sleeps that are cut short, and a TUN full of errors. */
TEST(the_loop_outlives_interrupted_sleeps)
{
	struct worker *w = worker_begin(true);
	pthread_t stopper;

	snapshot_publish(&snapshot, two_nodes());
	snapshot.n_readers = 1;
	for (unsigned i = 0; i < N_CALLS; i++)
		kernel.percent[i] = 50;
	kernel.to_read = 100000;
	kernel.to_receive = 100000;
	atomic_store(&stopping, false);
	CHECK_EQ(pthread_create(&stopper, NULL, stop_soon, NULL), 0);
	CHECK(!worker_main(w));
	pthread_join(stopper, NULL);
	CHECK(kernel.calls[EPOLL_WAIT] > 0 && kernel.failed[EPOLL_WAIT] > 0);
	CHECK_EQ(counter(w, COUNT_OUT_PACKETS) + counter(w, COUNT_IN_PACKETS),
		 kernel.handed_out);
	CHECK_EQ(counter(w, COUNT_OUT_SENT) + counter(w, COUNT_IN_WRITTEN),
		 kernel.taken);
	snapshot_free(&snapshot);
	worker_end(w);
}
