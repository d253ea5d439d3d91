/* SPDX-License-Identifier: Apache-2.0 */
#include "trace.h"

#include <time.h>

int tracer_init(struct tracer *t, uint8_t family)
{
	t->family = family;
	t->ordinary = NO_DROP;
	return ring_init(&t->drops, DROP_RING);
}

void tracer_free(struct tracer *t)
{
	ring_free(&t->drops);
}

uint64_t trace_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static void write_record(struct ring *to, uint8_t family, uint32_t most,
			 uint16_t verdict, const struct sighting *s)
{
	static const uint8_t padding[RING_ALIGN];
	struct vx_record r = {
		.length = s->len,
		.kept = s->len < most ? s->len : most,
		.time = s->time ? s->time : trace_now(),
		.packets = s->packets,
		.verdict = verdict,
		.port = ntohs(s->port),
		.point = s->point,
		.tos = s->tos,
	};
	uint32_t size = sizeof(r) + r.kept, pad = -size % RING_ALIGN;
	struct iovec pieces[3] = { { &r, sizeof(r) },
				   { (void *)s->data, r.kept },
				   { (void *)padding, pad } };

	r.size = size + pad;
	if (s->outer)
		memcpy(r.outer, s->outer, addr_len(family));
	ring_put(to, pieces, 3, r.size);
}

/* The inner packet of what was seen, if it can be read. */
static const struct pkt *inner_of(const struct tracer *t,
				  const struct sighting *s, struct pkt *p)
{
	bool whole = s->point == VX_FROM_TUN || s->point == VX_TO_TUN;
	uint32_t at = whole ? 0 : sizeof(struct overlay);

	if (s->len < at)
		return NULL;
	return pkt_parse(p, (uint8_t *)s->data + at, s->len - at,
			 t->family) == PKT_OK ? p : NULL;
}

static void capture(struct tracer *t, uint16_t verdict,
		    const struct sighting *s)
{
	struct capture *c = t->capture;
	struct pkt p;
	struct seen seen = {
		.point = s->point,
		.verdict = verdict,
		.family = t->family,
		.outer = s->outer,
		.pkt = inner_of(t, s, &p),
	};

	if (filter_matches(&c->filter, &seen))
		write_record(&c->rings[t->index], t->family, c->snaplen,
			     verdict, s);
}

/* Whether one more drop of this reason is to be told this second. */
static bool is_told(struct tracer *t, enum counter reason)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (t->second != (uint64_t)now.tv_sec) {
		t->second = now.tv_sec;
		memset(t->told, 0, sizeof(t->told));
	}
	if (t->told[reason] >= DROPS_A_SECOND)
		return false;
	t->told[reason]++;
	return true;
}

void trace_dropped(struct tracer *t, enum counter reason,
		   const struct sighting *s)
{
	if (is_told(t, reason))
		write_record(&t->drops, t->family, DROP_KEEPS, reason, s);
	if (t->capture)
		capture(t, reason, s);
}

void trace_passed(struct tracer *t, const struct sighting *s)
{
	capture(t, VX_PASSED, s);
}
