/* SPDX-License-Identifier: Apache-2.0
 *
 * What a kernel of the test's own tells of a message, and is told.
 */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "sockopt.h"
#include "wire.h"

/* Bytes of a datagram by UDP_SEGMENT; 0: the message is one. */
static inline uint32_t message_segment(const struct msghdr *m)
{
	uint16_t size = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c;
	     c = CMSG_NXTHDR((struct msghdr *)m, c))
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT)
			memcpy(&size, CMSG_DATA(c), sizeof(size));
	return size;
}

/* A received message's sender; nothing else is told of it yet. */
static inline void message_from(struct msghdr *m, bool v4,
				const uint8_t *addr, be16 port)
{
	struct sockaddr_in6 name = { .sin6_family = v4 ? AF_INET : AF_INET6,
				     .sin6_port = port };

	/* sin_addr stands where sin6_flowinfo does. */
	memcpy(v4 ? (void *)&name.sin6_flowinfo : &name.sin6_addr, addr,
	       v4 ? 4 : 16);
	memcpy(m->msg_name, &name, sizeof(name));
	m->msg_controllen = 0;
	m->msg_flags = 0;
}

/* One more control message of it. */
static inline void message_tell_bytes(struct msghdr *m, int level, int type,
				      const void *value, size_t size)
{
	struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)m->msg_control +
					       m->msg_controllen);

	c->cmsg_len = CMSG_LEN(size);
	c->cmsg_level = level;
	c->cmsg_type = type;
	memcpy(CMSG_DATA(c), value, size);
	m->msg_controllen += CMSG_SPACE(size);
}

static inline void message_tell(struct msghdr *m, int level, int type,
				int value)
{
	message_tell_bytes(m, level, type, &value, sizeof(value));
}

/* The class byte of the outer header: of IPv4 as a byte (ip(7)), else as an int
 * (RFC 3542, 6.5). */
static inline void message_tell_tos(struct msghdr *m, bool v4, uint8_t tos)
{
	if (v4)
		message_tell_bytes(m, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	else
		message_tell(m, IPPROTO_IPV6, IPV6_TCLASS, tos);
}
