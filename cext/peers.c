/* SPDX-License-Identifier: Apache-2.0 */
#include "peers.h"

#include <stddef.h>
#include <sys/mman.h>

enum { BYTES = VX_PEER_SLOTS * sizeof(struct peer_counters) };

struct peer_counters *peers_new(void)
{
	void *got = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return got == MAP_FAILED ? NULL : got;
}

void peers_free(struct peer_counters *peers)
{
	if (peers)
		munmap(peers, BYTES);
}

static uint64_t now_of(const _Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

void peers_add(const struct peer_counters *peers, const uint32_t *slots,
	       uint32_t n, struct vx_peer_traffic *out)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct peer_counters *p =
			&peers[slots[i] % VX_PEER_SLOTS];
		uint64_t heard = now_of(&p->heard);

		out[i].out_packets += now_of(&p->out_packets);
		out[i].out_bytes += now_of(&p->out_bytes);
		out[i].in_packets += now_of(&p->in_packets);
		out[i].in_bytes += now_of(&p->in_bytes);
		if (heard > out[i].heard)
			out[i].heard = heard;
	}
}
