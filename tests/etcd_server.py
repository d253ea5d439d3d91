# SPDX-License-Identifier: Apache-2.0
"""A real etcd for tests: one member, on loopback, in a directory of the test's own.

What is done to it by hand is done with etcdctl, so not by the client under test.
"""

import os
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import msgspec

from tests.ports import free_port
from tests.unable import leave_out

PREFIX = "/coreos.com/network"
SUBNETS = f"{PREFIX}/subnets/"
START_LIMIT = 20.0


def require() -> None:
    """Skip where there is no etcd; fail instead where nobody looks at skips."""
    missing = [name for name in ("etcd", "etcdctl") if shutil.which(name) is None]
    if missing:
        leave_out(f"needs {', '.join(missing)} (etcd-server, etcd-client)")


def _kernels(packed: bytes) -> str:
    """An address as /proc/net has it: words in the byte order of the machine."""
    words = struct.unpack(f"!{len(packed) // 4}I", packed)
    return struct.pack(f"={len(words)}I", *words).hex().upper()


class EtcdServer:
    """One etcd.  `tls` are its certificate, key and authority, and clients need one of that too.

    In another network namespace it listens at `host`.  At the end of a context it is stopped.
    """

    def __init__(
        self,
        root: Path,
        *,
        tls: tuple[Path, Path, Path] | None = None,
        namespace: str = "",
        host: str = "127.0.0.1",
    ) -> None:
        require()
        self._enter = ["ip", "netns", "exec", namespace] if namespace else []
        self.root = root
        self.root.mkdir(parents=True, exist_ok=True)
        self.data = root / "data"
        self.tls = tls
        self._listener = (host, free_port())
        written = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{written}:{self._listener[1]}"
        self.user: Sequence[str] = ()
        """More words for etcdctl."""
        self._peer = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it, with what is in its directory, and waits until it answers."""
        words = [
            *("etcd", "--name", "test", "--data-dir", str(self.data), "--log-level", "error"),
            *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
            *("--listen-peer-urls", self._peer, "--initial-advertise-peer-urls", self._peer),
            *("--initial-cluster", f"test={self._peer}", "--logger", "zap"),
            *("--heartbeat-interval", "20", "--election-timeout", "200"),
        ]
        if self.tls:
            cert, key, ca = map(str, self.tls)
            words += ["--cert-file", cert, "--key-file", key, "--trusted-ca-file", ca]
            words += ["--client-cert-auth"]
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen([*self._enter, *words], stdout=log, stderr=log)
        try:
            self._await(self._process)
        except BaseException:
            self.stop()
            raise

    def _await(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_LIMIT
        while not self._listens():
            assert process.poll() is None, (self.root / "log").read_text()
            assert time.monotonic() < deadline, "etcd does not listen"
            time.sleep(0.02)

    def _listens(self) -> bool:
        """By the kernel's list of its namespace: a probe that connects would be one more client."""
        host, port = self._listener
        packed, nobody = ip_address(host).packed, bytes(len(ip_address(host).packed))
        wanted = f"{_kernels(packed)}:{port:04X} {_kernels(nobody)}:0000 0A"
        path = "/proc/net/tcp6" if ":" in host else "/proc/net/tcp"
        listed = subprocess.run(
            [*self._enter, "cat", path], capture_output=True, text=True, check=True
        )
        return wanted in listed.stdout

    def stop(self) -> None:
        """Kills it; what it has acknowledged is on its disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def ctl(self, *words: str, user: Sequence[str] | None = None) -> str:
        argv = ["etcdctl", "--endpoints", self.url, "--command-timeout=15s"]
        if self.tls:
            cert, key, ca = map(str, self.tls)
            argv += ["--cert", cert, "--key", key, "--cacert", ca]
        env = os.environ | {"ETCDCTL_API": "3"}
        done = subprocess.run(
            [*self._enter, *argv, *(self.user if user is None else user), *words],
            capture_output=True,
            text=True,
            timeout=20,
            env=env,
            check=False,
        )
        assert done.returncode == 0, f"etcdctl {words}: {done.stderr}"
        return done.stdout

    def configure(self, conf: dict[str, object] | str) -> None:
        text = conf if isinstance(conf, str) else msgspec.json.encode(conf).decode()
        self.ctl("put", f"{PREFIX}/config", text)

    def leases(self) -> dict[str, str]:
        """Value by key, both as they are in etcd, keys without their prefix."""
        lines = self.ctl("get", "--prefix", SUBNETS).splitlines()
        keys = [line.removeprefix(SUBNETS) for line in lines[::2]]
        return dict(zip(keys, lines[1::2], strict=True))

    def lease_id(self, name: str) -> int:
        """Of a key; 0: it has none."""
        found = msgspec.json.decode(self.ctl("get", "-w", "json", SUBNETS + name))
        number: int = found["kvs"][0].get("lease", 0)
        return number

    @property
    def lease_count(self) -> int:
        """etcd's leases, with and without keys."""
        return int(re.findall(r"found (\d+) leases", self.ctl("lease", "list"))[0])

    @property
    def revision(self) -> int:
        found = msgspec.json.decode(self.ctl("get", "-w", "json", "nothing"))
        number: int = found["header"]["revision"]
        return number

    def snapshot(self) -> Path:
        path = self.root / "snapshot"
        path.unlink(missing_ok=True)
        self.ctl("snapshot", "save", str(path))
        return path

    def restore(self, path: Path) -> None:
        """Puts a snapshot in the place of all there is; it must be stopped."""
        shutil.rmtree(self.data)
        self.ctl(
            *("snapshot", "restore", str(path), "--data-dir", str(self.data), "--name", "test"),
            *("--initial-cluster", f"test={self._peer}"),
            *("--initial-advertise-peer-urls", self._peer),
        )
