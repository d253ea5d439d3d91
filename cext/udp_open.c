/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the underlay sockets (flannel spec 5.6 and 5.7, M2).
 */
#include <errno.h>
#include <linux/filter.h>
#include <sys/random.h>
#include <unistd.h>

#include "sockopt.h"
#include "udp.h"

enum {
	RECEIVE_BUFFER = 16 << 20,	/* all workers' together */
	RECEIVE_BUFFER_MIN = 4 << 20,
	SEND_BUFFER = 4 << 20,
	SOURCE_PORT_MIN = 49152,	/* RFC 7348, 5: the dynamic range */
	SOURCE_PORTS = 16384,
	SOURCE_TRIES = 64,
	HOP_LIMIT = 64,			/* as the kernel's vxlan has it */
};

static int set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

/* Above the system's limit where CAP_NET_ADMIN allows it. */
static void set_buffer(int fd, int force, int option, int size)
{
	if (set(fd, SOL_SOCKET, force, size) < 0)
		set(fd, SOL_SOCKET, option, size);
}

static socklen_t fill(struct sockaddr_in6 *in6, uint8_t family,
		      const uint8_t *local, uint32_t scope, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons(port) };

	*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
				      .sin6_port = htons(port),
				      .sin6_scope_id = scope };
	if (family == IPV6) {
		memcpy(&in6->sin6_addr, local, sizeof(in6->sin6_addr));
		return sizeof(*in6);
	}
	memcpy(&in.sin_addr, local, sizeof(in.sin_addr));
	memcpy(in6, &in, sizeof(in));
	return sizeof(in);
}

static int bind_to(int fd, uint8_t family, const uint8_t *local,
		   uint32_t scope, uint16_t port)
{
	struct sockaddr_in6 addr;
	socklen_t len = fill(&addr, family, local, scope, port);

	return bind(fd, (struct sockaddr *)&addr, len) < 0 ? -errno : 0;
}

/*
 * DF clear, as the kernel's vxlan sends: a path MTU smaller than the cluster
 * is set up for then costs fragments, not silence.  A router's idea of the
 * hop limit (RFC 4861, 4.2) is for others' packets.
 *
 * The flow label is the kernel's hash of addresses and ports (RFC 6438), so
 * one for each inner flow as far as the source port is; the option asks for
 * it where net.ipv6.auto_flowlabels leaves that to the socket.
 */
static int open_socket(uint8_t family)
{
	int fd = socket(family == IPV4 ? AF_INET : AF_INET6,
			SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (family == IPV4)
		error = set(fd, IPPROTO_IP, IP_TTL, HOP_LIMIT) |
			set(fd, IPPROTO_IP, IP_MTU_DISCOVER,
			    IP_PMTUDISC_DONT);
	else
		error = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) |
			set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, HOP_LIMIT) |
			set(fd, IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 1) |
			set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER,
			    IPV6_PMTUDISC_DONT);
	if (!error)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

int vx_udp_listen(uint8_t family, const uint8_t *local, uint32_t scope,
		  uint16_t port, uint32_t index, uint32_t workers,
		  uint32_t offloads, uint32_t *granted)
{
	int share = RECEIVE_BUFFER / (workers ? workers : 1);
	int fd = open_socket(family);
	int error;

	if (fd < 0)
		return fd;
	*granted = 0;
	if (share < RECEIVE_BUFFER_MIN)
		share = RECEIVE_BUFFER_MIN;
	set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, share);
	if (family == IPV4)
		error = set(fd, IPPROTO_IP, IP_RECVTOS, 1);
	else
		error = set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
	if (!error && index)
		error = set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	error = error ? -errno : bind_to(fd, family, local, scope, port);
	/* Set late, it lets others join (reuseport_add_sock). */
	if (!error && !index && set(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0)
		error = -errno;
	if (error) {
		close(fd);
		return error;
	}
	if (offloads & VX_UDP_GRO && set(fd, SOL_UDP, UDP_GRO, 1) == 0)
		*granted = VX_UDP_GRO;
	return fd;
}

/* These ports answer nobody: what is sent to them must not pile up. */
static int deaf(int fd)
{
	struct sock_filter nothing = { BPF_RET | BPF_K, 0, 0, 0 };
	struct sock_fprog filter = { 1, &nothing };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter,
			  sizeof(filter)) < 0 ? -errno : 0;
}

int vx_udp_source(uint8_t family, const uint8_t *local, uint32_t scope,
		  uint32_t offloads, uint32_t *granted)
{
	int fd = open_socket(family), error = -EADDRINUSE;
	int segment;
	socklen_t len = sizeof(segment);
	uint16_t start = 0;

	if (fd < 0)
		return fd;
	*granted = 0;
	set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, SEND_BUFFER);
	if (getrandom(&start, sizeof(start), 0) < 0)
		start = getpid();
	for (unsigned i = 0; error == -EADDRINUSE && i < SOURCE_TRIES; i++)
		error = bind_to(fd, family, local, scope, SOURCE_PORT_MIN +
				(start + i * 251) % SOURCE_PORTS);
	if (!error)
		error = deaf(fd);
	if (error) {
		close(fd);
		return error;
	}
	if (offloads & VX_UDP_SEGMENT &&
	    getsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, &len) == 0)
		*granted = VX_UDP_SEGMENT;
	return fd;
}

be16 udp_port(int fd)
{
	struct sockaddr_in6 name = { 0 };	/* or sockaddr_in */
	socklen_t len = sizeof(name);

	return getsockname(fd, (struct sockaddr *)&name, &len) ? 0
							   : name.sin6_port;
}
