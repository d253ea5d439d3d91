/* SPDX-License-Identifier: Apache-2.0
 *
 * A plane with a real TUN in a network namespace of its own, and foreign
 * nodes on the loopback that echo every datagram: load for the tests that
 * need a running plane.  The addresses of IPv4; IPv6 has others of the kind:
 *
 *   senders --UDP--> flannel.1 (10.0.0.1/8) --plane--> 127.1.0.k:8472, node k
 *           <-------                        <--------  (swaps and sends back)
 *
 * A sender keeps WINDOW packets in flight, so that no queue overflows and
 * every missing packet is one that the plane lost.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "api.h"

enum {
	NODES = 4,		/* that stay as they are and echo */
	WINDOW = 24,
	VNI = 1,
	MTU = 1450,
};

/* One node that is never changed, and the flow to it. */
struct node {
	uint8_t k;		/* subnet 10.200.k.0/24, outer 127.1.0.k */
	int app, underlay;	/* the sender's socket, the node's socket */
	pthread_t sender, echo;
	const _Atomic bool *stop;
	_Atomic uint64_t sent, echoed;
	_Atomic uint64_t misdirected, reordered, lost;
};

/* Enters a namespace in which all is of this family; false: not allowed to,
 * and said so, which fails in CI. */
bool loadnet_enter(uint8_t family);

/* What a plane is made of. */
struct kit {
	struct vx_settings settings;
	int tun[VX_MAX_QUEUES], listen[VX_MAX_WORKERS];
	int source[VX_MAX_SOURCES];
};

/* Opens the device and the sockets. */
struct kit loadnet_kit(uint32_t offloads, uint32_t workers);
/* A plane on duplicates of a kit's descriptors, not yet started. */
struct vx_plane *loadnet_plane_on(const struct kit *kit);
void loadnet_close(const struct kit *kit);

/* A started plane; its peers are committed by the caller. */
struct vx_plane *loadnet_plane(uint32_t offloads, uint32_t workers);

/* The peer and route of node k, network order. */
void loadnet_node(uint8_t k, struct vx_peer *peer, struct vx_route *route);

/* Of a lease that nobody sends to: number i, and an address by r. */
void loadnet_lease(uint32_t i, uint32_t r, struct vx_peer *peer,
		   struct vx_route *route);

/* Starts the flow to node k (1..NODES) and the node's echo. */
void loadnet_start(struct node *n, uint8_t k, const _Atomic bool *stop);

/* After *stop: waits for the threads; what is missing is in n->lost. */
void loadnet_join(struct node *n);
