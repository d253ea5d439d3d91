/* SPDX-License-Identifier: Apache-2.0
 *
 * What is like the one before goes a shorter way, to the same end: a message of
 * several datagrams against a message for each, which all go the whole way.
 */
#include "check.h"
#include "decap_frame.h"
#include "worker.h"

#include <errno.h>

#include "sockopt.h"

enum { OVERLAY = sizeof(struct overlay), MOST = 6, ROUNDS = 10000,
       TUN_FD = 1, LISTEN_FD = 2 };

static struct {
	uint8_t datagrams[MOST][2048];
	uint32_t len[MOST], n;
	uint8_t ecn;			/* of their outer headers */
	bool together;
	bool received;
} wire;

/* What came out. */
struct outcome {
	uint64_t counters[N_COUNTERS];
	uint8_t bytes[MOST * 2048];
	uint32_t len;
};

static struct outcome *writing;
static struct frame frame;
static struct worker worker;

static void put(struct msghdr *m, int level, int type, int value)
{
	struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)m->msg_control +
					       m->msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(sizeof(value));
	memcpy(CMSG_DATA(c), &value, sizeof(value));
	m->msg_controllen += CMSG_SPACE(sizeof(value));
}

static void receive_one(struct mmsghdr *msg, uint32_t from, uint32_t n)
{
	struct msghdr *m = &msg->msg_hdr;
	uint8_t *at = m->msg_iov->iov_base;
	bool v4 = frame.settings.family == 4;
	struct sockaddr_in from4 = { .sin_family = AF_INET };
	struct sockaddr_in6 from6 = { .sin6_family = AF_INET6 };

	memcpy(&from4.sin_addr, frame.peers[0].outer, 4);
	memcpy(&from6.sin6_addr, frame.peers[0].outer, 16);
	memcpy(m->msg_name, v4 ? (void *)&from4 : &from6,
	       v4 ? sizeof(from4) : sizeof(from6));
	m->msg_controllen = 0;
	m->msg_flags = 0;
	put(m, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS,
	    wire.ecn);
	if (n > 1)
		put(m, SOL_UDP, UDP_GRO, (int)wire.len[from]);
	msg->msg_len = 0;
	for (uint32_t i = from; i < from + n; i++) {
		memcpy(at + msg->msg_len, wire.datagrams[i], wire.len[i]);
		msg->msg_len += wire.len[i];
	}
}

int __wrap_recvmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags,
		    struct timespec *timeout);
int __wrap_recvmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags,
		    struct timespec *timeout)
{
	CHECK(fd == LISTEN_FD && n >= MOST && flags && !timeout);
	if (wire.received) {
		errno = EAGAIN;
		return -1;
	}
	wire.received = true;
	if (wire.together) {
		receive_one(msg, 0, wire.n);
		return 1;
	}
	for (uint32_t i = 0; i < wire.n; i++)
		receive_one(msg + i, i, 1);
	return (int)wire.n;
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	uint32_t len = 0;

	CHECK(fd == TUN_FD && n == 2);
	for (int i = 0; i < n; i++) {
		CHECK(writing->len + iov[i].iov_len <= sizeof(writing->bytes));
		memcpy(writing->bytes + writing->len, iov[i].iov_base,
		       iov[i].iov_len);
		writing->len += (uint32_t)iov[i].iov_len;
		len += (uint32_t)iov[i].iov_len;
	}
	return len;
}

static void begin(uint8_t family)
{
	static const int tuns[1] = { TUN_FD };
	static struct path_mtus path_mtus;
	struct worker *w = &worker;

	csum_init();
	frame = frame_new(family);
	memset(w, 0, sizeof(*w));
	*w = (struct worker){ .settings = &frame.settings, .tuns = tuns,
			      .path_mtus = &path_mtus, .n_queues = 1,
			      .listen = LISTEN_FD, .vnet = true, .tso = true,
			      .uso = true, .peers = peers_new() };
	CHECK(w->peers && worker_buffers(w));
	CHECK_EQ(tracer_init(&w->trace, family), 0);
	w->coalescer.to = w;
	w->coalescer.tcp = w->coalescer.udp = true;
}

static void end(void)
{
	frame_free(&frame);
	peers_free(worker.peers);
	tracer_free(&worker.trace);
	free(worker.buffers);
}

static void receive(struct outcome *out, bool together)
{
	memset(&worker.counters, 0, sizeof(worker.counters));
	memset(out->counters, 0, sizeof(out->counters));
	out->len = 0;
	wire.together = together;
	wire.received = false;
	writing = out;
	inbound(&worker, frame.table);
	for (unsigned i = 0; i < N_COUNTERS; i++)
		out->counters[i] = atomic_load(&worker.counters.v[i]);
	out->counters[COUNT_IN_RECEIVES] = 0;	/* by design another */
}

