/* SPDX-License-Identifier: Apache-2.0 */
#include "faulty_kernel.h"

#include <errno.h>

#include "check.h"
#include "decap_frame.h"
#include "message.h"
#include "numbered.h"

enum { OVERLAY = sizeof(struct overlay), OUT = 0, IN = 1 };

struct kernel kernel;

/* What each call may say (the manual pages, and drivers/net/tun.c). */
static const int errnos[N_CALLS][10] = {
	[READV] = { EAGAIN, EINTR, EIO, ENOMEM, EBADFD, EFAULT, ENOBUFS },
	[WRITEV] = { EAGAIN, EINTR, EIO, ENOMEM, EINVAL, EBADFD, ENOBUFS },
	[SENDMMSG] = { EAGAIN, EINTR, ENOBUFS, ENOMEM, EMSGSIZE, EIO, EINVAL,
		       ENETUNREACH, EPERM },
	[RECVMMSG] = { EAGAIN, EINTR, ENOMEM, ENOBUFS, EIO, ECONNREFUSED },
	[POLL] = { EINTR, ENOMEM },
	[EPOLL_WAIT] = { EINTR },
};

void kernel_reset(void)
{
	kernel = (struct kernel){ .vnet = true, .family = 4 };
}

static uint32_t ip_header(void)
{
	return kernel.family == 4 ? 20 : 40 + 8u * kernel.n_options;
}

/* From a packet's start to a datagram's payload. */
static uint32_t headers(void)
{
	return ip_header() + 8;
}

bool kernel_fails(enum call call)
{
	unsigned n = 0;

	kernel.calls[call]++;
	if (!rnd_chance(kernel.percent[call]))
		return false;
	while (errnos[call][n])
		n++;
	errno = errnos[call][rnd_below(n)];
	if (kernel.only)
		errno = kernel.only;
	kernel.failed[call]++;
	return true;
}

static void take(unsigned way, const uint8_t *payload, uint32_t len)
{
	numbered_take(&kernel.books[way], payload, len);
	kernel.taken++;
}

ssize_t __wrap_readv(int fd, const struct iovec *iov, int n);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int n)
{
	unsigned flow = (unsigned)rnd_below(NUMBERED_FLOWS), pieces = 1;
	uint32_t size = (uint32_t)rnd_range(NUMBER, 1000), len;
	struct vnethdr v = { 0 };
	struct spec s;

	(void)fd;
	CHECK_EQ(n, kernel.vnet ? 2 : 1);
	if (kernel_fails(READV))
		return -1;
	if (kernel.to_read == 0) {
		errno = EAGAIN;
		return -1;
	}
	kernel.to_read--;
	if (kernel.bulk) {
		size = (uint32_t)rnd_range(BULK_SIZE, BULK_SIZE + 100);
		pieces = BULK_PIECES;
	} else if (kernel.vnet && rnd_chance(40)) {
		pieces = (unsigned)rnd_range(2, 60);
	}
	kernel.handed_out += pieces;
	s = numbered(&kernel.books[OUT], kernel.family, flow, pieces, size);
	if (kernel.bulk)
		s.dst[1] = (uint8_t)(1 + flow % 2);
	else if (flow % 3)
		s.dst[1] = (uint8_t)(flow % 3);
	s.n_options = kernel.n_options;
	len = spec_build(&s, iov[n - 1].iov_base);
	if (kernel.vnet && rnd_chance(kernel.percent[READV] / 4)) {
		kernel.halved++;	/* not even the vnet header */
		kernel.handed_out -= pieces - 1;
		return (ssize_t)rnd_below(sizeof(v));
	}
	if (pieces > 1)
		v = (struct vnethdr){
			.flags = VNET_NEEDS_CSUM, .gso_type = VNET_GSO_UDP,
			.hdr_len = (uint16_t)headers(),
			.gso_size = (uint16_t)size,
			.csum_start = (uint16_t)ip_header(), .csum_offset = 6,
		};
	else if (rnd_chance(kernel.percent[READV] / 4)) {
		kernel.halved++;
		len = (uint32_t)rnd_below(len);
	}
	if (!kernel.vnet)
		return len;
	memcpy(iov[0].iov_base, &v, sizeof(v));
	return (ssize_t)(sizeof(v) + len);
}

