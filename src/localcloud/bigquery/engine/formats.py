"""Texts of dates and numbers: FORMAT_DATE and its kin, PARSE_DATE and its kin, CAST … FORMAT, FORMAT().

https://cloud.google.com/bigquery/docs/reference/standard-sql/format-elements lists the elements.
"""

from __future__ import annotations

import re

from sqlglot import exp

from ..types import DATE, DATETIME, FLOAT64, INT64, STRING, TIME, TIMESTAMP, Type
from .calls import Call, function
from .values import Expr, coerce, text_sql

# Elements that DuckDB's strftime has with the same meaning.
_SAME = set("aAbBdHIjmMpSuUVWyYG")
_REWRITTEN = {
    "F": "%Y-%m-%d", "T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y", "x": "%m/%d/%y", "X": "%H:%M:%S",
    "c": "%a %b %e %H:%M:%S %Y", "h": "%b", "n": "\n", "t": "\t", "r": "%I:%M:%S %p",
}  # fmt: skip
_EXPRESSIONS = {
    "e": "lpad(CAST(day({0}) AS VARCHAR), 2, ' ')",
    "k": "lpad(CAST(hour({0}) AS VARCHAR), 2, ' ')",
    "l": "lpad(CAST((hour({0}) + 11) % 12 + 1 AS VARCHAR), 2, ' ')",
    "C": "lpad(CAST(year({0}) // 100 AS VARCHAR), 2, '0')",
    "g": "lpad(CAST(isoyear({0}) % 100 AS VARCHAR), 2, '0')",
    "P": "lower(strftime({0}, '%p'))",
    "Q": "CAST(quarter({0}) AS VARCHAR)",
    "s": "CAST(bq.floor_div(epoch_us({0}), 1000000) AS VARCHAR)",
    "w": "CAST(isodow({0}) % 7 AS VARCHAR)",
    "J": "lpad(CAST(CAST(CAST({0} AS DATE) - bq.isoyear_start({0}) AS BIGINT) + 1 AS VARCHAR), 3, '0')",
}
_ELEMENT = re.compile(r"%(E(?:[1-6]|\*)S|E4Y|Ez|.)", re.DOTALL)


def formatted(moment: str, format_: str, zone: str, call: Call) -> str:
    """The DuckDB expression of a moment (a DuckDB TIMESTAMP) in a format of FORMAT_TIMESTAMP."""
    for short, long in (("%c", _REWRITTEN["c"]),):
        format_ = format_.replace(short, long)
    pieces: list[str] = []
    plain = ""

    def flush() -> None:
        nonlocal plain
        if plain:
            pieces.append(f"strftime({moment}, {text_sql(plain)})")
            plain = ""

    position = 0
    for match in _ELEMENT.finditer(format_):
        plain += format_[position : match.start()].replace("%", "%%")
        position = match.end()
        element = match[1]
        if element in _SAME:
            plain += f"%{element}"
        elif element in _REWRITTEN:
            plain += _REWRITTEN[element]
        elif element == "%":
            plain += "%%"
        elif element == "E4Y":
            plain += "%Y"
        elif element in ("z", "Z", "Ez"):
            flush()
            pieces.append(_offset(moment, zone, element))
        elif element in _EXPRESSIONS:
            flush()
            pieces.append(_EXPRESSIONS[element].format(moment))
        elif element.startswith("E"):
            plain += "%S"
            flush()
            digits = element[1:-1]
            micros = f"((epoch_us({moment}) % 1000000 + 1000000) % 1000000)"
            padded = f"lpad(CAST({micros} AS VARCHAR), 6, '0')"
            if digits == "*":
                pieces.append(f"rtrim(rtrim('.' || {padded}, '0'), '.')")
            else:
                pieces.append(f"'.' || left({padded}, {digits})")
        else:
            raise call.scope.statement.refuse(f"The format element %{element}", call.node)
    plain += format_[position:].replace("%", "%%")
    flush()
    return f"({' || '.join(pieces)})" if pieces else "''"


