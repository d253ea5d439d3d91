/* SPDX-License-Identifier: Apache-2.0
 *
 * The C ABI, written once: C files include it, build.py hands it to cffi.
 *
 * Byte order: every address is network order, IPv4 in the first 4 of 16
 * bytes; ports, lengths and masks are host integers.  Unless it says otherwise
 * a function that returns int returns 0, a file descriptor or a count, else
 * -errno.  Nothing here is thread-safe except that the workers run beside all
 * of it: one control thread calls.
 */
#pragma once
#include <stdint.h>

#define VX_ADDR_LEN 16
#define VX_MAX_WORKERS 64
#define VX_WORKER_QUEUES 8
#define VX_MAX_QUEUES 256
#define VX_MAX_SOURCES 64
#define VX_MIN_MTU 576
#define VX_PEER_SLOTS 131072

/* Offloads, as asked of and as granted by the kernel. */
#define VX_VNET_HDR 1
#define VX_TSO 2
#define VX_USO 4
#define VX_MULTI_QUEUE 8
#define VX_UDP_SEGMENT 16
#define VX_UDP_GRO 32
#define VX_TUNNEL_GSO 64

/* Source check: which inner sources a peer may use. */
#define VX_SOURCE_OFF 0
#define VX_SOURCE_LOOSE 1
#define VX_SOURCE_STRICT 2

/* Kinds of counter, see vx_counter_kind(). */
#define VX_COUNT_TRAFFIC 0
#define VX_COUNT_DROP_OUT 1
#define VX_COUNT_DROP_IN 2

/* Where a packet is seen. */
#define VX_FROM_TUN 0		/* inner, maybe one for many */
#define VX_TO_UNDERLAY 1	/* outer payload: VXLAN, Ethernet, inner */
#define VX_FROM_UNDERLAY 2	/* as well */
#define VX_TO_TUN 3		/* inner, maybe one for many */

/* What became of it: the index of a drop counter, or this. */
#define VX_PASSED 0xffff

/* Tests of a packet, see struct vx_test. */
#define VX_TEST_AND 0		/* of the two answers before */
#define VX_TEST_OR 1
#define VX_TEST_NOT 2
#define VX_TEST_POINT 3		/* low <= VX_FROM_TUN, ... <= high */
#define VX_TEST_VERDICT 4	/* low <= verdict <= high */
#define VX_TEST_PEER 5		/* underlay address in address/length */
#define VX_TEST_FAMILY 6	/* of the inner packet: 4 or 6 */
#define VX_TEST_PROTO 7
#define VX_TEST_SRC 8		/* in address/length */
#define VX_TEST_DST 9
#define VX_TEST_SPORT 10	/* low <= port <= high */
#define VX_TEST_DPORT 11
#define VX_TEST_LAST 11
#define VX_MAX_TESTS 256

struct vx_plane;

struct vx_settings {
	uint8_t family;		/* 4 or 6: inner and outer alike */
	uint8_t source_check;
	uint8_t mac[6];		/* own VtepMAC */
	uint8_t local[16];	/* own underlay address */
	uint32_t vni;
	uint32_t mtu;		/* of the TUN: the largest inner packet */
	uint32_t offloads;	/* what vx_t*_open and all vx_udp_* granted */
	uint32_t icmp_rate;	/* unreachables a second and worker; 0: none */
	uint32_t workers;	/* as many receiving sockets */
	uint32_t queues;	/* of the TUN, for each worker */
	uint32_t sources;	/* sending sockets, one source port each */
	uint16_t port;		/* destination UDP port, 8472 by default */
	uint16_t spin;		/* us to look for packets before sleeping */
	uint32_t scope;		/* link of link-local peers, else 0 */
};

struct vx_peer {
	uint8_t outer[16];	/* underlay address */
	uint8_t mac[6];		/* VtepMAC */
	uint8_t reserved[2];
	uint32_t slot;		/* of its counters, see vx_plane_peers() */
};

/* What was carried to and from one peer: inner packets and bytes. */
struct vx_peer_traffic {
	uint64_t out_packets, out_bytes, in_packets, in_bytes;
	uint64_t heard;		/* ms of CLOCK_MONOTONIC_COARSE; 0: never */
};

struct vx_route {
	uint8_t prefix[16];	/* bits beyond length must be zero */
	uint32_t peer;		/* index into the peers of the same commit */
	uint8_t length;		/* prefix length, bits */
	uint8_t reserved[3];
};

