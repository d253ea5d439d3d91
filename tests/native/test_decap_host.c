/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner destinations that are no host's.
 */
#include "decap_frame.h"

struct destination {
	uint8_t addr[16];
	bool is_host;
};

static const struct destination of4[] = {
	{ { 0, 0, 0, 0 }, false },
	{ { 127, 0, 0, 1 }, false },
	{ { 224, 0, 0, 1 }, false },
	{ { 239, 255, 255, 255 }, false },
	{ { 255, 255, 255, 255 }, false },
	{ { 10, 1, 0, 0 }, true },	/* a node's own in its subnet */
	{ { 126, 1, 1, 1 }, true },
	{ { 223, 255, 255, 255 }, true },
	{ { 240, 0, 0, 1 }, true },
	{ { 255, 255, 255, 254 }, true },
};
static const struct destination of6[] = {
	{ { 0 }, false },
	{ { [15] = 1 }, false },
	{ { 0xff, 2, [15] = 1 }, false },
	{ { 0xff, 0x0e, [15] = 1 }, false },
	{ { 0xfd, 1 }, true },
	{ { 0xfe, 0x80, [15] = 1 }, true },
	{ { 0x20, 1, 0x0d, 0xb8, [15] = 1 }, true },
};

static void check_destination(uint8_t family, const struct destination *to)
{
	struct frame f = frame_new(family);
	struct pkt p;

	memcpy(f.spec.dst, to->addr, addr_len(family));
	frame_write(&f);
	CHECK_EQ(frame_decap(&f, 0, &p),
		 to->is_host ? NO_DROP : DROP_IN_NO_HOST);
	f.settings.source_check = VX_SOURCE_OFF;
	CHECK_EQ(frame_decap(&f, 0, &p), NO_DROP);
	frame_free(&f);
}

TEST(what_is_for_no_host_is_dropped_unless_all_is_let_in)
{
	for (unsigned i = 0; i < sizeof(of4) / sizeof(*of4); i++)
		check_destination(4, &of4[i]);
	for (unsigned i = 0; i < sizeof(of6) / sizeof(*of6); i++)
		check_destination(6, &of6[i]);
}
