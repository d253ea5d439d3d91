/* SPDX-License-Identifier: Apache-2.0
 *
 * What one packet costs in the hot loop itself, without the kernel: both
 * directions as they ship, on packets that come from memory (wire_stub.h).
 *
 *   path                   ns a packet of every case by number of leases
 *   path CASE LEASES TURNS that case, for so many turns, and nothing else: for
 *                          counts.py, which lets callgrind count instructions
 *
 * Packets go to and come from random peers; a turn is one batch.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../tests/native/check.h"
#include "../../tests/native/spec.h"
#include "leases.h"
#include "timing.h"
#include "wire_stub.h"
#include "worker.h"

enum {
	MTU = 1450,
	SEGMENT = 1398,		/* MTU less IPv4, TCP and timestamps */
	SEGMENTS = 45,
	ROUNDS = 40,
	TURNS = 60,
};

struct size {
	const char *name;
	bool out;
	uint8_t proto;
	uint32_t payload;	/* bytes of a packet */
	uint32_t segments;	/* packets of one flow that come as one */
	uint32_t batch;		/* of those, in a turn */
};

static const struct size sizes[] = {
	{ "out-udp-64", true, SPEC_UDP, 64, 1, 63 },
	{ "out-udp-1300", true, SPEC_UDP, 1300, 1, 63 },
	{ "out-tcp-64k", true, SPEC_TCP, SEGMENT, SEGMENTS, 4 },
	{ "in-udp-64", false, SPEC_UDP, 64, 1, 16 },
	{ "in-udp-1300", false, SPEC_UDP, 1300, 1, 16 },
	{ "in-tcp-64k", false, SPEC_TCP, SEGMENT, SEGMENTS, 4 },
};
static const uint32_t leases[] = { 3, 5000, 65536 };

#define N(array) (sizeof(array) / sizeof(*(array)))

static uint64_t seed = 1;

/* What spec.c calls when it is asked for nonsense. */
void check_failed(const char *file, int line, const char *fmt, ...)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, fmt);
	exit(2);
}

static void *must(void *p)
{
	if (!p) {
		fputs("out of memory\n", stderr);
		exit(2);
	}
	return p;
}

static void inner_addr(uint32_t lease, uint8_t *addr)
{
	be32 v = lease_address(lease, 7);

	memcpy(addr, &v, sizeof(v));
}

static struct spec flow(const struct size *size, uint32_t lease)
{
	static const uint8_t payload[SEGMENT * SEGMENTS];
	struct spec s = {
		.family = IPV4, .proto = size->proto, .ttl = 64,
		.frag = SPEC_DF, .src = { 11, 0, 0, 1 }, .dst = { 11, 0, 0, 1 },
		.sport = (uint16_t)next_random(&seed), .dport = 5201,
		.flags = TCP_ACK, .window = 512, .n_payload = size->payload,
		.payload = payload,
		.n_tcp_options = size->proto == SPEC_TCP ? 3 : 0,
		.tcp_options = { 1, 1, 8, 10 },
	};

	inner_addr(lease, size->out ? s.dst : s.src);
	return s;
}

/* A packet as the TUN gives it: one, or one that stands for many. */
static void add_out(const struct size *size, uint32_t lease)
{
	struct spec s = flow(size, lease);
	uint32_t i = stub.n++;

	s.n_payload = size->payload * size->segments;
	s.unfinished = size->segments > 1;
	stub.len[i] = spec_len(&s);
	stub.data[i] = must(malloc(stub.len[i]));
	spec_build(&s, stub.data[i]);
	if (size->segments > 1) {
		uint32_t header = spec_header(&s);

		stub.vnet = (struct vnethdr){
			.flags = VNET_NEEDS_CSUM, .gso_type = VNET_GSO_TCP4,
			.hdr_len = (uint16_t)header,
			.gso_size = (uint16_t)size->payload,
			.csum_start = (uint16_t)spec_l4(&s),
			.csum_offset = 16,
		};
	}
}

