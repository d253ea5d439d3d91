/* SPDX-License-Identifier: Apache-2.0
 *
 * Socket options of linux/udp.h that a libc's headers may lack.
 */
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>

#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103		/* Linux 4.18 */
#endif
#ifndef UDP_GRO
#define UDP_GRO 104		/* Linux 5.0 */
#endif
