/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading from the TUN device, and writing to it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "wire.h"

/*
 * Reads one packet to buf and its vnet header to *v (zero when the device has
 * none).  Returns its length, -errno (-EAGAIN: nothing there).
 */
int tun_read(int fd, bool vnet, struct vnethdr *v, uint8_t *buf, size_t room);

/* Writes one packet, behind its vnet header.  0, -errno. */
int tun_write(int fd, bool vnet, const struct vnethdr *v, const uint8_t *data,
	      size_t len);
