/* SPDX-License-Identifier: Apache-2.0 */
#include "udp.h"

#include <errno.h>

#include "sockopt.h"

/* What the kernel writes over when it receives message i. */
static void prepare(struct receiver *r, uint32_t i)
{
	struct msghdr *h = &r->msg[i].msg_hdr;

	h->msg_namelen = sizeof(r->name[i]);
	h->msg_controllen = sizeof(r->control[i]);
}

void udp_receiver_init(struct receiver *r, uint8_t *buffers)
{
	r->batch = IN_BATCH;
	for (unsigned i = 0; i < IN_BATCH; i++) {
		r->iov[i] = (struct iovec){ buffers + i * LARGE_STRIDE,
					    IN_ROOM };
		r->msg[i].msg_hdr = (struct msghdr){
			.msg_name = &r->name[i],
			.msg_iov = &r->iov[i],
			.msg_iovlen = 1,
			.msg_control = r->control[i],
		};
		prepare(r, i);
	}
}

int udp_receive(struct receiver *r, int fd, bool *more)
{
	uint32_t asked = r->batch, bytes = 0;
	int n;

	for (uint32_t i = 0; i < r->used; i++)
		prepare(r, i);
	r->used = 0;
	do
		n = recvmmsg(fd, r->msg, asked, MSG_DONTWAIT, NULL);
	while (n < 0 && errno == EINTR);
	*more = n == (int)asked;
	if (n <= 0)
		return n < 0 ? -errno : 0;
	r->used = n;
	for (int i = 0; i < n; i++)
		bytes += r->msg[i].msg_len;
	r->batch = bytes / n <= IN_SMALL ? IN_BATCH : IN_BATCH_LARGE;
	return n;
}

static void take_control(struct received *got, struct cmsghdr *c)
{
	int value = 0;

	if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
		memcpy(&value, CMSG_DATA(c), sizeof(value));
		got->segment = value;
	} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
		got->tos = *CMSG_DATA(c);
	} else if (c->cmsg_level == IPPROTO_IPV6 &&
		   c->cmsg_type == IPV6_TCLASS) {
		memcpy(&value, CMSG_DATA(c), sizeof(value));
		got->tos = value;
	}
}

struct received udp_received(const struct receiver *r, uint32_t i)
{
	struct msghdr *h = (struct msghdr *)&r->msg[i].msg_hdr;
	const struct sockaddr_in6 *name = &r->name[i];
	struct received got = {
		.data = r->iov[i].iov_base,
		.len = r->msg[i].msg_len,
		.truncated = h->msg_flags & MSG_TRUNC,
	};

	if (name->sin6_family == AF_INET6)
		got.addr = (const uint8_t *)&name->sin6_addr;
	else /* sin_addr stands where sin6_flowinfo does */
		got.addr = (const uint8_t *)&name->sin6_flowinfo;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
		take_control(&got, c);
	return got;
}
