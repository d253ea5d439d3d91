/* SPDX-License-Identifier: Apache-2.0
 *
 * Names and texts of the counters, for status, metrics and docs.
 */
#include "counters.h"

#include <stddef.h>

#include "api.h"

enum { OUT = VX_COUNT_DROP_OUT, IN = VX_COUNT_DROP_IN };

static const struct {
	const char *name, *text;
	int kind;
} info[] = {
#define X(id, name, text) { name, text, VX_COUNT_TRAFFIC },
	TRAFFIC_COUNTERS(X)
#undef X
#define DROP(direction, id, name, text) { name, text, direction },
#include "drops.def"
#undef DROP
};

uint32_t vx_counter_count(void)
{
	return N_COUNTERS;
}

const char *vx_counter_name(uint32_t i)
{
	return i < N_COUNTERS ? info[i].name : NULL;
}

const char *vx_counter_text(uint32_t i)
{
	return i < N_COUNTERS ? info[i].text : NULL;
}

int vx_counter_kind(uint32_t i)
{
	return i < N_COUNTERS ? info[i].kind : -1;
}
