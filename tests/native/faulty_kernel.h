/* SPDX-License-Identifier: Apache-2.0
 *
 * A kernel of the test's own behind every system call of the hot loop
 * (--wrap of the linker): it hands out packets, takes packets, and fails as
 * often as it is told to, with every errno that the call is known to give.
 * The packets are numbered ones, and those that it takes are checked.
 */
#pragma once
#include "numbered.h"
#include "worker.h"

/* The calls that fail, and how it was done. */
enum call { READV, WRITEV, SENDMMSG, RECVMMSG, POLL, EPOLL_WAIT, N_CALLS };

enum { TUN_FD = 1, LISTEN_FD = 2, EPOLL_FD = 7 };

/* Of bulk: least payload of a datagram, and datagrams of a packet. */
enum { BULK_SIZE = 1300, BULK_PIECES = 45 };

struct kernel {
	unsigned percent[N_CALLS];	/* how often a call fails */
	int only;			/* this errno alone, if not 0 */
	bool no_segment;		/* UDP_SEGMENT is refused: EIO, */
	uint8_t no_segment_to;		/* or only to this peer, if not 0 */
	uint32_t full;			/* sends that find no room: EAGAIN, */
	bool no_room;			/* and poll() waits for it in vain */
	uint32_t to_read;		/* packets left in the TUN, */
	uint32_t to_receive;		/* and messages in the socket */
	bool vnet;			/* the TUN has vnet headers */
	uint8_t family;			/* of all packets: 4 or 6 */
	bool bulk;			/* what is read is, and has routes */
	uint8_t n_options;		/* of 8 bytes, in what is read: IPv6 */
	uint8_t ecn, outer_ecn;		/* of what is received, if not 0 */
	bool broken;			/* epoll says that the TUN is gone */

	/* What happened; packets as they are on the wire. */
	uint64_t calls[N_CALLS], failed[N_CALLS];
	uint64_t handed_out;		/* read or received */
	uint64_t taken;			/* sent or written */
	uint64_t segmented;		/* messages with UDP_SEGMENT */
	uint64_t icmp;			/* answers written to the TUN */
	uint64_t halved;		/* calls that took a part */
	uint64_t by_errno[134];		/* failed sends, of packets */
	uint64_t unwatched;		/* times that a TUN was left alone, */
	uint64_t apart;			/* the socket looked at apart, */
	uint64_t rejoined;		/* and made the epoll's again */
	bool is_apart;			/* where it is now */
	uint64_t wrote, sent;		/* when the last was, trace_now() */
	struct books books[2];		/* out, in */
};

extern struct kernel kernel;

/* Whether this call fails; errno then says how. */
bool kernel_fails(enum call call);

/* All counts at zero, nothing fails, nothing waits. */
void kernel_reset(void);
