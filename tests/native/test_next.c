/* SPDX-License-Identifier: Apache-2.0
 *
 * What is like the one before goes a shorter way, to the same end: messages of
 * several datagrams against a message for each, which all go the whole way.
 */
#include "check.h"
#include "decap_frame.h"
#include "message.h"
#include "worker.h"

enum { OVERLAY = sizeof(struct overlay), MOST = 14, ROUNDS = 5000,
       RING = 1 << 17, TUN_FD = 1, LISTEN_FD = 2 };

static struct message {
	uint32_t from, n;		/* datagrams */
	uint8_t sender[16], ecn;	/* of the outer header */
	be16 port;
} messages[MOST];
static uint8_t datagrams[MOST][2048];
static uint32_t lens[MOST], n_datagrams, n_messages;

/* What came out: of a message for each datagram, and together. */
static struct outcome {
	uint64_t counters[N_COUNTERS];
	struct peer_counters peers[2];
	uint32_t len;
	uint8_t bytes[2 * RING];	/* what was written, then records */
} outcomes[2], *outcome;

static bool together;
static uint64_t short_ways;
static struct frame frame;
static struct worker worker;
static struct capture *capture;

static void receive_one(struct mmsghdr *msg, const struct message *what,
			uint32_t from, uint32_t n)
{
	struct msghdr *m = &msg->msg_hdr;
	bool v4 = frame.settings.family == 4;

	message_from(m, v4, what->sender, what->port);
	message_tell_tos(m, v4, what->ecn);
	if (n > 1)
		message_tell(m, SOL_UDP, UDP_GRO, (int)lens[from]);
	msg->msg_len = 0;
	for (uint32_t i = from; i < from + n; msg->msg_len += lens[i++])
		memcpy((uint8_t *)m->msg_iov->iov_base + msg->msg_len,
		       datagrams[i], lens[i]);
}

int __wrap_recvmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags,
		    struct timespec *timeout)
{
	int used = 0;

	CHECK(fd == LISTEN_FD && n >= MOST && flags && !timeout);
	for (struct message *m = messages; m < messages + n_messages; m++) {
		uint32_t each = together ? m->n : 1;

		for (uint32_t i = 0; i < m->n; i += each)
			receive_one(msg + used++, m, m->from + i, each);
	}
	return used;
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	CHECK(fd == TUN_FD && n == 2);
	for (int i = 0; i < n; outcome->len += (uint32_t)iov[i++].iov_len) {
		CHECK(outcome->len + iov[i].iov_len <= RING);
		memcpy(outcome->bytes + outcome->len, iov[i].iov_base,
		       iov[i].iov_len);
	}
	return (ssize_t)(iov[0].iov_len + iov[1].iov_len);
}

bool __real_coalesce_next(struct coalescer *c, uint8_t *ip, uint32_t len);
bool __wrap_coalesce_next(struct coalescer *c, uint8_t *ip, uint32_t len)
{
	bool taken = __real_coalesce_next(c, ip, len);

	CHECK(together);
	short_ways += taken;
	return taken;
}

static void begin(uint8_t family)
{
	static const int tuns[1] = { TUN_FD };
	static struct path_mtus path_mtus;
	struct worker *w = &worker;

	csum_init();
	frame = frame_new(family);
	frame.table->peers[0].slot = 0;
	frame.table->peers[1].slot = 1;
	*w = (struct worker){ .settings = &frame.settings, .tuns = tuns,
			      .path_mtus = &path_mtus, .n_queues = 1,
			      .listen = LISTEN_FD, .vnet = true,
			      .coalescer.to = w, .per_peer = peers_new() };
	capture = aligned_alloc(64, sizeof(*capture) + sizeof(struct ring));
	CHECK(capture && w->per_peer && worker_buffers(w));
	CHECK_EQ(tracer_init(&w->trace, family), 0);
	*capture = (struct capture){ .snaplen = UINT32_MAX };
	CHECK_EQ(ring_init(&capture->rings[0], RING), 0);
}

/* Each datagram has a record; of no record the time is compared. */
static uint32_t records(uint8_t *at, uint32_t *shown)
{
	uint32_t used = ring_take(&capture->rings[0], at, RING);
	struct vx_record r;

	for (uint8_t *to = at + used; at < to; at += r.size) {
		memcpy(&r, at, sizeof(r));
		*shown += r.point == VX_FROM_UNDERLAY;
		r.time = 0;
		memcpy(at, &r, sizeof(r));
	}
	return used;
}

static void receive(bool as_one)
{
	uint32_t shown = 0;

	together = as_one;
	outcome = &outcomes[together];
	outcome->len = 0;
	memset(&worker.counters, 0, sizeof(worker.counters));
	memset(worker.per_peer, 0, sizeof(outcome->peers));
	inbound(&worker, frame.table);
	memcpy(outcome->counters, &worker.counters, sizeof(worker.counters));
	memcpy(outcome->peers, worker.per_peer, sizeof(outcome->peers));
	CHECK_EQ(outcome->counters[COUNT_IN_PACKETS], n_datagrams);
	outcome->counters[COUNT_IN_RECEIVES] = 0;	/* by design another */
	outcome->len += records(outcome->bytes + outcome->len, &shown);
	CHECK_EQ(shown, worker.trace.capture ? n_datagrams : 0);
}

/* Mostly what node a may send; odd: with what seldom goes the short way. */
static struct spec begin_stream(uint8_t family, bool odd)
{
	static const uint8_t no_hosts[4] = { 0, 127, 224, 255 };
	uint8_t proto = rnd_chance(70) ? SPEC_TCP : SPEC_UDP;
	struct spec s = spec_random(family, proto, 0);

