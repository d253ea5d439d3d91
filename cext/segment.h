/* SPDX-License-Identifier: Apache-2.0
 *
 * Cutting a super-packet into what it stands for: a new header for each
 * segment, and behind it a copy of its payload, which is read for the checksum
 * anyway.  (Where the payload stayed in its place, the kernel's copy of many
 * pieces cost more than that, docs/decisions/performance.md.)
 *
 * The result is what the kernel's software GSO makes of the same packet
 * (net/ipv4/tcp_offload.c, udp_offload.c, af_inet.c): IPv4 ids count up,
 * CWR only in the first segment, FIN and PSH only in the last.
 */
#pragma once
#include "pkt.h"

/* Of a packet that is cut: what headers, repeated, may add to it. */
enum { SEGMENT_HEADER_MAX = 256 };

/* Number of segments of p; 1 if it is no super-packet. */
uint32_t segment_count(const struct pkt *p);

/* Bytes of segment i, headers and payload. */
uint32_t segment_len(const struct pkt *p, uint32_t i);

/* Writes segment i to `to`, with finished checksums, from p's unfinished
 * one. */
void segment_write(const struct pkt *p, uint32_t i, uint8_t *to);
