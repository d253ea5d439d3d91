/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "sockopt.h"

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
