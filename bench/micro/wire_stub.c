/* SPDX-License-Identifier: Apache-2.0 */
#include "wire_stub.h"

#include <errno.h>
#include <sys/uio.h>

#include "../../tests/native/message.h"

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
		uint32_t i = next();

		message_from(h, true, stub.from[i], 0);
		if (stub.segment)
			message_tell(h, SOL_UDP, UDP_GRO, (int)stub.segment);
		memcpy(h->msg_iov->iov_base, stub.data[i], stub.len[i]);
		msg[m].msg_len = stub.len[i];
	}
	return (int)n;
}
