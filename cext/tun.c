/* SPDX-License-Identifier: Apache-2.0
 *
 * One packet from a queue of the TUN, one to it; tun_open.c opened them.
 */
#include <errno.h>
#include <sys/uio.h>

#include "tun.h"

int tun_read(int fd, bool vnet, struct vnethdr *v, uint8_t *buf, size_t room)
{
	struct iovec iov[2] = { { v, sizeof(*v) }, { buf, room } };
	ssize_t len;

	*v = (struct vnethdr){ 0 };
	do
		len = readv(fd, vnet ? iov : iov + 1, vnet ? 2 : 1);
	while (len < 0 && errno == EINTR);
	if (len < 0)
		return -errno;
	if (!vnet)
		return len;
	return len < (ssize_t)sizeof(*v) ? 0 : len - (ssize_t)sizeof(*v);
}

int tun_write(int fd, bool vnet, const struct vnethdr *v, const uint8_t *data,
	      size_t len)
{
	struct iovec iov[2] = { { (void *)v, sizeof(*v) },
				{ (void *)data, len } };
	ssize_t n;

	do
		n = writev(fd, vnet ? iov : iov + 1, vnet ? 2 : 1);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}
