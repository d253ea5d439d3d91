# SPDX-License-Identifier: Apache-2.0
"""podman on a lab's node, as if the node were a machine: its own /run and /var/lib, its own pids.

Its CNI network back end runs the list in the node's directory.  Nothing outlives `Podman.close`,
whatever podman has left: not a process, as they are in a pid namespace, nor a file, as they are on
file systems of this mount namespace; cgroups are removed.  The image is this machine's perl and
what that needs, so that making one takes no mirror and no minute.
"""

import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fwd.lab import cni, netns
from tests.netns.lab_support import wait_for
from tests.unable import leave_out

NEEDED: Final = ("podman", "runc", "perl")
IMAGE: Final = "perl"
_LIMIT: Final = 60.0  # seconds for one podman command; most take under one

# All files of a perl that has opened its sockets' module.
_FILES: Final = """
use IO::Socket::IP;
print "$_\n" for $^X, values %INC, @DynaLoader::dl_shared_objects;
"""

_FLAGS: Final = (
    *("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"),
)

# /run and /var/lib hold all of podman's, runc's and CNI's state; `cat` ends when our end closes.
_HOLD: Final = """
mount -t tmpfs none /run && mount -t tmpfs none /var/lib && echo ready && exec cat
"""


def require_podman() -> None:
    """Skip without podman; fail instead where nobody looks at skips."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        reason = f"needs {', '.join(missing)}"
        leave_out(reason)


@functools.cache
def image() -> bytes:
    """A tar file with perl, IO::Socket::IP and the libraries of both."""
    files = _output("perl", "-e", _FILES).split()
    linked = "".join(_output("ldd", path) for path in files if not path.endswith(".pm"))
    files += re.findall(r"(/\S+) \(0x", linked)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", dereference=True) as tar:
        for path in sorted(set(files)):
            tar.add(path)
    return made.getvalue()


def _output(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_LIMIT, check=True)
    return done.stdout


class Podman:
    """podman of one node, with the minimal image imported, or another one from its archive."""

    def __init__(self, namespace: str, *, conf_dir: Path, archive: Path | None = None) -> None:
        self._conf = conf_dir.parent / "containers.conf"
        self._conf.write_text(
            "[network]\n"
            'network_backend = "cni"\n'
            f'cni_plugin_dirs = ["{cni.plugins()}"]\n'
            f'network_config_dir = "{conf_dir}"\n'
            'default_network = "cbr0"\n'
            "[engine]\n"
            'events_logger = "none"\n'
            'lock_type = "file"\n'
        )
        # Not `ip netns exec`: its mount namespace has a /sys without cgroups, and runc wants them.
        argv = ["nsenter", f"--net={netns.path(namespace)}"]
        argv += ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._holder = subprocess.Popen(
            [*argv, "sh", "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        (self._inside,) = children.read_text().split()
        if archive is None:
            self.run("import", "--quiet", "-", IMAGE, stdin=image())
        else:
            self.run("load", "--quiet", "--input", str(archive))

    def run(self, *words: str, stdin: bytes = b"") -> str:
        """One podman command; what it prints."""
        return self.exec("podman", *_FLAGS, *words, stdin=stdin)

    def start(self, name: str, *command: str, options: tuple[str, ...] = ()) -> None:
        """A container in the background."""
        limits = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096")
        self.run("run", "--detach", "--name", name, *limits, *options, IMAGE, *command)

    def address(self, name: str, family: int) -> str:
        """A container's address, as podman has it from CNI's result."""
        key = {4: "IPAddress", 6: "GlobalIPv6Address"}[family]
        field = f"{{{{.NetworkSettings.Networks.cbr0.{key}}}}}"
        return self.run("inspect", "--format", field, name).strip()

    def log(self, name: str) -> str:
        """What a container has written, on both its outputs."""
        return self.exec("sh", "-c", 'exec "$@" 2>&1', "sh", "podman", *_FLAGS, "logs", name)

    def exec(self, *argv: str, stdin: bytes = b"") -> str:
        """A program in the node's namespaces."""
        done = subprocess.run(
            ["nsenter", "--target", self._inside, "--mount", "--net", "--pid", *argv],
            env=dict(os.environ) | {"CONTAINERS_CONF": str(self._conf)},
            input=stdin,
            capture_output=True,
            timeout=_LIMIT,
            check=False,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == 0, f"{' '.join(argv)}: {out}{err}"
        return out

    def close(self) -> None:
        """Ends all that runs there."""
        self._holder.kill()
        self._holder.communicate()
        wait_for(lambda: not Path("/proc", self._inside).exists())


@contextlib.contextmanager
def no_cgroups_left() -> Iterator[None]:
    """Removes podman's cgroups, unless there were any before: then they are not ours."""
    before = set(_cgroups())
    try:
        yield
    finally:
        for top in set(_cgroups()) - before:
            for directory, _, _ in os.walk(top, topdown=False):
                # Processes that were killed may take a moment to be gone from it.
                wait_for(lambda path=directory: _removed(Path(path)))  # type: ignore[misc]


def _cgroups() -> list[Path]:
    return [
        *Path("/sys/fs/cgroup").glob("libpod_parent"),
        *Path("/sys/fs/cgroup").glob("*/libpod_parent"),
    ]


def _removed(path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.rmdir()
    return not path.exists()
