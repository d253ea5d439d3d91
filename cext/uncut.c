/* SPDX-License-Identifier: Apache-2.0 */
#include "uncut.h"

#include <endian.h>
#include <errno.h>
#include <sys/random.h>
#include <sys/uio.h>

#include "ecn.h"
#include "vnet.h"

enum {
	TTL = 64 + 1,		/* the kernel, as a router, takes one */
	FLOW_LABEL_MASK = 0xfffff,
};

/* Locally administered: whoever made the frame, nobody answers it. */
static const uint8_t sender_mac[6] = { 2 };

void uncut_init(struct uncut *u, const struct vx_settings *settings, int tap)
{
	*u = (struct uncut){ .tap = tap, .family = settings->family };
	if (tap < 0)
		return;
	memcpy(u->local, settings->local, sizeof(u->local));
	/* Workers count by themselves: their datagrams to one peer should
	 * not have one number (RFC 6864). */
	if (getrandom(&u->id, sizeof(u->id), GRND_NONBLOCK) < 0)
		u->id = (uintptr_t)u;
}

static void put_ethernet(const struct uncut *u, struct ethernet *eth)
{
	bool v4 = u->family == IPV4;

	memcpy(eth->dst, vx_tap_mac(), sizeof(eth->dst));
	memcpy(eth->src, sender_mac, sizeof(eth->src));
	eth->type = htons(v4 ? ETHERTYPE_IP4 : ETHERTYPE_IP6);
}

/* The outer IP header but for its length, and what it is as a packet. */
static struct pkt put_ip(const struct uncut *u, uint8_t *ip, uint8_t tos,
			 uint32_t flow)
{
	uint16_t size = ip_header_min(u->family);
	struct pkt outer = { .ip = ip, .family = u->family, .l4 = size,
			     .payload = size, .proto = PROTO_UDP,
			     .transport = PROTO_UDP };

	memset(ip, 0, size);
	if (u->family == IPV4) {
		*pkt_ip4(&outer) = (struct ip4hdr){
			.version_ihl = 0x45, .tos = tos,
			.id = htons(u->id), .ttl = TTL, .proto = PROTO_UDP,
		};
	} else {
		*pkt_ip6(&outer) = (struct ip6hdr){
			.version_class_flow = htonl(6u << 28 |
						    (uint32_t)tos << 20 |
						    (flow & FLOW_LABEL_MASK)),
			.next = PROTO_UDP, .hop_limit = TTL,
		};
	}
	return outer;
}

/* What the kernel needs to know to cut it; offsets are from the frame. */
static struct vnethdr_tunnel describe(const struct pkt *p, uint32_t outer_l4,
				      uint32_t inner_ip)
{
	struct vnethdr_tunnel v = { .inner = vnet_make(p) };

	v.inner.hdr_len += inner_ip;
	v.inner.csum_start += inner_ip;
	v.inner.gso_type |= p->family == IPV4 ? VNET_GSO_TUNNEL4
					      : VNET_GSO_TUNNEL6;
	v.inner.flags |= VNET_TUNNEL_CSUM;
	v.outer_th = htole16(outer_l4);
	v.inner_nh = htole16(inner_ip);
	return v;
}

int uncut_send(struct uncut *u, const struct peer *peer, const struct pkt *p,
	       uint32_t n, be16 port, uint64_t now)
{
	uint32_t ip_len = ip_header_min(u->family);
	uint32_t udp_len = sizeof(struct udphdr) + sizeof(struct overlay) +
			   p->len;
	uint8_t *overlay = p->ip - sizeof(struct overlay);
	struct udphdr *udp = (void *)(overlay - sizeof(*udp));
	uint8_t *ip = (uint8_t *)udp - ip_len;
	uint8_t *eth = ip - sizeof(struct ethernet);
	struct pkt outer = put_ip(u, ip, ecn_encap(pkt_tos(p)), p->flow);
	struct vnethdr_tunnel v = describe(p, (uint8_t *)udp - eth,
					   p->ip - eth);
	struct iovec iov[2] = { { &v, sizeof(v) },
				{ eth, p->ip + p->len - eth } };

	put_ethernet(u, (struct ethernet *)eth);
	memcpy(pkt_src(&outer), u->local, addr_len(u->family));
	memcpy(pkt_dst(&outer), peer_outer(peer), addr_len(u->family));
	pkt_set_len(&outer, ip_len + udp_len);
	*udp = (struct udphdr){ .sport = port,
				.dport = peer_port(peer),
				.len = htons(udp_len) };
	/* The kernel finishes it for each segment. */
	udp->csum = csum_fold(pkt_pseudo(&outer, udp_len));
	memcpy(overlay, &peer->overlay, sizeof(peer->overlay));
	u->id += n;
	while (writev(u->tap, iov, 2) < 0) {
		if (errno == EINTR)
			continue;
		u->broken_until = now + UNCUT_BROKEN_MS;
		return -errno;
	}
	return 0;
}
