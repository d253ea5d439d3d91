/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <linux/filter.h>
#include <stdint.h>

enum { FILTER_LENGTH = 1024 };	/* instructions; the kernel's limit is 4096 */

/*
 * The program for threads of one kind (callfilter.h) into out[FILTER_LENGTH];
 * its length, which may be more than there is room for, and 0 where the list
 * is not for what we are built for.
 */
uint32_t callprogram_make(unsigned who, int refuse, struct sock_filter *out);
