# SPDX-License-Identifier: Apache-2.0
"""What is remembered of names that are gone.  In use: test_nodetable.py, test_etcdtable.py."""

from fwd.core.gone import Gone


def _of(*versions: int, kept: int = 2) -> Gone:
    gone = Gone(kept=kept)
    for version in versions:
        gone.note(f"n{version}", version)
    return gone


def test_a_name_that_never_was_has_no_old_news() -> None:
    gone = _of(10, 20)
    assert (gone.since("n10"), gone.since("n20"), gone.since("x")) == (10, 20, -1)


def test_of_many_the_older_ones_are_forgotten_and_old_news_of_them_stays_old() -> None:
    gone = _of(50, 10, 40, 20, 30)
    gone.trim(told=50)
    assert len(gone) == 2
    assert [gone.since(f"n{version}") for version in (10, 20, 30, 40, 50)] == [30, 30, 30, 40, 50]
    assert gone.since("x") == 30, "nobody knows that it was none of them"


def test_few_are_not_forgotten() -> None:
    gone = _of(10, 20, 30, 40)
    gone.trim(told=50)
    assert (len(gone), gone.since("x")) == (4, -1)


def test_what_is_ahead_of_what_was_told_is_not_forgotten() -> None:
    """Or the news of another name that are still to come would count as old."""
    gone = _of(10, 20, 30, 40, 50)
    gone.trim(told=20)
    assert len(gone) == 4
    assert gone.since("x") < 20 <= gone.since("n20")


def test_what_was_forgotten_stays_so_when_less_is_told() -> None:
    gone = _of(30, 40, 50, 60, 70)
    gone.trim(told=99)
    assert gone.since("x") == 50
    for version in (80, 90):
        gone.note(f"n{version}", version)
    gone.note("n100", 100)
    gone.trim(told=20)
    assert gone.since("x") == 50
    assert gone.since("n30") == 50, "or old news would bring it back"


def test_where_nothing_can_be_forgotten_it_is_not_tried_each_time() -> None:
    gone = _of(*range(10, 15))
    gone.trim(told=0)
    gone.note("n15", 15)
    gone.trim(told=99)
    assert len(gone) == 6, "not many more than when it was tried"
    gone.note("n16", 16)
    gone.note("n17", 17)
    gone.trim(told=99)
    assert len(gone) == 2


def test_what_was_forgotten_before_a_list_counts_no_more() -> None:
    gone = _of(10, 20, 30, 40, 50)
    gone.trim(told=60)
    gone.clear()
    assert (len(gone), gone.since("n10")) == (0, -1)
