/* SPDX-License-Identifier: Apache-2.0
 *
 * The call that receives.
 */
#include "faulty_kernel.h"

#include <errno.h>

#include "check.h"
#include "decap_frame.h"
#include "numbered.h"

enum { OVERLAY = sizeof(struct overlay), IN = 1 };

/* The outer header's ECN, as the sockets are told of it. */
static void mark(struct msghdr *m)
{
	bool v4 = kernel.family == 4;
	int value = kernel.outer_ecn;
	struct cmsghdr *c;

	if (!value) {
		m->msg_controllen = 0;
		return;
	}
	m->msg_controllen = CMSG_SPACE(sizeof(value));
	c = CMSG_FIRSTHDR(m);
	c->cmsg_level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
	c->cmsg_type = v4 ? IP_TOS : IPV6_TCLASS;
	c->cmsg_len = CMSG_LEN(sizeof(value));
	memcpy(CMSG_DATA(c), &value, sizeof(value));
}

static void receive_one(struct mmsghdr *msg)
{
	static const uint8_t mac_b[6] = { 2, 9, 9, 9, 9, 9 };
	unsigned flow = (unsigned)rnd_below(NUMBERED_FLOWS);
	struct spec s = numbered(&kernel.books[IN], kernel.family, flow, 1,
				 (uint32_t)rnd_range(NUMBER, 900));
	const char *who = rnd_chance(90) ? "\xc0\0\0\1" : "\1\2\3\4";
	struct sockaddr_in from4 = { .sin_family = AF_INET };
	struct sockaddr_in6 from6 = { .sin6_family = AF_INET6 };
	struct iovec *iov = msg->msg_hdr.msg_iov;
	uint8_t *at = iov->iov_base;
	struct overlay o = { .vxlan = { .flags = VXLAN_I,
					.vni = htonl(FRAME_VNI << 8) },
			     .eth = { .dst = { 2, 1, 1, 1, 1, 1 },
				      .type = htons(kernel.family == 4
							    ? ETHERTYPE_IP4
							    : ETHERTYPE_IP6) }
			   };

	s.tos = kernel.ecn;
	memcpy(o.eth.src, mac_b, 6);
	memcpy(at, &o, OVERLAY);
	msg->msg_len = OVERLAY + spec_build(&s, at + OVERLAY);
	msg->msg_hdr.msg_flags = 0;
	mark(&msg->msg_hdr);
	/* Some are too long for the buffer, and some are from nobody. */
	if (rnd_chance(5))
		msg->msg_hdr.msg_flags = MSG_TRUNC;
	memcpy(&from4.sin_addr, who, 4);
	memcpy(&from6.sin6_addr, who, 4);
	if (kernel.family == 4)
		memcpy(msg->msg_hdr.msg_name, &from4, sizeof(from4));
	else
		memcpy(msg->msg_hdr.msg_name, &from6, sizeof(from6));
	kernel.handed_out++;
}

int __wrap_recvmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags,
		    struct timespec *timeout);
int __wrap_recvmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags,
		    struct timespec *timeout)
{
	unsigned i;

	(void)fd;
	CHECK(flags & MSG_DONTWAIT && !timeout);
	if (kernel_fails(RECVMMSG))
		return -1;
	if (kernel.to_receive == 0) {
		errno = EAGAIN;
		return -1;
	}
	if (rnd_chance(kernel.percent[RECVMMSG])) {
		n = (unsigned)rnd_range(1, n);
		kernel.halved++;
	}
	for (i = 0; i < n && kernel.to_receive; i++, kernel.to_receive--)
		receive_one(&msg[i]);
	return (int)i;
}
