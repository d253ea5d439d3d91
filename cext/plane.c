/* SPDX-License-Identifier: Apache-2.0
 *
 * The plane: workers and the table that they share.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "plane.h"

enum { STOP_US = 4000000, LONGEST_PAUSE_US = 10000 };

int vx_plane_commit(struct vx_plane *plane,
		    const struct vx_peer *peers, uint32_t n_peers,
		    const struct vx_route *routes, uint32_t n_routes)
{
	int error;
	struct table *t = table_build(&plane->settings, peers, n_peers,
				      routes, n_routes, &error);

	if (t)
		snapshot_publish(&plane->snapshot, t);
	return error;
}

static bool mtu_fits(uint32_t mtu)
{
	return mtu >= VX_MIN_MTU && mtu <= IP_MAX_LEN;
}

int vx_plane_set_mtu(struct vx_plane *plane, uint32_t mtu)
{
	if (!mtu_fits(mtu))
		return -EINVAL;
	/* Workers have their settings from here too, but the MTU they read
	 * in the table. */
	plane->settings.mtu = mtu;
	return 0;
}

static int check(const struct vx_settings *s)
{
	if (s->family != IPV4 && s->family != IPV6)
		return -EAFNOSUPPORT;
	if (s->workers < 1 || s->workers > VX_MAX_WORKERS || s->sources < 1 ||
	    s->sources > VX_MAX_SOURCES || s->queues < 1 ||
	    s->queues > VX_WORKER_QUEUES ||
	    s->workers * s->queues > VX_MAX_QUEUES || s->vni >= 1 << 24 ||
	    !mtu_fits(s->mtu) || s->port == 0)
		return -EINVAL;
	return 0;
}

static int add_workers(struct vx_plane *plane, const int *listen)
{
	uint32_t queues = plane->settings.workers * plane->settings.queues;
	struct snapshot *s = &plane->snapshot;
	int error = 0;

	for (uint32_t i = 0; i < plane->settings.workers; i++) {
		struct worker *w = worker_new(&plane->settings, i, plane->tun,
					      listen[i], plane->source,
					      plane->tap, plane->stop, &error);

		plane->taken++;		/* also by one that failed */
		plane->workers[i] = w;
		if (!w)
			return error;
		w->snapshot = s;
		w->reader = &s->readers[s->n_readers++];
		w->stopping = &plane->stopping;
		w->capture = &plane->capture;
		w->path_mtus = &plane->path_mtus;
		w->steering = queues > 1 ? &plane->steering : NULL;
		snapshot_leave(w->reader);
	}
	return 0;
}

static void close_all(const int *fds, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		close(fds[i]);
}

/* A plane that failed on its way; what no worker took is still to close. */
static void give_up(struct vx_plane *plane, const struct vx_settings *s,
		    const int *tun, const int *listen, const int *source,
		    int tap)
{
	uint32_t taken = plane ? plane->taken : 0;

	if (plane) {
		for (uint32_t i = 0; i < taken; i++)
			if (plane->workers[i])
				worker_free(plane->workers[i]);
		snapshot_free(&plane->snapshot);
		if (plane->stop >= 0)
			close(plane->stop);
		free(plane);
	}
	close_all(tun + taken * s->queues, (s->workers - taken) * s->queues);
	close_all(listen + taken, s->workers - taken);
	close_all(source, s->sources);
	close_all(&tap, tap >= 0);
}

static int plane_init(struct vx_plane *plane, const int *listen)
{
	int error;

	plane->stop = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (plane->stop < 0)
		return -errno;
	error = vx_plane_commit(plane, NULL, 0, NULL, 0);
	return error ? error : add_workers(plane, listen);
}

