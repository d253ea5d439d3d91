/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The calling thread may do from here on what everybody may.  Or -errno. */
int rights_drop_all(void);
