# SPDX-License-Identifier: Apache-2.0
"""What pyproject.toml cannot say yet: where the C modules come from, and its wheel's tag."""

from setuptools import setup

setup(
    cffi_modules=["cext/build.py:plane", "cext/build.py:traffic"],
    # The modules keep to the limited API: one wheel serves 3.11 and every later Python.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
