"""Functions of DATE, DATETIME, TIME and TIMESTAMP: construction, arithmetic, truncation, parts.

https://cloud.google.com/bigquery/docs/reference/standard-sql/date_functions and its neighbours.
"""

from __future__ import annotations

from sqlglot import exp

from ..types import DATE, DATETIME, INT64, INTERVAL, STRING, TIME, TIMESTAMP, Type
from .calls import Call, date_part, function
from .casts import cast
from .expressions import analyze
from .literals import interval_amount
from .values import Expr, coerce, coercible

_MICROS = {
    "MICROSECOND": 1,
    "MILLISECOND": 1_000,
    "SECOND": 1_000_000,
    "MINUTE": 60_000_000,
    "HOUR": 3_600_000_000,
    "DAY": 86_400_000_000,
}
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}


def zone_of(call: Call, index: int) -> str:
    """The time zone argument as DuckDB SQL, or "" for UTC."""
    if index >= len(call):
        return ""
    zone = call.take(index, STRING)
    return "" if zone.value in ("UTC", "Etc/UTC", "+00", "+00:00") else zone.sql


def local(moment: str, zone: str) -> str:
    """A TIMESTAMP as the DATETIME that clocks of a zone show."""
    return f"bq.utc({moment})" if not zone else f"timezone({zone}, {moment})"


def absolute(moment: str, zone: str) -> str:
    """A DATETIME of a zone as TIMESTAMP."""
    return f"bq.stamp({moment})" if not zone else f"timezone({zone}, {moment})"


@function("CURRENT_DATE", "CURRENT_DATETIME", "CURRENT_TIME", "CURRENT_TIMESTAMP")
def _current(call: Call) -> Expr:
    call.expect(0, 0 if call.name == "CURRENT_TIMESTAMP" else 1)
    if call.name == "CURRENT_TIMESTAMP":
        return Expr("now()", TIMESTAMP)
    kind = call.name.removeprefix("CURRENT_")
    moment = local("now()", zone_of(call, 0))
    return Expr(moment if kind == "DATETIME" else f"CAST({moment} AS {kind})", Type(kind))


@function("DATE")
def _date(call: Call) -> Expr:
    if len(call) == 3:
        parts = ", ".join(call.take(i, INT64).sql for i in range(3))
        return Expr(f"make_date({parts})", DATE)
    call.expect(1, 2)
    value = call.take(0, DATE, DATETIME, TIMESTAMP)
    if value.type == TIMESTAMP:
        return Expr(f"CAST({local(value.sql, zone_of(call, 1))} AS DATE)", DATE)
    return value if value.type == DATE else Expr(f"CAST({value.sql} AS DATE)", DATE)


@function("DATETIME")
def _datetime(call: Call) -> Expr:
    if len(call) == 6:
        parts = [call.take(i, INT64).sql for i in range(6)]
        return Expr(f"make_timestamp({', '.join(parts[:5])}, CAST({parts[5]} AS DOUBLE))", DATETIME)
    call.expect(1, 2)
    value = call.take(0, DATETIME, TIMESTAMP, DATE)
    if value.type == TIMESTAMP:
        return Expr(local(value.sql, zone_of(call, 1)), DATETIME)
    if value.type == DATE and len(call) == 2:
        return Expr(f"({value.sql} + {call.take(1, TIME).sql})", DATETIME)
    return coerce(value, DATETIME)


@function("TIME")
def _time(call: Call) -> Expr:
    if len(call) == 3:
        parts = [call.take(i, INT64).sql for i in range(3)]
        return Expr(f"make_time({parts[0]}, {parts[1]}, CAST({parts[2]} AS DOUBLE))", TIME)
    call.expect(1, 2)
    value = call.take(0, TIME, DATETIME, TIMESTAMP)
    if value.type == TIMESTAMP:
        return Expr(f"CAST({local(value.sql, zone_of(call, 1))} AS TIME)", TIME)
    return value if value.type == TIME else Expr(f"CAST({value.sql} AS TIME)", TIME)


