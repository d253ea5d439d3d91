/* SPDX-License-Identifier: Apache-2.0 */
#include "faulty_worker.h"

#include "check.h"
#include "decap_frame.h"

static struct path_mtus path_mtus;
static struct steering steering;
static const int sources[4] = { 3, 4, 5, 6 }, tuns[1] = { TUN_FD };
static struct frame frame;
struct snapshot faulty_snapshot;
_Atomic bool faulty_stopping;
static struct capture *_Atomic no_capture;

struct table *two_nodes(void)
{
	uint8_t net = kernel.family == 4 ? 10 : 0xfd;
	struct vx_peer peers[2] = { { .outer = { 192, 0, 0, 1 },
				      .mac = { 2, 1 } },
				    { .outer = { 192, 0, 0, 2 },
				      .mac = { 2, 2 }, .slot = 64 } };
	struct vx_route routes[2] = { { .prefix = { net, 1 }, .length = 16 },
				      { .prefix = { net, 2 }, .length = 16,
					.peer = 1 } };
	int error;
	struct table *t = table_build(&frame.settings, peers, 2, routes, 2,
				      &error);

	CHECK(t);
	return t;
}

struct worker *worker_begin(uint8_t family, bool vnet)
{
	static struct worker w;

	csum_init();
	kernel_reset();
	kernel.vnet = vnet;
	kernel.family = family;
	frame = (struct frame){ .settings = {
		.family = family, .source_check = VX_SOURCE_STRICT,
		.mac = { 2, 1, 1, 1, 1, 1 }, .vni = FRAME_VNI,
		.mtu = FRAME_MTU, .port = 8472 } };
	memset(&w, 0, sizeof(w));
	memset(&faulty_snapshot, 0, sizeof(faulty_snapshot));
	w = (struct worker){
		.settings = &frame.settings, .snapshot = &faulty_snapshot,
		.reader = &faulty_snapshot.readers[0],
		.stopping = &faulty_stopping,
		.path_mtus = &path_mtus, .steering = &steering, .tuns = tuns,
		.n_queues = 1, .ready = 1, .listen = LISTEN_FD,
		.watch = { .tuns = tuns, .listen = LISTEN_FD,
			   .epoll = EPOLL_FD },
		.uncut = { .tap = -1 },
		.vnet = vnet, .tso = vnet, .uso = vnet,
	};
	w.icmp.rate = 1000000;
	w.sender.fds = sources;
	w.sender.n_fds = 4;
	w.sender.counters = &w.counters;
	w.per_peer = peers_new();
	CHECK(w.per_peer);
	w.sender.per_peer = w.per_peer;
	CHECK_EQ(tracer_init(&w.trace, family), 0);
	w.sender.trace = &w.trace;
	w.capture = &no_capture;
	w.sender.may_segment = true;
	w.sender.segment = true;
	w.coalescer.to = &w;
	w.coalescer.tcp = w.coalescer.udp = vnet;
	CHECK(worker_buffers(&w));
	return &w;
}

uint64_t counter(const struct worker *w, enum counter i)
{
	return atomic_load(&w->counters.v[i]);
}

uint64_t drops(const struct worker *w, int kind)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < N_COUNTERS; i++)
		if (vx_counter_kind(i) == kind)
			sum += counter(w, i);
	return sum;
}

void run(struct worker *w,
	 bool (*direction)(struct worker *, const struct table *),
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

void check_out(const struct worker *w)
{
	CHECK_EQ(counter(w, COUNT_OUT_PACKETS), kernel.handed_out);
	CHECK_EQ(counter(w, COUNT_OUT_PACKETS),
		 counter(w, COUNT_OUT_SENT) + drops(w, VX_COUNT_DROP_OUT));
	CHECK_EQ(counter(w, COUNT_OUT_SENT), kernel.taken);
	CHECK_EQ(counter(w, COUNT_ICMP_SENT), kernel.icmp);
}

void check_in(const struct worker *w)
{
	CHECK_EQ(counter(w, COUNT_IN_PACKETS), kernel.handed_out);
	CHECK_EQ(counter(w, COUNT_IN_PACKETS),
		 counter(w, COUNT_IN_WRITTEN) + drops(w, VX_COUNT_DROP_IN));
	CHECK_EQ(counter(w, COUNT_IN_WRITTEN), kernel.taken);
}

void worker_end(struct worker *w)
{
	peers_free(w->per_peer);
	tracer_free(&w->trace);
	free(w->buffers);
}
