"""Queries as DuckDB SQL: CTEs, set operations, SELECT with its clauses.

FROM is in `from_clause.py`, expressions in `expressions.py`. Every relation's columns are called c1, c2 …
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from ..types import INT64, Type
from .constructors import pack
from .expressions import analyze, condition
from .scope import Column, Relation, Scope, Source
from .values import Expr, coerce, coercible, supertype

_SET_NAMES: dict[type[exp.Expr], str] = {exp.Union: "UNION", exp.Intersect: "INTERSECT", exp.Except: "EXCEPT"}


def subquery(node: exp.Expr, scope: Scope) -> Relation:
    """A query that stands within another and sees its names."""
    return relation(node, scope.child())


def relation(node: exp.Expr, scope: Scope) -> Relation:
    """A query as DuckDB SQL.

    Args:
        node: SELECT, a set operation, or either in parentheses.
        scope: A scope of its own, which gets the query's CTEs.
    """
    with_ = node.args.get("with_") or node.args.get("with")
    prefix = _ctes(with_, scope) if with_ is not None else ""
    if isinstance(node, exp.Select):
        answer = _select(node, scope)
    elif isinstance(node, exp.SetOperation):
        answer = _set_operation(node, scope)
    elif isinstance(node, (exp.Subquery, exp.Paren)):
        inner = relation(node.this, scope.child())
        answer = _ordered(inner, node, scope)
    else:
        raise scope.statement.refuse(f"The query form {node.key.upper()}", node)
    if prefix:
        answer = Relation(f"{prefix} {answer.sql}", answer.columns, answer.value_table, answer.literals)
    return answer


def _ctes(node: exp.Expr, scope: Scope) -> str:
    parts = []
    recursive = bool(node.args.get("recursive"))
    seen: set[str] = set()
    for cte in node.expressions:
        name = cte.alias
        if name.lower() in seen:
            raise scope.statement.error(f"Duplicate alias {name} for WITH subquery", cte)
        seen.add(name.lower())
        physical = scope.statement.fresh("w")
        if recursive and isinstance(cte.this, exp.Union) and _mentions(cte.this.expression, name):
            found = _recursive(cte, physical, name, scope)
        else:
            found = relation(cte.this, scope.child())
        listed = ", ".join(f"c{i}" for i in range(1, len(found.columns) + 1))
        parts.append(f"{physical}({listed}) AS ({found.sql})")
        scope.ctes[name.lower()] = Relation(physical, found.columns, found.value_table)
    return f"WITH {'RECURSIVE ' if recursive else ''}{', '.join(parts)}"


def _mentions(node: exp.Expr, name: str) -> bool:
    return any(t.name.lower() == name.lower() and not t.db for t in node.find_all(exp.Table))


def _recursive(cte: exp.Expr, physical: str, name: str, scope: Scope) -> Relation:
    first = relation(cte.this.this, scope.child())
    inner = scope.child()
    inner.ctes[name.lower()] = Relation(physical, first.columns, first.value_table)
    again = relation(cte.this.expression, inner)
    if len(again.columns) != len(first.columns):
        raise scope.statement.error("Queries in UNION ALL have mismatched column count", cte)
    fitted = _fit(again, [type_ for _, type_ in first.columns], "UNION ALL", cte, scope)
    word = "UNION" if cte.this.args.get("distinct") else "UNION ALL"
    return Relation(f"({first.sql}) {word} ({fitted})", first.columns)


# set operations


def _set_operation(node: exp.SetOperation, scope: Scope) -> Relation:
    word = _SET_NAMES[type(node)]
    distinct = node.args.get("distinct")
    if distinct is None and word == "UNION":
        raise scope.statement.error("Syntax error: Expected keyword ALL or keyword DISTINCT", node)
    if node.args.get("by_name") or node.args.get("side") or node.args.get("kind"):
        raise scope.statement.refuse(f"{word} BY NAME or CORRESPONDING", node)
    left, right = relation(node.this, scope.child()), relation(node.expression, scope.child())
    shown = f"{word} {'DISTINCT' if distinct else 'ALL'}"
    if len(left.columns) != len(right.columns):
        raise scope.statement.error(
            f"Queries in {shown} have mismatched column count; query 1 has {len(left.columns)} columns, "
            f"query 2 has {len(right.columns)} columns",
            node,
        )
    types = []
    pairs = zip(left.columns, right.columns, strict=True)
    for position, ((_, a), (_, b)) in enumerate(pairs, 1):
        target = supertype([_candidate(left, position), _candidate(right, position)])
        if target is None:
            raise scope.statement.error(f"Column {position} in {shown} has incompatible types: {a}, {b}", node)
        types.append(INT64 if target.kind == "NULL" else target)
    sides = [_fit(side, types, shown, node, scope) for side in (left, right)]
    columns = [(name, type_) for (name, _), type_ in zip(left.columns, types, strict=True)]
    sql = f"({sides[0]}) {word}{'' if distinct else ' ALL'} ({sides[1]})"
    nulls = {i: t for i, t in left.literals.items() if t.kind == "NULL" and right.literals.get(i) == t}
    return _ordered(Relation(sql, columns, left.value_table, nulls), node, scope)


def _candidate(side: Relation, position: int) -> Expr:
    """A column of a set operation's side: a literal, and a bare NULL above all, coerces further."""
    literal = side.literals.get(position)
    return Expr("", literal or side.columns[position - 1][1], literal is not None)


