"""When cron lines come: against a clock that is read minute by minute, over the nights on which clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.vertex.schedules.cron import Cron, CronError


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# nights on which these zones' clocks change: forward, back, by half an hour, over midnight
_NIGHTS = [
    ("America/New_York", at("2026-03-08T05:00")),
    ("America/New_York", at("2026-11-01T03:30")),
    ("Europe/Berlin", at("2026-03-28T23:00")),
    ("Europe/Berlin", at("2026-10-24T22:40")),
    ("Australia/Lord_Howe", at("2026-04-04T13:00")),
    ("Australia/Lord_Howe", at("2026-10-03T14:00")),
    ("America/Santiago", at("2026-04-05T01:00")),
    ("Africa/Cairo", at("2026-04-23T20:00")),
    ("UTC", at("2026-02-28T22:00")),
]
_minutes = st.one_of(
    st.integers(0, 59).map(str),
    st.sampled_from(["*/7", "*/30", "5-50/15", "0,29,30,59"]),
)
_hours = st.one_of(st.just("*"), st.integers(0, 4).map(str), st.sampled_from(["*/2", "1-3", "0,2,23"]))


def _shows(wall: datetime, minute: str, hour: str) -> bool:
    return _in(wall.minute, minute, 59) and _in(wall.hour, hour, 23)


def _in(value: int, field: str, most: int) -> bool:
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0", "", str(most)) if span == "*" else span.partition("-")
        if value in range(int(first), int(last or first) + 1, int(step or 1)):
            return True
    return False


@settings(deadline=None, max_examples=15)
@given(night=st.sampled_from(_NIGHTS), minute=_minutes, hour=_hours, seconds=st.integers(0, 5400))
def test_a_run_is_due_whenever_the_wall_clock_shows_the_time(
    night: tuple[str, datetime], minute: str, hour: str, seconds: int
) -> None:
    zone, start = night
    start += timedelta(seconds=seconds)
    cron = Cron(f"CRON_TZ={zone} {minute} {hour} * * *")
    first = start.replace(second=0) + timedelta(minutes=1)
    every = (first + timedelta(minutes=number) for number in range(5 * 60))
    expected = [each for each in every if _shows(each.astimezone(ZoneInfo(zone)), minute, hour)]
    found = []
    due = start
    while (due := cron.next_after(due)) < first + timedelta(hours=5):
        found.append(due)
    assert found == expected
    if expected:
        assert cron.last_until(expected[0], expected[-1] + timedelta(seconds=59)) == expected[-1]


@pytest.mark.parametrize(
    ("line", "after", "due"),
    [
        ("0 5 * * *", "2026-01-01T05:00", "2026-01-02T05:00"),
        ("TZ=America/New_York 30 1 * * *", "2026-07-01T05:29", "2026-07-01T05:30"),
        # 02:30 does not come on the day on which clocks go forward
        ("TZ=America/New_York 30 2 * * *", "2026-03-08T00:00", "2026-03-09T06:30"),
        # and 01:30 comes twice on the day on which they go back
        ("TZ=America/New_York 30 1 * * *", "2026-11-01T05:30", "2026-11-01T06:30"),
        ("0 0 29 2 *", "2026-01-01T00:00", "2028-02-29T00:00"),
        # a day of the month or a day of the week
        ("0 0 13 * FRI", "2026-02-01T00:00", "2026-02-06T00:00"),
        ("@monthly", "2026-02-01T00:00", "2026-03-01T00:00"),
        ("0 0 ? JAN-feb 1", "2026-02-27T00:00", "2027-01-04T00:00"),
    ],
)
def test_the_next_time(line: str, after: str, due: str) -> None:
    assert Cron(line).next_after(at(after)) == at(due)


def test_the_last_of_many_that_were_missed_is_found_without_reading_them_all() -> None:
    first = at("2020-01-01T00:00")
    assert Cron("* * * * *").last_until(first, at("2026-01-01T00:00") + timedelta(seconds=30)) == at("2026-01-01T00:00")
    assert Cron("0 0 1 1 *").last_until(first, at("2026-11-26T00:00")) == at("2026-01-01T00:00")
    assert Cron("0 0 1 1 *").last_until(first, at("2020-06-01T00:00")) == first


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("* * * *", "it has 4 fields and needs five: minute, hour"),
        ("0 0 5 * * *", "it has 6 fields"),
        ("", "it has 0 fields"),
        ("61 * * * *", "61 * * * *|out of range"),
        ("TZ=Europe/Atlantis 0 5 * * *", "`Europe/Atlantis` is no time zone"),
        ("CRON_TZ= 0 5 * * *", "`` is no time zone"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 L * *", "`l` is not understood as its day of the month"),
        ("0 0 * * mon#2", "day of the week"),
        ("H H * * *", "`h` is not understood as its minute"),
        ("@reboot", "`@reboot` is none of @yearly"),
    ],
)
def test_what_is_no_cron_line_is_refused(line: str, said: str) -> None:
    with pytest.raises(CronError, match=said):
        Cron(line)
