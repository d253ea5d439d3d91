# SPDX-License-Identifier: Apache-2.0
"""What is gone, and since which version, so that nothing older can bring it back.

Theory of operation.  Names come and go for weeks, and a watch in good order is never followed by a
list, which would make an end of all that.  So of many names the older ones are forgotten, and of
all of these only the newest version is kept: no name that is neither there nor remembered has news
that is not newer than that.  This holds if all up to there has been heard.  A watch tells things in
their order, so it has; an answer to a request of ours may be ahead of it.
"""

_KEPT = 1024


class Gone:
    """Names by the version of their end, also those that are there again: nobody asks for them."""

    def __init__(self, *, kept: int = _KEPT) -> None:
        """At least so many are remembered, the last ones: for a server that is not that orderly."""
        self._kept = kept
        self.clear()

    def __len__(self) -> int:
        return len(self._since)

    def clear(self) -> None:
        """Nothing is known to be gone, as at first."""
        self._since: dict[str, int] = {}
        self._forgotten = -1
        self._many = 2 * self._kept

    def note(self, name: str, version: int) -> None:
        """It is gone since then."""
        self._since[name] = version

    def since(self, name: str) -> int:
        """What is said of a name that is not there is old up to this version."""
        return self._since.get(name, self._forgotten)

    def trim(self, *, told: int) -> None:
        """Forgets some if there are many.  All that was before version `told` has been heard."""
        if len(self._since) <= self._many:
            return
        last = min(sorted(self._since.values())[-self._kept - 1], told - 1)
        self._since = {name: version for name, version in self._since.items() if version > last}
        self._forgotten = max(self._forgotten, last)
        self._many = len(self._since) + self._kept  # not at once again if few could be forgotten