@function("TIMESTAMP")
def _timestamp(call: Call) -> Expr:
    call.expect(1, 2)
    value = call.arg(0)
    zone = zone_of(call, 1)
    if value.type == STRING:
        if not zone:
            return Expr(f"bq.parse_timestamp({value.sql})", TIMESTAMP)
        return Expr(absolute(f"bq.parse_datetime({value.sql})", zone), TIMESTAMP)
    value = call.take(0, TIMESTAMP, DATETIME, DATE)
    if value.type == TIMESTAMP:
        return value
    return Expr(absolute(coerce(value, DATETIME).sql, zone), TIMESTAMP)


@function("STRING")
def _string(call: Call) -> Expr:
    call.expect(1, 2)
    value = call.arg(0)
    if value.type.kind == "JSON":
        return Expr(f"bq.json_text({value.sql})", STRING)
    zone = zone_of(call, 1) if value.type == TIMESTAMP else ""
    if zone:
        moment = local(value.sql, zone)
        minutes = f"((epoch_us({moment}) - epoch_us({value.sql})) // 60000000)"
        return Expr(f"(bq.datetime_string({moment}) || bq.offset_string({minutes}))", STRING)
    answer = cast(value, STRING) if value.type.kind in ("TIMESTAMP", "DATETIME", "DATE", "TIME") else None
    if answer is None:
        raise call.mismatch()
    return answer


# arithmetic


def _interval(call: Call) -> tuple[str, Expr]:
    """The unit and the amount of `INTERVAL n unit` as second argument."""
    call.expect(2)
    node = call.nodes[1]
    if not isinstance(node, exp.Interval) or node.args.get("unit") is None:
        raise call.mismatch()
    return node.args["unit"].name.upper(), interval_amount(node, call.scope)


def _add(call: Call, *types: Type) -> Expr:
    value = call.take(0, *types)
    unit, amount = _interval(call)
    sign = "-" if call.name.endswith("_SUB") else ""
    count = f"({sign}{amount.sql})"
    if value.type == TIME:
        if unit not in _MICROS or unit == "DAY":
            raise call.error(f"{call.name} does not support the {unit} date part")
        return Expr(f"bq.add_time({value.sql}, {count} * {_MICROS[unit]})", TIME)
    if value.type == TIMESTAMP:
        if unit not in _MICROS:
            raise call.error(f"{call.name} does not support the {unit} date part when the argument is TIMESTAMP type")
        return Expr(f"bq.add_us({value.sql}, {count} * {_MICROS[unit]})", TIMESTAMP)
    if unit == "WEEK" or (unit == "DAY" and value.type == DATE):
        days = f"CAST({count} * {7 if unit == 'WEEK' else 1} AS INTEGER)"
        moved = f"({value.sql} + {days if value.type == DATE else f'to_days({days})'})"
    elif unit in _MONTHS:
        moved = f"({value.sql} + to_months(CAST({count} * {_MONTHS[unit]} AS INTEGER)))"
        if value.type == DATE:
            moved = f"CAST({moved} AS DATE)"
    elif unit in _MICROS and value.type == DATETIME:
        moved = f"({value.sql} + to_microseconds({count} * {_MICROS[unit]}))"
    else:
        raise call.error(f"{call.name} does not support the {unit} date part when the argument is {value.type} type")
    return Expr(moved, value.type)


@function("DATE_ADD", "DATE_SUB")
def _date_add(call: Call) -> Expr:
    return _add(call, DATE, DATETIME, TIMESTAMP)


@function("DATETIME_ADD", "DATETIME_SUB")
def _datetime_add(call: Call) -> Expr:
    return _add(call, DATETIME)


@function("TIMESTAMP_ADD", "TIMESTAMP_SUB")
def _timestamp_add(call: Call) -> Expr:
    return _add(call, TIMESTAMP)


@function("TIME_ADD", "TIME_SUB")
def _time_add(call: Call) -> Expr:
    return _add(call, TIME)


