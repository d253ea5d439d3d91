/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the TAP through which super-packets leave whole (uncut.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include "api.h"
#include "wire.h"

/* linux/if_tun.h has them since 6.17; older headers, same numbers. */
#ifndef TUN_F_UDP_TUNNEL_GSO
#define TUN_F_UDP_TUNNEL_GSO 0x080
#define TUN_F_UDP_TUNNEL_GSO_CSUM 0x100
#endif

/*
 * Given, not random: to a random one of the kernel's udev prefers another
 * (systemd.link, MACAddressPolicy=persistent), and what goes to the one before
 * is dropped without a word.
 */
static const uint8_t tap_mac[6] = { 2, 'f', 'w', 'd', 0, 1 };

const uint8_t *vx_tap_mac(void)
{
	return tap_mac;
}

static int set_mac(int fd)
{
	struct ifreq ifr = { .ifr_hwaddr.sa_family = ARPHRD_ETHER };

	memcpy(ifr.ifr_hwaddr.sa_data, tap_mac, sizeof(tap_mac));
	return ioctl(fd, SIOCSIFHWADDR, &ifr);
}

/*
 * Nobody reads it: what the kernel sends there must not pile up.  A 64-bit
 * kernel does not know the request of a program of 32 bits, whose number has
 * the size of sock_fprog in it (drivers/net/tun.c, tun_chr_compat_ioctl).
 */
static int throw_away(int fd)
{
	struct sock_filter nothing = { BPF_RET | BPF_K, 0, 0, 0 };
	struct sock_fprog filter = { 1, &nothing };

	if (ioctl(fd, TUNATTACHFILTER, &filter) < 0)
		return errno == EINVAL ? -EOPNOTSUPP : -errno;
	return 0;
}

static int set_up(int fd, const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI |
					  IFF_VNET_HDR };
	int hdr_len = sizeof(struct vnethdr_tunnel);
	unsigned long flags = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 |
			      TUN_F_TSO_ECN | TUN_F_UDP_TUNNEL_GSO |
			      TUN_F_UDP_TUNNEL_GSO_CSUM;

	memcpy(ifr.ifr_name, name, strlen(name));
	if (ioctl(fd, TUNSETIFF, &ifr) < 0 ||
	    set_mac(fd) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &hdr_len) < 0)
		return -errno;
	if (ioctl(fd, TUNSETOFFLOAD, flags) < 0)
		return errno == EINVAL ? -EOPNOTSUPP : -errno;
	return throw_away(fd);
}

int vx_tap_open(const char *name)
{
	int fd, error;

	if (strlen(name) >= IFNAMSIZ)
		return -ENAMETOOLONG;
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	error = set_up(fd, name);
	if (!error)
		return fd;
	close(fd);
	return error;
}