static uint32_t flatten(const struct iovec *iov, size_t n, uint8_t *out)
{
	uint32_t len = 0;

	for (size_t i = 0; i < n; i++) {
		CHECK(len + iov[i].iov_len <= IP_MAX_LEN + OVERLAY);
		memcpy(out + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	return len;
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	static uint8_t flat[IP_MAX_LEN + OVERLAY];
	int first = kernel.vnet ? 1 : 0;
	uint32_t len = flatten(iov + first, (size_t)(n - first), flat), at;
	struct vnethdr v = { 0 };
	uint32_t size;

	(void)fd;
	kernel.wrote = trace_now();
	if (kernel_fails(WRITEV))
		return -1;
	if (kernel.vnet)
		memcpy(&v, iov[0].iov_base, sizeof(v));
	CHECK_EQ(flat[0] >> 4, kernel.family);
	if ((kernel.family == 4 && flat[9] == PROTO_ICMP4) ||
	    (kernel.family == 6 && flat[6] == PROTO_ICMP6)) {
		kernel.icmp++;
		return len;
	}
	size = v.gso_type ? v.gso_size : len - headers();
	for (at = headers(); at < len; at += size)
		take(IN, flat + at, len - at);
	/* A TUN never does this; if it did, the packet is gone. */
	if (rnd_chance(kernel.percent[WRITEV] / 4)) {
		kernel.halved++;
		return len / 2;
	}
	return len;
}

/* By the fourth byte of a peer's address. */
static bool is_refused(const struct msghdr *m)
{
	const struct sockaddr_in *to4 = m->msg_name;
	const struct sockaddr_in6 *to6 = m->msg_name;
	const uint8_t *to = to4->sin_family == AF_INET ?
		(const uint8_t *)&to4->sin_addr :
		(const uint8_t *)&to6->sin6_addr;

	return message_segment(m) && (kernel.no_segment ||
				 (kernel.no_segment_to &&
				  kernel.no_segment_to == to[3]));
}

static uint32_t datagrams_of(const struct msghdr *m)
{
	uint32_t len = 0, size = message_segment(m);

	for (size_t i = 0; i < m->msg_iovlen; i++)
		len += m->msg_iov[i].iov_len;
	return size ? (len + size - 1) / size : 1;
}

static void take_message(struct mmsghdr *msg)
{
	static uint8_t flat[IP_MAX_LEN + OVERLAY];
	const struct msghdr *m = &msg->msg_hdr;
	uint32_t len = flatten(m->msg_iov, m->msg_iovlen, flat);
	uint32_t size = message_segment(m), at = 0;

	if (!size)
		size = len;
	for (; at < len; at += size) {
		CHECK_EQ(flat[at + OVERLAY] >> 4, kernel.family);
		take(OUT, flat + at + OVERLAY + headers(),
		     len - at - OVERLAY - headers());
	}
	msg->msg_len = len;
}

int __wrap_sendmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *msg, unsigned n, int flags)
{
	unsigned most = n, i;

	(void)fd;
	kernel.sent = trace_now();
	CHECK(n && flags & MSG_DONTWAIT);
	if (is_refused(&msg->msg_hdr)) {
		errno = EIO;
		return -1;
	}
	if (kernel.full) {
		kernel.full--;
		kernel.calls[SENDMMSG]++;
		errno = EAGAIN;
		return -1;
	}
	if (kernel_fails(SENDMMSG)) {
		kernel.by_errno[errno] += datagrams_of(&msg->msg_hdr);
		return -1;
	}
	/* The first that fails ends it: then the others were sent. */
	if (n > 1 && rnd_chance(kernel.percent[SENDMMSG])) {
		most = (unsigned)rnd_range(1, n - 1);
		kernel.halved++;
	}
	for (i = 0; i < most; i++) {
		if (is_refused(&msg[i].msg_hdr))
			break;
		kernel.segmented += message_segment(&msg[i].msg_hdr) > 0;
		take_message(&msg[i]);
	}
	return (int)i;
}
