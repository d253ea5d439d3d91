# SPDX-License-Identifier: Apache-2.0
"""Which lab a command line means: the one that is to be, or the one that is there."""

from argparse import Namespace
from pathlib import Path

from fwd.lab import state, topology
from fwd.lab.errors import LabError
from fwd.lab.state import State, StateDir
from fwd.lab.topology import Source, Spec, Topology, Wiring


def plan(arguments: Namespace, *, default: str) -> Topology:
    """The lab that is to be; ``default`` is its prefix unless one is given."""
    kernel = 1 if arguments.kernel_nodes is None else arguments.kernel_nodes
    spec = Spec(
        prefix=arguments.prefix or default,
        nodes=topology.node_specs(fwd=arguments.nodes, kernel=kernel),
        pods=arguments.pods,
        mtu=arguments.mtu,
        families=topology.FAMILIES[arguments.family],
        run_args=tuple(arguments.run_arg),
        source=Source(arguments.source),
        wiring=Wiring(arguments.wiring),
    )
    try:
        return topology.plan(spec)
    except ValueError as error:
        raise LabError(str(error)) from error


def directory(arguments: Namespace, prefix: str) -> StateDir:
    """Where it keeps its files."""
    if arguments.state_dir is None:
        return state.default(prefix)
    return StateDir(Path(arguments.state_dir).absolute())


def whose(arguments: Namespace) -> tuple[str | None, StateDir]:
    """The prefix and the directory that a command means; None when the directory does not tell.

    A prefix is not guessed for a directory that was named: the guess would be another lab's.
    """
    found = directory(arguments, arguments.prefix or state.DEFAULT_PREFIX)
    known = found.load()
    if isinstance(known, State):
        if arguments.prefix not in (None, known.spec.prefix):
            raise LabError(f"{found.root} belongs to lab {known.spec.prefix}")
        return known.spec.prefix, found
    if arguments.prefix is None and arguments.state_dir is not None:
        return None, found
    return arguments.prefix or state.DEFAULT_PREFIX, found


def find(arguments: Namespace) -> tuple[Topology, State, StateDir]:
    """The lab that is there, half-built or not.

    Raises:
        LabError: there is none.
    """
    _, found = whose(arguments)
    known = found.load()
    if not isinstance(known, State):
        known = found.state()  # which says what is the matter
    return topology.plan(known.spec), known, found