	frame_addr(family, rnd_chance(95) ? 1 : 2, s.src);
	s.dst[0] = 7;
	if (rnd_chance(5)) {
		memset(s.dst, 0, 15);
		s.dst[0] = no_hosts[rnd_below(4)];
	}
	s.unfinished = rnd_chance(odd ? 15 : 3);
	s.no_csum = rnd_chance(3);
	s.n_options = rnd_chance(odd ? 40 : 3) ? (uint8_t)rnd_below(5) : 0;
	return s;
}

static void add_datagram(struct spec *s, uint32_t size, bool odd)
{
	bool fewer = odd && s->n_options && rnd_chance(20);
	uint32_t padding = odd && size > 8 && rnd_chance(3) ? 8 : 0;

	s->payload = spec_bytes(size);
	s->n_payload = size - padding;
	frame.spec = *s;
	frame.spec.n_options -= fewer;		/* as long as the others */
	frame.spec.n_payload += (s->family == 4 ? 4 : 8) * fewer;
	frame.spec.unfinished ^= odd && rnd_chance(3);
	frame_write(&frame);
	CHECK(frame.len + padding <= sizeof(datagrams[0]));
	memcpy(datagrams[n_datagrams], frame.data, frame.len);
	lens[n_datagrams++] = frame.len + padding;
	s->seq += frame.spec.n_payload;
	s->id++;
}

/* The last datagram of a message may be shorter. */
static void add_message(struct spec *s, bool odd)
{
	struct message *m = &messages[n_messages++];
	uint32_t size = (uint32_t)rnd_range(1, rnd_chance(95) ? 1300 : 1800);

	m->from = n_datagrams;
	m->n = (uint32_t)rnd_range(1, MOST - n_datagrams);
	m->port = (be16)rnd();
	m->ecn = rnd_chance(70) ? 0 : (uint8_t)rnd_below(4);
	memcpy(m->sender, frame.peers[rnd_chance(5)].outer, 16);
	m->sender[1] ^= rnd_chance(4);		/* a stranger */
	for (uint32_t i = 1; i < m->n; i++)
		add_datagram(s, size, odd);
	add_datagram(s, rnd_chance(50) ? size : (uint32_t)rnd_below(size), odd);
}

static void make(struct worker *w, uint8_t family, bool odd)
{
	struct spec streams[2] = { begin_stream(family, odd),
				   begin_stream(family, odd) };

	frame.settings.source_check = (uint8_t)rnd_below(3);
	w->tso = rnd_chance(80);
	w->uso = rnd_chance(80);
	w->coalescer.tcp = rnd_chance(90);
	w->coalescer.udp = rnd_chance(90);
	w->sender.now = rnd_range(1, 1000);
	trace_turn(&w->trace, rnd_chance(20) ? capture : NULL);
	n_datagrams = n_messages = 0;
	do
		add_message(&streams[rnd_chance(25)], odd);
	while (n_datagrams < MOST && rnd_chance(60));
}

/* Whatever else is wrong then, the checksums are right. */
static void mend(uint8_t *ip, uint32_t len, uint8_t family)
{
	struct pkt p;

	if (pkt_parse(&p, ip, len, family) != PKT_OK || !p.transport)
		return;
	pkt_set_len(&p, p.len);
	pkt_csum_set(&p, csum_fold(pkt_pseudo(&p, p.len - p.l4)));
	pkt_finish(&p, p.l4, csum_offset(p.transport));
}

/* One bit, mostly of the headers, of one datagram or of all from there on. */
static void disturb(uint8_t family)
{
	uint32_t i = (uint32_t)rnd_below(n_datagrams);
	uint32_t to = rnd_chance(70) ? i + 1 : n_datagrams;
	uint32_t at = (uint32_t)rnd_below(rnd_chance(90) ? 100 : 1300);
	uint8_t bit = (uint8_t)(1u << rnd_below(8));
	bool mended = rnd_chance(50);

	if (rnd_chance(20))		/* of options, of the next header */
		at = OVERLAY + ip_header_min(family) + at % 4;
	for (; i < to && at < lens[i]; i++) {
		datagrams[i][at] ^= bit;
		if (mended)
			mend(datagrams[i] + OVERLAY, lens[i] - OVERLAY, family);
	}
}

static void check_rounds(uint8_t family)
{
	uint64_t plain = 0, taken = 0;

	begin(family);
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned odds = rnd_chance(30) ? 0 : (unsigned)rnd_range(1, 3);

		check_context("IPv%u, round %u", family, i);
		make(&worker, family, odds);
		for (unsigned k = 0; k < odds; k++)
			disturb(family);
		short_ways = 0;
		receive(true);
		receive(false);
		CHECK_MEM(&outcomes[1], &outcomes[0],
			  offsetof(struct outcome, bytes));
		CHECK_MEM(outcomes[1].bytes, outcomes[0].bytes, outcome->len);
		if (!odds && !worker.trace.capture) {
			plain += n_datagrams;
			taken += short_ways;
		}
	}
	CHECK(taken > plain / 2);
	frame_free(&frame);
	peers_free(worker.per_peer);
	tracer_free(&worker.trace);
	free(worker.buffers);
	ring_free(&capture->rings[0]);
	free(capture);
}

TEST(the_short_way_ends_where_the_whole_way_does)
{
	check_rounds(IPV4);
	check_rounds(IPV6);
}
