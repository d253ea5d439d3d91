/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloaded into an agent: a kernel and device that refuse UDP_SEGMENT with
 * EIO, as those without checksum offload did before Linux 6.11.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LEVEL_UDP = 17, OPTION_SEGMENT = 103 };	/* linux/udp.h */

static bool is_batch(struct msghdr *h)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
		if (c->cmsg_level == LEVEL_UDP &&
		    c->cmsg_type == OPTION_SEGMENT)
			return true;
	return false;
}

int sendmmsg(int fd, struct mmsghdr *msg, unsigned int n, int flags)
{
	unsigned int good = 0;

	while (good < n && !is_batch(&msg[good].msg_hdr))
		good++;
	if (good > 0)
		return syscall(SYS_sendmmsg, fd, msg, good, flags);
	errno = EIO;
	return -1;
}
