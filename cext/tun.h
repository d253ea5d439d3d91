/* SPDX-License-Identifier: Apache-2.0
 *
 * The TUN device: opening its queues (vx_tun_open), reading and writing.
 */
#pragma once
#include <stdbool.h>
#include <sys/uio.h>

#include "wire.h"

/*
 * Reads one packet to buf and its vnet header to *v (zero when the device has
 * none).  Returns its length, -errno (-EAGAIN: nothing there).
 */
int tun_read(int fd, bool vnet, struct vnethdr *v, uint8_t *buf, size_t room);

/* Writes one packet; iov[0] is left free for the vnet header.  0, -errno. */
int tun_write(int fd, bool vnet, const struct vnethdr *v, struct iovec *iov,
	      uint32_t n);
