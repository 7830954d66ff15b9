"""FROM: tables, subqueries, UNNEST, joins, PIVOT and UNPIVOT, and the names they bring into scope."""

from __future__ import annotations

from sqlglot import exp

from ..storage import literal
from ..types import BOOL, INT64, Type
from .expressions import analyze, condition
from .operators import compare
from .query import output_source, relation, subquery
from .scope import Column, Relation, Scope, Source
from .values import Expr, coerce, field_access, supertype


def from_clause(node: exp.Select, scope: Scope) -> str:
    """` FROM …` of a SELECT, its sources added to the scope; "" without one."""
    from_ = node.args.get("from_") or node.args.get("from")
    if from_ is None:
        return ""
    sql, source = item(from_.this, scope, lateral=False)
    scope.sources.append(source)
    for nested in from_.this.args.get("joins") or ():
        sql = join(sql, nested, scope)
    for each in node.args.get("joins") or ():
        sql = join(sql, each, scope)
    sample = node.args.get("sample")
    if sample is not None:
        percent = sample.args.get("percent")
        if percent is None:
            raise scope.statement.refuse("This form of TABLESAMPLE", sample)
        sql += f" TABLESAMPLE system({float(str(percent.this))}%)"
    return f" FROM {sql}"


def item(node: exp.Expr, scope: Scope, *, lateral: bool) -> tuple[str, Source]:
    """One thing to select from: its DuckDB SQL and what it is called."""
    if isinstance(node, exp.Unnest):
        return _unnest(node, scope, lateral)
    physical = scope.statement.fresh("s")
    alias = node.args.get("alias")
    name = alias.name if alias is not None else ""
    if isinstance(node, exp.Subquery):
        if isinstance(node.this, exp.Table):
            return _parenthesized(node, scope)
        found = subquery(node.this, _outside(scope))
        if node.args.get("order") is not None or node.args.get("limit") is not None:
            found = relation(node, _outside(scope).child())
        source = output_source(physical, found, name)
        sql = f"({found.sql}) {physical}"
    elif isinstance(node, exp.Table):
        path_array = _correlated(node, scope)
        if path_array is not None:
            unnest = exp.Unnest(expressions=[path_array], alias=node.args.get("alias"))
            return _unnest(unnest, scope, True, fallback=name or node.name)
        sql, source = _table(node, scope, physical, name)
    else:
        raise scope.statement.refuse(f"{node.key.upper()} in FROM", node)
    for pivot in node.args.get("pivots") or ():
        sql, source = _pivoted(sql, source, pivot, scope)
    return sql, source


def _outside(scope: Scope) -> Scope:
    """A subquery in FROM sees what is around the SELECT, not the sources beside it."""
    return scope.parent if scope.parent is not None else scope


def _table(node: exp.Table, scope: Scope, physical: str, name: str) -> tuple[str, Source]:
    statement = scope.statement
    if isinstance(node.this, (exp.Anonymous, exp.Func)):
        raise statement.refuse(f"The table function {node.this.name.upper() or node.this.key.upper()}", node)
    if node.args.get("version") is not None or node.args.get("when") is not None:
        raise statement.refuse("FOR SYSTEM_TIME AS OF", node)
    path = [part.name for part in node.parts]
    if len(path) == 1:
        cte = scope.cte(path[0])
        if cte is not None:
            return f"{cte.sql} {physical}", output_source(physical, cte, name or path[0])
    found = statement.environment.table(path, statement, node)
    shown = name or path[-1].split(".")[-1]
    if isinstance(found, Relation):
        return f"({found.sql}) {physical}", output_source(physical, found, shown)
    columns = [
        Column(c.name, Expr(c.expr.sql.replace("{source}", physical), c.expr.type), c.hidden) for c in found.columns
    ]
    return f"{found.name} {physical}", Source(shown, columns)


def _correlated(node: exp.Table, scope: Scope) -> exp.Expr | None:
    """`FROM t.items` where t is a source: the array, as an expression."""
    parts = node.parts
    if len(parts) < 2 or node.meta.get("quoted_table"):
        return None
    around: Scope | None = scope
    while around is not None:
        if any(s.name.lower() == parts[0].name.lower() for s in around.sources):
            return exp.Column(**dict(zip(("this", "table", "db", "catalog"), reversed(parts), strict=False)))
        around = None if around.barrier else around.parent
    return None


def _parenthesized(node: exp.Subquery, scope: Scope) -> tuple[str, Source]:
    """`(a JOIN b …)`: only its columns are seen, all under their own names."""
    inner = scope.child()
    inner.sources = []
    sql, source = item(node.this, inner, lateral=False)
    inner.sources.append(source)
    joins = [*(node.this.args.get("joins") or ()), *(node.args.get("joins") or ())]
    for each in joins:
        sql = join(sql, each, inner)
    scope.sources.extend(inner.sources[:-1])
    scope.merged.update(inner.merged)
    scope.merged_from |= inner.merged_from
    return f"({sql})" if joins else sql, inner.sources[-1]


