# SPDX-License-Identifier: Apache-2.0
"""The lab's directory: what was asked for, which agents run, their files; and who may change it.

``lab.json`` holds the ``Spec``, from which all else follows, and the processes.  It is
written before anything is built, so that a lab whose ``up`` was killed is known to be half-built.
It is removed last, too: a directory without it holds nothing of a lab's, whatever the names in it,
but for a default one, which no one else has.  Else losing it loses nothing that ``down`` needs:
namespaces are known by their names, processes by the namespace they are in, and files by the few
names that the lab ever writes.
"""

import contextlib
import enum
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from fwd.lab import conflist, topology
from fwd.lab.agentproc import Process
from fwd.lab.errors import LabError
from fwd.lab.topology import Spec

DEFAULT_PREFIX: Final = "fwdlab"
DEMO_PREFIX: Final = "fwddemo"  # of its own, so that a demo leaves a lab that is up alone
_DEFAULT: Final = Path("/run/fwd-lab")
_MARKS: Final = frozenset({"lab.json", "lab.json.new"})
_FILES: Final = ("lab.json", "leases.json", "net-conf.json", "cni-conf.json", "api")
_LOCK_PATIENCE: Final = 5.0  # seconds: a status or a small up next door is soon done
_MAX_PATH: Final = 60  # an AF_UNIX address has room for 107 bytes; the agent's socket is below this


class Phase(enum.Enum):
    """How far ``up`` came."""

    BUILDING = "building"  # may be half-built: only good for being removed
    UP = "up"  # all that the spec says was there once


class Damaged(enum.Enum):
    """``lab.json`` is there and cannot be read."""

    DAMAGED = "damaged"


class State(Struct, frozen=True):
    """The content of ``lab.json``.

    Attributes:
        spec: what there is now.
        agents: by node name, and the API server by its own.
        built_as: what ``up`` was asked for, if nodes have joined or left since.
    """

    spec: Spec
    phase: Phase
    agents: dict[str, Process] = {}
    built_as: Spec | None = None

    @property
    def asked(self) -> Spec:
        """What ``up`` was asked for."""
        return self.built_as or self.spec


