/* SPDX-License-Identifier: Apache-2.0
 *
 * Invariant: of any batch of messages, every datagram is counted once, as
 * written or as one drop, and what reaches the TUN is exactly the inner
 * packets that were accepted, in their flows' order, under vnet headers that
 * agree with them (ledger.h).  What is merged for its likeness with the one
 * before is what decap() would have accepted.
 *
 * The real inbound() runs; the socket and the TUN are the functions below.
 * Input: settings byte, outer ToS, then messages of: length (16 bits), UDP_GRO
 * segment size (16 bits), bytes.
 */
#include "decap.h"
#include "ecn.h"
#include "fuzz.h"
#include "ledger.h"
#include "tun.h"
#include "verified.h"

#include <stdlib.h>

static struct received messages[IN_BATCH];
static uint32_t n_messages;
static struct ledger ledger;
static const struct worker *worker;
static const struct table *table;
static uint32_t refused;	/* super-packets that nothing could cut */

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

static const struct received *message_of(const uint8_t *ip)
{
	for (uint32_t i = 0; i < n_messages; i++)
		if (ip >= messages[i].data &&
		    ip < messages[i].data + messages[i].len)
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
	const struct received *m = message_of(p->ip);
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

/* What decap() finds right of a datagram that did not go through it. */
static struct pkt decapped(uint8_t *ip, uint32_t len)
{
	const struct received *m = message_of(ip);
	struct outer outer = { m->addr, m->tos, table_sender(table, m->addr) };
	uint8_t tos;
	struct pkt p;

	CHECK_EQ(decap(worker->settings, table, &outer,
		       ip - sizeof(struct overlay),
		       len + sizeof(struct overlay), 0, &p), NO_DROP);
	tos = pkt_tos(&p);
	CHECK_EQ(ecn_decap(tos, m->tos), tos & ECN_MASK);
	/* A checksum that is right both ways is a finished one. */
	if (p.unfinished) {
		p.unfinished = false;
		p.gso_size = 0;
		CHECK(verified(&p));
	}
	CHECK_EQ(p.gso_size, 0);
	return p;
}

bool __real_coalesce_next(struct coalescer *c, uint8_t *ip, uint32_t len);
bool __wrap_coalesce_next(struct coalescer *c, uint8_t *ip, uint32_t len);

bool __wrap_coalesce_next(struct coalescer *c, uint8_t *ip, uint32_t len)
{
	const struct pkt *first;
	struct pkt p;

	if (!__real_coalesce_next(c, ip, len))
		return false;
	first = &c->last->first;
	p = decapped(ip, len);
	check_accepted(&p);
	CHECK_EQ(p.len, len);
	CHECK_EQ(p.payload, first->payload);
	CHECK_EQ(p.transport, first->transport);
	CHECK_EQ(p.flow, first->flow);
	ledger_in(&ledger, &p, false);
	return true;
}

int tun_write(int fd, bool vnet, const struct vnethdr *v, const uint8_t *data,
	      size_t len)
{
	uint8_t *copy = malloc(len);

	(void)fd;
	CHECK(copy && vnet == worker->vnet && len <= IP_MAX_LEN);
	memcpy(copy, data, len);
	ledger_out(&ledger, copy, len, v, worker->settings->family);
	free(copy);
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
	table = fuzz_table(settings);
	refused = 0;
	datagrams = read_messages(&in, settings);
	ledger.no_vnet = !w->vnet;
	inbound(w, table);

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
