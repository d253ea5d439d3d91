/* SPDX-License-Identifier: Apache-2.0
 *
 * Cutting a super-packet into what it stands for, by scatter-gather: a new
 * header for each segment, the payload stays where it is.
 *
 * The result is what the kernel's software GSO makes of the same packet
 * (net/ipv4/tcp_offload.c, udp_offload.c, af_inet.c): IPv4 ids count up,
 * CWR only in the first segment, FIN and PSH only in the last.
 */
#pragma once
#include "pkt.h"

enum { SEGMENT_HEADER_MAX = 256 };

/* Number of segments of p; 1 if it is no super-packet. */
uint32_t segment_count(const struct pkt *p);

/* Payload bytes of segment i. */
uint32_t segment_payload(const struct pkt *p, uint32_t i);

/*
 * Writes the p->payload bytes of headers of segment i to `header`, with
 * finished checksums, from p's unfinished one.  p->payload must be at most
 * SEGMENT_HEADER_MAX.
 */
void segment_header(const struct pkt *p, uint32_t i, uint8_t *header);