@function("DATE_DIFF", "DATETIME_DIFF", "TIME_DIFF", "TIMESTAMP_DIFF")
def _diff(call: Call) -> Expr:
    call.expect(3)
    first = call.arg(0)
    name = call.name.removesuffix("_DIFF")
    target = first.type if name == "DATE" and first.type.kind in ("DATETIME", "TIMESTAMP") else Type(name)
    a, b = call.take(0, target).sql, call.take(1, target).sql
    unit, weekday = call.part(2)
    if target == TIMESTAMP:
        if unit not in _MICROS:
            raise call.error(f"TIMESTAMP_DIFF does not support the {unit} date part")
        difference = f"(epoch_us({a}) - epoch_us({b}))"
        return Expr(difference if unit == "MICROSECOND" else f"bq.div({difference}, {_MICROS[unit]})", INT64)
    if target == TIME:
        if unit not in _MICROS or unit == "DAY":
            raise call.error(f"TIME_DIFF does not support the {unit} date part")
        size = _MICROS[unit]
        return Expr(f"(bq.time_us({a}) // {size} - bq.time_us({b}) // {size})", INT64)
    if unit == "WEEK":
        days = f"(bq.week_start({a}, {weekday}) - bq.week_start({b}, {weekday}))"
        return Expr(f"CAST({days} // 7 AS BIGINT)", INT64)
    if unit == "ISOYEAR":
        return Expr(f"CAST(isoyear({a}) - isoyear({b}) AS BIGINT)", INT64)
    if unit not in (*_MONTHS, "DAY") and not (target == DATETIME and unit in _MICROS):
        raise call.error(f"{call.name} does not support the {unit} date part")
    return Expr(f"date_diff('{unit.lower()}', {b}, {a})", INT64)


def _truncated(value: str, unit: str, weekday: int, call: Call) -> str:
    """A DATETIME's (or DATE's) beginning of the unit, as a DuckDB TIMESTAMP."""
    if unit == "WEEK":
        return f"CAST(bq.week_start({value}, {weekday}) AS TIMESTAMP)"
    if unit == "ISOYEAR":
        return f"CAST(bq.isoyear_start({value}) AS TIMESTAMP)"
    if unit in _MICROS or unit in _MONTHS:
        return f"CAST(date_trunc('{unit.lower()}', {value}) AS TIMESTAMP)"
    raise call.error(f"{call.name} does not support the {unit} date part")


@function("DATE_TRUNC", "DATETIME_TRUNC", "TIMESTAMP_TRUNC", "TIME_TRUNC")
def _trunc(call: Call) -> Expr:
    call.expect(2, 3)
    name = call.name.removesuffix("_TRUNC")
    given = call.arg(0)
    flexible = given.type.kind in ("DATE", "DATETIME", "TIMESTAMP") and name != "TIME"
    value = given if flexible else call.take(0, Type(name))
    unit, weekday = call.part(1)
    if value.type == TIME:
        size = _MICROS.get(unit)
        if size is None or unit == "DAY":
            raise call.error(f"TIME_TRUNC does not support the {unit} date part")
        return Expr(f"CAST(make_timestamp(bq.time_us({value.sql}) // {size} * {size}) AS TIME)", TIME)
    if value.type == TIMESTAMP:
        zone = zone_of(call, 2)
        return Expr(absolute(_truncated(local(value.sql, zone), unit, weekday, call), zone), TIMESTAMP)
    if value.type == DATE and unit in _MICROS and unit != "DAY":
        raise call.error(f"DATE_TRUNC does not support the {unit} date part")
    moment = _truncated(value.sql, unit, weekday, call)
    return Expr(f"CAST({moment} AS DATE)" if value.type == DATE else moment, value.type)


@function("LAST_DAY")
def _last_day(call: Call) -> Expr:
    call.expect(1, 2)
    value = call.take(0, DATE, DATETIME)
    unit, weekday = call.part(1) if len(call) > 1 else ("MONTH", 7)
    start = f"CAST({_truncated(value.sql, unit, weekday, call)} AS DATE)"
    if unit == "WEEK":
        return Expr(f"({start} + 6)", DATE)
    if unit == "ISOYEAR":
        return Expr(f"(bq.isoyear_start({start} + 370) - 1)", DATE)
    if unit not in _MONTHS:
        raise call.error(f"LAST_DAY does not support the {unit} date part")
    return Expr(f"CAST({start} + to_months({_MONTHS[unit]}) - to_days(1) AS DATE)", DATE)


