# SPDX-License-Identifier: Apache-2.0
"""What pyproject.toml cannot say yet: where the C module comes from, and its wheel's tag."""

from setuptools import setup

setup(
    cffi_modules=["cext/build.py:ffi"],
    # The module keeps to the limited API: one wheel serves 3.11 and every later Python.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
