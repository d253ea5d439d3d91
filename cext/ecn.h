/* SPDX-License-Identifier: Apache-2.0
 *
 * Explicit congestion notification through a tunnel, RFC 6040.  DSCP stays
 * inside: the outer header gets ECN bits only, as with the kernel's vxlan.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum ecn { NOT_ECT, ECT_1, ECT_0, ECN_CE, ECN_MASK = 3 };

/* RFC 6040, 4.1, normal mode: the outer bits are a copy of the inner. */
static inline uint8_t ecn_encap(uint8_t inner)
{
	return inner & ECN_MASK;
}

/* Whether outer bits may change the inner ones: ECT(1) and CE do. */
static inline bool ecn_matters(uint8_t outer)
{
	return outer & ECT_1;
}

/* RFC 6040, 4.2, figure 4: the inner bits to deliver, -1: drop. */
static inline int ecn_decap(uint8_t inner, uint8_t outer)
{
	inner &= ECN_MASK;
	outer &= ECN_MASK;
	if (outer == ECN_CE)
		return inner == NOT_ECT ? -1 : ECN_CE;
	if (outer == ECT_1 && inner == ECT_0)
		return ECT_1;
	return inner;
}
