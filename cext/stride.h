/* SPDX-License-Identifier: Apache-2.0
 *
 * From one buffer of 64 KiB to the next: an odd stride keeps what they begin
 * with out of one cache set.
 */
#pragma once

enum { LARGE_STRIDE = 65536 + 4096 + 192 };
