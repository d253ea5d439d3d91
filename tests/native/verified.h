/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "pkt.h"

/* Whether a packet's checksums are right. */
static inline bool verified(const struct pkt *p)
{
	static uint8_t copy[IP6_MAX_LEN];

	return pkt_verify_copy(p, copy) &&
	       !memcmp(copy, p->ip + p->payload, p->len - p->payload);
}
