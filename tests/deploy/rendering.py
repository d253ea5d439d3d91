# SPDX-License-Identifier: Apache-2.0
"""What `kubectl kustomize` makes of deploy/kustomize, and the objects in it."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
KUSTOMIZE: Final = ROOT / "deploy/kustomize"
BASE: Final = "base"
CLEANUP: Final = "overlays/cleanup"
OVERLAYS: Final = tuple(
    name
    for path in sorted((KUSTOMIZE / "overlays").iterdir())
    if (name := f"overlays/{path.name}") != CLEANUP
)
"""Those that run the agent."""
COMPONENTS: Final = tuple(path.name for path in sorted((KUSTOMIZE / "components").iterdir()))
_LIMIT: Final = 60.0  # seconds; one takes half of one, but a machine may be busy

Object = dict[str, Any]


def program(name: str) -> str:
    """A program of the virtual environment, else of this machine."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = shutil.which(name, path=path)
    assert found is not None, f"there is no {name}"
    return found


def run(*argv: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, timeout=_LIMIT, check=False
    )
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


def objects(text: str) -> list[Object]:
    return [found for found in yaml.safe_load_all(text) if found is not None]


@functools.cache
def _rendered(directory: Path) -> str:
    return run(program("kubectl"), "kustomize", str(directory))


def rendered(name: str) -> list[Object]:
    """The objects of the base or of an overlay; each time new ones."""
    return objects(_rendered(KUSTOMIZE / name))


def kustomized(directory: Path, **kustomization: Any) -> list[Object]:  # noqa: ANN401
    """What a kustomization that a test makes up renders to."""
    # A resource may lie outside, but only relative to it.
    (directory / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
            | kustomization
        )
    )
    return objects(_rendered(directory))


def with_components(
    directory: Path,
    *names: str,
    base: str = BASE,
    **kustomization: Any,  # noqa: ANN401
) -> list[Object]:
    """What a user's own directory renders to: the base or an overlay, and components in order."""
    directory.mkdir(parents=True, exist_ok=True)
    up = "/".join([".."] * (len(directory.resolve().parts) - 1))
    return kustomized(
        directory,
        resources=[f"{up}{KUSTOMIZE}/{base}"],
        components=[f"{up}{KUSTOMIZE}/components/{name}" for name in names],
        **kustomization,
    )


def pull_policy(container: Object) -> str:
    """As the API server completes it (SetDefaults_Container of core/v1)."""
    tag = container["image"].rpartition("/")[2].partition(":")[2]
    given: str = container.get("imagePullPolicy", "")
    return given or ("Always" if tag in {"", "latest"} else "IfNotPresent")


def of_kind(found: Sequence[Object], kind: str) -> list[Object]:
    return [one for one in found if one["kind"] == kind]


def only(found: Sequence[Object], kind: str) -> Object:
    (one,) = of_kind(found, kind)
    return one


def pod_spec(found: Sequence[Object]) -> Object:
    """Of the one DaemonSet."""
    spec: Object = only(found, "DaemonSet")["spec"]["template"]["spec"]
    return spec


def agent(found: Sequence[Object]) -> Object:
    """The agent's container of the one DaemonSet."""
    (container,) = pod_spec(found)["containers"]
    return dict(container)
