/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether the calls of trials.def fail as they must, each made by a child
 * process that has an agent's rights and filters and no more.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api.h"
#include "callfilter.h"
#include "callnumbers.h"
#include "rights.h"

static pid_t starter;	/* of the child: a process that is not its own */

enum { CANNOT_TRY = 255, NAMESPACE = CLONE_NEWNET | SIGCHLD };

/* A child of the child must not go on with the child's work. */
static long make_process(unsigned long flags)
{
	long pid = syscall(__NR_clone, flags, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return pid;
}

static long make_memory(int protection)
{
	void *at = mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

	return at == MAP_FAILED ? -1 : 0;
}

static const struct {
	const char *text;
	unsigned who;
	int answer;
} trials[] = {
#define TRY(who, answer, text, call) { text, who, answer },
#include "trials.def"
#undef TRY
};

enum { N_TRIALS = sizeof(trials) / sizeof(*trials) };

static long attempt(uint32_t trial)
{
	uint32_t i = 0;

#define TRY(who, answer, text, call)	\
	if (trial == i++)		\
		return call;
#include "trials.def"
#undef TRY
	return 0;
}

static int confine(unsigned who, uint64_t rights)
{
	int error = vx_rights_keep(rights, rights);

	if (!error)
		error = callfilter_install(CONTROL, true);
	if (!error && who == WORKER) {
		rights_drop_all();
		error = callfilter_install(WORKER, true);
	}
	return error;
}

/* What the child comes to: the attempt's errno, or 0. */
static void be_the_child(uint32_t trial, uint64_t rights, bool confined)
{
	const struct rlimit no_core = { 0, 0 };

	setrlimit(RLIMIT_CORE, &no_core);
	starter = getppid();
	if (confined && confine(trials[trial].who, rights) < 0)
		_exit(CANNOT_TRY);
	_exit(attempt(trial) < 0 ? errno : 0);
}

int vx_trial_run(uint32_t trial, uint64_t rights, int confined)
{
	int status = 0;
	pid_t pid;

	if (trial >= N_TRIALS)
		return -EINVAL;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		be_the_child(trial, rights, confined);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? VX_KILLED : -EINTR;
	return WEXITSTATUS(status) == CANNOT_TRY ? -ENOSYS
						 : WEXITSTATUS(status);
}

uint32_t vx_trial_count(void)
{
	return N_TRIALS;
}

const char *vx_trial_text(uint32_t trial)
{
	return trial < N_TRIALS ? trials[trial].text : NULL;
}

int vx_trial_answer(uint32_t trial)
{
	return trial < N_TRIALS ? trials[trial].answer : -EINVAL;
}

int vx_trial_is_worker(uint32_t trial)
{
	return trial < N_TRIALS && trials[trial].who == WORKER;
}
