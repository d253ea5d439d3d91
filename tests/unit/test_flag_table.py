# SPDX-License-Identifier: Apache-2.0
"""Every flag of `fwd run`, one row each: what it is when it is given in every way, or badly.

Excluded: what flags mean together (test_config.py).
"""

from collections.abc import Sequence
from typing import Any

import pytest

from fwd.config import run_config
from fwd.flags import UsageError
from fwd.flannelflags import WITHOUT_EFFECT
from fwd.model import ConfigError
from fwd.runflags import RUN_FLAGS
from tests.unit.flag_rows import REPEATED, ROWS, TEXT, Exit2, Row

BASE = {"NODE_NAME": "n1", "FLANNELD_STATIC_LEASES": "leases"}
"""The least that settings can be made of."""


each = pytest.mark.parametrize("row", ROWS, ids=[row.flag for row in ROWS])


def setting(row: Row, words: Sequence[str] = (), environ: dict[str, str] | None = None) -> Any:  # noqa: ANN401
    """What the flag's field is, and the notes."""
    config = run_config(words, BASE | (environ or {}))
    return getattr(config, row.flag.replace("-", "_")), config.notes


def test_no_flag_is_missing_here() -> None:
    unseen = {flag.name for flag in WITHOUT_EFFECT} | {"version"}
    assert {row.flag for row in ROWS} == {flag.name for flag in RUN_FLAGS} - unseen
    variables = {flag.variable for flag in RUN_FLAGS if flag.name not in unseen}
    assert {row.variable for row in ROWS} == variables


def enough(row: Row) -> dict[str, str]:
    """Without a second source of leases beside the first."""
    return {"FLANNELD_STATIC_LEASES": ""} if row.flag == "kube-subnet-mgr" else {}


@each
def test_default(row: Row) -> None:
    environ = {"FLANNELD_STATIC_LEASES": ""} if row.flag == "static-leases" else {}
    assert setting(row, environ=environ) == (row.default, ())


@each
@pytest.mark.parametrize("form", ["-{}={}", "--{}={}", "-{} {}", "--{} {}"])
def test_flag(row: Row, form: str) -> None:
    for given, wanted in ((row.one, row.is_one), (row.two, row.is_two)):
        if " " in form and isinstance(wanted, bool):
            continue
        first, _, rest = form.partition(" ")
        words = [first.format(row.flag, given), *([given] if rest else [])]
        assert setting(row, words, enough(row)) == (wanted, ())


@each
def test_switch_alone(row: Row) -> None:
    for word in (f"-{row.flag}", f"--{row.flag}"):
        if isinstance(row.default, bool):
            assert setting(row, [word], enough(row)) == (True, ())
        else:
            with pytest.raises(UsageError, match=f"^--{row.flag} needs a value$"):
                setting(row, [word])


@each
def test_environment(row: Row) -> None:
    for given, wanted in ((row.one, row.is_one), (row.two, row.is_two)):
        assert setting(row, environ=enough(row) | {row.variable: given}) == (wanted, ())


@each
def test_both(row: Row) -> None:
    environ = enough(row) | {row.variable: row.one}
    assert setting(row, [f"--{row.flag}={row.two}"], environ) == (row.is_two, ())
    environ = enough(row) | {row.variable: row.two}
    assert setting(row, [f"--{row.flag}={row.one}"], environ) == (row.is_one, ())


@each
def test_last_one_wins_or_all_count(row: Row) -> None:
    words = [f"--{row.flag}={row.two}", f"-{row.flag}={row.one}"]
    wanted = row.is_one
    if row.flag in REPEATED:
        wanted = {*row.is_two, *row.is_one} if row.flag == "disable-offload" else None
        wanted = wanted or (*row.is_two, *row.is_one)
    assert setting(row, words, enough(row)) == (wanted, ())


@each
def test_bad_flag(row: Row) -> None:
    if row.bad is TEXT:
        assert row.is_bad is None
        return
    kind = UsageError if isinstance(row.is_bad, Exit2) else ConfigError
    with pytest.raises(kind) as raised:
        setting(row, [f"--{row.flag}={row.bad}"])
    where = f"--{row.flag} {row.bad}: " if kind is UsageError else ""
    assert str(raised.value) == where + row.is_bad.text


@each
def test_bad_environment(row: Row) -> None:
    if row.bad is TEXT:
        return
    environ = {row.variable: str(row.bad)}
    if isinstance(row.is_bad, Exit2):
        note = f"{row.variable}={row.bad}: {row.is_bad.text}"
        assert setting(row, environ=environ) == (row.default, (note,))
    else:
        with pytest.raises(ConfigError) as raised:
            setting(row, environ=environ)
        assert str(raised.value) == row.is_bad.text


@each
def test_empty_flag(row: Row) -> None:
    words = [f"--{row.flag}="]
    if isinstance(row.empty, Exit2):
        with pytest.raises(UsageError) as raised:
            setting(row, words)
        assert str(raised.value) == f"--{row.flag} : {row.empty.text}"
    elif row.flag == "node-name":
        with pytest.raises(ConfigError, match="this node has no name"):
            setting(row, words)
    else:
        assert setting(row, words) == (row.empty, ())


@each
def test_empty_environment_is_none(row: Row) -> None:
    if row.flag == "node-name":
        with pytest.raises(ConfigError, match="this node has no name"):
            setting(row, environ={row.variable: ""})
    else:
        assert setting(row, environ={row.variable: ""}) == (row.default, ())


@pytest.mark.parametrize("name", ["v", "vmodule", "log_backtrace_at"])
def test_flags_without_effect_are_taken(name: str) -> None:
    plain = run_config([], BASE)
    for words in ([f"-{name}=7"], [f"--{name}", "7"]):
        assert run_config(words, BASE) == plain
    assert run_config([], BASE | {f"FLANNELD_{name.upper()}": "7"}) == plain
    with pytest.raises(UsageError, match=f"^--{name} needs a value$"):
        run_config([f"-{name}"], BASE)


def test_the_version_has_no_variable() -> None:
    assert run_config(["--version=false"], BASE) == run_config([], BASE)
    assert run_config([], BASE | {"FLANNELD_VERSION": "true"}) == run_config([], BASE)
    with pytest.raises(UsageError, match=r"^--version yes: must be true or false$"):
        run_config(["--version=yes"], BASE)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        *(("7", 7), ("+7", 7), ("-7", -7), ("0", 0), ("-0", 0), ("1_000", 1000)),
        *(("0x1F", 31), ("0b11", 3), ("0o17", 15), ("017", 15), ("0_7", 7), ("0x_1", 1)),
    ],
)
def test_numbers_are_gos(given: str, value: int) -> None:
    assert run_config([f"--healthz-port={given}"], BASE).healthz_port == value


@pytest.mark.parametrize(
    "given", ["08", "1__0", "_1", "1_", " 7", "7 ", "\u0667", "1e3", "0x", "--1"]
)
def test_what_go_does_not_take_is_no_number(given: str) -> None:
    with pytest.raises(UsageError, match="must be a number"):
        run_config([f"--healthz-port={given}"], BASE)
