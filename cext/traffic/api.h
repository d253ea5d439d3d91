/* SPDX-License-Identifier: Apache-2.0
 *
 * Traffic for `fwd bench`, as fast as the kernel's sockets go: iperf3 stops
 * near 150,000 datagrams a second and knows no percentiles.  Hot loops only:
 * sockets and devices are opened, bound and connected by the caller
 * (fwd/bench/traffic.py), so nothing here knows addresses or families.
 *
 * One call is one measurement.  It blocks, and ends by its own clock or when
 * the descriptor `stop` is readable (-1: none).  Calls share nothing and may
 * run beside each other in threads.  Every function returns 0 or -errno.
 */
#pragma once
#include <stdint.h>

#define TG_MIN_SIZE 16		/* the number of a datagram */
#define TG_MAX_SIZE 65507
#define TG_MAX_FLOWS 64

/* The calling thread goes into a network namespace and stays there. */
int tg_enter(int netns);

/*
 * Nanoseconds that a word takes from one processor's cache to another's and
 * back.  -EINVAL: there is no such processor, or they are one; -ETIMEDOUT: one
 * of them has no time.  Some milliseconds, a few tenths of a second at most.
 */
int tg_apart(uint32_t cpu, uint32_t other, uint32_t *ns);

/*
 * Datagrams, numbered within each of the flows: one connected socket each.
 * What is sent and received can be looked at meanwhile.
 */
struct tg_send {
	uint32_t size;		/* bytes of payload */
	uint32_t first;		/* number of the first flow */
	uint32_t flows;
	uint32_t rate;		/* datagrams a second, 0: unpaced */
	uint32_t over;		/* set by another thread: end now */
	double seconds;
	uint64_t sent;		/* results */
	uint64_t refused;	/* calls that failed for want of room */
	double elapsed;		/* seconds */
};

int tg_send(const int *fds, struct tg_send *run);

/*
 * What arrives at a socket.  Once `stop` is readable it ends when nothing
 * has come for `quiet` seconds, at the latest after `seconds`.
 */
struct tg_receive {
	double seconds;
	double quiet;
	uint64_t received;	/* results */
	uint64_t reordered;	/* a number below one seen in its flow */
	uint64_t duplicate;	/* the number that came just before */
	uint64_t strange;	/* not ours */
	double active;		/* seconds from the first to the last */
};

int tg_receive(int fd, int stop, struct tg_receive *run);

/*
 * Round trips, one at a time, to tg_echo(); ns gets the first `room`.
 * An answer is waited for as long as the socket's SO_RCVTIMEO says.
 */
struct tg_ping {
	uint32_t size;
	uint32_t room;
	double seconds;
	uint32_t done;		/* results */
	uint32_t lost;		/* datagrams without an answer in time */
};

int tg_ping(int fd, uint32_t *ns, struct tg_ping *run);

/* Sends back what comes to a UDP socket and to all that a listener accepts. */
int tg_echo(int udp, int listener, int stop);

/*
 * The plainest tunnel there is, to be compared with: one packet a system call
 * between a TUN and a connected UDP socket, with VXLAN's overhead before it.
 */
int tg_proxy(int tun, int udp, int stop);

/*
 * What TUN and UDP sockets cost if nothing is done to a packet: each
 * super-packet of the TUN is one message of a socket with UDP_SEGMENT, and the
 * other way round, vnet header and all, one a system call; nothing is looked
 * at, added or checked.  No protocol: whoever loses a segment loses it all.
 */
int tg_relay(int tun, int udp, int stop);
