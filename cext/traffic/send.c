/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbered datagrams at a rate, or as fast as they go.
 *
 * A sender that was kept from the processor does not make up for it by a
 * burst: what that would lose was lost by the burst and not by the path under
 * test.  It sends less than asked for then, and says so by `sent`/`elapsed`.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "clock.h"
#include "datagrams.h"

enum {
	PAUSE_NS = 50000,	/* sleep while nothing is due */
	LAG_NS = 1000000,	/* what may be made up for */
};

int batch_init(struct batch *b, uint32_t size)
{
	memset(b, 0, sizeof(*b));
	b->data = calloc(BATCH, size);
	if (!b->data)
		return -ENOMEM;
	for (uint32_t i = 0; i < BATCH; i++) {
		b->iov[i] = (struct iovec){ b->data + i * size, size };
		b->msg[i].msg_hdr.msg_iov = &b->iov[i];
		b->msg[i].msg_hdr.msg_iovlen = 1;
	}
	return 0;
}

/* A schedule: the next datagram is due at `next`, one each `gap` (2^-16 ns). */
struct pace {
	uint64_t next, gap, part;
};

/* How many may go now; 0 when it is too early. */
static uint32_t due(struct pace *p, uint64_t now)
{
	uint64_t n;

	if (p->gap == 0)
		return BATCH;
	if (now < p->next)
		return 0;
	if (now - p->next > LAG_NS)
		p->next = now - LAG_NS;
	n = ((now - p->next) << 16) / p->gap + 1;
	return n < BATCH ? n : BATCH;
}

static void advance(struct pace *p, uint32_t n)
{
	p->part += n * p->gap;
	p->next += p->part >> 16;
	p->part &= 0xffff;
}

static int send_batch(struct batch *b, int fd, uint32_t flow, uint64_t *seq,
		      uint32_t n)
{
	int done;

	for (uint32_t i = 0; i < n; i++) {
		struct number number = { flow, MAGIC, *seq + i };

		memcpy(b->iov[i].iov_base, &number, sizeof(number));
	}
	done = sendmmsg(fd, b->msg, n, 0);
	if (done > 0)
		*seq += done;
	return done < 0 ? -errno : done;
}

/*
 * Full queues and ports nobody listens on (yet) are part of a flood; a path
 * that says what fits has it from now on in fragments.
 */
static bool goes_on(int error)
{
	return error == -ENOBUFS || error == -ECONNREFUSED ||
	       error == -EMSGSIZE || error == -EAGAIN || error == -EINTR;
}

static bool is_over(const struct tg_send *run)
{
	return __atomic_load_n(&run->over, __ATOMIC_RELAXED);
}

static int send_loop(struct tg_send *run, struct batch *b, const int *fds)
{
	uint64_t seq[TG_MAX_FLOWS] = { 0 }, begin = now_ns(), now = begin;
	uint64_t end = begin + ns_of(run->seconds);
	struct pace pace = { .next = begin };
	uint32_t flow = 0;

	if (run->rate)
		pace.gap = ((uint64_t)NS << 16) / run->rate;
	for (; now < end && !is_over(run); now = now_ns()) {
		uint32_t n = due(&pace, now);
		int done;

		if (n == 0) {
			struct timespec pause = { 0, PAUSE_NS };

			nanosleep(&pause, NULL);
			continue;
		}
		done = send_batch(b, fds[flow], run->first + flow, &seq[flow],
				  n);
		if (done < 0 && !goes_on(done))
			return done;
		if (done > 0)
			run->sent += done;
		else
			run->refused++;
		advance(&pace, n);
		flow = (flow + 1) % run->flows;
	}
	run->elapsed = (double)(now - begin) / NS;
	return 0;
}

int tg_send(const int *fds, struct tg_send *run)
{
	struct batch b;
	int error;

	run->sent = run->refused = 0;
	run->elapsed = 0;
	if (run->size < TG_MIN_SIZE || run->size > TG_MAX_SIZE ||
	    run->flows < 1 || run->flows > TG_MAX_FLOWS ||
	    run->first > TG_MAX_FLOWS - run->flows)
		return -EINVAL;
	/* Of this thread: else a sleep of 50 us takes 100. */
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	error = batch_init(&b, run->size);
	if (!error)
		error = send_loop(run, &b, fds);
	free(b.data);
	return error;
}
