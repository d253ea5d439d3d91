/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fuzz targets share: reading an input piece by piece, and a worker
 * without descriptors whose system calls are the target's own functions.
 * Failed CHECKs (check.h) abort here, so that libFuzzer keeps the input.
 */
#pragma once
#include "check.h"
#include "worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An input that is read from its front; short reads are zeros. */
struct input {
	const uint8_t *data;
	size_t size;
};

uint8_t take8(struct input *in);
uint16_t take16(struct input *in);
/* n bytes, or as many as there are: *n says how many. */
const uint8_t *take(struct input *in, uint32_t *n);

enum {
	FUZZ_VNI = 1,
	/* The settings byte. */
	FUZZ_IPV6 = 1,
	FUZZ_CHECK = 6,		/* source check, 0 to 2 */
	FUZZ_VNET = 8,
	FUZZ_TSO = 16,
	FUZZ_USO = 32,
	FUZZ_STRANGER = 64,	/* comes from an unknown outer address */
	FUZZ_SMALL = 128,	/* MTU 576 instead of 1450 */
};

extern const uint8_t fuzz_mac[6];
/* Of node 0, which owns all addresses below 128..., and of node 1, which
 * owns those from 128... to 191...; the rest is nobody's. */
extern const struct vx_peer fuzz_peers[2];

/* The one worker there is, as the settings byte says, counters at zero. */
struct worker *fuzz_worker(uint8_t settings);
/* The table of these settings. */
const struct table *fuzz_table(uint8_t settings);

/* The sum of all drops of one kind, VX_COUNT_DROP_IN or _OUT. */
uint64_t fuzz_drops(const struct worker *w, int kind);
uint64_t fuzz_count(const struct worker *w, enum counter i);
