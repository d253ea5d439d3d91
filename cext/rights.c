/* SPDX-License-Identifier: Apache-2.0
 *
 * Capabilities: what the kernel lets a thread do that it does not let everybody
 * do (capabilities(7)).  The kernel keeps them by thread, and so does all of
 * this; a thread begins with those of the one that makes it.
 */
#include "rights.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api.h"

static atomic_bool given_up;

/* As capget() and capset() have them: 64 bits of each set in two halves. */
struct sets {
	struct __user_cap_header_struct head;
	struct __user_cap_data_struct half[_LINUX_CAPABILITY_U32S_3];
};

static int read_sets(struct sets *s)
{
	s->head.version = _LINUX_CAPABILITY_VERSION_3;
	s->head.pid = 0;
	return syscall(SYS_capget, &s->head, s->half) < 0 ? -errno : 0;
}

/* Takes away only: what is not there already is not to be had. */
static int write_sets(uint64_t effective, uint64_t permitted,
		      uint64_t inheritable)
{
	struct sets s;
	int error = read_sets(&s);

	if (error)
		return error;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		s.half[i].permitted &= (uint32_t)(permitted >> 32 * i);
		s.half[i].inheritable &= (uint32_t)(inheritable >> 32 * i);
		s.half[i].effective =
			s.half[i].permitted & (uint32_t)(effective >> 32 * i);
	}
	return syscall(SYS_capset, &s.head, s.half) < 0 ? -errno : 0;
}

/* Whether c is in the bounding set; -1 beyond the last that the kernel has. */
static int bounds(unsigned c)
{
	return prctl(PR_CAPBSET_READ, c, 0, 0, 0);
}

/*
 * Without CAP_SETPCAP, which a container seldom has, it stays as it is.  What
 * counts is no_new_privs then: no program gets what its starter has not.
 */
static void narrow_bounds(uint64_t keep)
{
	for (unsigned c = 0; c < 64 && bounds(c) >= 0; c++)
		if (!(keep >> c & 1) && bounds(c) == 1)
			prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
}

static void narrow_ambient(uint64_t keep)
{
	for (unsigned c = 0; c < 64 && bounds(c) >= 0; c++)
		if (!(keep >> c & 1))
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, c, 0, 0);
}

int vx_rights_keep(uint64_t effective, uint64_t permitted)
{
	/* Root's programs get the permitted set by being root's; those of
	 * another user by the ambient one alone. */
	uint64_t handed_on = geteuid() == 0 ? 0 : permitted;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	narrow_bounds(permitted);
	narrow_ambient(handed_on);
	atomic_store(&given_up, true);
	return write_sets(effective, permitted, handed_on);
}

int rights_drop_all(void)
{
	narrow_ambient(0);
	return write_sets(0, 0, 0);
}

void rights_leave_worker(void)
{
	if (atomic_load(&given_up))
		rights_drop_all();
}
