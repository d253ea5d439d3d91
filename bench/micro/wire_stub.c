/* SPDX-License-Identifier: Apache-2.0 */
#include "wire_stub.h"

#include <errno.h>
#include <sys/uio.h>

#include "sockopt.h"

struct stub stub;

ssize_t __wrap_readv(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);
int __wrap_sendmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags);
int __wrap_recvmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags,
		    struct timespec *limit);

static uint32_t next(void)
{
	uint32_t i = stub.at;

	stub.at = i + 1 == stub.n ? 0 : i + 1;
	return i;
}

ssize_t __wrap_readv(int fd, const struct iovec *iov, int n)
{
	uint32_t i;

	(void)fd;
	(void)n;
	if (stub.given++ == stub.batch) {
		stub.given = 0;
		errno = EAGAIN;
		return -1;
	}
	i = next();
	memcpy(iov[0].iov_base, &stub.vnet, sizeof(stub.vnet));
	memcpy(iov[1].iov_base, stub.data[i], stub.len[i]);
	return (ssize_t)(sizeof(stub.vnet) + stub.len[i]);
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	ssize_t len = 0;

	(void)fd;
	for (int i = 0; i < n; i++)
		len += (ssize_t)iov[i].iov_len;
	stub.sent++;
	return len;
}

int __wrap_sendmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags)
{
	(void)fd;
	(void)msg;
	(void)flags;
	stub.sent += n;
	return (int)n;
}

static void tell_segment(struct msghdr *h)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(h);
	int segment = (int)stub.segment;

	if (!segment) {
		h->msg_controllen = 0;
		return;
	}
	c->cmsg_level = SOL_UDP;
	c->cmsg_type = UDP_GRO;
	c->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(c), &segment, sizeof(segment));
	h->msg_controllen = CMSG_SPACE(sizeof(segment));
}

int __wrap_recvmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags,
		    struct timespec *limit)
{
	(void)fd;
	(void)flags;
	(void)limit;
	if (n > stub.batch)
		n = stub.batch;
	for (unsigned m = 0; m < n; m++) {
		struct msghdr *h = &msg[m].msg_hdr;
		struct sockaddr_in *name = h->msg_name;
		uint32_t i = next();

		name->sin_family = AF_INET;
		memcpy(&name->sin_addr, stub.from[i], 4);
		memcpy(h->msg_iov->iov_base, stub.data[i], stub.len[i]);
		msg[m].msg_len = stub.len[i];
		h->msg_flags = 0;
		tell_segment(h);
	}
	return (int)n;
}