def _offset(moment: str, zone: str, element: str) -> str:
    if not zone:
        return {"z": "'+0000'", "Ez": "'+00:00'", "Z": "'UTC'"}[element]
    minutes = f"((epoch_us({moment}) - epoch_us(timezone({zone}, {moment}))) // 60000000)"
    size = f"abs({minutes})"
    sign = f"CASE WHEN {minutes} < 0 THEN '-' ELSE '+' END"
    colon = " || ':'" if element == "Ez" else ""
    hours = f"lpad(CAST({size} // 60 AS VARCHAR), 2, '0'){colon}"
    rest = f"lpad(CAST({size} % 60 AS VARCHAR), 2, '0')"
    if element == "Z":
        return f"('UTC' || {sign} || CAST({size} // 60 AS VARCHAR))"
    return f"({sign} || {hours} || {rest})"


@function("FORMAT_DATE", "FORMAT_DATETIME", "FORMAT_TIME", "FORMAT_TIMESTAMP")
def _format(call: Call) -> Expr:
    from .functions_dates import local, zone_of

    call.expect(2, 3 if call.name == "FORMAT_TIMESTAMP" else 2)
    target = Type(call.name.removeprefix("FORMAT_"))
    given = call.arg(1)
    if target == DATE and given.type.kind in ("DATETIME", "TIMESTAMP"):
        target = given.type
    if target == DATETIME and given.type == TIMESTAMP:
        raise call.mismatch()
    value = call.take(1, target)
    format_ = call.constant_text(0)
    zone = ""
    moment = value.sql
    if target == TIMESTAMP:
        zone = zone_of(call, 2)
        moment = local(value.sql, zone)
    elif target == DATE:
        moment = f"CAST({value.sql} AS TIMESTAMP)"
    elif target == TIME:
        moment = f"(DATE '1970-01-01' + {value.sql})"
    return Expr(formatted(moment, format_, zone, call), STRING)


# parsing

_PARSED = {
    "F": "%Y-%m-%d", "T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y", "x": "%m/%d/%y", "X": "%H:%M:%S",
    "e": "%-d", "k": "%-H", "l": "%-I", "h": "%b", "d": "%-d", "m": "%-m", "H": "%-H", "I": "%-I", "M": "%-M",
    "j": "%-j", "E4Y": "%Y", "n": " ", "t": " ", "Ez": "%z", "P": "%p", "r": "%I:%M:%S %p",
    "c": "%a %b %-d %H:%M:%S %Y",
}  # fmt: skip
_PARSED_SAME = set("aAbBpSyYzZuwUW%")


def _parse_formats(format_: str, call: Call) -> list[str]:
    """strptime formats of DuckDB for one of BigQuery's: two where a fraction of a second may be missing."""
    answers = [""]
    position = 0
    for match in _ELEMENT.finditer(format_):
        between = format_[position : match.start()]
        position = match.end()
        element = match[1]
        if element in _PARSED:
            choices = [_PARSED[element]]
        elif element in _PARSED_SAME:
            choices = [f"%{element}"]
        elif element.startswith("E") and element.endswith("S"):
            choices = ["%S.%f", "%S"]
        else:
            raise call.scope.statement.refuse(f"The format element %{element} in {call.name}", call.node)
        answers = [a + between + c for a in answers for c in choices]
    return [a + format_[position:] for a in answers]


@function("PARSE_DATE", "PARSE_DATETIME", "PARSE_TIME", "PARSE_TIMESTAMP")
def _parse(call: Call) -> Expr:
    from .functions_dates import absolute, zone_of

    call.expect(2, 3 if call.name == "PARSE_TIMESTAMP" else 2)
    value = call.take(1, STRING)
    format_ = call.constant_text(0)
    target = Type(call.name.removeprefix("PARSE_"))
    epoch = re.fullmatch(r"%s", format_)
    if epoch and target == TIMESTAMP:
        return Expr(f"make_timestamptz(bq.parse_int64({value.sql}) * 1000000)", TIMESTAMP)
    formats = _parse_formats(format_, call)
    listed = text_sql(formats[0]) if len(formats) == 1 else f"[{', '.join(map(text_sql, formats))}]"
    if "%Y" not in formats[0] and "%y" not in formats[0]:
        # Parts that are not given are those of 1970-01-01; DuckDB takes 1900.
        listed = f"[{', '.join(text_sql('%Y|' + f) for f in formats)}]"
        value = Expr(f"('1970|' || {value.sql})", STRING)
        moment = f"bq.strptime({value.sql}, {listed})"
    else:
        moment = f"bq.strptime(trim({value.sql}), {listed})"
    if target == TIMESTAMP:
        zoned = "%z" in formats[0] or "%Z" in formats[0]
        if zoned:
            # With an offset in the text DuckDB gives the moment itself.
            return Expr(f"bq.stamp(bq.utc(CAST({moment} AS TIMESTAMPTZ)))", TIMESTAMP)
        return Expr(absolute(moment, zone_of(call, 2)), TIMESTAMP)
    return Expr(moment if target == DATETIME else f"CAST({moment} AS {target.kind})", target)


