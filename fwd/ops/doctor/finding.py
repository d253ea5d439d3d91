# SPDX-License-Identifier: Apache-2.0
"""What a check says: what was looked at, what was found, what to do."""

from enum import Enum

from msgspec import Struct


class Grade(Enum):
    """How a finding is meant."""

    WELL = "ok"
    NOTE = "note"
    """Worth knowing; nothing has to be done."""
    WRONG = "wrong"


class Finding(Struct, frozen=True, kw_only=True):
    """One line of the report."""

    looked_at: str
    found: str
    grade: Grade = Grade.WELL
    remedy: str = ""
    """What to do.  Of WRONG always."""
    cause: str = ""
    """A name for what is wrong, where several checks may come upon it."""
    is_symptom: bool = False
    """Not to be told beside another finding of the same cause, which says more."""


def well(looked_at: str, found: str) -> Finding:
    """All is as it should be."""
    return Finding(looked_at=looked_at, found=found)


def note(looked_at: str, found: str, remedy: str = "") -> Finding:
    """Worth knowing."""
    return Finding(looked_at=looked_at, found=found, grade=Grade.NOTE, remedy=remedy)


def wrong(
    looked_at: str, found: str, remedy: str, *, cause: str = "", is_symptom: bool = False
) -> Finding:
    """Something must be done."""
    return Finding(
        looked_at=looked_at,
        found=found,
        grade=Grade.WRONG,
        remedy=remedy,
        cause=cause,
        is_symptom=is_symptom,
    )
