# SPDX-License-Identifier: Apache-2.0
"""What etcd's refusals mean, by parts of their texts: it has one code for several.

The texts are its rpctypes'.
"""

_TOKEN_ENDED = ("invalid auth token", "revision of auth store is old")
_NAMELESS = "user name is empty"
_NO_USER = ("authentication failed", _NAMELESS, "user name not found")
_AUTH_OFF = "authentication is not enabled"
_PERMISSION = "permission denied"


def wants_token(text: str, username: str) -> bool:
    """Whether another token may do; that etcd wants none may have changed, too."""
    wanted = _TOKEN_ENDED + ((_NAMELESS,) if username else ())
    return any(one in text for one in wanted)


def is_without_users(text: str) -> bool:
    """Whether it wants no token at all."""
    return _AUTH_OFF in text


def is_of_user(text: str) -> bool:
    """Whether the user, or the password, is the reason."""
    return any(one in text for one in _NO_USER)


def explained(text: str, username: str) -> str:
    """With who can help."""
    text = text.removeprefix("etcdserver: ")
    if is_of_user(text):
        hint = "" if username else ": this etcd wants a user"
        return f"{text} (--etcd-username and --etcd-password{hint})"
    if _PERMISSION in text:
        return f"{text}: the role of user {username or 'of this certificate'} does not allow it"
    return text