/* A stream's segments, as node a sends them; the last one may be shorter. */
static void make(uint8_t family)
{
	uint32_t size = (uint32_t)rnd_range(1, 1300);
	struct spec s = spec_random(family, rnd_chance(70) ? PROTO_TCP
							   : PROTO_UDP, size);

	frame_addr(family, 1, s.src);
	s.dst[0] = 7;
	s.flags = TCP_ACK;
	s.frag = family == 4 ? SPEC_DF : 0;
	s.unfinished = rnd_chance(10);
	if (rnd_chance(90))
		s.n_options = 0;
	wire.n = (uint32_t)rnd_range(2, MOST);
	wire.ecn = rnd_chance(50) ? 0 : (uint8_t)rnd_below(4);
	for (uint32_t i = 0; i < wire.n; i++) {
		if (i + 1 == wire.n && rnd_chance(50))
			s.n_payload = rnd_chance(30)
				? 0 : (uint32_t)rnd_range(1, size);
		frame.spec = s;
		frame_write(&frame);
		CHECK(frame.len <= sizeof(wire.datagrams[i]));
		memcpy(wire.datagrams[i], frame.data, frame.len);
		wire.len[i] = frame.len;
		s.seq += s.n_payload;
		s.id++;
	}
}

/* Whatever else is wrong then, the checksums are right. */
static void mend(uint8_t *data, uint32_t len, uint8_t family)
{
	struct pkt p;

	if (pkt_parse(&p, data + OVERLAY, len - OVERLAY, family) != PKT_OK ||
	    !p.transport)
		return;
	pkt_set_len(&p, p.len);
	pkt_csum_set(&p, csum_fold(pkt_pseudo(&p, p.len - p.l4)));
	pkt_finish(&p, p.l4, csum_offset(p.transport));
}

/* One bit, mostly of the headers, of one datagram or of all from there on. */
static void disturb(uint8_t family)
{
	uint32_t from = (uint32_t)rnd_below(wire.n);
	uint32_t to = rnd_chance(70) ? from + 1 : wire.n;
	uint32_t at = (uint32_t)rnd_below(rnd_chance(90) ? 100 : 1300);
	uint8_t bit = (uint8_t)(1u << rnd_below(8));
	bool mended = rnd_chance(50);

	for (uint32_t i = from; i < to; i++) {
		if (at >= wire.len[i])
			continue;
		wire.datagrams[i][at] ^= bit;
		if (mended)
			mend(wire.datagrams[i], wire.len[i], family);
	}
}

static void check_both(void)
{
	static struct outcome together, apart;

	receive(&together, true);
	receive(&apart, false);
	CHECK_MEM(together.counters, apart.counters, sizeof(apart.counters));
	CHECK_EQ(together.len, apart.len);
	CHECK_MEM(together.bytes, apart.bytes, apart.len);
}

TEST(the_short_way_ends_where_the_whole_way_does)
{
	for (uint8_t family = IPV4; family <= IPV6; family += 2) {
		begin(family);
		for (unsigned i = 0; i < ROUNDS; i++) {
			check_context("IPv%u, round %u", family, i);
			make(family);
			if (rnd_chance(80))
				disturb(family);
			check_both();
		}
		end();
	}
}

static bool same_pkt(const struct pkt *a, const struct pkt *b)
{
	return a->ip == b->ip && a->len == b->len && a->l4 == b->l4 &&
	       a->payload == b->payload && a->family == b->family &&
	       a->proto == b->proto && a->transport == b->transport &&
	       a->fragment == b->fragment && a->flow == b->flow;
}

/* What pkt_parse_next() makes of a packet, pkt_parse() would; how often it
 * makes something of it. */
static uint32_t parse_both(uint8_t family, uint32_t *tries)
{
	uint32_t taken = 0;

	make(family);
	if (rnd_chance(80))
		disturb(family);
	for (uint32_t i = 0; i + 1 < wire.n; i++) {
		uint8_t *ip = wire.datagrams[i + 1] + OVERLAY;
		uint32_t len = wire.len[i + 1] - OVERLAY;
		struct pkt before, next, want;

		if (pkt_parse(&before, wire.datagrams[i] + OVERLAY,
			      wire.len[i] - OVERLAY, family) != PKT_OK)
			continue;
		++*tries;
		if (!pkt_parse_next(&next, &before, ip, len))
			continue;
		CHECK_EQ(pkt_parse(&want, ip, len, family), PKT_OK);
		CHECK(same_pkt(&next, &want));
		taken++;
	}
	return taken;
}

TEST(the_next_packet_is_parsed_as_any_other)
{
	for (uint8_t family = IPV4; family <= IPV6; family += 2) {
		uint32_t taken = 0, tries = 0;

		begin(family);
		for (unsigned i = 0; i < ROUNDS; i++)
			taken += parse_both(family, &tries);
		CHECK(taken > tries / 2 && taken < tries - tries / 20);
		end();
	}
}
