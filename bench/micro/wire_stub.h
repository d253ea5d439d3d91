/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's side of the hot loop, in memory: the linker puts these in place
 * of readv, writev, sendmmsg and recvmmsg (--wrap), all else is as it ships.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

enum { STUB_PACKETS = 1024 };

/* What the TUN or the underlay gives, one after the other and then again. */
struct stub {
	uint32_t n;
	uint32_t segment;	/* UDP_GRO says so; 0: nothing */
	uint8_t *data[STUB_PACKETS];
	uint32_t len[STUB_PACKETS];
	uint8_t from[STUB_PACKETS][4];	/* outer source */
	struct vnethdr vnet;
	uint32_t batch;		/* how many until it is dry; then again */
	uint32_t at, given;	/* the next one; since it was dry */
	uint64_t sent;		/* messages and TUN writes */
};

extern struct stub stub;