struct vx_plane *vx_plane_new(const struct vx_settings *settings,
			      const int *tun, const int *listen,
			      const int *source, int tap, int *error)
{
	struct vx_plane *plane = aligned_alloc(_Alignof(struct vx_plane),
					       sizeof(*plane));

	csum_init();
	*error = plane ? check(settings) : -ENOMEM;
	if (plane) {
		memset(plane, 0, sizeof(*plane));
		plane->stop = -1;
	}
	if (!*error) {
		plane->settings = *settings;
		plane->tap = tap;
		memcpy(plane->source, source,
		       settings->sources * sizeof(*source));
		memcpy(plane->tun, tun, settings->workers *
		       settings->queues * sizeof(*tun));
		*error = plane_init(plane, listen);
	}
	if (!*error)
		return plane;
	give_up(plane, settings, tun, listen, source, tap);
	return NULL;
}

static int start_worker(struct vx_plane *plane, uint32_t i)
{
	struct worker *w = plane->workers[i];
	char name[16];
	int error;

	atomic_store_explicit(&w->tid, 0, memory_order_relaxed);
	error = pthread_create(&w->thread, NULL, worker_main, w);
	if (error)
		return -error;
	snprintf(name, sizeof(name), "fwd-w%u", i);
	pthread_setname_np(w->thread, name);
	return 0;
}

int vx_plane_start(struct vx_plane *plane)
{
	sigset_t all, before;
	int error = 0;

	/* Signals are the control thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (!error && plane->started < plane->settings.workers) {
		error = start_worker(plane, plane->started);
		if (!error)
			plane->started++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

int vx_plane_pin(struct vx_plane *plane, uint32_t worker, uint32_t cpu)
{
	cpu_set_t set;

	if (worker >= plane->started || cpu >= CPU_SETSIZE)
		return -EINVAL;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return -pthread_setaffinity_np(plane->workers[worker]->thread,
				       sizeof(set), &set);
}

uint64_t vx_plane_turns(const struct vx_plane *plane, uint32_t worker)
{
	if (worker >= plane->settings.workers)
		return 0;
	return atomic_load_explicit(&plane->snapshot.readers[worker].turns,
				    memory_order_relaxed);
}

int vx_plane_thread(const struct vx_plane *plane, uint32_t worker)
{
	if (worker >= plane->started)
		return 0;
	return atomic_load_explicit(&plane->workers[worker]->tid,
				    memory_order_relaxed);
}

/*
 * A worker that does not come back uses the plane's memory and its queue as
 * long as there is a process: nobody can go on without it, or after it.  What
 * is left are microseconds of pauses, not of a clock: the machine may stand
 * still, and clocks may be set.
 */
static void join(pthread_t worker, uint32_t *left)
{
	uint32_t pause = 50;

	while (pthread_tryjoin_np(worker, NULL)) {
		if (*left < pause) {
			fputs("fwd: a worker does not stop: "
			      "ends as a crash would\n", stderr);
			_exit(VX_EXIT_STUCK);
		}
		*left -= pause;
		usleep(pause);
		if (pause < LONGEST_PAUSE_US)
			pause *= 2;
	}
}

void vx_plane_stop(struct vx_plane *plane)
{
	uint32_t left = STOP_US;
	uint64_t count = 1;

	atomic_store(&plane->stopping, true);
	/* Cannot fail: the counter is 0.  If it did, workers look at
	 * `stopping` once a second as well. */
	if (write(plane->stop, &count, sizeof(count)) < 0)
		perror("fwd: eventfd");
	while (plane->started)
		join(plane->workers[--plane->started]->thread, &left);
	/* For another start.  Non-blocking: nothing to read is fine. */
	if (read(plane->stop, &count, sizeof(count)) < 0)
		count = 0;
	atomic_store(&plane->stopping, false);
}

void vx_plane_free(struct vx_plane *plane)
{
	vx_plane_stop(plane);
	vx_plane_capture_end(plane);
	capture_reap(plane);	/* of one that ended while they were busy */
	for (uint32_t i = 0; i < plane->settings.workers; i++)
		worker_free(plane->workers[i]);
	close_all(plane->source, plane->settings.sources);
	close_all(&plane->tap, plane->tap >= 0);
	close(plane->stop);
	snapshot_free(&plane->snapshot);
	free(plane);
}
