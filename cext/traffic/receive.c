/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbered datagrams counted: how many, and whether in order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "datagrams.h"

enum {
	ROOM = 64,		/* the number is all that is looked at */
	POLL_MS = 10,
};

static void account(struct tg_receive *run, uint64_t *next,
		    const struct mmsghdr *msg)
{
	struct number number;
	uint64_t *expected;

	memcpy(&number, msg->msg_hdr.msg_iov->iov_base, sizeof(number));
	if (msg->msg_len < sizeof(number) || number.magic != MAGIC ||
	    number.flow >= TG_MAX_FLOWS) {
		run->strange++;
		return;
	}
	expected = &next[number.flow];
	run->received++;
	if (number.seq + 1 == *expected)
		run->duplicate++;
	else if (number.seq < *expected)
		run->reordered++;
	else
		*expected = number.seq + 1;
}

static int receive_loop(struct tg_receive *run, struct batch *b, int fd,
			int stop)
{
	uint64_t next[TG_MAX_FLOWS] = { 0 }, now = now_ns();
	uint64_t end = now + ns_of(run->seconds), first = 0, last = now;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (; now < end; now = now_ns()) {
		int n = recvmmsg(fd, b->msg, BATCH, MSG_DONTWAIT, NULL);

		if (n < 0 && errno != EAGAIN && errno != EINTR &&
		    errno != ECONNREFUSED)
			return -errno;
		if (n <= 0) {
			if (!is_readable(stop))
				last = first ? last : now;
			else if (now - last > ns_of(run->quiet))
				break;
			poll(&p, 1, POLL_MS);
			continue;
		}
		last = now_ns();
		first = first ? first : last;
		for (int i = 0; i < n; i++)
			account(run, next, &b->msg[i]);
	}
	run->active = first ? (double)(last - first) / NS : 0;
	return 0;
}

int tg_receive(int fd, int stop, struct tg_receive *run)
{
	struct batch b;
	int error = batch_init(&b, ROOM);

	run->received = run->reordered = run->duplicate = run->strange = 0;
	run->active = 0;
	if (!error)
		error = receive_loop(run, &b, fd, stop);
	free(b.data);
	return error;
}
