/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <errno.h>
#include <stdlib.h>

#include "pkt.h"

const struct peer *table_lookup(const struct table *t, const uint8_t *dst)
{
	uint32_t found = trie_lookup(&t->routes, key_of(dst, t->family));

	return found == TRIE_MISS ? NULL : &t->peers[found - 1];
}

static int build_routes(struct table *t, const struct vx_route *routes,
			uint32_t n)
{
	struct trie_entry *entries = calloc(n ? n : 1, sizeof(*entries));
	int error = entries ? 0 : -ENOMEM;

	for (uint32_t i = 0; !error && i < n; i++) {
		const struct vx_route *r = &routes[i];

		entries[i].key = key_of(r->prefix, t->family);
		entries[i].length = r->length;
		entries[i].value = r->peer;
		if (r->peer >= t->n_peers)
			error = -EINVAL;
	}
	if (!error)
		error = trie_build(&t->routes, entries, n,
				   8 * addr_len(t->family));
	free(entries);
	return error;
}

static uint32_t outer_hash(const uint8_t *outer, uint8_t family)
{
	struct key k = key_of(outer, family);
	uint32_t hash = ((k.hi ^ k.lo * 31) * 0x9e3779b97f4a7c15ull) >> 32;

	/* The lower bits depend on an IPv4 address's lower ones alone, and
	 * nodes may differ in the upper ones: one of each /24. */
	return hash ^ hash >> 16;
}

const struct peer *table_sender(const struct table *t, const uint8_t *outer)
{
	uint32_t i = outer_hash(outer, t->family);
	uint32_t at;

	while ((at = t->outers[i++ & t->outer_mask])) {
		const struct peer *peer = &t->peers[at - 1];

		if (same_addr(peer_outer(peer), outer, t->family))
			return peer;
	}
	return NULL;
}

static int build_outers(struct table *t)
{
	uint32_t size = 4;

	while (size < 2 * t->n_peers)
		size *= 2;
	t->outer_mask = size - 1;
	t->outers = calloc(size, sizeof(*t->outers));
	if (!t->outers)
		return -ENOMEM;
	for (uint32_t p = 0; p < t->n_peers; p++) {
		uint32_t i = outer_hash(peer_outer(&t->peers[p]), t->family);

		while (t->outers[i & t->outer_mask])
			i++;
		t->outers[i & t->outer_mask] = p + 1;
	}
	return 0;
}

static void cook(struct peer *peer, const struct vx_peer *from,
		 const struct vx_settings *s)
{
	struct overlay *o = &peer->overlay;
	uint16_t type = s->family == IPV4 ? ETHERTYPE_IP4 : ETHERTYPE_IP6;

	o->vxlan.flags = VXLAN_I;
	o->vxlan.vni = htonl(s->vni << 8);
	memcpy(o->eth.dst, from->mac, sizeof(o->eth.dst));
	memcpy(o->eth.src, s->mac, sizeof(o->eth.src));
	o->eth.type = htons(type);
	peer->slot = from->slot % VX_PEER_SLOTS;

	if (s->family == IPV4) {
		peer->salen = sizeof(peer->sa.in);
		peer->sa.in.sin_family = AF_INET;
		peer->sa.in.sin_port = htons(s->port);
		memcpy(&peer->sa.in.sin_addr, from->outer, 4);
	} else {
		peer->salen = sizeof(peer->sa.in6);
		peer->sa.in6.sin6_family = AF_INET6;
		peer->sa.in6.sin6_port = htons(s->port);
		memcpy(&peer->sa.in6.sin6_addr, from->outer, 16);
		peer->sa.in6.sin6_scope_id = s->scope;
	}
}

struct table *table_build(const struct vx_settings *settings,
			  const struct vx_peer *peers, uint32_t n_peers,
			  const struct vx_route *routes, uint32_t n_routes,
			  int *error)
{
	struct table *t = calloc(1, sizeof(*t));
	size_t size = sizeof(*t->peers) * (n_peers ? n_peers : 1);

	*error = -ENOMEM;
	if (!t)
		return NULL;
	t->family = settings->family;
	t->mtu = settings->mtu;
	t->n_peers = n_peers;
	t->peers = aligned_alloc(_Alignof(struct peer), size);
	if (t->peers) {
		memset(t->peers, 0, size);
		for (uint32_t i = 0; i < n_peers; i++)
			cook(&t->peers[i], &peers[i], settings);
		*error = build_routes(t, routes, n_routes);
	}
	if (!*error)
		*error = build_outers(t);
	if (!*error)
		return t;
	table_free(t);
	return NULL;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	trie_free(&t->routes);
	free(t->peers);
	free(t->outers);
	free(t);
}
