/* SPDX-License-Identifier: Apache-2.0
 *
 * Both directions of a flow have one queue; flows that were never read, or
 * that were pushed out, have the caller's own.
 */
#include <string.h>

#include "check.h"
#include "steer.h"

enum { OWN = 63, FLOWS = 2000 };

static struct steering steering;

static struct pkt parsed(uint8_t *buf, uint8_t family)
{
	struct pkt p;

	CHECK_EQ(pkt_parse(&p, buf, ip_header_min(family) + 8, family), PKT_OK);
	return p;
}

static struct pkt packet(uint8_t *buf, uint8_t family, uint32_t flow, bool back)
{
	uint32_t ip = ip_header_min(family), n = addr_len(family);
	uint8_t *src = buf + (family == IPV4 ? 12 : 8), *dst = src + n;
	uint16_t near = htons(1024 + flow), far = htons(80);

	memset(buf, 0, ip + 8);
	buf[0] = family == IPV4 ? 0x45 : 0x60;
	buf[family == IPV4 ? 3 : 5] = family == IPV4 ? ip + 8 : 8;
	buf[family == IPV4 ? 9 : 6] = PROTO_UDP;
	buf[ip + 5] = 8;
	memcpy((back ? dst : src) + n - 4, &flow, sizeof(flow));
	(back ? src : dst)[0] = 10;
	memcpy(buf + ip, back ? &far : &near, 2);
	memcpy(buf + ip + 2, back ? &near : &far, 2);
	return parsed(buf, family);
}

static void keeps_queues(uint8_t family)
{
	uint32_t kept = 0;
	uint8_t buf[64];

	memset(&steering, 0, sizeof(steering));
	for (uint32_t flow = 0; flow < FLOWS; flow++) {
		struct pkt p = packet(buf, family, flow, true);

		CHECK_EQ(steer_queue(&steering, &p, OWN, 1), OWN);
		p = packet(buf, family, flow, false);
		steer_learn(&steering, &p, flow % 4);
		p = packet(buf, family, flow, true);
		CHECK_EQ(steer_queue(&steering, &p, OWN, 1), flow % 4);
	}
	for (uint32_t flow = 0; flow < FLOWS; flow++) {
		struct pkt p = packet(buf, family, flow, true);
		uint32_t queue = steer_queue(&steering, &p, OWN, 1);

		CHECK(queue == flow % 4 || queue == OWN);
		kept += queue == flow % 4;
	}
	/* 2,000 flows in 16,384 places: hardly one is pushed out. */
	CHECK(kept > FLOWS * 99 / 100);
}

TEST(ipv4)
{
	keeps_queues(IPV4);
}

TEST(ipv6)
{
	keeps_queues(IPV6);
}

TEST(a_flow_that_moved_is_followed)
{
	uint8_t buf[64];
	struct pkt p = packet(buf, IPV4, 7, false);

	memset(&steering, 0, sizeof(steering));
	steer_learn(&steering, &p, 1);
	steer_learn(&steering, &p, 2);
	CHECK_EQ(steer_queue(&steering, &p, OWN, 1), 2);
}

TEST(flows_of_neighbours_do_not_meet)
{
	uint8_t buf[64];

	memset(&steering, 0, sizeof(steering));
	for (unsigned learn = 2; learn--;)
		for (uint32_t flow = 0; flow < 256; flow++) {
			struct pkt p = packet(buf, IPV4, 7, !learn);
			struct udphdr *udp = pkt_udp(&p);
			uint16_t near = htons(flow), far = htons(flow ^ 99);

			/* Of all these the exclusive-or is one. */
			udp->sport = learn ? near : far;
			udp->dport = learn ? far : near;
			pkt_src(&p)[3] = pkt_dst(&p)[3] = flow / 16;
			p = parsed(buf, IPV4);
			if (learn)
				steer_learn(&steering, &p, flow % 4);
			else
				CHECK_EQ(steer_queue(&steering, &p, OWN, 1),
					 flow % 4);
		}
}

/* Also those of one source port, which is by the hash's upper bits. */
TEST(flows_never_read_are_spread)
{
	uint32_t found[8] = { 0 };
	uint8_t buf[64];

	memset(&steering, 0, sizeof(steering));
	for (uint32_t flow = 0; flow < 16 * FLOWS; flow++) {
		struct pkt p = packet(buf, IPV4, flow, true);
		uint32_t queue = steer_queue(&steering, &p, 16, 8);

		if (p.flow >> 28)
			continue;
		CHECK(queue >= 16 && queue < 24);
		CHECK_EQ(steer_queue(&steering, &p, 16, 8), queue);
		found[queue - 16]++;
	}
	for (unsigned i = 0; i < 8; i++)
		CHECK(found[i] > FLOWS / 16);
}
