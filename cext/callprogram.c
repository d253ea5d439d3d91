/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters of system calls, made of syscalls.def (seccomp(2)).
 *
 * Theory of operation.  A filter is a program of the classic BPF that the
 * kernel runs before each system call, over the call's number and arguments.
 * Ours goes through the list, one comparison an entry.  That costs the hot
 * loop nothing: since Linux 5.11 the kernel knows, from the program, the calls
 * that pass whatever their arguments are, and asks no more; before, they are
 * the first in the list.  A filter is never taken off again; threads and
 * programs begin with that of their maker, and filters of one thread add up,
 * the strictest answer counts.
 *
 * There is none for other architectures than two, where nobody has tried the
 * list and some of its calls are none; nor for sanitizers, which make calls of
 * their own.
 */
#include "callprogram.h"

#include "callfilter.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#elif defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#ifdef ARCHITECTURE
#include <errno.h>
#include <linux/audit.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "callnumbers.h"
#include "callrules.h"

#define X32_BIT 0x40000000u	/* a third ABI of x86-64's kernel */

#define OFFSET(field) (offsetof(struct seccomp_data, field))
#define ARGUMENT(i) (OFFSET(args) + 8 * (i))	/* its lower half: we are
						 * little-endian */

static const struct entry {
	int number;
	unsigned who;
	const struct call_rule *rule;	/* NULL: deadly */
} entries[] = {
#define CALL(name, who, rule, reason) { __NR_##name, who, &rule },
#define ABSENT(name, who, reason) { __NR_##name, who, &NOT_THERE },
#define DEADLY(name, who, reason) { __NR_##name, who, NULL },
#include "syscalls.def"
#undef CALL
#undef ABSENT
#undef DEADLY
};

struct program {
	struct sock_filter *out;
	uint32_t length;
	bool refuse;
};

static void emit(struct program *p, struct sock_filter instruction)
{
	if (p->length < FILTER_LENGTH)
		p->out[p->length] = instruction;
	p->length++;
}

static void load(struct program *p, uint32_t offset)
{
	emit(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

static void end(struct program *p, uint32_t action)
{
	emit(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static void answer(struct program *p, uint32_t action)
{
	bool only_log = action != SECCOMP_RET_ALLOW && !p->refuse;

	end(p, only_log ? SECCOMP_RET_LOG : action);
}

static uint32_t failure(int error)
{
	return SECCOMP_RET_ERRNO | (error & SECCOMP_RET_DATA);
}

static void fail(struct program *p, int error)
{
	answer(p, failure(error));
}

/* Compares what was loaded; skips so many instructions if so, and if not. */
static void skip(struct program *p, uint16_t test, uint32_t value,
		 uint8_t if_so, uint8_t if_not)
{
	emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | test | BPF_K, value,
					     if_so, if_not));
}

static uint32_t values(const struct call_rule *r)
{
	uint32_t n = 0;

	while (n < MOST_VALUES && r->values[n])
		n++;
	return n;
}

static void one_of(struct program *p, const struct call_rule *r)
{
	uint32_t n = values(r);

	load(p, ARGUMENT(r->argument));
	for (uint32_t i = 0; i < n; i++)
		skip(p, BPF_JEQ, r->values[i], n - i, 0);
	fail(p, r->error);
	answer(p, SECCOMP_RET_ALLOW);
}

static void none_of(struct program *p, const struct call_rule *r)
{
	load(p, ARGUMENT(r->argument));
	skip(p, BPF_JSET, r->values[0], 0, 1);
	fail(p, r->error);
	answer(p, SECCOMP_RET_ALLOW);
}

/* mmap(): prot is its third argument, flags are its fourth. */
static void exec_is_file(struct program *p, const struct call_rule *r)
{
	load(p, ARGUMENT(2));
	skip(p, BPF_JSET, PROT_EXEC, 0, 4);
	skip(p, BPF_JSET, PROT_WRITE, 2, 0);
	load(p, ARGUMENT(3));
	skip(p, BPF_JSET, MAP_ANONYMOUS, 0, 1);
	fail(p, r->error);
	answer(p, SECCOMP_RET_ALLOW);
}

/* For threads that cannot make processes: those would have other numbers. */
static void own_process(struct program *p, const struct call_rule *r)
{
	load(p, ARGUMENT(r->argument));
	skip(p, BPF_JEQ, (uint32_t)getpid(), 1, 0);
	fail(p, r->error);
	answer(p, SECCOMP_RET_ALLOW);
}

static void decide(struct program *p, const struct call_rule *r)
{
	if (!r)
		answer(p, SECCOMP_RET_KILL_PROCESS);
	else if (r->kind == NEVER)
		end(p, failure(r->error));
	else if (r->kind == ONE_OF)
		one_of(p, r);
	else if (r->kind == NONE_OF)
		none_of(p, r);
	else if (r->kind == EXEC_IS_FILE)
		exec_is_file(p, r);
	else if (r->kind == OWN_PROCESS)
		own_process(p, r);
	else
		answer(p, SECCOMP_RET_ALLOW);
}

/* One entry: the accumulator has the number before it, and after it. */
static void add(struct program *p, const struct entry *e)
{
	uint32_t jump = p->length;

	skip(p, BPF_JEQ, e->number, 0, 0);
	decide(p, e->rule);
	if (jump < FILTER_LENGTH)
		p->out[jump].jf = p->length - jump - 1;
}

uint32_t callprogram_make(unsigned who, int refuse, struct sock_filter *out)
{
	struct program p = { .out = out, .refuse = refuse };

	load(&p, OFFSET(arch));
	skip(&p, BPF_JEQ, ARCHITECTURE, 1, 0);
	answer(&p, SECCOMP_RET_KILL_PROCESS);
	load(&p, OFFSET(nr));
#ifdef __x86_64__
	skip(&p, BPF_JGE, X32_BIT, 0, 1);
	fail(&p, ENOSYS);
#endif
	for (size_t i = 0; i < sizeof(entries) / sizeof(*entries); i++)
		if (entries[i].who & who)
			add(&p, &entries[i]);
	fail(&p, ENOSYS);
	return p.length;
}

#else

uint32_t callprogram_make(unsigned who, int refuse, struct sock_filter *out)
{
	(void)who, (void)refuse, (void)out;
	return 0;
}
#endif
