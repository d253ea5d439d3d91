# SPDX-License-Identifier: Apache-2.0
"""The commands that a running stand-in obeys, as data.  Pure.

``client`` sends them, ``control`` obeys.
"""

from typing import Any

from msgspec import Struct

from fwd.lab.apiserver.answers import Object
from fwd.lab.apiserver.faults import Fault, How, Stop


class _Command(Struct, frozen=True, tag_field="do"):
    """The field that says which it is."""


class PutNodes(_Command, frozen=True, tag="put-nodes"):
    """Add or replace Nodes."""

    nodes: list[Object]


class PatchNode(_Command, frozen=True, tag="patch-node"):
    """Strategic merge, of everything."""

    name: str
    patch: Object


class DeleteNode(_Command, frozen=True, tag="delete-node"):
    """Remove a Node."""

    name: str


class GetNode(_Command, frozen=True, tag="get-node"):
    """Answers the Node."""

    name: str


class PutPod(_Command, frozen=True, tag="put-pod"):
    """Add a Pod."""

    namespace: str
    name: str
    node: str


class Churn(_Command, frozen=True, tag="churn"):
    """From now on so many updates a second that mean nothing to the network; 0 for none."""

    rate: float


class AddFault(_Command, frozen=True, tag="add-fault"):
    """Let something go wrong with single requests."""

    fault: Fault


class ClearFaults(_Command, frozen=True, tag="clear-faults"):
    """... and no more."""


class CutAll(_Command, frozen=True, tag="cut"):
    """End every open connection."""

    how: How = How.RESET


class BreakWatches(_Command, frozen=True, tag="break-watches"):
    """An ERROR event, 410, for every open watch."""


class Freeze(_Command, frozen=True, tag="freeze"):
    """Send nothing any more."""


class Thaw(_Command, frozen=True, tag="thaw"):
    """... and go on."""


class Rotate(_Command, frozen=True, tag="rotate"):
    """A new token; the old one is refused."""

    token: str


class Revoke(_Command, frozen=True, tag="revoke"):
    """Take a right away."""

    verb: str
    resource: str


class Grant(_Command, frozen=True, tag="grant"):
    """... and give it back, or a new one."""

    verb: str
    resource: str


class Compact(_Command, frozen=True, tag="compact"):
    """Forget the past."""


class Save(_Command, frozen=True, tag="save"):
    """Keep the state under a name."""

    name: str = "saved"


class Restore(_Command, frozen=True, tag="restore"):
    """Come back to it."""

    name: str = "saved"


class StopServing(_Command, frozen=True, tag="stop"):
    """Go away; commands are still obeyed."""

    how: Stop = Stop.KILL
    lose: bool = False


class StartServing(_Command, frozen=True, tag="start"):
    """... and come back."""


class Requests(_Command, frozen=True, tag="requests"):
    """Answers what was asked, from the ``since``th on."""

    since: int = 0


class Status(_Command, frozen=True, tag="status"):
    """Answers how things are."""


Command = (
    PutNodes
    | PatchNode
    | DeleteNode
    | GetNode
    | PutPod
    | Churn
    | AddFault
    | ClearFaults
    | CutAll
    | BreakWatches
    | Freeze
    | Thaw
    | Rotate
    | Revoke
    | Grant
    | Compact
    | Save
    | Restore
    | StopServing
    | StartServing
    | Requests
    | Status
)


class Outcome(Struct, frozen=True, omit_defaults=True):
    """What came of a command; ``error`` is empty if it was obeyed."""

    answer: Any = None
    error: str = ""
