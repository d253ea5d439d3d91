/* SPDX-License-Identifier: Apache-2.0
 *
 * A kernel of the test's own behind every system call of the hot loop
 * (--wrap of the linker): it hands out packets, takes packets, and fails as
 * often as it is told to, with every errno that the call is known to give.
 *
 * The packets are UDP of FLOWS flows.  Each datagram carries its flow and a
 * number, so the kernel knows of everything that it takes whether it has been
 * there before, and whether it overtook another.
 */
#pragma once
#include "worker.h"

enum { KERNEL_FLOWS = 8 };

/* The calls that fail, and how it was done. */
enum call { READV, WRITEV, SENDMMSG, RECVMMSG, POLL, EPOLL_WAIT, N_CALLS };

struct kernel {
	unsigned percent[N_CALLS];	/* how often a call fails */
	int only;			/* this errno alone, if not 0 */
	bool no_segment;		/* the device refuses UDP_SEGMENT: EIO */
	uint32_t to_read;		/* packets left in the TUN, */
	uint32_t to_receive;		/* and messages in the socket */
	bool vnet;			/* the TUN has vnet headers */

	/* What happened; packets as they are on the wire. */
	uint64_t calls[N_CALLS], failed[N_CALLS];
	uint64_t handed_out;		/* read or received */
	uint64_t taken;			/* sent or written */
	uint64_t icmp;			/* answers written to the TUN */
	uint64_t halved;		/* calls that took a part */
	uint64_t by_errno[134];		/* failed sends, of packets */
	uint32_t next[2][KERNEL_FLOWS];	/* out, in: number of the next packet */
	uint32_t last[2][KERNEL_FLOWS];	/* the last one taken */
};

extern struct kernel kernel;

/* All counts at zero, nothing fails, nothing waits. */
void kernel_reset(void);
