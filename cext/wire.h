/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes on the wire: header layouts and their constants, nothing else.
 *
 * be16/be32 are big-endian values as they stand in memory.  All structs are
 * packed because an inner IP header starts 22 bytes into a datagram.
 */
#pragma once
#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t be16;
typedef uint32_t be32;

#define PACKED __attribute__((packed))

enum family { IPV4 = 4, IPV6 = 6 };

enum wire_limits {
	IP_MAX_LEN = 65535,
	IP6_MAX_LEN = 65575,		/* its header is not counted */
	UDP_MAX_PAYLOAD4 = 65507,	/* IPv4: 65535 - 20 - 8 */
	UDP_MAX_PAYLOAD6 = 65527,	/* IPv6: 65535 - 8 */
	MAX_PAYLOAD_SEGMENTS = 64,	/* UDP_MAX_SEGMENTS, linux/udp.h */
};

/*
 * RFC 7348, 5.  The I flag says that the VNI is valid; all other bits are
 * reserved: "MUST be set to zero on transmission and ignored on receipt".
 * The kernel drops what has reserved bits set; we follow the RFC.
 *
 *  0                   1                   2                   3
 *  |R|R|R|R|I|R|R|R|            Reserved                           |
 *  |                VXLAN Network Identifier (VNI) |   Reserved    |
 */
struct vxlanhdr {
	uint8_t flags;
	uint8_t reserved[3];
	be32 vni;		/* VNI << 8 */
} PACKED;

enum {
	VXLAN_I = 0x08,
	VXLAN_PORT = 8472,	/* Linux's and flannel's; IANA's is 4789 */
};

struct ethernet {
	uint8_t dst[6];
	uint8_t src[6];
	be16 type;
} PACKED;

enum { ETHERTYPE_IP4 = 0x0800, ETHERTYPE_IP6 = 0x86dd };

/* What stands between the outer UDP header and the inner IP header. */
struct overlay {
	struct vxlanhdr vxlan;
	struct ethernet eth;
} PACKED;

struct ip4hdr {
	uint8_t version_ihl;
	uint8_t tos;
	be16 len;
	be16 id;
	be16 frag;
	uint8_t ttl;
	uint8_t proto;
	uint16_t csum;
	uint8_t src[4];
	uint8_t dst[4];
} PACKED;

enum { IP4_DF = 0x4000, IP4_MF = 0x2000, IP4_OFFSET = 0x1fff };

struct ip6hdr {
	be32 version_class_flow;
	be16 payload_len;
	uint8_t next;
	uint8_t hop_limit;
	uint8_t src[16];
	uint8_t dst[16];
} PACKED;

enum ip_proto {
	PROTO_HOPOPT = 0,
	PROTO_ICMP4 = 1,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_ROUTING = 43,
	PROTO_FRAGMENT = 44,
	PROTO_AH = 51,
	PROTO_ICMP6 = 58,
	PROTO_DSTOPTS = 60,
};

struct tcphdr {
	be16 sport;
	be16 dport;
	be32 seq;
	be32 ack;
	uint8_t doff;		/* data offset in the upper four bits */
	uint8_t flags;
	be16 window;
	uint16_t csum;
	be16 urgent;
} PACKED;

enum tcp_flags {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_URG = 0x20,
	TCP_ECE = 0x40,
	TCP_CWR = 0x80,
};

struct udphdr {
	be16 sport;
	be16 dport;
	be16 len;
	uint16_t csum;
} PACKED;

struct icmphdr {
	uint8_t type;
	uint8_t code;
	uint16_t csum;
	be32 rest;
} PACKED;

enum { ICMP4_UNREACHABLE = 3 };

/* linux/virtio_net.h; multi-byte fields in the host's order (a TUN's
 * default), declared here because old kernel headers lack GSO_UDP_L4. */
struct vnethdr {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
} PACKED;

/* The same of a packet in a UDP tunnel (struct virtio_net_hdr_v1_hash_tunnel):
 * `inner` is about the packet inside, with offsets from the frame's start. */
struct vnethdr_tunnel {
	struct vnethdr inner;
	uint16_t unused[5];
	uint16_t outer_th;	/* little endian: offset of the outer UDP */
	uint16_t inner_nh;	/* as well: of the inner IP */
} PACKED;

enum {
	VNET_NEEDS_CSUM = 1,
	VNET_TUNNEL_CSUM = 8,
	VNET_GSO_NONE = 0,
	VNET_GSO_TCP4 = 1,
	VNET_GSO_TCP6 = 4,
	VNET_GSO_UDP = 5,	/* VIRTIO_NET_HDR_GSO_UDP_L4, Linux 6.2 */
	VNET_GSO_TUNNEL4 = 0x20,	/* ..._UDP_TUNNEL_IPV4, _IPV6: */
	VNET_GSO_TUNNEL6 = 0x40,	/* Linux 6.17 */
	VNET_GSO_ECN = 0x80,
};

static_assert(sizeof(struct vxlanhdr) == 8, "RFC 7348, 5");
static_assert(sizeof(struct ethernet) == 14, "IEEE 802.3");
static_assert(sizeof(struct overlay) == 22, "VXLAN + inner Ethernet");
static_assert(sizeof(struct ip4hdr) == 20, "RFC 791, 3.1");
static_assert(sizeof(struct ip6hdr) == 40, "RFC 8200, 3");
static_assert(sizeof(struct tcphdr) == 20, "RFC 9293, 3.1");
static_assert(sizeof(struct udphdr) == 8, "RFC 768");
static_assert(sizeof(struct icmphdr) == 8, "RFC 792");
static_assert(sizeof(struct vnethdr) == 10, "linux/virtio_net.h");
static_assert(sizeof(struct vnethdr_tunnel) == 24, "linux/virtio_net.h");