/* A message as the underlay gives it, with UDP_GRO's segments. */
static void add_in(const struct size *size, const struct vx_settings *settings,
		   uint32_t lease)
{
	struct spec s = flow(size, lease);
	uint32_t one = sizeof(struct overlay) + spec_len(&s);
	uint32_t i = stub.n++;
	be32 outer = lease_outer(lease);
	struct overlay o = { .vxlan = { .flags = VXLAN_I,
					.vni = htonl(1 << 8) },
			     .eth = { .src = { 2, 2 },
				      .type = htons(ETHERTYPE_IP4) } };

	memcpy(o.eth.dst, settings->mac, sizeof(o.eth.dst));
	memcpy(stub.from[i], &outer, sizeof(outer));
	stub.segment = size->segments > 1 ? one : 0;
	stub.len[i] = one * size->segments;
	stub.data[i] = must(malloc(stub.len[i]));
	for (uint32_t n = 0; n < size->segments; n++) {
		uint8_t *at = stub.data[i] + n * one;

		memcpy(at, &o, sizeof(o));
		spec_build(&s, at + sizeof(o));
		s.id++;
		s.seq += size->payload;
	}
}

struct bed {
	const struct size *size;
	struct worker *worker;
	struct table *table;
	bool (*turn)(struct worker *w, const struct table *t);
};

static struct bed make(const struct size *size, uint32_t n)
{
	static struct vx_settings settings = {
		.family = IPV4, .source_check = VX_SOURCE_STRICT,
		.mac = { 2, 1 }, .vni = 1, .port = VXLAN_PORT, .mtu = MTU,
		.offloads = VX_VNET_HDR | VX_TSO | VX_USO | VX_UDP_SEGMENT,
		.workers = 1, .queues = 1, .sources = 16,
	};
	static const int sources[16];
	static struct path_mtus path_mtus;
	static struct steering steering;
	static int tun;
	struct bed bed = { size, NULL, leases_table(&settings, n),
			   size->out ? outbound : inbound };
	uint32_t packets = size->segments > 1 ? 64 : STUB_PACKETS;
	int error;

	tun = eventfd(0, 0);
	bed.worker = must(worker_new(&settings, 0, &tun, eventfd(0, 0),
				     sources, -1, eventfd(0, 0), &error));
	bed.worker->path_mtus = &path_mtus;
	bed.worker->steering = &steering;
	bed.worker->ready = 1;
	memset(&stub, 0, sizeof(stub));
	stub.batch = size->batch;
	while (stub.n < packets) {
		uint32_t lease = (uint32_t)(next_random(&seed) % n);

		if (size->out)
			add_out(size, lease);
		else
			add_in(size, &settings, lease);
	}
	return bed;
}

static void unmake(struct bed *bed)
{
	for (uint32_t i = 0; i < stub.n; i++)
		free(stub.data[i]);
	table_free(bed->table);
	worker_free(bed->worker);
}

/* ns for each inner packet. */
static double run(const struct bed *bed, uint32_t turns)
{
	double start = now_ns();

	for (uint32_t i = 0; i < turns; i++)
		bed->turn(bed->worker, bed->table);
	return (now_ns() - start) /
	       ((double)turns * bed->size->batch * bed->size->segments);
}

static void time_all(void)
{
	printf("%-14s", "ns a packet");
	for (size_t l = 0; l < N(leases); l++)
		printf(" %8u", leases[l]);
	puts("   leases");
	for (size_t i = 0; i < N(sizes); i++) {
		printf("%-14s", sizes[i].name);
		for (size_t l = 0; l < N(leases); l++) {
			struct bed bed = make(&sizes[i], leases[l]);
			double best = run(&bed, TURNS);

			for (int round = 0; round < ROUNDS; round++)
				best = least(best, run(&bed, TURNS));
			printf(" %8.1f", best);
			unmake(&bed);
		}
		printf("   %u bytes\n", sizes[i].payload);
	}
}

int main(int argc, char **argv)
{
	if (argc == 1) {
		time_all();
		return 0;
	}
	for (size_t i = 0; argc == 4 && i < N(sizes); i++) {
		if (!strcmp(argv[1], sizes[i].name)) {
			struct bed bed = make(&sizes[i],
					      (uint32_t)atoi(argv[2]));

			run(&bed, (uint32_t)atoi(argv[3]));
			printf("%u packets a turn\n",
			       sizes[i].batch * sizes[i].segments);
			unmake(&bed);
			return 0;
		}
	}
	fputs("usage: path [CASE LEASES TURNS]\n", stderr);
	return 2;
}