# CAST … FORMAT

_CAST_ELEMENTS = (
    ("YYYY", "%Y"), ("RRRR", "%Y"), ("YY", "%y"), ("MONTH", "%B"), ("MON", "%b"), ("MM", "%m"), ("DDD", "%j"),
    ("DD", "%d"), ("DAY", "%A"), ("DY", "%a"), ("HH24", "%H"), ("HH12", "%I"), ("HH", "%I"), ("MI", "%M"),
    ("SSSSS", ""), ("SS", "%S"), ("A.M.", "%p"), ("P.M.", "%p"), ("AM", "%p"), ("PM", "%p"), ("TZH", "%z"),
    ("FF6", "%E6S"), ("FF3", "%E3S"), ("D", ""), ("Q", "%Q"), ("WW", ""),
)  # fmt: skip


def _strftime(format_: str, call: Call) -> tuple[str, list[str]]:
    """A format of CAST … FORMAT as one of FORMAT_TIMESTAMP, and the elements in it."""
    answer, rest, found = "", format_, []
    while rest:
        if rest.startswith('"'):
            end = rest.find('"', 1)
            answer += rest[1:end]
            rest = rest[end + 1 :]
            continue
        upper = rest.upper()
        element = next(((name, made) for name, made in _CAST_ELEMENTS if upper.startswith(name)), None)
        if element is None:
            if rest[0].isalpha():
                raise call.error(f"Invalid or unsupported format element: '{rest[:4]}'")
            answer += rest[0]
            rest = rest[1:]
            continue
        name, made = element
        if not made or made.startswith("%E"):
            raise call.scope.statement.refuse(f"The format element {name} of CAST", call.node)
        found.append(rest[: len(name)])
        answer += made
        rest = rest[len(name) :]
    return answer, found


def cast_format(value: Expr, target: Type, format_: exp.Expr, zone: exp.Expr | None, call: Call) -> Expr:
    """CAST(value AS target FORMAT …)."""
    from .functions_dates import absolute, local

    given = call.constant_text(0)
    zone_sql = ""
    if zone is not None:
        zone_value = call.analyze(zone, call.scope)
        zone_sql = "" if zone_value.value == "UTC" else zone_value.sql
    if target == STRING and value.type.kind in ("DATE", "DATETIME", "TIMESTAMP", "TIME"):
        pattern, names = _strftime(given, call)
        moment = value.sql
        if value.type == TIMESTAMP:
            moment = local(moment, zone_sql)
        elif value.type == TIME:
            moment = f"(DATE '1970-01-01' + {moment})"
        else:
            moment = f"CAST({moment} AS TIMESTAMP)"
        answer = formatted(moment, pattern, zone_sql, call)
        worded = [n for n in names if n.upper() in ("MON", "MONTH", "DAY", "DY")]
        if worded and all(n.isupper() for n in worded):
            answer = f"upper({answer})"
        elif worded and all(n.islower() for n in worded):
            answer = f"lower({answer})"
        return Expr(answer, STRING)
    if value.type == STRING and target.kind in ("DATE", "DATETIME", "TIMESTAMP", "TIME"):
        pattern, _ = _strftime(given, call)
        moment = f"bq.strptime({value.sql}, {text_sql(pattern)})"
        if target == TIMESTAMP:
            return Expr(absolute(moment, zone_sql), TIMESTAMP)
        return Expr(moment if target == DATETIME else f"CAST({moment} AS {target.kind})", target)
    raise call.scope.statement.refuse(f"CAST from {value.type} to {target} with FORMAT '{given}'", call.node)


