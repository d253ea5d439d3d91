# SPDX-License-Identifier: Apache-2.0
"""`fwd cleanup`: removes every trace of the agent from this host, or lists them.

What is ours: rules by the names of their chains and tables, routes by their mark, devices and files
by the note that the agent keeps (`node.traces`).  A device goes with its addresses and routes.  A
file that somebody changed after us is left, and said.

Rules and routes are all agents' of this host, and the note is only one run directory's, or lost.
So TUNs count that have a name of ours with any VNI: one that is in use is another agent's, which
would lose its rules.

flannel's rules and subnet.env have the same names as ours.  Where there is a kernel vxlan device
with such a name, flannel runs on this node, and these are its own: they are left.

Rules whose engine cannot be asked are not known to be gone: the note stays, and it is an error.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from fwd.core import cniconf
from fwd.core.netconf import VxlanConf
from fwd.model import FwdError
from fwd.node import netlink, routetable, subnetfile, traces
from fwd.node.handover.giver import SOCKET_NAME as HANDOVER_SOCKET
from fwd.node.rules.keeper import clean_all
from fwd.node.rules.programs import RuleError
from fwd.node.rundir import RunDir
from fwd.node.savedstate import FILE_NAME as SAVED_STATE
from fwd.node.savedstate import NET_CONF_NAME, SET_ASIDE
from fwd.ops.control import SOCKET_NAME
from fwd.ops.rootsocket import BESIDE

_DEVICES = tuple(VxlanConf().device(family) for family in routetable.FAMILIES)
"""Where there is no note."""
_NAME = re.compile(r"flannel(-v6)?\.\d+")
"""`VxlanConf.device` of any VNI; not flannel0, a TUN of flannel's udp backend."""


class Cleaned(Struct, frozen=True):
    """What was done."""

    lines: list[str]
    """What was removed (dry_run: is there to be); what is left on purpose has `left: `."""
    refused: list[str]
    """Why engines could not be asked, whose rules may be left."""


def clean_up(run_dir: Path, *, dry_run: bool) -> Cleaned:
    """Raises FwdError while an agent runs, with whatever run directory, ConfigError or OSError.

    What it could not remove is there for the next time, and so is the note.
    """
    if not run_dir.exists():
        return _remove_all(run_dir, dry_run=dry_run)
    made_lock = not (run_dir / RunDir.LOCK).exists()
    held = RunDir.open(run_dir)
    try:
        return _remove_all(run_dir, dry_run=dry_run, made_lock=made_lock)
    finally:
        if made_lock:
            (run_dir / RunDir.LOCK).unlink(missing_ok=True)
        held.close()


def _remove_all(run_dir: Path, *, dry_run: bool, made_lock: bool = False) -> Cleaned:
    """In the order in which a node should lose them; the note last."""
    note = traces.load(run_dir)
    devices = _devices(note.devices)
    flannels = [name for name in devices if _is_flannels(name)]
    remove = _Remover(dry_run=dry_run)
    for path, digest in note.conflists.items():
        remove.conflist(Path(path), digest=digest, with_flannel=bool(flannels))
    for name in devices:
        remove.device(name)
    remove.routes()
    if flannels:
        remove.leave("rules and subnet.env, which are flannel's now")
    else:
        remove.rules()
        for path in note.subnet_files:
            remove.subnet_file(Path(path))
    names = [
        NET_CONF_NAME,
        SAVED_STATE,
        f"{SAVED_STATE}{SET_ASIDE}",
        *(name + end for name in (SOCKET_NAME, HANDOVER_SOCKET) for end in ("", BESIDE)),
        *([] if remove.refused else [traces.FILE_NAME]),
    ]
    for name in (*names, *(f"{device}.mac" for device in devices)):
        remove.file(run_dir / name)
    remove.file(run_dir / RunDir.LOCK, is_trace=not made_lock)
    for directory in dict.fromkeys([run_dir, *(Path(one).parent for one in note.subnet_files)]):
        remove.empty_directory(directory)
    return Cleaned(remove.lines, remove.refused)


