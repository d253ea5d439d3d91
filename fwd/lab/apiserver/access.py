# SPDX-License-Identifier: Apache-2.0
"""Who asks, for what, and whether they may: tokens, RBAC and its words.  Pure.

The one role here is flannel's ClusterRole; whatever else a program asks for is forbidden, and so
shows that the program needs more rights than flannel has.
"""

from typing import Final

from msgspec import Struct

from fwd.lab.apiserver.answers import Refusal, unauthorized

ANONYMOUS: Final = "system:anonymous"
FLANNEL: Final = "system:serviceaccount:kube-flannel:flannel"
TOKEN: Final = "flannel-token"  # noqa: S105 - opens nothing but a stand-in

FLANNEL_ROLE: Final = frozenset(
    {
        ("get", "pods"),
        ("get", "nodes"),
        ("list", "nodes"),
        ("watch", "nodes"),
        ("patch", "nodes/status"),
    }
)

_PUBLIC: Final = frozenset({"/version", "/healthz", "/livez", "/readyz"})
_VERBS: Final = {
    "GET": "get",
    "HEAD": "get",
    "PATCH": "patch",
    "POST": "create",
    "PUT": "update",
    "DELETE": "delete",
}
_OF_MANY: Final = {"get": "list", "delete": "deletecollection"}


class Wanted(Struct, frozen=True):
    """A request in the words of RBAC; ``resource`` with its subresource, empty for a plain path."""

    verb: str
    resource: str
    path: str
    group: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def plural(self) -> str:
        """The resource without its subresource."""
        return self.resource.partition("/")[0]


def wanted(method: str, path: str, *, watch: bool) -> Wanted:
    """What a request asks for (k8s.io/apiserver, RequestInfo)."""
    verb = _VERBS.get(method, method.lower())
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, parts = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, parts = parts[1], parts[3:]
    else:
        return Wanted(verb, "", path)
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    name = parts[1] if len(parts) > 1 else ""
    if watch and verb == "get":
        verb = "watch"
    elif not name:
        verb = _OF_MANY.get(verb, verb)
    resource = "/".join([parts[0], *parts[2:]])
    return Wanted(verb, resource, path, group=group, namespace=namespace, name=name)


class Access:
    """Tokens and what their users may do; both can be changed while the server runs."""

    def __init__(self, tokens: dict[str, str]) -> None:
        self.tokens = tokens  # token -> user
        self.rules: dict[str, set[tuple[str, str]]] = {
            user: set(FLANNEL_ROLE) for user in tokens.values()
        }

    def rotate(self, token: str, *, user: str = FLANNEL) -> None:
        """Give a user a new token; from now on the old ones are refused."""
        self.tokens = {had: who for had, who in self.tokens.items() if who != user}
        self.tokens[token] = user
        self.rules.setdefault(user, set(FLANNEL_ROLE))

    def revoke(self, verb: str, resource: str, *, user: str = FLANNEL) -> None:
        """Take a right away."""
        self.rules[user].discard((verb, resource))

    def grant(self, verb: str, resource: str, *, user: str = FLANNEL) -> None:
        """Give a right."""
        self.rules[user].add((verb, resource))

    def user(self, authorization: str | None) -> str:
        """Who asks.

        Raises:
            Refusal: 401, a token that is not known.
        """
        if authorization is None:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        user = self.tokens.get(token.strip())
        if scheme.lower() != "bearer" or user is None:
            raise unauthorized()
        return user

    def authorize(self, user: str, request: Wanted) -> None:
        """Raise the 403 that names verb and resource, unless the user may."""
        if not request.resource:
            if request.path not in _PUBLIC:
                text = f'forbidden: User "{user}" cannot {request.verb} path "{request.path}"'
                raise Refusal(403, "Forbidden", text, details={})
        elif request.group or (request.verb, request.resource) not in self.rules.get(user, ()):
            raise forbidden(user, request)


def forbidden(user: str, request: Wanted) -> Refusal:
    """403 of an object or of a whole resource."""
    object_ = f'{request.plural} "{request.name}"' if request.name else request.plural
    where = (
        f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    )
    details = {"name": request.name} if request.name else {}
    group = {"group": request.group} if request.group else {}
    return Refusal(
        403,
        "Forbidden",
        f'{object_} is forbidden: User "{user}" cannot {request.verb} resource'
        f' "{request.resource}" in API group "{request.group}" {where}',
        details={**details, **group, "kind": request.plural},
    )