# FORMAT()

_PRINTF = re.compile(r"%(?P<flags>[-+ #0']*)(?P<width>\d+|\*)?(?:\.(?P<precision>\d+|\*))?(?P<kind>[a-zA-Z%])")


@function("FORMAT")
def _printf(call: Call) -> Expr:
    call.expect(1, 1000)
    format_ = call.constant_text(0)
    pieces: list[str] = []
    position, index = 0, 1
    for match in _PRINTF.finditer(format_):
        if match.start() > position:
            pieces.append(text_sql(format_[position : match.start()]))
        position = match.end()
        if match["kind"] == "%":
            pieces.append("'%'")
            continue
        if "*" in (match["width"], match["precision"]):
            raise call.scope.statement.refuse("A width or precision of * in FORMAT", call.node)
        if index >= len(call):
            raise call.error("Too few arguments to FORMAT for pattern")
        pieces.append(_specifier(match, call, index))
        index += 1
    if index < len(call):
        raise call.error("Too many arguments to FORMAT for pattern")
    if position < len(format_):
        pieces.append(text_sql(format_[position:]))
    return Expr(f"({' || '.join(pieces)})" if pieces else "''", STRING)


def _specifier(match: re.Match[str], call: Call, index: int) -> str:
    from .json_text import json_text

    kind, flags, width = match["kind"], match["flags"], match["width"] or ""
    value = call.arg(index)
    if kind in "diuxXo":
        value = call.take(index, INT64)
        spec = f"%{flags.replace(chr(39), '')}{width}{'d' if kind in 'diu' else kind}"
        if "'" in flags:
            return f"replace(format('{{:,}}', {value.sql}), '_', ',')"
        return f"printf({text_sql(spec)}, {value.sql})"
    if kind in "fFeEgG":
        value = coerce(call.take(index, FLOAT64), FLOAT64)
        precision = match["precision"] if match["precision"] is not None else "6"
        if "'" in flags:
            return f"format('{{:,.{precision}f}}', {value.sql})"
        return f"printf({text_sql(f'%{flags}{width}.{precision}{kind}')}, {value.sql})"
    if kind in "tT":
        made = _generic(value, kind)
    elif kind == "s":
        made = coerce(call.take(index, STRING), STRING).sql
        if match["precision"]:
            made = f"left({made}, {match['precision']})"
    elif kind in "pP":
        made = json_text(value)
    else:
        raise call.scope.statement.refuse(f"The FORMAT specifier %{kind}", call.node)
    if width:
        side = "rpad" if "-" in flags else "lpad"
        made = f"{side}({made}, greatest({width}, length({made})), ' ')"
    return made


def _generic(value: Expr, kind: str) -> str:
    """%t is the value as a text, %T as a literal of it."""
    from .casts import cast

    if value.type.element is not None:
        inner = _generic(Expr("e", value.type.element), kind)
        return f"'[' || array_to_string(list_transform({value.sql}, lambda e: coalesce({inner}, 'NULL')), ', ') || ']'"
    if value.type.kind == "STRUCT":
        from .values import field_access

        parts = [f"coalesce({_generic(field_access(value, n, t), kind)}, 'NULL')" for n, t in value.type.named_fields()]
        return "'(' || " + " || ', ' || ".join(parts) + " || ')'"
    text = cast(value, STRING)
    answer = text.sql if text is not None else f"CAST({value.sql} AS VARCHAR)"
    if kind == "T":
        quoted = value.type.kind
        if quoted == "STRING":
            answer = f"'\"' || replace(replace({value.sql}, '\\', '\\\\'), '\"', '\\\"') || '\"'"
        elif quoted in ("DATE", "DATETIME", "TIMESTAMP", "TIME", "NUMERIC", "BIGNUMERIC"):
            answer = f"'{quoted} \"' || {answer} || '\"'"
        elif quoted == "FLOAT64":
            whole = f"{value.sql} = trunc({value.sql}) AND abs({value.sql}) < 1e15"
            answer = f"CASE WHEN {whole} THEN {answer} || '.0' ELSE {answer} END"
    return f"coalesce({answer}, 'NULL')"
