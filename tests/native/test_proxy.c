/* SPDX-License-Identifier: Apache-2.0
 *
 * The tunnels that fwd is compared with.
 */
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "traffic/api.h"

struct proxy {
	int (*carry)(int tun, int udp, int stop);
	int tun, udp, stop, error;
};

static void *carry_packets(void *proxy)
{
	struct proxy *p = proxy;

	p->error = p->carry(p->tun, p->udp, p->stop);
	return NULL;
}

/* 100 bytes each way, with overhead outside. */
static void carries(int (*carry)(int, int, int), int overhead)
{
	int inner[2], outer[2];
	uint8_t buf[256], packet[100];
	struct proxy p;
	pthread_t thread;

	rnd_fill(packet, sizeof(packet));
	CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, inner), 0);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, outer), 0);
	p = (struct proxy){ carry, inner[1], outer[1], eventfd(0, 0), 0 };
	CHECK_EQ(write(inner[0], packet, 100), 100);
	if (overhead) {		/* too short, and nothing in it */
		CHECK_EQ(write(outer[0], packet, 10), 10);
		CHECK_EQ(write(outer[0], packet, 22), 22);
	}
	CHECK_EQ(write(outer[0], packet, 100), 100);
	CHECK_EQ(pthread_create(&thread, NULL, carry_packets, &p), 0);
	for (int i = 0; i < 5000 && recv(outer[0], buf, 1, MSG_PEEK) < 0; i++)
		usleep(1000);
	for (int i = 0; i < 5000 && recv(inner[0], buf, 1, MSG_PEEK) < 0; i++)
		usleep(1000);
	CHECK_EQ(read(outer[0], buf, sizeof(buf)), 100 + overhead);
	if (overhead)
		CHECK_EQ(buf[0], 0x08);
	CHECK_MEM(buf + overhead, packet, 100);
	CHECK_EQ(read(inner[0], buf, sizeof(buf)), 100 - overhead);
	CHECK_MEM(buf, packet + overhead, 100 - overhead);
	eventfd_write(p.stop, 1);
	pthread_join(thread, NULL);
	CHECK_EQ(p.error, 0);
	for (int i = 0; i < 2; i++) {
		close(inner[i]);
		close(outer[i]);
	}
	close(p.stop);
}

TEST(the_proxy_adds_and_takes_the_overhead)
{
	carries(tg_proxy, 22);
}

TEST(the_relay_adds_nothing)
{
	carries(tg_relay, 0);
}