def _unnest(node: exp.Unnest, scope: Scope, lateral: bool, fallback: str = "") -> tuple[str, Source]:
    if len(node.expressions) != 1:
        raise scope.statement.refuse("UNNEST of several arrays", node)
    value = analyze(node.expressions[0], scope)
    element = value.type.element
    if element is None:
        raise scope.statement.error(
            f"Values referenced in UNNEST must be arrays. UNNEST contains expression of type {value.type}",
            node,
        )
    alias = node.args.get("alias")
    name = fallback
    if alias is not None:
        columns = alias.args.get("columns") or []
        name = columns[0].name if columns else alias.name
    if not name and isinstance(node.expressions[0], exp.Column):
        name = node.expressions[0].name
    physical = scope.statement.fresh("s")
    offset = node.args.get("offset")
    position = f", generate_subscripts({value.sql}, 1) - 1 AS o" if offset else ""
    sql = f"{'LATERAL ' if lateral else ''}(SELECT unnest({value.sql}) AS v{position}) {physical}"
    row = Expr(f"{physical}.v", element)
    if element.kind == "STRUCT":
        pairs = zip(element.fields, element.named_fields(), strict=True)
        columns_ = [Column(given, field_access(row, inner, t)) for (given, _), (inner, t) in pairs]
    else:
        columns_ = [Column(name, row)]
    if offset:
        offset_name = offset.name if isinstance(offset, exp.Expr) else "offset"
        columns_.append(Column(offset_name, Expr(f"{physical}.o", INT64)))
    return sql, Source(name, columns_, row)


def join(left: str, node: exp.Expr, scope: Scope) -> str:
    """One join more on the DuckDB SQL of a FROM, its source added to the scope."""
    right_node = node.this
    lateral = isinstance(right_node, exp.Unnest)
    before = list(scope.sources)
    sql, source = item(right_node, scope, lateral=lateral)
    added = [*scope.sources[len(before) :], source]
    names = {s.name.lower() for s in before if s.name}
    if source.name and source.name.lower() in names:
        raise scope.statement.error(f"Duplicate table alias {source.name} in the same FROM clause", node)
    scope.sources.append(source)
    for nested in right_node.args.get("joins") or () if isinstance(right_node, exp.Table) else ():
        sql = join(sql, nested, scope)
    side, kind = str(node.args.get("side") or "").upper(), str(node.args.get("kind") or "").upper()
    if node.args.get("method") or kind not in ("", "CROSS", "INNER", "OUTER"):
        raise scope.statement.refuse(f"{node.args.get('method') or ''} {kind} JOIN".strip(), node)
    on, using = node.args.get("on"), node.args.get("using")
    if on is None and not using:
        if side:
            return f"{left} {side} JOIN {sql} ON TRUE"
        return f"{left} CROSS JOIN {sql}"
    word = f"{side} JOIN" if side else "JOIN"
    if on is not None:
        return f"{left} {word} {sql} ON {condition(on, scope, 'JOIN ON clause')}"
    tests = [_merge(name.name, before, added, side, node, scope) for name in using or ()]
    return f"{left} {word} {sql} ON {' AND '.join(tests)}"


def _merge(name: str, before: list[Source], added: list[Source], side: str, join: exp.Expr, scope: Scope) -> str:
    lower = name.lower()
    sides: list[Expr] = []
    for sources, place in ((before, "left"), (added, "right")):
        if place == "left" and lower in scope.merged:
            sides.append(scope.merged[lower])
            continue
        found = [c for s in sources if (c := s.find(name)) is not None]
        if not found:
            raise scope.statement.error(f"Column {name} in USING clause not found on {place} side of join", join)
        if len(found) > 1:
            raise scope.statement.error(f"Column {name} in USING clause is ambiguous on {place} side of join", join)
        sides.append(found[0].expr)
        scope.merged_from.add(found[0].expr.sql)
    test = compare("=", sides[0], sides[1])
    target = supertype(sides)
    if test is None or target is None:
        raise scope.statement.error(
            f"Column {name} in USING has incompatible types on either side of the join: "
            f"{sides[0].type}, {sides[1].type}",
            join,
        )
    left, right = (coerce(s, target) for s in sides)
    if side == "RIGHT":
        scope.merged[lower] = right
    elif side == "FULL":
        scope.merged[lower] = Expr(f"coalesce({left.sql}, {right.sql})", target)
    else:
        scope.merged[lower] = left
    return test.sql


# PIVOT and UNPIVOT


def _pivoted(sql: str, source: Source, pivot: exp.Expr, scope: Scope) -> tuple[str, Source]:
    alias = pivot.args.get("alias")
    name = alias.name if alias is not None else source.name
    found = (_unpivot if pivot.args.get("unpivot") else _pivot)(sql, source, pivot, scope)
    physical = scope.statement.fresh("s")
    return f"({found.sql}) {physical}", output_source(physical, found, name)