def _devices(noted: tuple[str, ...]) -> tuple[str, ...]:
    """What may be ours, or was until flannel came."""
    found = [one.name for kind in ("tun", "vxlan") for one in netlink.find_devices(kind)]
    ours = filter(_NAME.fullmatch, found)
    return tuple(dict.fromkeys([*(noted or _DEVICES), *ours]))


def _is_flannels(name: str) -> bool:
    """Whether the kernel's VXLAN is in the place of our TUN.  FwdError if that is in use."""
    device = netlink.find_device(name)
    if device is not None and device.is_tun and device.queues:
        raise FwdError(f"device {name} is in use by another process: stop it first")
    return device is not None and device.kind == "vxlan"


class _Remover:
    """Each removes one thing if it is there, and says so; with dry_run it only says."""

    def __init__(self, *, dry_run: bool) -> None:
        self._dry_run = dry_run
        self._doomed: set[Path] = set()
        self.lines: list[str] = []
        self.refused: list[str] = []

    def _do(self, what: str, removal: Callable[[], object]) -> None:
        if not self._dry_run:
            removal()
        self.lines.append(what)

    def leave(self, what: str) -> None:
        self.lines.append(f"left: {what}")

    def device(self, name: str) -> None:
        device = netlink.find_device(name)
        if device is not None and device.is_tun:
            what = f"device {name}, with its addresses and routes"
            self._do(what, lambda: netlink.remove_device(name))
        elif device is not None:
            self.leave(f"device {name}, which is a {device.kind or 'physical'} device, not ours")

    def rules(self) -> None:
        def refused(error: RuleError) -> None:
            self.refused.append(str(error))

        found = asyncio.run(clean_all(dry_run=self._dry_run, refused=refused))
        self.lines += [f"rule of {finding.where}: {finding.rule}" for finding in found]

    def routes(self) -> None:
        """Ours that are not on our device: direct ones and blackholes."""
        for family in routetable.FAMILIES:
            held = routetable.held(family)
            if not self._dry_run:
                routetable.remove(held)
            self.lines += [f"route {route}" for route in held]

    def subnet_file(self, path: Path) -> None:
        if subnetfile.read(path) is not None:
            self.file(path)
        elif path.exists():
            self.leave(f"{path}, which is no subnet.env")

    def conflist(self, path: Path, *, digest: str, with_flannel: bool) -> None:
        """A copy of cni-conf.json is no other than flannel's own."""
        with suppress(FileNotFoundError):
            text = path.read_bytes()
            if traces.digest(text) != digest:
                self.leave(f"{path}, which is not as we wrote it")
            elif with_flannel and "flannel" in cniconf.check(text):
                self.leave(f"{path}, which is flannel's now")
            else:
                self.file(path)

    def file(self, path: Path, *, is_trace: bool = True) -> None:
        """One that is no trace, but this command's own, goes without a word."""
        if path.is_symlink() or path.exists():
            self._do(f"file {path}", path.unlink)
            self._doomed.add(path)
            if not is_trace:
                self.lines.pop()

    def empty_directory(self, path: Path) -> None:
        """A mount point stays, and so does what others have put files into."""
        with suppress(OSError):
            if set(path.iterdir()) <= self._doomed:
                self._do(f"directory {path}", path.rmdir)


def report(cleaned: Cleaned, *, dry_run: bool) -> str:
    """For people."""
    if not cleaned.lines and not cleaned.refused:
        return "nothing to remove\n"
    verb = "would remove" if dry_run else "removed"
    return "".join(
        f"{line}\n" if line.startswith("left: ") else f"{verb} {line}\n" for line in cleaned.lines
    )


def trouble(cleaned: Cleaned) -> str:
    """One line, for who has to do something; empty if all is done."""
    if not cleaned.refused:
        return ""
    return f"rules may be left ({'; '.join(cleaned.refused)}): run fwd cleanup again, as root"
