/* SPDX-License-Identifier: Apache-2.0
 *
 * pkt: IPv6 packets of 64 KiB and what a header is more, and offsets in them.
 */
#include "check.h"
#include "pkt.h"

#include <stdlib.h>

enum { LONGEST = 40 + 65535, MOST_OPTIONS = 8 * 256 };

/*
 * Extension headers in 64 KiB whose lengths lead beyond the end, to where a
 * 16-bit offset is back at their beginning: an end must be found.
 */
TEST(extension_headers_that_wrap)
{
	const uint32_t len = 65488;
	struct pkt p;

	for (unsigned proto = 0; proto < 3; proto++) {
		static const uint8_t next[] = { PROTO_HOPOPT, PROTO_ROUTING,
						PROTO_DSTOPTS };
		uint8_t *ip = calloc(1, len);

		CHECK(ip);
		ip[0] = 0x60;
		ip[4] = (len - 40) >> 8;
		ip[5] = (len - 40) & 255;
		ip[6] = next[proto];
		for (uint32_t at = 40; at < len; at += 8)
			ip[at] = next[proto];
		/* The last one ends 40 bytes behind 2^16. */
		ip[len - 8 + 1] = (65536 + 40 - (len - 8)) / 8 - 1;
		CHECK_EQ(pkt_parse(&p, ip, len, IPV6), PKT_HEADER);
		free(ip);
	}
}

/* The longest packet that there is, with its transport header there. */
static uint8_t *longest(uint8_t proto, uint32_t l4)
{
	uint8_t *ip = calloc(1, LONGEST);
	uint32_t at = 40;

	CHECK(ip);
	ip[0] = 0x60;
	ip[4] = ip[5] = 255;
	for (; l4 - at > MOST_OPTIONS; at += MOST_OPTIONS)
		ip[at + 1] = 255;
	ip[at] = proto;
	ip[at + 1] = (l4 - at) / 8 - 1;
	return ip;
}

/* Headers that would end behind 2^16, where no 16-bit offset leads. */
TEST(a_tcp_payload_that_wraps)
{
	const uint32_t l4 = 65504;
	uint8_t *ip = longest(PROTO_TCP, l4);
	struct pkt p;

	for (unsigned doff = 5; doff < 16; doff++) {
		ip[l4 + 12] = (uint8_t)(doff << 4);
		CHECK_EQ(pkt_parse(&p, ip, LONGEST, IPV6), PKT_OK);
		CHECK_EQ(p.l4, l4);
		CHECK_EQ(p.transport, doff <= 7 ? PROTO_TCP : 0);
		CHECK_EQ(p.payload, l4 + (doff <= 7 ? 4 * doff : 0));
	}
	free(ip);
}

TEST(a_udp_payload_that_wraps)
{
	for (uint32_t l4 = 65512; l4 < 65536; l4 += 8) {
		uint8_t *ip = longest(PROTO_UDP, l4);
		bool fits = l4 + 8 < 65536;
		struct pkt p;

		ip[l4 + 5] = (uint8_t)(LONGEST - l4);
		CHECK_EQ(pkt_parse(&p, ip, LONGEST, IPV6), PKT_OK);
		CHECK_EQ(p.l4, l4);
		CHECK_EQ(p.transport, fits ? PROTO_UDP : 0);
		CHECK_EQ(p.payload, l4 + (fits ? 8 : 0));
		free(ip);
	}
}
