/* SPDX-License-Identifier: Apache-2.0
 *
 * pack against a twin: which datagrams share a message, in which order, and
 * what the control messages say.
 */
#include "check.h"
#include "pack.h"

#include "sockopt.h"

enum { PEERS = 4, MOST4 = 65507, MOST6 = 65527 };

static struct packer k;
static struct messages m;
static struct peer peers[PEERS];
static uint8_t memory[PACK_BYTES];

/* What was put into each list, in order. */
static uint16_t lists[VX_MAX_SOURCES][PACK_DATAGRAMS];
static uint32_t list_len[VX_MAX_SOURCES];

static void reset(bool v4)
{
	k.memory = memory;
	pack_reset(&k);
	memset(list_len, 0, sizeof(list_len));
	for (unsigned i = 0; i < PEERS; i++) {
		peers[i] = (struct peer){ .salen = v4 ? 16 : 28 };
		peers[i].sa.any.sa_family = v4 ? AF_INET : AF_INET6;
	}
}

static void put(uint32_t source, unsigned peer, uint32_t len, uint8_t tos)
{
	uint32_t before = k.bytes;
	struct datagram *s;

	CHECK(!pack_is_full(&k, len));
	s = pack_take(&k, source, len);
	s->peer = &peers[peer];
	s->tos = tos;
	CHECK(s->data == memory + before && k.bytes <= PACK_BYTES);
	CHECK_EQ(s->len, len);
	CHECK(!s->lost);
	lists[source][list_len[source]++] = (uint16_t)(s - k.datagrams);
}

/* Peer 0 never takes UDP_SEGMENT when `who` says so. */
static bool may_segment(const void *who, const struct peer *peer)
{
	return !who || peer != &peers[0];
}

/* How many datagrams of the list the message that begins at `at` has. */
static uint32_t twin_count(const uint16_t *list, uint32_t n, uint32_t at,
			   const void *who)
{
	const struct datagram *first = &k.datagrams[list[at]];
	uint32_t most = first->peer->salen == 16 ? MOST4 : MOST6;
	uint32_t bytes = first->len, count = 1;

	if (!may_segment(who, first->peer))
		return 1;
	while (at + count < n && count < 64) {
		const struct datagram *s = &k.datagrams[list[at + count]];

		if (s->peer != first->peer || s->tos != first->tos ||
		    s->len > first->len || bytes + s->len > most)
			break;
		bytes += s->len;
		count++;
		if (s->len < first->len)
			break;
	}
	return count;
}

static void check_control(const struct msghdr *h, const struct datagram *first,
			  uint32_t count)
{
	bool v4 = first->peer->salen == 16, segment = false, tos = false;
	uint16_t size;
	int value;

	CHECK(!h->msg_control == !h->msg_controllen);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c;
	     c = CMSG_NXTHDR((struct msghdr *)h, c)) {
		if (c->cmsg_level == SOL_UDP) {
			CHECK_EQ(c->cmsg_type, UDP_SEGMENT);
			CHECK_EQ(c->cmsg_len, CMSG_LEN(sizeof(size)));
			memcpy(&size, CMSG_DATA(c), sizeof(size));
			CHECK(!segment && count > 1);
			CHECK_EQ(size, first->len);
			segment = true;
		} else {
			CHECK_EQ(c->cmsg_level,
				 v4 ? IPPROTO_IP : IPPROTO_IPV6);
			CHECK_EQ(c->cmsg_type, v4 ? IP_TOS : IPV6_TCLASS);
			CHECK_EQ(c->cmsg_len, CMSG_LEN(sizeof(value)));
			memcpy(&value, CMSG_DATA(c), sizeof(value));
			CHECK(!tos);
			CHECK_EQ(value, first->tos);
			tos = true;
		}
	}
	CHECK_EQ(segment, count > 1);
	CHECK_EQ(tos, first->tos != 0);
}

static void check_message(uint32_t i, const uint16_t *list, uint32_t count)
{
	const struct msghdr *h = &m.msg[i].msg_hdr;
	const struct datagram *first = &k.datagrams[list[0]];
	const uint8_t *end = NULL;
	size_t iov = 0, left = 0;

	CHECK_EQ(m.first[i], list[0]);
	CHECK_EQ(m.count[i], count);
	CHECK(h->msg_name == &first->peer->sa);
	CHECK_EQ(h->msg_namelen, first->peer->salen);
	CHECK_EQ(h->msg_flags, 0);
	for (uint32_t n = 0; n < count; n++) {
		const struct datagram *s = &k.datagrams[list[n]];

		/* Neighbours in memory are one piece. */
		if (s->data != end) {
			CHECK_EQ(left, 0);
			CHECK(h->msg_iov[iov].iov_base == s->data);
			left = h->msg_iov[iov++].iov_len;
		}
		CHECK(left >= s->len);
		left -= s->len;
		end = s->data + s->len;
	}
	CHECK_EQ(left, 0);
	CHECK_EQ(h->msg_iovlen, iov);
	check_control(h, first, count);
}