def _fit(side: Relation, types: Sequence[Type], shown: str, node: exp.Expr, scope: Scope) -> str:
    if [t for _, t in side.columns] == list(types):
        return side.sql
    name = scope.statement.fresh("q")
    listed = []
    for position, ((_, given), wanted) in enumerate(zip(side.columns, types, strict=True), 1):
        value = Expr(f"{name}.c{position}", side.literals.get(position, given), True)
        if not coercible(value, wanted):
            raise scope.statement.error(f"Column {position} in {shown} has incompatible types: {given}, {wanted}", node)
        listed.append(f"{coerce(value, wanted).sql} AS c{position}")
    return f"SELECT {', '.join(listed)} FROM ({side.sql}) {name}"


def _ordered(inner: Relation, node: exp.Expr, scope: Scope) -> Relation:
    """ORDER BY, LIMIT and OFFSET after a set operation or parentheses."""
    order, limit = node.args.get("order"), _limit(node, scope)
    if order is None and not limit:
        return inner
    name = scope.statement.fresh("q")
    source = output_source(name, inner, "")
    inside = scope.child(sources=[source])
    keys = []
    for item in order.expressions if order is not None else ():
        keys.append(_key(item, _ordinal(item.this, source.columns, scope) or analyze(item.this, inside)))
    by = f" ORDER BY {', '.join(keys)}" if keys else ""
    return Relation(f"SELECT * FROM ({inner.sql}) {name}{by}{limit}", inner.columns, inner.value_table, inner.literals)


def output_source(physical: str, inner: Relation, alias: str) -> Source:
    """A relation as something to select from, `physical` being its name in DuckDB."""
    columns = [
        Column(name, Expr(f"{physical}.c{position}", type_)) for position, (name, type_) in enumerate(inner.columns, 1)
    ]
    if not inner.value_table:
        return Source(alias, columns)
    row = columns[0].expr
    if row.type.kind != "STRUCT":
        return Source(alias, [Column(alias, row)], row)
    from .values import field_access

    pairs = zip(row.type.fields, row.type.named_fields(), strict=True)
    fields = [Column(given, field_access(row, physical_, t)) for (given, _), (physical_, t) in pairs]
    return Source(alias, fields, row)


