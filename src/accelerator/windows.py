"""Windows of time, as mlops.yaml writes them (`..2013-06`, `2013-07`), made half-open UTC ranges.

What a window selects from (a column of a table) is told by whoever reads the data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_YEAR = re.compile(r"(\d{4})")
_MONTH = re.compile(r"(\d{4})-(\d{2})")
_FORMS = "a year (2013), a month (2013-07), a day (2013-07-04) or an instant (2013-07-04T12:00:00Z)"


@dataclass(frozen=True)
class TimeRange:
    """Instants from `start` (included) to `end` (not included), in UTC; None leaves that side open."""

    start: datetime | None
    end: datetime | None

    @classmethod
    def parse(cls, text: str | int) -> TimeRange:
        """Read a window.

        `2013-07` is that month; `2013-01..2013-06` runs from the start of January to the end of June;
        `..2013-06` and `2013-09..` are open on one side. A side may be a year, a month, a day or an
        instant; an instant on the right is where the window stops and is itself outside.

        Raises:
            ValueError: The text is no window, or ends before it starts.
        """
        text = str(text).strip()
        left, dots, right = text.partition("..")
        if not dots:
            start, end = _span(text)
            if start == end:
                raise ValueError(f"'{text}' is one instant, a window needs two: write '{text}..' for all after")
            return cls(start, end)
        window = cls(_span(left)[0] if left.strip() else None, _span(right)[1] if right.strip() else None)
        if window.start is not None and window.end is not None and window.start >= window.end:
            raise ValueError(f"the window '{text}' ends before it starts")
        return window

    def __contains__(self, moment: datetime) -> bool:
        return (self.start is None or self.start <= moment) and (self.end is None or moment < self.end)

    def __str__(self) -> str:
        return f"{_instant(self.start)}..{_instant(self.end)}"

    def overlaps(self, other: TimeRange) -> bool:
        """Whether some instant lies in both."""
        starts = [side for side in (self.start, other.start) if side is not None]
        ends = [side for side in (self.end, other.end) if side is not None]
        return not starts or not ends or max(starts) < min(ends)


def _instant(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat().replace("+00:00", "Z")


def _span(text: str) -> tuple[datetime, datetime]:
    """The first instant that one side names, and the first instant after it."""
    text = text.strip()
    try:
        if match := _YEAR.fullmatch(text):
            year = int(match[1])
            return datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
        if match := _MONTH.fullmatch(text):
            year, month = int(match[1]), int(match[2])
            following = (year + 1, 1) if month == 12 else (year, month + 1)
            return datetime(year, month, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC)
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return (moment, moment + timedelta(days=1)) if len(text) == 10 else (moment, moment)
    except (ValueError, OverflowError):
        raise ValueError(f"'{text}' is no point in time: write {_FORMS}") from None