/* Packs the list from its datagram number `from` on. */
static void check_list(uint32_t source, uint32_t from, const void *who)
{
	const uint16_t *list = lists[source];
	uint32_t n = list_len[source], at = from, i = 0;

	pack_messages(&k, list[from], may_segment, who, &m);
	for (; at < n; i++) {
		uint32_t count = twin_count(list, n, at, who);

		check_context("source %u, message %u", source, i);
		CHECK(i < m.n);
		check_message(i, list + at, count);
		at += count;
	}
	CHECK_EQ(m.n, i);
	CHECK_EQ(m.first[i], NO_DATAGRAM);
}

static void check_all(const void *who)
{
	uint64_t used = 0;

	for (uint32_t s = 0; s < VX_MAX_SOURCES; s++) {
		if (!list_len[s])
			continue;
		used |= 1ull << s;
		CHECK_EQ(k.head[s], lists[s][0]);
		check_list(s, 0, who);
		/* As after a refusal: anew from somewhere within. */
		check_list(s, (uint32_t)rnd_below(list_len[s]), who);
	}
	CHECK(k.used == used);
}

/* Runs of equal datagrams with a short one, another peer or ECN between. */
static void random_round(uint32_t sources, uint32_t largest)
{
	unsigned peer = 0;
	uint32_t len = 1, source = 0;
	uint8_t tos = 0;

	while (!pack_is_full(&k, largest) && !rnd_chance(1)) {
		if (rnd_chance(10))
			len = (uint32_t)rnd_range(1, largest);
		if (rnd_chance(4))
			peer = (unsigned)rnd_below(PEERS);
		if (rnd_chance(4))
			tos = (uint8_t)rnd_below(4);
		if (rnd_chance(20))
			source = (uint32_t)rnd_below(sources);
		put(source, peer, rnd_chance(5) ? (len + 1) / 2 : len, tos);
	}
	check_all(rnd_chance(50) ? &m : NULL);
}

TEST(random_lists)
{
	static const uint32_t sources[] = { 1, 2, 16, VX_MAX_SOURCES };

	for (unsigned i = 0; i < 600; i++) {
		reset(i & 1);
		random_round(sources[i % 4], i & 8 ? 1500 : 20000);
	}
}

/* n datagrams of one length, to one peer. */
static void equal(bool v4, uint32_t n, uint32_t len, uint32_t most)
{
	reset(v4);
	for (uint32_t i = 0; i < n; i++)
		put(0, 1, len, 0);
	check_context("%u datagrams of %u bytes", n, len);
	check_list(0, 0, NULL);
	check_context("%u datagrams of %u bytes", n, len);
	CHECK_EQ(m.n, (n + most - 1) / most);
}

TEST(limits)
{
	equal(true, PACK_DATAGRAMS, 100, 64);
	equal(false, PACK_DATAGRAMS, 100, 64);
	equal(true, 65, 1, 64);
	equal(true, 300, 1472, 65507 / 1472);
	equal(true, 3, 65507, 1);
	equal(false, 3, 65527, 1);
}

/* 65,507 and 65,527 bytes: exactly, and one too many. */
TEST(most_bytes)
{
	for (unsigned i = 0; i < 4; i++) {
		bool v4 = i & 1, over = i & 2;

		reset(v4);
		put(0, 1, 30000, 0);
		put(0, 1, 30000, 0);
		put(0, 1, (v4 ? 5507 : 5527) + over, 0);
		check_list(0, 0, NULL);
		CHECK_EQ(m.n, 1 + over);
	}
}

TEST(all_datagrams)
{
	reset(true);
	for (uint32_t i = 0; i < PACK_DATAGRAMS; i++)
		put(i % VX_MAX_SOURCES, i % PEERS, 1, (uint8_t)(i % 4));
	CHECK(pack_is_full(&k, 1));
	CHECK(k.used == UINT64_MAX);
	check_all(NULL);
	pack_reset(&k);
	CHECK(!pack_is_full(&k, PACK_BYTES) && k.used == 0);
	CHECK(pack_is_full(&k, PACK_BYTES + 1));
}

TEST(short_ones_close)
{
	reset(true);
	for (unsigned i = 0; i < 3; i++) {
		put(0, 1, 1000, 0);
		put(0, 1, 1000, 0);
		put(0, 1, 999, 0);
	}
	check_list(0, 0, NULL);
	CHECK_EQ(m.n, 3);
	/* A longer one begins anew. */
	put(0, 1, 1001, 0);
	check_list(0, 0, NULL);
	CHECK_EQ(m.n, 4);
}
