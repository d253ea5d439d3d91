/* SPDX-License-Identifier: Apache-2.0
 *
 * How far apart two processors are.
 */
#include <errno.h>
#include <sched.h>

#include "check.h"
#include "traffic/api.h"

TEST(processors_are_some_way_apart)
{
	cpu_set_t usable;
	uint32_t ns = 0, first, last = 0;

	CHECK_EQ(sched_getaffinity(0, sizeof(usable), &usable), 0);
	for (first = 0; !CPU_ISSET(first, &usable); first++)
		;
	for (uint32_t i = first; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &usable))
			last = i;
	if (first == last)
		return;
	CHECK_EQ(tg_apart(first, last, &ns), 0);
	CHECK(ns > 5 && ns < 1000000);
	CHECK_EQ(tg_apart(first, first, &ns), -EINVAL);
	CHECK_EQ(tg_apart(first, CPU_SETSIZE, &ns), -EINVAL);
}
