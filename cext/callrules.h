/* SPDX-License-Identifier: Apache-2.0
 *
 * What syscalls.def asks of a call's arguments.  A filter sees numbers only,
 * never what a pointer points to.
 */
#pragma once
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41	/* names of memory: glibc does it */
#endif

enum { MOST_VALUES = 20 };

enum rule_kind {
	WHATEVER,
	NEVER,
	ONE_OF,		/* the argument is one of the values */
	NONE_OF,	/* it has no bit of values[0] */
	EXEC_IS_FILE,	/* mmap(): see below */
	OWN_PROCESS,	/* it is the number of the process that filters */
};

/* Of the argument's lower 32 bits, which is where the kernel looks. */
struct call_rule {
	enum rule_kind kind;
	unsigned argument;
	int error;	/* of a call that does not keep to it */
	uint32_t values[MOST_VALUES];
};

static const struct call_rule ANY = { .kind = WHATEVER };

/* Known to be tried: of no interest to a log. */
static const struct call_rule NOT_THERE = { .kind = NEVER, .error = ENOSYS };

/* Memory that is code is a file's, and cannot be written. */
static const struct call_rule CODE_OF_FILES = {
	.kind = EXEC_IS_FILE, .error = EACCES,
};

static const struct call_rule NO_CODE = {
	.kind = NONE_OF, .argument = 2, .error = EACCES,
	.values = { PROT_EXEC },
};

static const struct call_rule OURSELVES = {
	.kind = OWN_PROCESS, .argument = 0, .error = EPERM,
};

static const struct call_rule NO_NAMESPACES = {
	.kind = NONE_OF, .argument = 0, .error = EPERM,
	.values = { CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |
		    CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
		    CLONE_NEWNET },
};

static const struct call_rule FAMILIES = {
	.kind = ONE_OF, .argument = 0, .error = EAFNOSUPPORT,
	.values = { AF_INET, AF_INET6, AF_NETLINK, AF_UNIX },
};

static const struct call_rule REQUESTS = {
	.kind = ONE_OF, .argument = 1, .error = ENOTTY,
	.values = {
		TUNSETIFF, TUNGETIFF, TUNSETPERSIST, TUNSETOFFLOAD,
		TUNSETVNETHDRSZ, TUNATTACHFILTER, SIOCSIFHWADDR,
		SIOCGIFTXQLEN, SIOCSIFTXQLEN, SIOCGIFINDEX,
		SIOCGIFNAME, FIONREAD, FIONBIO, FIOCLEX, FIONCLEX, TCGETS,
		TIOCGWINSZ, TIOCGPGRP,
	},
};

static const struct call_rule PROCESS_OPTIONS = {
	.kind = ONE_OF, .argument = 0, .error = EINVAL,
	.values = {
		PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_CAPBSET_READ,
		PR_CAP_AMBIENT, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS,
		PR_SET_PDEATHSIG,
	},
};

static const struct call_rule ONLY_MORE_FILTERS = {
	.kind = ONE_OF, .argument = 0, .error = EINVAL,
	.values = { SECCOMP_SET_MODE_FILTER, SECCOMP_GET_ACTION_AVAIL },
};