/* One packet seen, followed by `kept` bytes of it and padding up to size. */
struct vx_record {
	uint32_t size;		/* of the whole record, a multiple of 8 */
	uint32_t length;	/* of the packet */
	uint32_t kept;		/* bytes of it that are here */
	uint32_t packets;	/* on the wire that it stands for */
	uint64_t time;		/* ns since 1970 */
	uint16_t verdict;
	uint16_t port;		/* outer source port; 0: unknown */
	uint8_t point;		/* VX_FROM_TUN, ... */
	uint8_t tos;		/* of the outer header */
	uint8_t reserved[2];
	uint8_t outer[16];	/* the other node; zero: unknown */
};

/* A step of a filter, in reverse Polish notation. */
struct vx_test {
	uint8_t what;		/* VX_TEST_* */
	uint8_t family;		/* of the address: 4 or 6 */
	uint8_t length;		/* of the prefix, bits */
	uint8_t reserved;
	uint16_t low, high;
	uint8_t address[16];
};

/* Opens `queues` queues of TUN device `name` (created persistent if need be)
 * into fds.  offloads: the VX_VNET_HDR, VX_TSO, VX_USO, VX_MULTI_QUEUE that
 * the caller wants; *granted gets those in force.  Without VX_MULTI_QUEUE
 * granted only fds[0] is set.  Returns the number of queues. */
int vx_tun_open(const char *name, uint32_t offloads, uint32_t queues,
		int *fds, uint32_t *granted);

/* Opens TAP `name`, which goes with its last descriptor, for super-packets in a
 * UDP tunnel.  -EOPNOTSUPP: none here (before Linux 6.17; and see tap.c). */
int vx_tap_open(const char *name);
const uint8_t *vx_tap_mac(void);	/* 6 bytes: what it must have */
/* A queue's device into name[16]; its IFF_TUN, ... (linux/if_tun.h), -errno. */
int vx_queue_device(int fd, char *name);

/*
 * A worker's receiving socket on local:port, VX_UDP_GRO if granted.  The first
 * one (index = 0) must have the port to itself, or it would share it with a
 * stranger: -EADDRINUSE.  Those after it join it.  scope: the link's number if
 * local is link-local, else 0.
 */
int vx_udp_listen(uint8_t family, const uint8_t *local, uint32_t scope,
		  uint16_t port, uint32_t index, uint32_t workers,
		  uint32_t offloads, uint32_t *granted);

/* A sending socket bound to local and some port of 49152-65535. */
int vx_udp_source(uint8_t family, const uint8_t *local, uint32_t scope,
		  uint32_t offloads, uint32_t *granted);

/*
 * A plane with an empty table and no thread running, on settings->workers
 * receiving sockets, settings->queues times as many TUN queues (the first ones
 * are the first worker's), settings->sources sending sockets, and on a TAP if
 * there is one (tap >= 0).  It owns the descriptors from here on (also when it
 * fails).  NULL: *error is -errno.
 */
struct vx_plane *vx_plane_new(const struct vx_settings *settings,
			      const int *tun, const int *listen,
			      const int *source, int tap, int *error);

/* Starts the workers: once, and again after a stop. */
int vx_plane_start(struct vx_plane *plane);

/* Keeps a started worker on one processor.  -EINVAL: not one of ours. */
int vx_plane_pin(struct vx_plane *plane, uint32_t worker, uint32_t cpu);

/* Stops and joins the workers, each after its turn.  The descriptors stay open
 * and what comes waits in the kernel, for whoever has them next.  The process
 * ends with this exit code if one does not stop within four seconds, which
 * is less than a hand-over or the supervisor waits. */
enum { VX_EXIT_STUCK = 70 };
void vx_plane_stop(struct vx_plane *plane);

/* Turns of a worker's loop so far, one a second at least even asleep; and its
 * thread's number in /proc/self/task, 0 until it runs. */
uint64_t vx_plane_turns(const struct vx_plane *plane, uint32_t worker);
int vx_plane_thread(const struct vx_plane *plane, uint32_t worker);

/*
 * What the workers have learned from packets (queues of flows, path MTUs), for
 * another plane on the same queues: vx_learned_size() bytes.  Restoring checks
 * all of it.  -EINVAL: it is of another version; -ENOMEM; nothing has changed.
 */
uint32_t vx_learned_size(void);
int vx_plane_learned(const struct vx_plane *plane, uint8_t *out);
int vx_plane_relearn(struct vx_plane *plane, const uint8_t *in, uint32_t n);