def _ordinal(node: exp.Expr, columns: Sequence[Column], scope: Scope) -> Expr | None:
    if isinstance(node, exp.Literal) and not node.is_string and str(node.this).isdigit():
        position = int(str(node.this))
        if not 1 <= position <= len(columns):
            raise scope.statement.error(
                f"ORDER BY column number item is out of range: {position}. "
                f"Numbers must be between 1 and {len(columns)}, the number of items in the SELECT list",
                node,
            )
        return columns[position - 1].expr
    return None


def _key(item: exp.Expr, value: Expr, *, plain: bool = False) -> str:
    descending = bool(item.args.get("desc"))
    nulls = "FIRST" if item.args.get("nulls_first") else "LAST"
    direction = "DESC" if descending else "ASC"
    key = f"{value.sql} {direction} NULLS {nulls}"
    if value.type.kind == "FLOAT64" and not plain and value.value is None:
        # NaN comes before all numbers; DuckDB has it after them.
        key = f"isnan({value.sql}) {'ASC' if descending else 'DESC'} NULLS {nulls}, {key}"
    return key


def order_keys(items: Sequence[exp.Expr], scope: Scope, *, plain: bool = False) -> str:
    """`ORDER BY …` of a window or an aggregate; `plain` where DuckDB wants one key (RANGE frames)."""
    keys = []
    for item in items:
        value = analyze(item.this, scope)
        if value.type.element is not None or value.type.kind in ("STRUCT", "JSON", "GEOGRAPHY"):
            raise scope.statement.error(f"ORDER BY does not support expressions of type {value.type}", item)
        keys.append(_key(item, value, plain=plain))
    return f"ORDER BY {', '.join(keys)}"


def _limit(node: exp.Expr, scope: Scope) -> str:
    answer = ""
    for word, key in (("LIMIT", "limit"), ("OFFSET", "offset")):
        clause = node.args.get(key)
        if clause is None:
            continue
        value = analyze(clause.expression, scope)
        if not isinstance(value.value, int) or value.value < 0:
            raise scope.statement.error(f"{word} expects a non-negative integer literal or parameter", clause)
        if not isinstance(clause.expression, exp.Literal):
            scope.statement.cacheable = False
        answer += f" {word} {value.value}"
    return answer


# SELECT


@dataclass(slots=True)
class _Item:
    name: str
    expr: Expr


def _select(node: exp.Select, outer: Scope) -> Relation:
    from .from_clause import from_clause

    scope = outer.child()
    statement = scope.statement
    from_sql = from_clause(node, scope)
    for window in node.args.get("windows") or ():
        scope.windows[window.name.lower()] = window
    if node.args.get("laterals") or node.args.get("connect") or node.args.get("match"):
        raise statement.refuse("This clause of SELECT", node)
    where = node.args.get("where")
    where_sql = f" WHERE {condition(where.this, scope, 'WHERE clause')}" if where is not None else ""
    items = _items(node, scope)
    if not items:
        raise statement.error("SELECT list is empty", node)
    kind = str(node.args.get("kind") or "").upper()
    value_table = bool(kind)
    if kind == "STRUCT":
        items = [_Item("", pack([(i.name, i.expr.type) for i in items], [i.expr for i in items]))]
    elif kind == "VALUE" and len(items) != 1:
        raise statement.error("SELECT AS VALUE query must have exactly one column", node)
    literals = {i: item.expr.type for i, item in enumerate(items, 1) if item.expr.constant}
    items = [_typed(item) for item in items]
    columns = [(item.name, item.expr.type) for item in items]
    aliases = {item.name.lower(): item.expr for item in items if item.name}
    named = scope.child(aliases=aliases, windows=scope.windows)
    group = _group(node, items, scope)
    having, qualify = node.args.get("having"), node.args.get("qualify")
    having_sql = f" HAVING {condition(having.this, named, 'HAVING clause')}" if having is not None else ""
    qualify_sql = f" QUALIFY {condition(qualify.this, named, 'QUALIFY clause')}" if qualify is not None else ""
    distinct = "DISTINCT " if node.args.get("distinct") is not None else ""
    if distinct:
        _distinct_types(node, columns, scope)
    listed = ", ".join(f"{item.expr.sql} AS c{i}" for i, item in enumerate(items, 1))
    sql = f"SELECT {distinct}{listed}{from_sql}{where_sql}{group}{having_sql}{qualify_sql}"
    return _finish(node, scope, Relation(sql, columns, value_table, literals), items, bool(distinct))


