/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the queues of the TUN device, with the largest offloads that the
 * kernel grants.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include "api.h"
#include "tun.h"

/* linux/if_tun.h has them since 6.2; older headers, same numbers. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* Packets of a queue that wait for their worker.  The kernel's 500 are 3 ms
 * of a fast sender, as long as the scheduler lets others have a core. */
enum { QUEUE_LEN = 2000 };

enum { F_TSO = TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
       F_USO = TUN_F_USO4 | TUN_F_USO6 };

static int attach(const char *name, uint32_t offloads)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd, error = 0;

	if (strlen(name) >= sizeof(ifr.ifr_name))
		return -ENAMETOOLONG;
	memcpy(ifr.ifr_name, name, strlen(name));
	if (offloads & VX_VNET_HDR)
		ifr.ifr_flags |= IFF_VNET_HDR;
	if (offloads & VX_MULTI_QUEUE)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, TUNSETIFF, &ifr) < 0 ||
	    ioctl(fd, TUNSETPERSIST, 1) < 0)
		error = -errno;
	if (!error)
		return fd;
	close(fd);
	return error;
}

/* A persistent device left by a run with the other kind of queues refuses
 * ours with EINVAL: attach as it wants, and let it go with that descriptor. */
static void remove_other_kind(const char *name, uint32_t offloads)
{
	int fd = attach(name, offloads ^ VX_MULTI_QUEUE);

	if (fd < 0)
		return;
	ioctl(fd, TUNSETPERSIST, 0);
	close(fd);
}

static int open_first(const char *name, uint32_t *offloads)
{
	int fd = attach(name, *offloads);

	if (fd == -EINVAL) {
		remove_other_kind(name, *offloads);
		fd = attach(name, *offloads);
	}
	if (fd == -EINVAL && *offloads & VX_MULTI_QUEUE) {
		*offloads &= ~VX_MULTI_QUEUE;
		fd = attach(name, *offloads);
	}
	if (fd == -EINVAL && *offloads & VX_VNET_HDR) {
		*offloads &= ~(VX_VNET_HDR | VX_TSO | VX_USO);
		fd = attach(name, *offloads);
	}
	return fd;
}

/* The largest set that the kernel takes, largest first. */
static uint32_t set_offloads(int fd, uint32_t offloads)
{
	static const uint32_t ladder[] = { VX_TSO | VX_USO, VX_TSO, 0 };
	uint32_t others = offloads & ~(VX_TSO | VX_USO);
	int hdr_len = sizeof(struct vnethdr);

	if (!(offloads & VX_VNET_HDR)) {
		ioctl(fd, TUNSETOFFLOAD, 0);
		return others;
	}
	ioctl(fd, TUNSETVNETHDRSZ, &hdr_len);
	for (unsigned i = 0; i < 3; i++) {
		uint32_t set = offloads & ladder[i];
		unsigned long flags = TUN_F_CSUM |
				      (set & VX_TSO ? F_TSO : 0) |
				      (set & VX_USO ? F_USO : 0);

		if (ioctl(fd, TUNSETOFFLOAD, flags) == 0)
			return others | set;
	}
	ioctl(fd, TUNSETOFFLOAD, 0);
	return others;
}

/* Whoever wants more may have it. */
static void lengthen_queue(const char *name)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { 0 };

	if (fd < 0)
		return;
	memcpy(ifr.ifr_name, name, strlen(name));
	if (ioctl(fd, SIOCGIFTXQLEN, &ifr) == 0 && ifr.ifr_qlen < QUEUE_LEN) {
		ifr.ifr_qlen = QUEUE_LEN;
		ioctl(fd, SIOCSIFTXQLEN, &ifr);
	}
	close(fd);
}

int vx_tun_open(const char *name, uint32_t offloads, uint32_t queues,
		int *fds, uint32_t *granted)
{
	uint32_t n = 0;

	/* Segmentation offloads are told through the vnet header, and USO
	 * exists only beside TSO (drivers/net/tun.c, set_offload). */
	if (!(offloads & VX_VNET_HDR))
		offloads &= ~VX_TSO;
	if (!(offloads & VX_TSO))
		offloads &= ~VX_USO;
	fds[0] = open_first(name, &offloads);
	if (fds[0] < 0)
		return fds[0];
	lengthen_queue(name);
	*granted = set_offloads(fds[0], offloads);
	if (!(*granted & VX_MULTI_QUEUE))
		queues = 1;
	for (n = 1; n < queues; n++) {
		fds[n] = attach(name, *granted);
		if (fds[n] < 0)
			break;
	}
	return n;
}

int vx_queue_device(int fd, char *name)
{
	struct ifreq ifr = { 0 };

	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return -errno;
	memcpy(name, ifr.ifr_name, sizeof(ifr.ifr_name));
	return (uint16_t)ifr.ifr_flags;
}
