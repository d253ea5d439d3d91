/* SPDX-License-Identifier: Apache-2.0 */
#include "loadnet.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"
#include "loadaddress.h"
#include "pkt.h"
#include "wire.h"

enum {
	APP_PORT = 7777,
	QUEUES = 2,		/* of each worker */
	SOURCES = 4,
	QUIET_MS = 500,		/* after which an echo looks whether to stop */
	LOST_MS = 10000,	/* after which a packet is lost: a busy machine
				 * under a sanitizer stood still for 0.5 s */
};

static const uint8_t own_mac[6] = { 2, 0, 0, 0, 0, 0xfe };

struct payload {
	uint32_t k;
	uint64_t seq;
} PACKED;

bool loadnet_enter(uint8_t family)
{
	loadaddress_use(family);
	if (unshare(CLONE_NEWNET) < 0) {
		CHECK(!getenv("CI"));
		printf("not run: needs root\n");
		return false;
	}
	device_up("lo", all->local, 8, MTU, NODES);
	return true;
}

struct kit loadnet_kit(uint32_t offloads, uint32_t workers)
{
	struct kit k = { .settings = {
		.family = version(), .source_check = VX_SOURCE_STRICT,
		.vni = VNI, .mtu = MTU, .icmp_rate = 100,
		.sources = SOURCES, .port = VXLAN_PORT,
	} };
	uint32_t got, granted;
	int n = vx_tun_open("flannel.1", offloads, workers * QUEUES, k.tun,
			    &granted);

	CHECK(n == 1 || n == (int)workers * QUEUES);
	k.settings.queues = n == 1 ? 1 : QUEUES;
	k.settings.workers = n = n == 1 ? 1 : (int)workers;
	device_up("flannel.1", all->own, all->wide, MTU, 0);
	for (int i = 0; i < n; i++, granted |= got)
		CHECK((k.listen[i] = vx_udp_listen(version(), all->local, 0,
						   VXLAN_PORT, i, n,
						   offloads, &got)) >= 0);
	for (uint32_t i = 0; i < SOURCES; i++)
		CHECK((k.source[i] = vx_udp_source(version(), all->local, 0,
						   offloads, &got)) >= 0);
	k.settings.offloads = granted | got;
	memcpy(k.settings.mac, own_mac, 6);
	return k;
}

static void duplicate(int *to, const int *fds, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		CHECK((to[i] = dup(fds[i])) >= 0);
}

struct vx_plane *loadnet_plane_on(const struct kit *kit)
{
	const struct vx_settings *s = &kit->settings;
	struct vx_plane *plane;
	struct kit k;
	int error;

	duplicate(k.tun, kit->tun, s->workers * s->queues);
	duplicate(k.listen, kit->listen, s->workers);
	duplicate(k.source, kit->source, s->sources);
	plane = vx_plane_new(s, k.tun, k.listen, k.source, -1, &error);
	CHECK(plane != NULL);
	return plane;
}

void loadnet_close(const struct kit *kit)
{
	const struct vx_settings *s = &kit->settings;

	for (uint32_t i = 0; i < s->workers * s->queues; i++)
		close(kit->tun[i]);
	for (uint32_t i = 0; i < s->workers; i++)
		close(kit->listen[i]);
	for (uint32_t i = 0; i < kit->settings.sources; i++)
		close(kit->source[i]);
}

struct vx_plane *loadnet_plane(uint32_t offloads, uint32_t workers)
{
	struct kit kit = loadnet_kit(offloads, workers);
	struct vx_plane *plane = loadnet_plane_on(&kit);

	loadnet_close(&kit);
	CHECK_EQ(vx_plane_start(plane), 0);
	return plane;
}

void loadnet_node(uint8_t k, struct vx_peer *peer, struct vx_route *route)
{
	*peer = (struct vx_peer){ .mac = { 2, 0, 0, 0, 1, k } };
	*route = (struct vx_route){ .length = all->narrow };
	address_of(peer->outer, all->outer, all->outer_at, k);
	address_of(route->prefix, all->subnet, all->at, k);
}

void loadnet_lease(uint32_t i, uint32_t r, struct vx_peer *peer,
		   struct vx_route *route)
{
	loadnet_node(0, peer, route);
	memcpy(peer->mac, (uint8_t[]){ 2, 1, r >> 8, r, i >> 8, i }, 6);
	peer->outer[1] = 2;
	peer->outer[all->outer_at - 1] = r >> 8;
	peer->outer[all->outer_at] = r;
	route->prefix[all->at - 1] = 100 + (i >> 8);
	route->prefix[all->at] = i;
	route->peer = i;
}

