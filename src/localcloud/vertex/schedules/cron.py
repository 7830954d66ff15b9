"""Cron lines with a time zone: the next instant at which the clock on that zone's wall shows a time that matches.

What is to happen then is localcloud.vertex.schedules.timetable's business.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

_PREFIX = re.compile(r"(?:CRON_)?TZ=(\S*)\s*(.*)", re.DOTALL)
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_NUMBERS = re.compile(r"[\d*/,\-?]+")
_NAMES = {
    3: frozenset("jan feb mar apr may jun jul aug sep oct nov dec".split()),
    4: frozenset("sun mon tue wed thu fri sat".split()),
}
_PARTS = ("minute", "hour", "day of the month", "month", "day of the week")
_SHIFT = timedelta(hours=3)
"""More than any clock is put back or forward by in one night."""


class CronError(ValueError):
    """A cron line that means nothing; the message says why."""


class Cron:
    """A cron line, such as `0 5 * * 1-5` or `TZ=America/New_York 30 1 * * *`.

    A run is due at every instant, on the minute, whose wall clock time matches. So where the clock is put forward, the
    times that it leaps over do not come; where it is put back, those of the hour that comes twice come twice.

    Args:
        text: Five fields after `TZ=ZONE` or `CRON_TZ=ZONE`, where one is given; without it the zone is UTC.

    Raises:
        CronError: It does not parse, names no zone of the IANA database, or never comes.
    """

    def __init__(self, text: str) -> None:
        zone, fields = _split(text)
        self.zone = _zone(zone)
        self._fields = _checked(fields)
        self.next_after(datetime.now(UTC))

    def next_after(self, instant: datetime) -> datetime:
        """The first time that is later than an instant (which is in UTC, as the answer is).

        Raises:
            CronError: There is none: the line names a day such as 30 February.
        """
        now = _wall(instant, self.zone)
        ordinary = next(self._walls(now)).replace(tzinfo=self.zone).astimezone(UTC)
        if len({_offset(each, self.zone) for each in (instant - _SHIFT, instant, ordinary, ordinary + _SHIFT)}) == 1:
            return ordinary  # type: ignore[no-any-return]
        # a wall clock that was put back shows again what it showed before
        walls = self._walls(now - _SHIFT)
        found: datetime | None = None
        for wall in walls:
            if found is not None and wall > _wall(found, self.zone) + _SHIFT:
                break
            for each in _instants(wall, self.zone):
                if each > instant and (found is None or each < found):
                    found = each
        assert found is not None
        return found

    def last_until(self, first: datetime, until: datetime) -> datetime:
        """The last time that is not later than `until`, `first` being one that is not.

        Args:
            first: A time of this line's, not after `until`.
            until: An instant in UTC.
        """
        span = timedelta(hours=1)
        while True:
            # later starts find later times: go back until one is found, not through all that were missed
            start = max(first, until - span)
            due = first if start == first else self.next_after(start)
            if due <= until:
                break
            span *= 4
        while (later := self.next_after(due)) <= until:
            due = later
        return due

    def _walls(self, after: datetime) -> Any:
        # imported by the first schedule, not by every start of the server
        from croniter import croniter
        from croniter.croniter import CroniterError

        times = croniter(self._fields, after, ret_type=datetime, max_years_between_matches=9)
        while True:
            try:
                yield times.get_next()
            except CroniterError:
                raise CronError(f"`{self._fields}` never comes") from None


def _split(text: str) -> tuple[str, str]:
    found = _PREFIX.fullmatch(text.strip())
    return (found.group(1), found.group(2).strip()) if found else ("UTC", text.strip())


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise CronError(f"`{name}` is no time zone of the IANA database; write it as in America/New_York") from None


def _checked(fields: str) -> str:
    from croniter import croniter
    from croniter.croniter import CroniterError

    if fields.startswith("@"):
        if fields not in _ALIASES:
            raise CronError(f"`{fields}` is none of {', '.join(_ALIASES)}")
        return _ALIASES[fields]
    parts = fields.lower().split()
    if len(parts) != len(_PARTS):
        raise CronError(f"it has {len(parts)} fields and needs five: {', '.join(_PARTS)}")
    for index, part in enumerate(parts):
        plain = "".join("0" if word in _NAMES.get(index, ()) else word for word in re.findall(r"[a-z]+|[^a-z]+", part))
        if not _NUMBERS.fullmatch(plain):
            raise CronError(f"`{part}` is not understood as its {_PARTS[index]}")
    line = " ".join(part.replace("?", "*") for part in parts)
    try:
        croniter.expand(line)
    except CroniterError as error:
        raise CronError(str(error).strip("[]")) from None
    return line


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()


def _instants(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """The instants at which a zone's clock shows a time: none in a gap, two where it was put back."""
    both = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return [instant for instant in both if _wall(instant, zone) == wall]
