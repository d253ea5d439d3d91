/* SPDX-License-Identifier: Apache-2.0
 *
 * Every system call of the hot loop fails, in every way that it can: each
 * packet is still counted exactly once, none is sent twice, none overtakes
 * another of its flow, and no call is tried for ever.
 */
#include "check.h"
#include "faulty_worker.h"

#include <errno.h>

TEST(all_calls_fail_at_random)
{
	uint64_t failed[N_CALLS] = { 0 }, halved = 0;

	for (int round = 0; round < 300; round++) {
		struct worker *w = worker_begin(round & 2 ? 4 : 6, round & 1);

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
static void check_send_error(uint8_t family, int error, enum counter reason)
{
	struct worker *w = worker_begin(family, true);

	check_context("IPv%u, errno %d", family, error);
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
	static const struct { int error; enum counter reason; } of[] = {
		{ ENOBUFS, DROP_OUT_NO_BUFFER },
		{ ENOMEM, DROP_OUT_NO_BUFFER },
		{ EAGAIN, DROP_OUT_SOCKET_FULL },
		{ ENETUNREACH, DROP_OUT_UNREACHABLE },
		{ EHOSTUNREACH, DROP_OUT_UNREACHABLE },
		{ ENETDOWN, DROP_OUT_UNREACHABLE },
		{ EPERM, DROP_OUT_SEND_ERROR },
		{ EMSGSIZE, DROP_OUT_SEND_ERROR },
		{ EINVAL, DROP_OUT_SEND_ERROR },
		{ EIO, DROP_OUT_SEND_ERROR },
	};

	for (unsigned i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		check_send_error(4, of[i].error, of[i].reason);
		check_send_error(6, of[i].error, of[i].reason);
	}
}

/* A worker cannot ask for it: here no socket is behind its descriptors, and a
 * confined one is refused. */
static void check_port_of_lost(uint8_t family)
{
	struct worker *w = worker_begin(family, true);
	struct vx_record r;
	uint8_t bytes[DROP_RING];
	uint32_t n, lost = 0, ports = 0;

	for (uint32_t i = 0; i < w->sender.n_fds; i++)
		w->sender.port[i] = htons(50000 + i);
	kernel.percent[SENDMMSG] = 100;
	kernel.only = ENOBUFS;
	for (unsigned i = 0; i < 50; i++) {
		/* A few a second are told. */
		memset(w->trace.told, 0, sizeof(w->trace.told));
		kernel.to_read = 1;
		run(w, outbound, &kernel.to_read);
	}
	n = ring_take(&w->trace.drops, bytes, sizeof(bytes));
	for (uint32_t at = 0; at < n; at += r.size) {
		memcpy(&r, bytes + at, sizeof(r));
		if (r.verdict != DROP_OUT_NO_BUFFER)
			continue;
		CHECK(r.port >= 50000 && r.port < 50000 + w->sender.n_fds);
		ports |= 1u << (r.port - 50000);
		lost++;
	}
	CHECK(lost > 0 && ports & (ports - 1));
	worker_end(w);
}

TEST(what_is_lost_is_shown_with_its_port)
{
	check_port_of_lost(4);
	check_port_of_lost(6);
}

static void check_interrupted(uint8_t family)
{
	struct worker *w = worker_begin(family, true);

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

TEST(an_interrupted_call_loses_nothing)
{
	check_interrupted(4);
	check_interrupted(6);
}

/* 60 datagrams of any size in a read are large now and then. */
static void check_patience(uint8_t family)
{
	struct worker *w = worker_begin(family, true);

	kernel.to_read = 500;
	run(w, outbound, &kernel.to_read);
	CHECK(w->patience.bulk > 0);
	check_out(w);
	w->patience.bulk = w->patience.large = 0;
	kernel.handed_out = kernel.taken = 0;
	kernel.to_receive = 500;
	run(w, inbound, &kernel.to_receive);
	CHECK_EQ(w->patience.bulk, 0);	/* of 900 bytes at most */
	check_in(w);
	worker_end(w);
}

TEST(what_is_carried_is_told_to_patience)
{
	check_patience(4);
	check_patience(6);
}

static void check_full_tun(uint8_t family)
{
	struct worker *w = worker_begin(family, true);

	kernel.percent[WRITEV] = 50;
	kernel.only = ENOBUFS;
	kernel.to_receive = 1000;
	run(w, inbound, &kernel.to_receive);
	check_in(w);
	CHECK(counter(w, DROP_IN_TUN_ERROR) > 0);
	worker_end(w);
}

TEST(a_full_tun_costs_the_packet_and_nothing_else)
{
	check_full_tun(4);
	check_full_tun(6);
}

/* An error of the socket is of no packet: all come in the end. */
TEST(each_receive_error_costs_no_packet)
{
	static const int errors[] = { EAGAIN, EINTR, ENOMEM, ENOBUFS, EIO,
				      ECONNREFUSED };

	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		for (uint8_t family = 4; family <= 6; family += 2) {
			struct worker *w = worker_begin(family, true);

			check_context("IPv%u, errno %d", family, errors[i]);
			kernel.percent[RECVMMSG] = 60;
			kernel.only = errors[i];
			kernel.to_receive = 2000;
			run(w, inbound, &kernel.to_receive);
			check_in(w);
			CHECK(kernel.failed[RECVMMSG] > 0);
			CHECK_EQ(counter(w, COUNT_IN_PACKETS), 2000);
			worker_end(w);
		}
}

/* Of the TUN: read errors cost nothing, write errors the packet. */
TEST(each_error_of_the_tun_is_counted)
{
	static const int errors[] = { EAGAIN, EIO, ENOMEM, EINVAL, EBADFD,
				      ENOBUFS };

	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		for (uint8_t family = 4; family <= 6; family += 2) {
			struct worker *w = worker_begin(family, true);

			check_context("IPv%u, errno %d", family, errors[i]);
			kernel.percent[READV] = kernel.percent[WRITEV] = 30;
			kernel.only = errors[i];
			kernel.to_read = kernel.to_receive = 300;
			run(w, outbound, &kernel.to_read);
			CHECK(kernel.failed[READV] > 0);
			check_out(w);
			kernel.handed_out = kernel.taken = 0;
			run(w, inbound, &kernel.to_receive);
			check_in(w);
			CHECK(counter(w, DROP_IN_TUN_ERROR) > 0);
			worker_end(w);
		}
}

static void *stop_soon(void *nothing)
{
	struct timespec a_moment = { .tv_nsec = 30000000 };

	(void)nothing;
	nanosleep(&a_moment, NULL);
	atomic_store(&faulty_stopping, true);
	return NULL;
}

/* The loop itself: sleeps that are cut short, a TUN full of errors, gone. */
static void check_loop(uint8_t family)
{
	struct worker *w = worker_begin(family, true);
	pthread_t stopper;

	snapshot_publish(&faulty_snapshot, two_nodes());
	faulty_snapshot.n_readers = 1;
	for (unsigned i = 0; i < N_CALLS; i++)
		kernel.percent[i] = 50;
	kernel.to_read = 100000;
	kernel.to_receive = 100000;
	kernel.broken = true;
	atomic_store(&faulty_stopping, false);
	CHECK_EQ(pthread_create(&stopper, NULL, stop_soon, NULL), 0);
	CHECK(!worker_main(w));
	pthread_join(stopper, NULL);
	CHECK(kernel.calls[EPOLL_WAIT] > 0 && kernel.failed[EPOLL_WAIT] > 0);
	CHECK(kernel.unwatched > 0);
	CHECK_EQ(counter(w, COUNT_OUT_PACKETS) + counter(w, COUNT_IN_PACKETS),
		 kernel.handed_out);
	CHECK_EQ(counter(w, COUNT_OUT_SENT) + counter(w, COUNT_IN_WRITTEN),
		 kernel.taken);
	snapshot_free(&faulty_snapshot);
	worker_end(w);
}

TEST(the_loop_outlives_interrupted_sleeps)
{
	check_loop(4);
	check_loop(6);
}

/* Trains of datagrams, and sleeps between them. */
TEST(a_socket_that_is_not_moved_is_looked_at_where_it_is)
{
	struct worker *w = worker_begin(4, true);
	unsigned ready;

	kernel.percent[POLL] = kernel.percent[EPOLL_WAIT] = 50;
	for (unsigned i = 0; i < 100; i++) {
		kernel.to_receive = 100;
		run(w, inbound, &kernel.to_receive);
		for (unsigned sleeps = 0; sleeps < 100; sleeps++)
			watch_look(&w->watch, 1, &ready);
	}
	CHECK(kernel.apart > 0 && kernel.rejoined > 10);
	worker_end(w);
}