def _typed(item: _Item) -> _Item:
    """A bare NULL is an INT64 once it is a column."""
    return _Item(item.name, coerce(item.expr, INT64)) if item.expr.type.kind == "NULL" else item


def _distinct_types(node: exp.Expr, columns: Sequence[tuple[str, Type]], scope: Scope) -> None:
    for name, type_ in columns:
        if type_.kind in ("JSON", "GEOGRAPHY"):
            raise scope.statement.error(f"Column {name} of type {type_} cannot be used in SELECT DISTINCT", node)


def _finish(node: exp.Select, scope: Scope, inner: Relation, items: Sequence[_Item], distinct: bool) -> Relation:
    order, limit = node.args.get("order"), _limit(node, scope)
    if order is None:
        return Relation(inner.sql + limit, inner.columns, inner.value_table, inner.literals)
    name = scope.statement.fresh("q") if distinct else ""
    prefix = f"{name}." if name else ""
    outputs = [Expr(f"{prefix}c{i}", item.expr.type) for i, item in enumerate(items, 1)]
    aliases = {item.name.lower(): out for item, out in zip(items, outputs, strict=True) if item.name}
    named = scope.child(aliases=aliases, windows=scope.windows)
    columns = [Column(item.name, out) for item, out in zip(items, outputs, strict=True)]
    keys = []
    for item in order.expressions:
        value = _ordinal(item.this, columns, scope) or analyze(item.this, named)
        if distinct:
            same = [out for i, out in zip(items, outputs, strict=True) if i.expr.sql == value.sql]
            if same:
                value = same[0]
            elif not value.sql.startswith(prefix):
                raise scope.statement.error(
                    "ORDER BY clause expression references a column which is not visible after SELECT DISTINCT",
                    item,
                )
        if value.type.element is not None or value.type.kind in ("STRUCT", "JSON", "GEOGRAPHY"):
            raise scope.statement.error(f"ORDER BY does not support expressions of type {value.type}", item)
        keys.append(_key(item, value))
    by = f" ORDER BY {', '.join(keys)}"
    if distinct:
        return Relation(
            f"SELECT * FROM ({inner.sql}) {name}{by}{limit}", inner.columns, inner.value_table, inner.literals
        )
    return Relation(f"{inner.sql}{by}{limit}", inner.columns, inner.value_table, inner.literals)


def _group(node: exp.Select, items: Sequence[_Item], scope: Scope) -> str:
    group = node.args.get("group")
    if group is None:
        return ""
    if group.args.get("all"):
        return " GROUP BY ALL"
    aliases = {item.name.lower(): item.expr for item in items if item.name}

    def one(part: exp.Expr) -> str:
        if isinstance(part, exp.Rollup):
            return f"ROLLUP ({', '.join(map(one, part.expressions))})"
        if isinstance(part, exp.Cube):
            return f"CUBE ({', '.join(map(one, part.expressions))})"
        if isinstance(part, exp.GroupingSets):
            return f"GROUPING SETS ({', '.join(map(one, part.expressions))})"
        if isinstance(part, exp.Tuple):
            return f"({', '.join(map(one, part.expressions))})"
        if isinstance(part, exp.Literal) and not part.is_string:
            position = int(str(part.this))
            if not 1 <= position <= len(items):
                raise scope.statement.error(
                    f"GROUP BY column number item is out of range: {position}. "
                    f"Numbers must be between 1 and {len(items)}, the number of items in the SELECT list",
                    part,
                )
            value = items[position - 1].expr
        elif isinstance(part, exp.Column) and len(part.parts) == 1 and part.name.lower() in aliases:
            value = aliases[part.name.lower()]
        else:
            value = analyze(part, scope)
        if value.type.element is not None or value.type.kind in ("JSON", "GEOGRAPHY"):
            raise scope.statement.error(f"Grouping by expressions of type {value.type.kind} is not allowed", part)
        return value.sql

    parts = [one(part) for part in group.expressions]
    for key in ("rollup", "cube", "grouping_sets"):
        for part in group.args.get(key) or ():
            parts.append(one(part))
    return f" GROUP BY {', '.join(parts)}"


