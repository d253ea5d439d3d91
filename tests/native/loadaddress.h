/* SPDX-License-Identifier: Apache-2.0
 *
 * The addresses of loadnet.c's load, of one family at a time, and what has
 * them.
 */
#pragma once
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

/* What belongs to a family. */
struct kind {
	int af;
	uint8_t wide, narrow;	/* prefix lengths of all and of one subnet */
	uint8_t own[16];	/* of the device */
	uint8_t local[16];	/* where the plane listens */
	uint8_t subnet[16];	/* of node k, at .. */
	uint8_t pod[16];	/* .. in it .. */
	uint8_t outer[16];
	uint8_t at;		/* .. k stands here in subnet and pod .. */
	uint8_t outer_at;	/* .. and here in outer */
	uint8_t src, dst;	/* of addresses in an IP header */
};

extern const struct kind *all;	/* as loadaddress_use() said */

/* From now on all is of this family. */
void loadaddress_use(uint8_t family);

uint8_t version(void);
size_t address_length(void);

/* A copy of an address in which k stands at a place. */
void address_of(uint8_t out[16], const uint8_t form[16], uint8_t at,
		uint8_t k);

struct socket_address {
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
	socklen_t length;
};

struct socket_address place(const uint8_t address[16], uint16_t port);

/* Gives a device MTU and address, and takes it up; lo the outer addresses of
 * nodes 1 to `nodes` as well, where its family does not have them all. */
void device_up(const char *name, const uint8_t address[16], uint8_t length,
	       uint16_t mtu, uint8_t nodes);
