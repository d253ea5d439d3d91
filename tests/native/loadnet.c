/* SPDX-License-Identifier: Apache-2.0 */
#include "loadnet.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"
#include "wire.h"

enum {
	APP_PORT = 7777,
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

struct frame {
	struct overlay overlay;
	struct ip4hdr ip;
	struct udphdr udp;
	struct payload payload;
} PACKED;

static struct sockaddr_in ip4(uint32_t addr, uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(addr),
	};
}

static void device_up(const char *name, uint32_t addr, uint32_t mask)
{
	struct ifreq ifr = { 0 };
	struct sockaddr_in sa = ip4(addr, 0);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	memcpy(&ifr.ifr_addr, &sa, sizeof(sa));
	CHECK(ioctl(fd, SIOCSIFADDR, &ifr) == 0);
	sa = ip4(mask, 0);
	memcpy(&ifr.ifr_netmask, &sa, sizeof(sa));
	CHECK(ioctl(fd, SIOCSIFNETMASK, &ifr) == 0);
	ifr.ifr_mtu = MTU;
	CHECK(ioctl(fd, SIOCSIFMTU, &ifr) == 0 || !strcmp(name, "lo"));
	ifr.ifr_flags = IFF_UP;
	CHECK(ioctl(fd, SIOCSIFFLAGS, &ifr) == 0);
	close(fd);
}

bool loadnet_enter(void)
{
	if (unshare(CLONE_NEWNET) < 0) {
		CHECK(!getenv("CI"));
		printf("not run: needs root\n");
		return false;
	}
	device_up("lo", 0x7f000001, 0xff000000);
	return true;
}

struct kit loadnet_kit(uint32_t offloads, uint32_t workers)
{
	const uint8_t local[16] = { 127, 0, 0, 1 };
	struct kit k = { .settings = {
		.family = IPV4, .source_check = VX_SOURCE_STRICT,
		.vni = VNI, .mtu = MTU, .icmp_rate = 100,
		.sources = SOURCES, .port = VXLAN_PORT,
	} };
	uint32_t got, all;
	int n = vx_tun_open("flannel.1", offloads, workers, k.tun, &all);

	CHECK(n > 0);
	k.settings.workers = n;
	device_up("flannel.1", 0x0a000001, 0xff000000);
	for (int i = 0; i < n; i++, all |= got)
		CHECK((k.listen[i] = vx_udp_listen(IPV4, local, 0,
						   VXLAN_PORT, i > 0,
						   offloads, &got)) >= 0);
	for (uint32_t i = 0; i < SOURCES; i++)
		CHECK((k.source[i] = vx_udp_source(IPV4, local, 0, offloads,
						   &got)) >= 0);
	k.settings.offloads = all | got;
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

	duplicate(k.tun, kit->tun, s->workers);
	duplicate(k.listen, kit->listen, s->workers);
	duplicate(k.source, kit->source, s->sources);
	plane = vx_plane_new(s, k.tun, k.listen, k.source, &error);
	CHECK(plane != NULL);
	return plane;
}

void loadnet_close(const struct kit *kit)
{
	for (uint32_t i = 0; i < kit->settings.workers; i++) {
		close(kit->tun[i]);
		close(kit->listen[i]);
	}
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

void loadnet_node(uint32_t k, struct vx_peer *peer, struct vx_route *route)
{
	*peer = (struct vx_peer){ .outer = { 127, 1, 0, k },
				  .mac = { 2, 0, 0, 0, 1, k } };
	*route = (struct vx_route){ .prefix = { 10, 200, k, 0 },
				    .length = 24 };
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
	struct sockaddr_in to = ip4(0x0ac80005 | n->k << 8, 7);

	while (!*n->stop) {
		struct payload p = { n->k, n->sent };

		CHECK(sendto(n->app, &p, sizeof(p), 0, (void *)&to,
			     sizeof(to)) == sizeof(p));
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
	struct sockaddr_in plane = ip4(0x7f000001, VXLAN_PORT);
	const uint8_t mac[6] = { 2, 0, 0, 0, 1, n->k };
	struct frame f;

	for (;;) {
		ssize_t len = recv(n->underlay, &f, sizeof(f), 0);

		/* Ends some time after the last packet: recv has a limit. */
		if (len < 0 && *n->stop)
			break;
		if (len < 0)
			continue;
		if (len != sizeof(f) ||
		    f.ip.dst[1] != 200 || f.ip.dst[2] != n->k ||
		    memcmp(f.overlay.eth.dst, mac, 6))
			n->misdirected++;
		swap_bytes(f.overlay.eth.dst, f.overlay.eth.src, 6);
		swap_bytes(f.ip.src, f.ip.dst, 4);
		swap_bytes(&f.udp.sport, &f.udp.dport, 2);
		sendto(n->underlay, &f, sizeof(f), 0, (void *)&plane,
		       sizeof(plane));
	}
	return NULL;
}

static int bound(uint32_t addr, uint16_t port, uint32_t limit_ms)
{
	struct sockaddr_in sa = ip4(addr, port);
	struct timeval limit = { .tv_sec = limit_ms / 1000,
				 .tv_usec = limit_ms % 1000 * 1000 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	CHECK(bind(fd, (void *)&sa, sizeof(sa)) == 0);
	return fd;
}

void loadnet_start(struct node *n, uint32_t k, const _Atomic bool *stop)
{
	*n = (struct node){ .k = k, .stop = stop };
	n->app = bound(0x0a000001, APP_PORT + k, LOST_MS);
	n->underlay = bound(0x7f010000 | k, VXLAN_PORT, QUIET_MS);
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