class StateDir(Struct, frozen=True):
    """The directory of one lab."""

    root: Path

    @property
    def leases(self) -> Path:
        """The static leases, one file for all agents."""
        return self.root / "leases.json"

    @property
    def net_conf(self) -> Path:
        """flannel's ``net-conf.json``, one file for all agents."""
        return self.root / "net-conf.json"

    @property
    def cni_conf(self) -> Path:
        """flannel's ``cni-conf.json``, one file for all agents."""
        return self.root / "cni-conf.json"

    @property
    def api(self) -> Path:
        """The API server's own directory."""
        return self.root / "api"

    @property
    def api_socket(self) -> Path:
        """Where the API server takes commands."""
        return self.api / "control"

    @property
    def token(self) -> Path:
        """The agents' bearer token."""
        return self.api / "token"

    @property
    def authority(self) -> Path:
        """The API server's certificate, which is its own authority."""
        return self.api / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """How agents get in, one file for all."""
        return self.api / "kubeconfig"

    def of_node(self, namespace: str) -> Path:
        """A node's own directory: the agent's run directory, and its log."""
        return self.root / namespace

    def conflist(self, namespace: str) -> Path:
        """A node's list of CNI plugins."""
        return self.of_node(namespace) / "net.d" / conflist.FILE_NAME

    def var_lib(self, namespace: str) -> Path:
        """What CNI plugins of a node take for ``/var/lib``."""
        return self.of_node(namespace) / "var-lib"

    def agent_socket(self, namespace: str) -> Path:
        """Where a node's agent tells its status."""
        return self.of_node(namespace) / "fwd.sock"

    def forget(self, namespace: str) -> None:
        """Remove a node's own directory."""
        shutil.rmtree(self.of_node(namespace), ignore_errors=True)

    def log(self, namespace: str) -> Path:
        """What a node's agent has written to stdout and stderr."""
        return self.of_node(namespace) / "agent.log"

    def load(self) -> State | Damaged | None:
        """What is written down; None when nothing is."""
        try:
            return msgspec.json.decode((self.root / "lab.json").read_bytes(), type=State)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, OSError):
            return Damaged.DAMAGED

    def state(self) -> State:
        """What is written down of a lab that is up.

        Raises:
            LabError: there is none, or it is half-built.
        """
        found = self.load()
        if found is None:
            raise LabError("no lab is up: run `fwd lab up`")
        if isinstance(found, Damaged):
            raise LabError(f"{self.root}/lab.json is damaged: run `fwd lab down`, then up")
        if found.phase is not Phase.UP:
            raise LabError("this lab is half-built: run `fwd lab up`")
        return found

    def save(self, state: State) -> None:
        """Write ``lab.json`` whole."""
        self.write(self.root / "lab.json", state)

    def write(self, path: Path, value: object) -> None:
        """Write a JSON file so that a reader sees the old one or the new one, never a half."""
        new = path.with_name(path.name + ".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
        new.rename(path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands off this lab; makes the directory, takes it away again if empty.

        The lock is on the directory itself, so there is no lock file to leave behind, and the
        kernel lets go of it however this process ends.

        Raises:
            LabError: another command holds it, or the directory cannot be used.
        """
        if len(os.fsencode(self.root.absolute())) > _MAX_PATH:
            raise LabError(f"{self.root}: too long for a unix socket below it; use a shorter path")
        deadline = time.monotonic() + _LOCK_PATIENCE
        while (fd := self._try_lock()) is None:
            if time.monotonic() > deadline:
                raise LabError(f"another fwd lab command is at work on {self.root}: try again")
            time.sleep(0.05)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self.root.rmdir()  # refused unless empty
            os.close(fd)

    def _try_lock(self) -> int | None:
        try:
            self.root.mkdir(mode=0o755, exist_ok=True)
            fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        except FileExistsError as error:
            if self.root.is_dir() or not os.path.lexists(
                self.root
            ):  # its holder removed it just now
                return None
            raise LabError(
                f"cannot use {self.root} as state directory: {error.strerror}"
            ) from error
        except FileNotFoundError as missing:
            if self.root.parent.is_dir():  # it was there, and its holder has just removed it
                return None
            raise LabError(f"{self.root.parent} does not exist: make it first") from missing
        except OSError as error:
            raise LabError(
                f"cannot use {self.root} as state directory: {error.strerror}"
            ) from error
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have removed the directory that this one has locked.
            if os.path.samestat(os.fstat(fd), self.root.stat()):
                return fd
        os.close(fd)
        return None

    def foreign(self, prefix: str) -> list[str]:
        """What lies in the directory and was not put there by the lab of this prefix."""
        with contextlib.suppress(FileNotFoundError):
            names = {entry.name for entry in self.root.iterdir()}
            return sorted(names - self._own(prefix, names))
        return []

    def clear(self, prefix: str) -> None:
        """Remove what the lab has written, ``lab.json`` last, and nothing else."""
        names = self._own(prefix, {entry.name for entry in self.root.iterdir()})
        for name in sorted(names, key=lambda name: name in _MARKS):
            path = self.root / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _own(self, prefix: str, names: set[str]) -> set[str]:
        """Those of these names that are of the lab of this prefix."""
        if not names & _MARKS and self.root != default(prefix).root:
            return set()
        return {name for name in names if _ours(prefix, name)}


def default(prefix: str) -> StateDir:
    """Where a lab keeps its files unless told: one directory for each prefix."""
    return StateDir(_DEFAULT if prefix == DEFAULT_PREFIX else Path(f"{_DEFAULT}.{prefix}"))


def _ours(prefix: str, name: str) -> bool:
    return name.removesuffix(".new") in _FILES or topology.owns(prefix, name)
