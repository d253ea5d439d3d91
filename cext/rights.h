/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The calling thread may do from here on what everybody may.  Or -errno. */
int rights_drop_all(void);

/* The same for a worker, if its process has given up what it does not need. */
void rights_leave_worker(void);
