/* SPDX-License-Identifier: Apache-2.0
 *
 * The call that receives.
 */
#include "faulty_kernel.h"

#include <errno.h>

#include "check.h"
#include "decap_frame.h"
#include "message.h"
#include "numbered.h"

enum { OVERLAY = sizeof(struct overlay), IN = 1 };

static void receive_one(struct mmsghdr *msg)
{
	static const uint8_t mac_b[6] = { 2, 9, 9, 9, 9, 9 };
	unsigned flow = (unsigned)rnd_below(NUMBERED_FLOWS);
	struct spec s = numbered(&kernel.books[IN], kernel.family, flow, 1,
				 (uint32_t)rnd_range(NUMBER, 900));
	const char *who = rnd_chance(90) ? "\xc0\0\0\1" : "\1\2\3\4";
	bool v4 = kernel.family == 4;
	uint8_t addr[16] = { 0 };
	struct iovec *iov = msg->msg_hdr.msg_iov;
	uint8_t *at = iov->iov_base;
	struct overlay o = { .vxlan = { .flags = VXLAN_I,
					.vni = htonl(FRAME_VNI << 8) },
			     .eth = { .dst = { 2, 1, 1, 1, 1, 1 },
				      .type = htons(v4 ? ETHERTYPE_IP4
						       : ETHERTYPE_IP6) } };

	s.tos = kernel.ecn;
	memcpy(o.eth.src, mac_b, 6);
	memcpy(at, &o, OVERLAY);
	msg->msg_len = OVERLAY + spec_build(&s, at + OVERLAY);
	memcpy(addr, who, 4);
	message_from(&msg->msg_hdr, v4, addr, 0);
	if (kernel.outer_ecn)
		message_tell_tos(&msg->msg_hdr, v4, kernel.outer_ecn);
	/* Some are too long for the buffer, and some are from nobody. */
	if (rnd_chance(5))
		msg->msg_hdr.msg_flags = MSG_TRUNC;
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
