/* SPDX-License-Identifier: Apache-2.0
 *
 * "Net unreachable" for a packet whose destination no node owns: ICMP type 3
 * code 0 (RFC 792, RFC 1812 5.2.7.1), ICMPv6 type 1 code 0 (RFC 4443, 3.1).
 */
#pragma once
#include "pkt.h"

enum {
	/* RFC 1812, 4.3.2.3: at most 576 bytes in all; RFC 4443: 1280. */
	ICMP_MAX4 = 576,
	ICMP_MAX6 = 1280,
	ICMP_TTL = 64,
};

/* At most `rate` a second, in bursts of at most as many. */
struct icmp_limit {
	uint32_t rate;
	uint64_t credit;	/* thousandths of an error */
	uint64_t filled;	/* ms */
};

/* Takes one from the credit; now is a monotonic clock's milliseconds. */
bool icmp_allowed(struct icmp_limit *limit, uint64_t now);

/*
 * Builds the error about p into buf (ICMP_MAX6 bytes).
 * Returns its length, 0 when none may be sent (RFC 1122, 3.2.2): about an
 * ICMP error, a later fragment, or to a source that is no single host.
 */
uint32_t icmp_unreachable(const struct pkt *p, uint8_t *buf);
