/* SPDX-License-Identifier: Apache-2.0
 *
 * The slow twin of all headers: a packet described by its fields and built
 * byte by byte, with nothing of cext/ in it.  Numbers in host order.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SPEC_TCP = 6,
	SPEC_UDP = 17,
	SPEC_MAX = 65535,
	SPEC_DF = 0x4000,
};

struct spec {
	uint8_t family;		/* 4 or 6 */
	uint8_t proto;		/* TCP, UDP, or another: bare payload */
	uint8_t tos, ttl;
	uint16_t id;
	uint16_t frag;		/* IPv6: adds a fragment header if not 0 */
	uint32_t label;		/* IPv6 flow label */
	uint8_t src[16], dst[16];
	uint8_t n_options;	/* IPv4: of 4 bytes; IPv6: headers of 8 */
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t flags;
	uint8_t reserved;	/* the four bits beside the data offset */
	uint16_t window, urgent;
	uint8_t n_tcp_options;	/* of 4 bytes */
	uint8_t tcp_options[40];
	const uint8_t *payload;
	uint32_t n_payload;
	bool unfinished;	/* L4 checksum: the pseudo-header sum only */
	bool no_csum;		/* UDP: none at all */
};

/* Big-endian 16-bit words, the carry folded in after each (RFC 1071). */
uint32_t twin_sum(uint32_t acc, const uint8_t *data, size_t len);
/* Of addresses, length and protocol (RFC 9293, 3.1; RFC 8200, 8.1). */
uint32_t twin_pseudo(const uint8_t *ip, uint8_t proto, uint32_t l4_len);

uint32_t spec_l4(const struct spec *s);		/* offset of L4 */
uint32_t spec_header(const struct spec *s);	/* offset of the payload */
uint32_t spec_len(const struct spec *s);

/* Writes spec_len() bytes; returns how many. */
uint32_t spec_build(const struct spec *s, uint8_t *out);
/* The same in memory of exactly that length, for free(). */
uint8_t *spec_new(const struct spec *s);

/* Random fields, sensible ones, n_payload random bytes (at most SPEC_MAX). */
struct spec spec_random(uint8_t family, uint8_t proto, uint32_t n_payload);

/* Segment i of a super-packet as the kernel's GSO makes it. */
struct spec spec_segment(const struct spec *s, uint32_t gso, uint32_t i);

/* n random bytes that stay. */
const uint8_t *spec_bytes(uint32_t n);
