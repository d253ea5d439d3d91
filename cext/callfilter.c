/* SPDX-License-Identifier: Apache-2.0 */
#include "callfilter.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api.h"
#include "callprogram.h"

/* VX_CALLS_*: the process's filter, and what workers' are to be. */
static atomic_int in_force = VX_CALLS_FREE;

/*
 * SPEC_ALLOW: before Linux 5.16 a filter meant slower code for the whole
 * thread, against programs that speculate on other's memory in their process.
 * There are no others' programs in ours.
 */
static int put_into_force(const struct sock_fprog *program)
{
	static const unsigned long flags[] = {
		SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0,	/* 0: Linux 4.16 */
	};

	for (int i = 0; i < 2; i++) {
		if (!syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags[i],
			     program))
			return 0;
		if (errno != EINVAL)
			break;
	}
	return -errno;
}

int callfilter_install(unsigned who, int refuse)
{
	struct sock_filter code[FILTER_LENGTH];
	struct sock_fprog program = { .filter = code };
	uint32_t length = callprogram_make(who, refuse, code);

	if (!length)
		return -EOPNOTSUPP;
	if (length > FILTER_LENGTH)
		return -E2BIG;
	program.len = length;
	return put_into_force(&program);
}

void callfilter_leave_worker(void)
{
	int how = atomic_load(&in_force);

	/* If it failed the process's filter would still be there. */
	if (how != VX_CALLS_FREE)
		callfilter_install(WORKER, how == VX_CALLS_LIMITED);
}

int vx_calls_limit(int refuse)
{
	int error = callfilter_install(CONTROL, refuse);

	if (!error)
		atomic_store(&in_force,
			     refuse ? VX_CALLS_LIMITED : VX_CALLS_LOGGED);
	return error;
}

int vx_calls_limited(void)
{
	return atomic_load(&in_force);
}
