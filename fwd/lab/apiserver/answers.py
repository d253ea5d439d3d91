# SPDX-License-Identifier: Apache-2.0
"""How the API server says no: ``Status`` objects, word for word as recorded.  Pure."""

import json
from typing import Any, Final

import msgspec

Object = dict[str, Any]  # JSON, as it came and as it goes

_LITERALS: Final = {"t": "true", "f": "false", "n": "null"}


class Refusal(Exception):  # noqa: N818 - 410 is an ordinary answer, not an error
    """An answer that is not what was asked for.

    Attributes:
        code: the HTTP status; in a watch the code of an ``ERROR`` event.
        retry_after: seconds, sent as a header of this name.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Object | None = None,
        retry_after: int | None = None,
        token: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {} if token is None else {"continue": token},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({} if details is None else {"details": details}),
            "code": code,
        }

    @property
    def body(self) -> bytes:
        """The answer's body; Go's encoder ends it with a line feed."""
        return msgspec.json.encode(self.status) + b"\n"

    @property
    def line(self) -> bytes:
        """The same as an ``ERROR`` event of a watch."""
        return msgspec.json.encode({"type": "ERROR", "object": self.status}) + b"\n"


def bad_request(message: str) -> Refusal:
    """400."""
    return Refusal(400, "BadRequest", message)


def unauthorized() -> Refusal:
    """401, without a challenge and without Retry-After."""
    return Refusal(401, "Unauthorized", "Unauthorized")


def not_found(resource: str, name: str) -> Refusal:
    """404 of an object."""
    details = {"name": name, "kind": resource}
    return Refusal(404, "NotFound", f'{resource} "{name}" not found', details=details)


def conflict(resource: str, name: str) -> Refusal:
    """409 of a stale ``metadata.resourceVersion``."""
    return Refusal(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource} "{name}": the object has been modified;'
        " please apply your changes to the latest version and try again",
        details={"name": name, "kind": resource},
    )


def unsupported_media_type() -> Refusal:
    """415 of a PATCH in a type that the server does not know."""
    reason = "UnsupportedMediaType"
    return Refusal(415, reason, "415: Unsupported Media Type", details={})


def invalid(message: str) -> Refusal:
    """422."""
    return Refusal(422, "Invalid", message)


def expired(wanted: int, floor: int) -> Refusal:
    """410 of a watch."""
    return Refusal(410, "Expired", f"too old resource version: {wanted} ({floor})")


def list_expired(token: str | None = None) -> Refusal:
    """410 of a list; for a page with a token to go on inconsistently (Kubernetes, API concepts)."""
    if token is None:
        return Refusal(410, "Expired", "The resourceVersion for the provided list is too old.")
    return Refusal(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can"
        " start a new list without the continue parameter, or use the continue token in this"
        " response to retrieve the remainder of the results. Continuing with the provided token"
        " results in an inconsistent list - objects that were created, modified, or deleted"
        " between the time the first chunk was returned and now may show up in the list.",
        token=token,
    )


def too_large(wanted: int, current: int) -> Refusal:
    """504 of a list at a resourceVersion from the future (Kubernetes, API concepts)."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return Refusal(
        504,
        "Timeout",
        f"Too large resource version: {wanted}, current: {current}",
        details={"causes": [cause], "retryAfterSeconds": 1},
        retry_after=1,
    )


def decode(data: bytes) -> object:
    """JSON.

    Raises:
        ValueError: it is none; the text is what Go's parser would say.
    """
    try:
        value: object = json.loads(data)
    except json.JSONDecodeError as error:
        raise ValueError(_complaint(error.doc, error.pos)) from error
    except UnicodeDecodeError as error:
        raise ValueError(_complaint("\ufffd", 0)) from error
    return value


def _complaint(text: str, position: int) -> str:
    rest = text[position:]
    if not rest.strip():
        return "unexpected end of JSON input"
    literal = _LITERALS.get(rest[0], "")
    for expected, got in zip(literal[1:], rest[1:], strict=False):
        if got != expected:
            return f"invalid character {got!r} in literal {literal} (expecting {expected!r})"
    return f"invalid character {rest[0]!r} looking for beginning of value"