/* Takes echoes until `until` are there or nothing came for a while. */
static void take_echoes(struct node *n, uint64_t until)
{
	while (n->echoed < until) {
		struct payload p;

		if (recv(n->app, &p, sizeof(p), 0) != sizeof(p)) {
			n->lost += until - n->echoed;
			n->echoed = until;
			return;
		}
		if (p.k != n->k)
			n->misdirected++;
		if (p.seq != n->echoed)
			n->reordered++;
		n->echoed++;
	}
}

static void *send_flow(void *node)
{
	struct node *n = node;
	struct socket_address to;
	uint8_t pod[16];

	address_of(pod, all->pod, all->at, n->k);
	to = place(pod, 7);
	while (!*n->stop) {
		struct payload p = { n->k, n->sent };

		CHECK(sendto(n->app, &p, sizeof(p), 0, &to.any, to.length) ==
		      sizeof(p));
		n->sent++;
		if (n->sent - n->echoed >= WINDOW)
			take_echoes(n, n->sent - WINDOW / 2);
	}
	take_echoes(n, n->sent);
	return NULL;
}

static void swap_bytes(void *a, void *b, size_t len)
{
	uint8_t keep[16];

	memcpy(keep, a, len);
	memcpy(a, b, len);
	memcpy(b, keep, len);
}

/* What a node does: is it for me?  Then send it back.  Swapping addresses
 * and ports leaves all checksums as they are. */
static void *echo_flow(void *node)
{
	struct node *n = node;
	struct socket_address plane = place(all->local, VXLAN_PORT);
	const uint8_t mac[6] = { 2, 0, 0, 0, 1, n->k };
	const unsigned header = ip_header_min(version());
	const ssize_t whole = sizeof(struct overlay) + header +
			      sizeof(struct udphdr) + sizeof(struct payload);
	uint8_t frame[256], pod[16], *ip = frame + sizeof(struct overlay);
	struct overlay *overlay = (void *)frame;
	struct udphdr *udp = (void *)(ip + header);

	address_of(pod, all->pod, all->at, n->k);
	for (;;) {
		ssize_t len = recv(n->underlay, frame, sizeof(frame), 0);

		/* Ends some time after the last packet: recv has a limit. */
		if (len < 0 && *n->stop)
			break;
		if (len < 0)
			continue;
		if (len != whole || memcmp(overlay->eth.dst, mac, 6) ||
		    memcmp(ip + all->dst, pod, address_length()))
			n->misdirected++;
		swap_bytes(overlay->eth.dst, overlay->eth.src, 6);
		swap_bytes(ip + all->src, ip + all->dst, address_length());
		swap_bytes(&udp->sport, &udp->dport, 2);
		sendto(n->underlay, frame, len, 0, &plane.any, plane.length);
	}
	return NULL;
}

static int bound(const uint8_t address[16], uint16_t port, uint32_t limit_ms)
{
	struct socket_address here = place(address, port);
	struct timeval limit = { .tv_sec = limit_ms / 1000,
				 .tv_usec = limit_ms % 1000 * 1000 };
	int fd = socket(all->af, SOCK_DGRAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	/* An IPv6 address cannot be used before the link is seen to be up. */
	for (int i = 0; bind(fd, &here.any, here.length) < 0; i++) {
		CHECK(errno == EADDRNOTAVAIL && i < LOST_MS);
		usleep(1000);
	}
	return fd;
}

void loadnet_start(struct node *n, uint8_t k, const _Atomic bool *stop)
{
	uint8_t outer[16];

	*n = (struct node){ .k = k, .stop = stop };
	address_of(outer, all->outer, all->outer_at, k);
	n->app = bound(all->own, APP_PORT + k, LOST_MS);
	n->underlay = bound(outer, VXLAN_PORT, QUIET_MS);
	CHECK(!pthread_create(&n->echo, NULL, echo_flow, n));
	CHECK(!pthread_create(&n->sender, NULL, send_flow, n));
}

void loadnet_join(struct node *n)
{
	pthread_join(n->sender, NULL);
	pthread_join(n->echo, NULL);
	close(n->app);
	close(n->underlay);
}
