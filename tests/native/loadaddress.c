/* SPDX-License-Identifier: Apache-2.0 */
#include "loadaddress.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "wire.h"

static const struct kind ip4 = {
	.af = AF_INET, .wide = 8, .narrow = 24,
	.own = { 10, 0, 0, 1 }, .local = { 127, 0, 0, 1 },
	.subnet = { 10, 200 }, .pod = { 10, 200, 0, 5 }, .at = 2,
	.outer = { 127, 1 }, .outer_at = 3,
	.src = offsetof(struct ip4hdr, src),
	.dst = offsetof(struct ip4hdr, dst),
};

static const struct kind ip6 = {
	.af = AF_INET6, .wide = 16, .narrow = 64,
	.own = { 0xfd, 10, [15] = 1 }, .local = { [15] = 1 },
	.subnet = { 0xfd, 10, 200 }, .pod = { 0xfd, 10, 200, [15] = 5 },
	.at = 7, .outer = { 0xfd, 127 }, .outer_at = 15,
	.src = offsetof(struct ip6hdr, src),
	.dst = offsetof(struct ip6hdr, dst),
};

const struct kind *all = &ip4;

void loadaddress_use(uint8_t family)
{
	all = family == IPV4 ? &ip4 : &ip6;
}

uint8_t version(void)
{
	return all->af == AF_INET ? IPV4 : IPV6;
}

size_t address_length(void)
{
	return all->af == AF_INET ? 4 : 16;
}

void address_of(uint8_t out[16], const uint8_t form[16], uint8_t at,
		uint8_t k)
{
	memcpy(out, form, 16);
	out[at] = k;
}

struct socket_address place(const uint8_t address[16], uint16_t port)
{
	struct socket_address a = { .any.sa_family = all->af };

	if (all->af == AF_INET) {
		a.in.sin_port = htons(port);
		memcpy(&a.in.sin_addr, address, 4);
		a.length = sizeof(a.in);
	} else {
		a.in6.sin6_port = htons(port);
		memcpy(&a.in6.sin6_addr, address, 16);
		a.length = sizeof(a.in6);
	}
	return a;
}

static void give_ip4(int fd, struct ifreq *ifr, const uint8_t address[16],
		     uint8_t length)
{
	struct sockaddr_in sa = place(address, 0).in;

	memcpy(&ifr->ifr_addr, &sa, sizeof(sa));
	CHECK(ioctl(fd, SIOCSIFADDR, ifr) == 0);
	sa.sin_addr.s_addr = htonl(~0u << (32 - length));
	memcpy(&ifr->ifr_netmask, &sa, sizeof(sa));
	CHECK(ioctl(fd, SIOCSIFNETMASK, ifr) == 0);
}

/* Neither device asks whether somebody else has the address. */
static void give_ip6(int fd, const char *name, const uint8_t address[16],
		     uint8_t length)
{
	struct {	/* of linux/ipv6.h, which does not go with in.h */
		struct in6_addr address;
		uint32_t length;
		int index;
	} given = { .length = length, .index = (int)if_nametoindex(name) };

	memcpy(&given.address, address, 16);
	CHECK(ioctl(fd, SIOCSIFADDR, &given) == 0);
}

void device_up(const char *name, const uint8_t address[16], uint8_t length,
	       uint16_t mtu, uint8_t nodes)
{
	struct ifreq ifr = { 0 };
	int fd = socket(all->af, SOCK_DGRAM, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (all->af == AF_INET)
		give_ip4(fd, &ifr, address, length);
	ifr.ifr_mtu = mtu;
	CHECK(ioctl(fd, SIOCSIFMTU, &ifr) == 0 || !strcmp(name, "lo"));
	ifr.ifr_flags = IFF_UP;
	CHECK(ioctl(fd, SIOCSIFFLAGS, &ifr) == 0);
	/* ::1 comes by itself. */
	if (all->af == AF_INET6 && strcmp(name, "lo") != 0)
		give_ip6(fd, name, address, length);
	for (uint8_t k = 1; all->af == AF_INET6 && k <= nodes; k++) {
		uint8_t outer[16];

		address_of(outer, all->outer, all->outer_at, k);
		if (!strcmp(name, "lo"))
			give_ip6(fd, name, outer, 128);
	}
	close(fd);
}
