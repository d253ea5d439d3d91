/* SPDX-License-Identifier: Apache-2.0
 *
 * Two tunnels to compare with: one as one would write it first, and one that
 * does nothing to what it moves.  Both descriptors do not block.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "api.h"

enum {
	OVERHEAD = 8 + 14,	/* VXLAN header, inner Ethernet header */
	PACKET = 65536,		/* or a message, vnet header included */
	TURN = 64,		/* packets before the other direction */
};

/* Packets that a full queue or an absent peer does not take are dropped. */
static void carry(int from, int to, uint8_t *at, size_t room, int shift)
{
	for (int i = 0; i < TURN; i++) {
		ssize_t n = read(from, at, room);

		if (n < 0)
			return;
		if (n + shift > 0 && write(to, at - shift, n + shift) < 0)
			continue;
	}
}

static int tunnel(int tun, int udp, int stop, int overhead)
{
	static const uint8_t header[OVERHEAD] = { 0x08 };
	struct pollfd p[] = { { .fd = tun, .events = POLLIN },
			      { .fd = udp, .events = POLLIN },
			      { .fd = stop, .events = POLLIN } };
	uint8_t buf[OVERHEAD + PACKET];

	for (;;) {
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[2].revents)
			return 0;
		memcpy(buf, header, OVERHEAD);
		if (p[0].revents)
			carry(tun, udp, buf + overhead, PACKET, overhead);
		if (p[1].revents)
			carry(udp, tun, buf, overhead + PACKET, -overhead);
	}
}

int tg_proxy(int tun, int udp, int stop)
{
	return tunnel(tun, udp, stop, OVERHEAD);
}

int tg_relay(int tun, int udp, int stop)
{
	return tunnel(tun, udp, stop, 0);
}
