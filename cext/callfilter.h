/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who a filter is for, and who may make a call: see syscalls.def. */
enum { WORKER = 1, CONTROL = 2, ALL = WORKER | CONTROL };

/*
 * A filter of system calls (callprogram.h) in force for the calling thread and
 * for what that will make.  refuse: false, what it would refuse is only written
 * to the kernel's log.  -EOPNOTSUPP where there is none.
 */
int callfilter_install(unsigned who, int refuse);

/* A worker's, if its process has one; it refuses or logs as that does. */
void callfilter_leave_worker(void);
