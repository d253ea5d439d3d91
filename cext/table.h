/* SPDX-License-Identifier: Apache-2.0
 *
 * One snapshot of who owns what: inner destination -> peer by longest prefix
 * match, outer source -> peer; and of the one setting that may change
 * while packets flow, the MTU.  Built whole by the control thread, never
 * written again.
 */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>

#include "api.h"
#include "trie.h"
#include "wire.h"

/* All that depends on the peer only, cooked at commit. */
struct peer {
	_Alignas(64) struct overlay overlay;	/* VXLAN, inner Ethernet */
	uint16_t salen;
	uint32_t slot;			/* peers.h */
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} sa;				/* outer address and port */
};

struct table {
	uint8_t family;
	uint32_t mtu;			/* of the TUN at this commit */
	uint32_t n_peers;
	struct peer *peers;

	struct trie routes;		/* inner prefix -> peer */
	uint32_t outer_mask;		/* open hash of peer + 1 */
	uint32_t *outers;

	uint64_t retired;		/* snapshot.h: since generation */
	struct table *next;
};

/* NULL and *error = -EINVAL, -EEXIST, -ENOMEM as vx_plane_commit(). */
struct table *table_build(const struct vx_settings *settings,
			  const struct vx_peer *peers, uint32_t n_peers,
			  const struct vx_route *routes, uint32_t n_routes,
			  int *error);
void table_free(struct table *t);

/* The peer that owns inner address dst (addr_len bytes), NULL: nobody. */
const struct peer *table_lookup(const struct table *t, const uint8_t *dst);

/* The peer with this underlay address, NULL: no known one. */
const struct peer *table_sender(const struct table *t, const uint8_t *outer);

/* The underlay address of a peer. */
static inline const uint8_t *peer_outer(const struct peer *peer)
{
	return peer->sa.any.sa_family == AF_INET
		       ? (const uint8_t *)&peer->sa.in.sin_addr
		       : (const uint8_t *)&peer->sa.in6.sin6_addr;
}

/* Its UDP port, which stands at one place in both. */
static inline be16 peer_port(const struct peer *peer)
{
	return peer->sa.in.sin_port;
}