def _items(node: exp.Select, scope: Scope) -> list[_Item]:
    items: list[_Item] = []
    for part in node.expressions:
        star = _star_of(part)
        if star is not None:
            items += _star(part, star, scope)
        elif isinstance(part, exp.Alias):
            items.append(_Item(part.alias, analyze(part.this, scope)))
        elif isinstance(part, exp.Aliases):
            raise scope.statement.refuse("Several aliases of one expression", part)
        else:
            items.append(_Item(_implied(part), analyze(part, scope)))
    return items


def _implied(node: exp.Expr) -> str:
    if isinstance(node, exp.Column):
        return node.name
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        return node.expression.name
    return ""


def _star_of(node: exp.Expr) -> exp.Star | None:
    if isinstance(node, exp.Star):
        return node
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
        return node.this
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Star):
        return node.expression
    return None


def _star(part: exp.Expr, star: exp.Star, scope: Scope) -> list[_Item]:
    statement = scope.statement
    if isinstance(part, exp.Star):
        if not scope.sources:
            raise statement.error("SELECT * must have a FROM clause", part)
        items = [_Item(name, expr) for name, expr in everything(scope)]
    elif isinstance(part, exp.Dot):
        items = _fields_of(analyze(part.this, scope), part, scope)
    else:
        assert isinstance(part, exp.Column)
        path = [p.name for p in part.parts[:-1]]
        source = next((s for s in scope.sources if s.name.lower() == path[0].lower()), None)
        if source is not None and len(path) == 1:
            items = [_Item(c.name, c.expr) for c in source.columns if not c.hidden]
        else:
            items = _fields_of(scope.resolve(path, part), part, scope)
    names = {item.name.lower() for item in items}
    left_out = {_name(e).lower() for e in star.args.get("except_") or star.args.get("except") or ()}
    for name in left_out - names:
        raise statement.error(f"Column {name} in SELECT * EXCEPT list does not exist", part)
    items = [item for item in items if item.name.lower() not in left_out]
    for alias in star.args.get("replace") or ():
        wanted = alias.alias.lower()
        if wanted not in names:
            raise statement.error(f"Column {alias.alias} in SELECT * REPLACE list does not exist", part)
        value = analyze(alias.this, scope)
        items = [_Item(i.name, value) if i.name.lower() == wanted else i for i in items]
    if not items:
        raise statement.error("SELECT * expands to zero columns after applying EXCEPT", part)
    return items


def _name(node: exp.Expr) -> str:
    return str(node.name)


def _fields_of(value: Expr, node: exp.Expr, scope: Scope) -> list[_Item]:
    if value.type.kind != "STRUCT":
        raise scope.statement.error(f"Dot-star is not supported for type {value.type}", node)
    from .values import field_access

    pairs = zip(value.type.fields, value.type.named_fields(), strict=True)
    return [_Item(given, field_access(value, physical, type_)) for (given, _), (physical, type_) in pairs]


def everything(scope: Scope) -> list[tuple[str, Expr]]:
    """The columns of `*`: those of USING once and first."""
    answer = [(name, expr) for name, expr in scope.merged.items()]
    names: dict[str, str] = {}
    for source in scope.sources:
        for column in source.columns:
            if column.hidden:
                continue
            if column.name.lower() in scope.merged and column.expr.sql in scope.merged_from:
                names.setdefault(column.name.lower(), column.name)
                continue
            answer.append((column.name, column.expr))
    return [(names.get(name, name), expr) for name, expr in answer]
