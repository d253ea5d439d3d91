/* SPDX-License-Identifier: Apache-2.0
 *
 * csum where the answer is known without a twin: published examples, the two
 * zeros of ones'-complement, and what csum.h promises its callers.
 */
#include "check.h"
#include "csum.h"

#include <arpa/inet.h>
#include <string.h>

/* From published text: RFC 1071, 3, the numerical example. */
TEST(rfc_1071_example)
{
	/* Not const: gcc 12 for riscv64 then warns of a pointer to its end. */
	uint8_t data[] = { 0x00, 0x01, 0xf2, 0x03,
			   0xf4, 0xf5, 0xf6, 0xf7 };

	CHECK_EQ(csum_fold(csum_sum(data, sizeof(data))), htons(0xddf2));
	CHECK_EQ(csum_finish(csum_sum(data, sizeof(data))),
		 htons((uint16_t)~0xddf2));
}

/* A header that carries its checksum is intact; one bit less is not. */
TEST(verify_in_place)
{
	/* 192.168.0.1 > 192.168.0.199, UDP, of a widely printed example. */
	static const uint8_t header[] = {
		0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
		0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
	};
	uint8_t copy[sizeof(header)];

	CHECK_EQ(csum_finish(csum_sum(header, sizeof(header))), 0);
	for (unsigned int bit = 0; bit < 8 * sizeof(header); bit++) {
		memcpy(copy, header, sizeof(copy));
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		check_context("bit %u", bit);
		CHECK(csum_finish(csum_sum(copy, sizeof(copy))) != 0);
	}
}

/* Only nothing but zeros sums to zero; ones are the other zero. */
TEST(two_zeros)
{
	uint8_t data[512] = { 0 };

	for (size_t len = 0; len <= sizeof(data); len++) {
		memset(data, 0, sizeof(data));
		CHECK_EQ(csum_sum(data, len), 0);
		memset(data, 0xff, sizeof(data));
		if (len >= 2 && len % 2 == 0)
			CHECK_EQ(csum_fold(csum_sum(data, len)), 0xffff);
	}
	CHECK_EQ(csum_fold(0), 0);
	CHECK_EQ(csum_fold(UINT32_MAX), 0xffff);
	CHECK_EQ(csum_fold(0x1fffe), 0xffff);
	CHECK_EQ(csum_fold(0x10000), 1);
}

/* Words may be added by plain +, as csum.h promises: 2^15 of them. */
TEST(words_by_plain_addition)
{
	uint8_t data[64];
	uint32_t acc;
	uint64_t want;

	memset(data, 0xff, sizeof(data));
	acc = csum_sum(data, sizeof(data));
	want = acc;
	for (int i = 0; i < 1 << 15; i++) {
		acc += 0xffff;
		want += 0xffff;
	}
	CHECK(acc == want);
	CHECK_EQ(csum_fold(csum_add(acc, data, sizeof(data))), 0xffff);
}
