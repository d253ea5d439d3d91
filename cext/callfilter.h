/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <linux/filter.h>
#include <stdint.h>

/* Who a filter is for, and who may make a call: see syscalls.def. */
enum { WORKER = 1, CONTROL = 2, ALL = WORKER | CONTROL };

enum { FILTER_LENGTH = 1024 };	/* instructions; the kernel's limit is 4096 */

/*
 * The program for threads of one kind into out[FILTER_LENGTH]; its length.
 * refuse: false, what it would refuse is only written to the kernel's log.
 */
uint32_t callfilter_make(unsigned who, int refuse, struct sock_filter *out);

/* Puts it into force for the calling thread and for what that will make. */
int callfilter_install(unsigned who, int refuse);

/* A worker's, if its process has one; it refuses or logs as that does. */
void callfilter_leave_worker(void);