# parts


@function("EXTRACT")
def _extract(call: Call) -> Expr:
    source, zone = call.nodes[1], ""
    if isinstance(source, exp.AtTimeZone):
        zone_value = analyze(source.args["zone"], call.scope)
        zone = "" if zone_value.value == "UTC" else zone_value.sql
        source = source.this
    value = analyze(source, call.scope)
    part, weekday = date_part(call.nodes[0], call.scope)
    written = call.nodes[0].name.upper()
    if value.type == INTERVAL:
        if part not in ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "MICROSECOND"):
            raise call.error(f"Unsupported date part {part} for INTERVAL")
        return Expr(f"CAST(date_part('{part.lower()}', {value.sql}) AS BIGINT)", INT64)
    if value.type.kind not in ("DATE", "DATETIME", "TIMESTAMP", "TIME"):
        raise call.error(f"EXTRACT from {value.type} is not supported")
    if zone and value.type != TIMESTAMP:
        raise call.error("EXTRACT with AT TIME ZONE needs a TIMESTAMP")
    moment = local(value.sql, zone) if value.type == TIMESTAMP else value.sql
    if part in ("DATE", "DATETIME", "TIME"):
        if part == "DATETIME":
            return Expr(f"CAST({moment} AS TIMESTAMP)", DATETIME)
        return Expr(f"CAST({moment} AS {part})", Type(part))
    answer = _part(moment, value.type, part, weekday, written)
    if answer is None:
        raise call.error(f"A valid date part name is required but found {written} for {value.type}")
    return Expr(f"CAST({answer} AS BIGINT)", INT64)


def _part(moment: str, type_: Type, part: str, weekday: int, written: str) -> str | None:
    clock = {
        "MICROSECOND": f"(date_part('microsecond', {moment}) % 1000000)",
        "MILLISECOND": f"(date_part('millisecond', {moment}) % 1000)",
        "SECOND": f"floor(date_part('second', {moment}))",
        "MINUTE": f"date_part('minute', {moment})",
        "HOUR": f"date_part('hour', {moment})",
    }
    calendar = {
        "DAYOFWEEK": f"(isodow({moment}) % 7 + 1)",
        "DAY": f"date_part('day', {moment})",
        "DAYOFYEAR": f"dayofyear({moment})",
        "WEEK": f"bq.week_number({moment}, {weekday})",
        "MONTH": f"date_part('month', {moment})",
        "QUARTER": f"date_part('quarter', {moment})",
        "YEAR": f"date_part('year', {moment})",
        "ISOYEAR": f"isoyear({moment})",
    }
    if written == "ISOWEEK":
        return f"weekofyear({moment})"
    if part in clock and type_ != DATE:
        return clock[part]
    return calendar.get(part) if type_ != TIME else None


@function("MAKE_INTERVAL")
def _make_interval(call: Call) -> Expr:
    names = ["year", "month", "day", "hour", "minute", "second"]
    amounts = dict.fromkeys(names, "0::BIGINT")
    for position, node in enumerate(call.nodes):
        keyword = isinstance(node, (exp.Kwarg, exp.PropertyEQ))
        name = node.this.name.lower() if keyword else names[position]
        value = analyze(node.expression if keyword else node, call.scope)
        if name not in amounts or not coercible(value, INT64):
            raise call.mismatch()
        amounts[name] = coerce(value, INT64).sql
    months = f"CAST({amounts['year']} * 12 + {amounts['month']} AS INTEGER)"
    micros = f"{amounts['hour']} * 3600000000 + {amounts['minute']} * 60000000 + {amounts['second']} * 1000000"
    return Expr(
        f"(to_months({months}) + to_days(CAST({amounts['day']} AS INTEGER)) + to_microseconds({micros}))",
        INTERVAL,
    )
