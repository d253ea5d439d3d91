/* SPDX-License-Identifier: Apache-2.0
 *
 * Invariant: of any batch of messages, every datagram is counted once, as
 * written or as one drop, and what reaches the TUN is exactly the inner
 * packets that were accepted, in their flows' order, under vnet headers that
 * agree with them (ledger.h).
 *
 * The real inbound() runs; the socket and the TUN are the functions below.
 * Input: settings byte, outer ToS, then messages of: length (16 bits), UDP_GRO
 * segment size (16 bits), bytes.
 */
#include "decap.h"
#include "fuzz.h"
#include "ledger.h"
#include "tun.h"

#include <stdlib.h>

static struct received messages[IN_BATCH];
static uint32_t n_messages;
static struct ledger ledger;
static const struct worker *worker;
static uint32_t refused;	/* super-packets that nothing could cut */

uint64_t now_ms(void)
{
	return 1;
}

int udp_receive(struct receiver *r, int fd, bool *more)
{
	(void)r;
	(void)fd;
	*more = n_messages == IN_BATCH;
	return (int)n_messages;
}

struct received udp_received(const struct receiver *r, uint32_t i)
{
	(void)r;
	return messages[i];
}

static const struct received *message_of(const struct pkt *p)
{
	for (uint32_t i = 0; i < n_messages; i++)
		if (p->ip >= messages[i].data &&
		    p->ip < messages[i].data + messages[i].len)
			return &messages[i];
	check_failed(__FILE__, __LINE__, "a packet from nowhere");
}

/* Bytes of each datagram in a message but the last. */
static uint32_t datagram_size(const struct received *m)
{
	if (m->segment && m->segment < m->len &&
	    !decap_is_aggregate(worker->settings, m->data, m->len, m->segment))
		return m->segment;
	return m->len;
}

/* What validation promises, from the bytes alone. */
static void check_accepted(const struct pkt *p)
{
	const struct received *m = message_of(p);
	uint32_t at = p->ip - m->data, size = datagram_size(m);
	const uint8_t *data = p->ip - sizeof(struct overlay);
	static const uint8_t broadcast[6] = { 255, 255, 255, 255, 255, 255 };

	CHECK(at >= 22 && (at - 22) % size == 0);
	CHECK(p->len + 22 <= size && at + p->len <= m->len);
	CHECK(p->l4 <= p->payload && p->payload <= p->len);
	CHECK(data[0] & 8);
	CHECK_MEM(data + 4, "\0\0\1", 3);
	CHECK(!memcmp(data + 8, fuzz_mac, 6) ||
	      !memcmp(data + 8, broadcast, 6));
	CHECK(!(data[14] & 1));
	CHECK_EQ(p->ip[0] >> 4, worker->settings->family);
	CHECK(!p->gso_size || p->unfinished);
	CHECK(!p->unfinished || p->transport);
	CHECK(p->gso_size < p->len - p->payload || !p->gso_size);
}

void __real_coalesce_add(struct coalescer *c, const struct pkt *p);
void __wrap_coalesce_add(struct coalescer *c, const struct pkt *p);

/* Between decapsulation and coalescer (--wrap of the linker). */
void __wrap_coalesce_add(struct coalescer *c, const struct pkt *p)
{
	bool takes = p->transport == PROTO_TCP ? worker->tso : worker->uso;

	check_accepted(p);
	if (p->gso_size && !takes && p->payload > SEGMENT_HEADER_MAX)
		refused++;
	else
		ledger_in(&ledger, p, false);
	__real_coalesce_add(c, p);
}

int tun_write(int fd, bool vnet, const struct vnethdr *v, struct iovec *iov,
	      uint32_t n)
{
	uint8_t *flat = malloc(IP_MAX_LEN);
	uint32_t len = 0;

	(void)fd;
	CHECK(flat && vnet == worker->vnet && n <= 2 + RUN_MAX);
	for (uint32_t i = 1; i < n; i++) {
		CHECK(len + iov[i].iov_len <= IP_MAX_LEN);
		if (iov[i].iov_len)
			memcpy(flat + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	ledger_out(&ledger, flat, len, v, worker->settings->family);
	free(flat);
	return 0;
}

/* Reads the messages; returns how many datagrams they are. */
static uint64_t read_messages(struct input *in, uint8_t settings)
{
	static const uint8_t stranger[16] = { 203, 0, 113, 1 };
	/* An address stands in its sockaddr, behind the port. */
	static uint8_t name[32];
	uint8_t *addr = name + 8;
	uint8_t tos = take8(in);
	uint64_t datagrams = 0;

	memcpy(addr, settings & FUZZ_STRANGER ? stranger
					     : fuzz_peers[0].outer, 16);
	for (n_messages = 0; in->size && n_messages < IN_BATCH; n_messages++) {
		struct received *m = &messages[n_messages];
		uint32_t len = take16(in), segment = take16(in);
		const uint8_t *bytes = take(in, &len);

		*m = (struct received){
			.data = malloc(len),
			.len = len,
			.segment = segment,
			.tos = tos,
			.addr = addr,
		};
		CHECK(m->data || !len);
		if (len)
			memcpy(m->data, bytes, len);
		datagrams += 1;
		if (len > datagram_size(m))
			datagrams += (len - 1) / datagram_size(m);
	}
	return datagrams;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t settings = take8(&in);
	struct worker *w = fuzz_worker(settings);
	uint64_t datagrams;

	worker = w;
	refused = 0;
	datagrams = read_messages(&in, settings);
	ledger.no_vnet = !w->vnet;
	inbound(w, fuzz_table(settings));

	CHECK_EQ(fuzz_count(w, COUNT_IN_PACKETS), datagrams);
	CHECK_EQ(datagrams, fuzz_count(w, COUNT_IN_WRITTEN) +
			    fuzz_drops(w, VX_COUNT_DROP_IN));
	CHECK_EQ(fuzz_count(w, DROP_IN_TUN_ERROR), refused);
	CHECK_EQ(ledger.n, fuzz_count(w, COUNT_IN_WRITTEN));
	ledger_close(&ledger);
	for (uint32_t i = 0; i < n_messages; i++)
		free(messages[i].data);
	return 0;
}
