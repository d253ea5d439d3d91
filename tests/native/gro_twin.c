/* SPDX-License-Identifier: Apache-2.0 */
#include "gro_twin.h"

#include <string.h>

#include "spec.h"

enum {
	FIN = 0x01,
	SYN = 0x02,
	RST = 0x04,
	PSH = 0x08,
	URG = 0x20,
	CWR = 0x80,
	UDP_GRO_CNT_MAX = 64,
	GRO_MAX_SIZE = 65536,
};

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static bool is_v4(const uint8_t *ip)
{
	return ip[0] >> 4 == 4;
}

static uint8_t proto_of(const uint8_t *ip)
{
	return is_v4(ip) ? ip[9] : ip[6];
}

/* The network layer's own reasons to leave a packet alone. */
static bool ip_is_plain(const uint8_t *ip, uint32_t len)
{
	if (!is_v4(ip))
		return len >= 40 && get16(ip + 4) == len - 40;
	return len >= 20 && ip[0] == 0x45 &&
	       twin_sum(0, ip, 20) == 0xffff &&
	       get16(ip + 2) == len &&
	       !(get16(ip + 6) & ~(uint32_t)SPEC_DF);
}

/* skb_gro_checksum_validate(), or CHECKSUM_PARTIAL. */
static bool l4_is_intact(const uint8_t *ip, uint32_t l4, uint32_t len)
{
	uint8_t proto = proto_of(ip);
	uint32_t pseudo = twin_pseudo(ip, proto, len - l4);
	uint32_t field = get16(ip + l4 + (proto == SPEC_TCP ? 16 : 6));

	return field == pseudo ||
	       twin_sum(pseudo, ip + l4, len - l4) == 0xffff;
}

/* Offset of the payload; 0: nothing that GRO knows. */
static uint32_t header_of(const uint8_t *ip, uint32_t l4, uint32_t len)
{
	uint32_t header;

	if (proto_of(ip) == SPEC_UDP) {
		if (len <= l4 + 8 || get16(ip + l4 + 4) != len - l4 ||
		    get16(ip + l4 + 6) == 0)
			return 0;
		return l4 + 8;
	}
	if (proto_of(ip) != SPEC_TCP || len < l4 + 20)
		return 0;
	header = l4 + (ip[l4 + 12] >> 4) * 4;
	return header < l4 + 20 || header > len ? 0 : header;
}

bool gro_hold(struct gro *g, const uint8_t *ip, uint32_t len)
{
	uint32_t l4 = is_v4(ip) ? 20 : 40;
	uint32_t header;

	if (!ip_is_plain(ip, len))
		return false;
	header = header_of(ip, l4, len);
	if (!header || !l4_is_intact(ip, l4, len))
		return false;
	if (proto_of(ip) == SPEC_TCP &&
	    ip[l4 + 13] & (FIN | SYN | RST | PSH | URG))
		return false;
	if (header == len)
		return false;
	*g = (struct gro){ .first = ip, .l4 = l4, .header = header,
			   .len = len, .size = len - header, .count = 1 };
	return true;
}

static bool ip4_same_flow(struct gro *g, const uint8_t *ip)
{
	const uint8_t *ip2 = g->first;
	uint32_t step = (get16(ip + 4) - get16(ip2 + 4)) & 0xffff;
	bool df = get16(ip + 6) & SPEC_DF;

	if (memcmp(ip + 12, ip2 + 12, 8) || ip[9] != ip2[9])
		return false;
	if (ip[1] != ip2[1] || ip[8] != ip2[8] ||
	    df != !!(get16(ip2 + 6) & SPEC_DF))
		return false;
	if (g->count == 1 && df && step == 0)
		g->fixed_id = true;
	return step == (g->fixed_id ? 0 : g->count);
}

static bool ip6_same_flow(const struct gro *g, const uint8_t *ip)
{
	const uint8_t *ip2 = g->first;

	return get32(ip) == get32(ip2) && ip[6] == ip2[6] &&
	       ip[7] == ip2[7] && !memcmp(ip + 8, ip2 + 8, 32);
}

static bool tcp_merges(const struct gro *g, const uint8_t *ip, uint32_t len)
{
	const uint8_t *th = ip + g->l4, *th2 = g->first + g->l4;
	/* tcp_flag_word(): offset, reserved bits, flags and window. */
	uint32_t differ = get32(th + 12) ^ get32(th2 + 12);
	uint32_t options = g->header - g->l4 - 20;

	return !(th[13] & CWR) &&
	       !(differ & ~((uint32_t)(CWR | FIN | PSH) << 16)) &&
	       get32(th + 8) == get32(th2 + 8) &&
	       !memcmp(th + 20, th2 + 20, options) &&
	       len - g->header - 1 < g->size &&
	       get32(th2 + 4) + (g->len - g->header) == get32(th + 4);
}

static bool udp_merges(const struct gro *g, const uint8_t *ip)
{
	return get16(ip + g->l4 + 4) <= g->size + 8;
}

bool gro_merge(struct gro *g, const uint8_t *ip, uint32_t len)
{
	uint32_t l4 = is_v4(ip) ? 20 : 40;
	bool tcp = proto_of(ip) == SPEC_TCP;
	uint32_t header;

	if (g->flushed || is_v4(ip) != is_v4(g->first) || !ip_is_plain(ip, len))
		return false;
	header = header_of(ip, l4, len);
	if (!header || !l4_is_intact(ip, l4, len) ||
	    memcmp(ip + l4, g->first + l4, 4))
		return false;
	if (!(is_v4(ip) ? ip4_same_flow(g, ip) : ip6_same_flow(g, ip)))
		return false;
	if (!(tcp ? tcp_merges(g, ip, len) : udp_merges(g, ip)) ||
	    g->len + (len - header) >= GRO_MAX_SIZE)
		return false;
	g->len += len - header;
	g->count++;
	g->flushed = len - header < g->size;
	if (tcp)
		g->flushed |= !!(ip[l4 + 13] & (FIN | SYN | RST | PSH | URG));
	else
		g->flushed |= g->count >= UDP_GRO_CNT_MAX;
	return true;
}