def _pivot(sql: str, source: Source, pivot: exp.Expr, scope: Scope) -> Relation:
    from .aggregates import filtered

    inner = scope.child(sources=[source])
    field = pivot.args["fields"][0]
    key = analyze(field.this, inner)
    used = {key.sql}
    aggregates = []
    for node in pivot.expressions:
        call = node.this if isinstance(node, exp.Alias) else node
        used |= {analyze(c, inner).sql for c in call.find_all(exp.Column)}
        aggregates.append((call, node.alias if isinstance(node, exp.Alias) else ""))
    if len(aggregates) > 1 and not all(alias for _, alias in aggregates):
        raise scope.statement.error("PIVOT with several aggregates needs an alias for each", pivot)
    groups = [c for c in source.columns if not c.hidden and c.expr.sql not in used]
    columns = [(c.name, c.expr.type) for c in groups]
    values = [c.expr.sql for c in groups]
    for entry in field.expressions:
        labelled = isinstance(entry, (exp.PivotAlias, exp.Alias))
        value = analyze(entry.this if labelled else entry, inner)
        label = entry.args["alias"].name if labelled else _label(value)
        for call, alias in aggregates:
            test = f"{key.sql} IS NOT DISTINCT FROM {coerce(value, key.type).sql}"
            answer = filtered(call, inner, test)
            columns.append(("_".join(x for x in (alias, label) if x), answer.type))
            values.append(answer.sql)
    listed = ", ".join(f"{v} AS c{i}" for i, v in enumerate(values, 1))
    by = f" GROUP BY {', '.join(c.expr.sql for c in groups)}" if groups else ""
    return Relation(f"SELECT {listed} FROM {sql}{by}", columns)


def _label(value: Expr) -> str:
    """A pivot column's name from its value, as BigQuery makes it."""
    if isinstance(value.value, bool) or (value.value is None and value.type == BOOL):
        return str(value.value).upper()
    if isinstance(value.value, int):
        return f"_{value.value}" if value.value >= 0 else f"minus_{-value.value}"
    if isinstance(value.value, float):
        return "_" + repr(value.value).replace(".", "_point_").replace("-", "minus_")
    if isinstance(value.value, str):
        return value.value if not value.value[:1].isdigit() else f"_{value.value}"
    return "NULL"


def _unpivot(sql: str, source: Source, pivot: exp.Expr, scope: Scope) -> Relation:
    inner = scope.child(sources=[source])
    field = pivot.args["fields"][0]
    targets = [e for n in pivot.expressions for e in (n.expressions if isinstance(n, exp.Tuple) else [n])]
    rows: list[tuple[list[Expr], Expr]] = []
    used = set()
    for entry in field.expressions:
        labelled = isinstance(entry, (exp.PivotAlias, exp.Alias))
        given = entry.this if labelled else entry
        nodes = given.expressions if isinstance(given, exp.Tuple) else [given]
        values = [analyze(node, inner) for node in nodes]
        used |= {v.sql for v in values}
        label = entry.args["alias"] if labelled else None
        text = Expr(literal("_".join(n.name for n in nodes)), Type("STRING"))
        rows.append((values, analyze(label, inner) if isinstance(label, exp.Literal) else text))
    types = [supertype([values[i] for values, _ in rows]) for i in range(len(targets))]
    if any(t is None for t in types):
        raise scope.statement.error("The columns of UNPIVOT do not have a common type", pivot)
    kept = [c for c in source.columns if not c.hidden and c.expr.sql not in used]
    physical = scope.statement.fresh("s")
    selects = []
    for values, label_ in rows:
        parts = [f"{coerce(v, t).sql} AS v{i}" for i, (v, t) in enumerate(zip(values, types, strict=True)) if t]
        selects.append(f"SELECT {', '.join(parts)}, {label_.sql} AS n")
    columns = [(c.name, c.expr.type) for c in kept]
    columns += [(t.name, type_) for t, type_ in zip(targets, types, strict=True) if type_]
    columns.append((field.this.name, rows[0][1].type))
    listed = [c.expr.sql for c in kept] + [f"{physical}.v{i}" for i in range(len(targets))] + [f"{physical}.n"]
    chosen = ", ".join(f"{v} AS c{i}" for i, v in enumerate(listed, 1))
    lateral = f"LATERAL ({' UNION ALL '.join(selects)}) {physical}"
    nulls = " OR ".join(f"{physical}.v{i} IS NOT NULL" for i in range(len(targets)))
    where = "" if pivot.args.get("include_nulls") else f" WHERE {nulls}"
    return Relation(f"SELECT {chosen} FROM {sql} CROSS JOIN {lateral}{where}", columns)