/*
 * Publishes a new table; the old one is freed when no worker reads it.
 * -EINVAL: a route names no peer or has bits beyond its length;
 * -EEXIST: one prefix twice; -ENOMEM.  On error the old table stays.
 */
int vx_plane_commit(struct vx_plane *plane,
		    const struct vx_peer *peers, uint32_t n_peers,
		    const struct vx_route *routes, uint32_t n_routes);

/*
 * Another MTU of the TUN, in force with the next commit.  -EINVAL: out of
 * bounds, and nothing has changed.
 */
int vx_plane_set_mtu(struct vx_plane *plane, uint32_t mtu);

/* Offloads in force; of VX_UDP_SEGMENT what a path has said last. */
uint32_t vx_plane_offloads(const struct vx_plane *plane);

/* Tables not yet freed beside the current one (0 or a few). */
uint32_t vx_plane_retired(struct vx_plane *plane);

/* Counters of one worker (0-based), or of all summed for worker = -1. */
int vx_plane_counters(const struct vx_plane *plane, int worker,
		      uint64_t *out, uint32_t n);

/*
 * The traffic of n slots, summed over the workers.  A peer keeps its slot, less
 * than VX_PEER_SLOTS, from commit to commit.  Counters are never set back: a
 * slot may get a new owner when no table with the old one is left
 * (vx_plane_retired()), and starts with what then stands there.
 */
void vx_plane_peers(const struct vx_plane *plane, const uint32_t *slots,
		    uint32_t n, struct vx_peer_traffic *out);

/*
 * Takes records of dropped packets, a few a second of each reason; returns
 * their bytes.  buffer holds 64 KiB at least.
 */
uint32_t vx_plane_drops(struct vx_plane *plane, uint8_t *buffer,
			uint32_t size);

/*
 * Begins to record every packet that the tests match, up to snaplen bytes of
 * each, in ring_size bytes (a power of two) a worker.  -EINVAL: the tests are
 * no expression; -EBUSY: a capture runs, or the last one has just ended;
 * -ENOMEM.
 */
int vx_plane_capture(struct vx_plane *plane, const struct vx_test *tests,
		     uint32_t n_tests, uint32_t snaplen, uint32_t ring_size);

/* Takes records of the capture; *lost: those that found no room so far. */
uint32_t vx_plane_captured(struct vx_plane *plane, uint8_t *buffer,
			   uint32_t size, uint64_t *lost);

/* Ends the capture. */
void vx_plane_capture_end(struct vx_plane *plane);

/* Stops and joins the workers, closes the descriptors, frees the plane. */
void vx_plane_free(struct vx_plane *plane);

uint32_t vx_counter_count(void);
const char *vx_counter_name(uint32_t i);	/* snake_case, for machines */
const char *vx_counter_text(uint32_t i);	/* a sentence, for people */
int vx_counter_kind(uint32_t i);		/* VX_COUNT_* */

/*
 * Leaves the calling thread, and all that it will make or start, these
 * capabilities (bits by number) of those that it has, and no_new_privs.
 * permitted, which holds effective, is what the programs that it starts get.
 * To be called before there are other threads.
 */
int vx_rights_keep(uint64_t effective, uint64_t permitted);

/*
 * From here on the calling thread, and all that it will make or start, can do
 * the system calls of syscalls.def only, and workers only theirs.  After
 * vx_rights_keep().  refuse = 0: what would be refused is done, and written to
 * the kernel's log.  -EOPNOTSUPP: not made for this architecture, or built
 * with a sanitizer; else the kernel's reason.
 */
int vx_calls_limit(int refuse);

/* What came of that: whether calls are limited, only logged, or neither. */
#define VX_CALLS_FREE 0
#define VX_CALLS_LIMITED 1
#define VX_CALLS_LOGGED 2
int vx_calls_limited(void);

/* What a trial comes to that the kernel has ended. */
#define VX_KILLED 1000

/*
 * Tries a call that no agent must be able to make, see trials.def, in a child
 * process that has these capabilities and an agent's filters (confined = 0: no
 * filter): what became of it, VX_KILLED, an errno or 0 for done; -errno if it
 * cannot be tried.  answer: what must become of it.
 */
uint32_t vx_trial_count(void);
const char *vx_trial_text(uint32_t trial);
int vx_trial_is_worker(uint32_t trial);
int vx_trial_answer(uint32_t trial);
int vx_trial_run(uint32_t trial, uint64_t rights, int confined);

/* For the micro-benchmarks and their figures: "avx2" or "portable". */
const char *vx_csum_flavour(void);
