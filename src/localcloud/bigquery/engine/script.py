"""Scripts: variables, branches, loops, transactions, exceptions, and the plain statements between them.

https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language has the semantics.
"""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from sqlglot import exp

from ..failures import BigQueryError, InvalidQuery, Stopped
from ..types import Type, type_of
from . import ddl, dml
from .casts import cast
from .dialect import parse, position
from .execution import Analysed, Destination, Execution
from .result import Result
from .script_parser import Node, parse_script
from .type_syntax import type_of_node
from .values import Expr, coercible

_TEMPORARY_FUNCTION = re.compile(r"\s*CREATE\s+(OR\s+REPLACE\s+)?TEMP(ORARY)?\s+FUNCTION\b", re.IGNORECASE)


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class _Return(Exception):
    pass


def run(sql: str, execution: Execution, to: Destination | None) -> tuple[Result, Analysed | None]:
    """A statement or a script; with a query that can be cached, its analysis."""
    nodes = parse_script(sql)
    runner = _Runner(sql, execution)
    plain = all(n.kind == "LEAF" for n in nodes)
    if plain and all(_TEMPORARY_FUNCTION.match(sql[n.start : n.end]) for n in nodes[:-1]):
        for node in nodes[:-1]:
            runner.leaf(node, None)
        result, analysed = runner.leaf(nodes[-1], to)
        result.sql = sql
        return result, analysed if len(nodes) == 1 else None
    answer = Result("SCRIPT", sql=sql)
    if execution.dry_run:
        return answer, None
    try:
        runner.run(nodes)
    except _Return:
        pass
    except (_Break, _Continue):
        raise InvalidQuery("BREAK and CONTINUE must be inside a loop") from None
    if execution.session.transaction is not None and not runner.lasting:
        execution.session.end(commit=False)
    answer.children = runner.results
    shown = [child for child in runner.results if child.fields]
    if shown:
        answer.fields, answer.rows = shown[-1].fields, shown[-1].rows
    tables = {ref: None for child in runner.results for ref in child.referenced_tables}
    answer.referenced_tables = list(tables)
    return answer, None


class _Runner:
    def __init__(self, sql: str, execution: Execution) -> None:
        self.sql = sql
        self.execution = execution
        self.session = execution.session
        self.results: list[Result] = []
        self.lasting = False

    def run(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self.execution.cancellation.check()
            getattr(self, f"_{node.kind.lower()}")(node)

    def _text(self, span: tuple[int, int]) -> str:
        """A piece of the script where it stands: blank before it, so that places in messages are right."""
        before = re.sub(r"[^\n]", " ", self.sql[: span[0]])
        return before + self.sql[span[0] : span[1]]

    def leaf(self, node: Node, to: Destination | None) -> tuple[Result, Analysed | None]:
        """A plain statement."""
        text = self._text((node.start, node.end))
        tree = parse(text)
        analysed = None
        if isinstance(tree, exp.Query):
            analysed = self.execution.analyse(tree, text)
            result = self.execution.select(analysed, to)
        else:
            found = dml.run(self.execution, tree, text) or ddl.run(self.execution, tree, text)
            if found is None:
                raise self.execution.statement(text).refuse(f"The statement {_verb(text)}", tree)
            result = found
        result.sql = text.strip()
        return result, analysed

    def _leaf(self, node: Node) -> None:
        result, _ = self.leaf(node, None)
        self._keep(result)

    def _keep(self, result: Result) -> None:
        if result.fields:
            result.rows = result.table()
        if result.num_dml_affected_rows is not None:
            self.session.system["row_count"] = (Type("INT64"), result.num_dml_affected_rows)
        self.results.append(result)

    # expressions

    def evaluate(self, span: tuple[int, int]) -> tuple[Type, Any]:
        """An expression's type and value."""
        # The place of SELECT is before the expression: what the message names is where it is in the script.
        text = self._text(span)
        tree = parse(f"SELECT {text.lstrip()}" if span[0] < 7 else text[: span[0] - 7] + "SELECT " + text[span[0] :])
        analysed = self.execution.analyse(tree, text)
        table = self._rows(analysed)
        kind = type_of(analysed.fields[0])
        return kind, _bindable(table.column(0)[0].as_py(), kind)

    def _rows(self, analysed: Analysed) -> pa.Table:
        return self.execution.select(analysed).table()

    def _test(self, span: tuple[int, int]) -> bool:
        kind, value = self.evaluate(span)
        if kind.kind not in ("BOOL", "NULL"):
            raise InvalidQuery(f"Condition must be BOOL but is {kind}{position(self.sql, span[0])}")
        return bool(value)

    def _assign(self, name: str, kind: Type, value: Any, at: int) -> None:
        lower = name.lower()
        if lower.startswith("@@"):
            self.session.system[lower[2:]] = (kind, value)
            return
        known = self.session.variables.get(lower)
        if known is None:
            raise InvalidQuery(f"Undeclared variable: {name}{position(self.sql, at)}")
        self.session.variables[lower] = (known[0], self._converted(kind, value, known[0], name, at))

    def _converted(self, kind: Type, value: Any, wanted: Type, name: str, at: int) -> Any:
        if kind == wanted or value is None:
            return value
        if not coercible(Expr("", kind, True), wanted):
            raise InvalidQuery(
                f"Cannot coerce expression of type {kind} to type {wanted} of {name}{position(self.sql, at)}"
            )
        source = cast(Expr(f"CAST($v AS {kind.duckdb})", kind), wanted)
        if source is None:
            return value
        cursor = self.execution.tables.database.cursor()
        try:
            with self.execution.running(cursor) as connection:
                table = connection.sql(f"SELECT {source.sql} AS v", params={"v": value}).to_arrow_table()
            return _bindable(table.column(0)[0].as_py(), wanted)
        finally:
            cursor.close()

    # statements

    def _declare(self, node: Node) -> None:
        text = self.sql[slice(*node.texts[0])].strip()
        kind, value = Type("NULL"), None
        if len(node.texts) > 1:
            kind, value = self.evaluate(node.texts[1])
        if text:
            tree = parse(f"SELECT CAST(NULL AS {text})").expressions[0]
            wanted, _ = type_of_node(tree.args["to"], self.execution.statement(self.sql))
            value = self._converted(kind, value, wanted, node.names[0], node.start)
            kind = wanted
        for name in node.names:
            self.session.variables[name.lower()] = (kind, value)

    def _set(self, node: Node) -> None:
        kind, value = self.evaluate(node.texts[0])
        if node.handler is None:
            self._assign(node.names[0], kind, value, node.start)
            return
        if kind.kind != "STRUCT" or len(kind.fields) != len(node.names):
            raise InvalidQuery(
                f"SET of {len(node.names)} variables needs as many values{position(self.sql, node.start)}"
            )
        for name, (field, type_) in zip(node.names, kind.named_fields(), strict=True):
            self._assign(name, type_, None if value is None else value[field], node.start)

    def _block(self, node: Node) -> None:
        outer = dict(self.session.variables)
        try:
            self.run(node.bodies[0])
        except Stopped:
            raise
        except BigQueryError as error:
            if node.handler is None:
                raise
            text = Type("STRING")
            self.session.system |= {
                "error.message": (text, error.message),
                "error.statement_text": (text, self.sql[node.start : node.end]),
                "error.formatted_stack_trace": (text, f"At statement{position(self.sql, node.start)}"),
            }
            try:
                self.run(node.handler)
            except _Reraise:
                raise error from None
        finally:
            for name in set(self.session.variables) - set(outer):
                del self.session.variables[name]

    def _if(self, node: Node) -> None:
        for span, body in zip(node.texts, node.bodies, strict=False):
            if self._test(span):
                self.run(body)
                return
        if len(node.bodies) > len(node.texts):
            self.run(node.bodies[-1])

    def _case(self, node: Node) -> None:
        spans = node.texts
        subject = self.evaluate(spans[0])[1] if node.names else None
        tests = spans[1:] if node.names else spans
        for span, body in zip(tests, node.bodies, strict=False):
            if (self.evaluate(span)[1] == subject) if node.names else self._test(span):
                self.run(body)
                return
        if len(node.bodies) > len(tests):
            self.run(node.bodies[-1])

    def _once(self, body: Sequence[Node]) -> bool:
        """One turn of a loop; whether another may follow."""
        self.execution.cancellation.check()
        try:
            self.run(body)
        except _Break:
            return False
        except _Continue:
            pass
        return True

    def _loop(self, node: Node) -> None:
        while self._once(node.bodies[0]):
            pass

    def _while(self, node: Node) -> None:
        while self._test(node.texts[0]) and self._once(node.bodies[0]):
            pass

    def _repeat(self, node: Node) -> None:
        while self._once(node.bodies[0]) and not self._test(node.texts[0]):
            pass

    def _for(self, node: Node) -> None:
        text = self._text(node.texts[0])
        analysed = self.execution.analyse(parse(text), text)
        kind = Type("STRUCT", fields=tuple((f["name"], type_of(f)) for f in analysed.fields))
        name = node.names[0].lower()
        outer = self.session.variables.get(name)
        for row in self._rows(analysed).to_pylist():
            self.session.variables[name] = (kind, _bindable(row, kind))
            if not self._once(node.bodies[0]):
                break
        self.session.variables.pop(name, None)
        if outer is not None:
            self.session.variables[name] = outer

    def _break(self, node: Node) -> None:
        raise _Break

    def _continue(self, node: Node) -> None:
        raise _Continue

    def _return(self, node: Node) -> None:
        raise _Return

    def _raise(self, node: Node) -> None:
        match = re.match(r"\s*RAISE\s+USING\s+MESSAGE\s*=\s*", self.sql[node.start : node.end], re.IGNORECASE)
        if match is None:
            raise _Reraise
        raise InvalidQuery(str(self.evaluate((node.start + match.end(), node.end))[1]))

    def _assert(self, node: Node) -> None:
        text = self.sql[node.start : node.end]
        match = re.fullmatch(r"\s*ASSERT\s+(.*?)(?:\s+AS\s+('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"))?\s*", text,
                             re.IGNORECASE | re.DOTALL)  # fmt: skip
        assert match is not None
        span = (node.start + match.start(1), node.start + match.end(1))
        if not self._test(span):
            raise InvalidQuery(match[2][1:-1] if match[2] else "Assertion failed")
        self.results.append(Result("ASSERT", sql=text))

    def _begin_transaction(self, node: Node) -> None:
        self.session.begin()
        self.results.append(Result("BEGIN_TRANSACTION", sql=self.sql[node.start : node.end]))

    def _commit(self, node: Node) -> None:
        self.session.end(commit=True)
        self.results.append(Result("COMMIT_TRANSACTION", sql=self.sql[node.start : node.end]))

    def _rollback(self, node: Node) -> None:
        self.session.end(commit=False)
        self.results.append(Result("ROLLBACK_TRANSACTION", sql=self.sql[node.start : node.end]))

    def _call(self, node: Node) -> None:
        raise self.execution.statement(self.sql).refuse("CALL")

    def _execute(self, node: Node) -> None:
        text = self.sql[node.start : node.end]
        match = re.fullmatch(
            r"\s*EXECUTE\s+IMMEDIATE\s+(?P<query>.*?)(?:\s+INTO\s+(?P<into>[\w\s,]+?))?(?:\s+USING\s+(?P<using>.*))?\s*",
            text, re.IGNORECASE | re.DOTALL,
        )  # fmt: skip
        if match is None:
            raise InvalidQuery(f"Syntax error in EXECUTE IMMEDIATE{position(self.sql, node.start)}")
        query = self.evaluate((node.start + match.start("query"), node.start + match.end("query")))[1]
        parameters = self._using(match["using"]) if match["using"] else {}
        inner = replace(self.execution, parameters=parameters)
        result, _ = run(str(query), inner, None)
        if match["into"]:
            table = result.table()
            if table.num_rows > 1:
                raise InvalidQuery("EXECUTE IMMEDIATE … INTO needs a query of at most one row")
            names = [n.strip() for n in match["into"].split(",")]
            for position_, name in enumerate(names):
                kind = type_of(result.fields[position_])
                value = table.column(position_)[0].as_py() if table.num_rows else None
                self._assign(name, kind, _bindable(value, kind), node.start)
            return
        self._keep(result)

    def _using(self, text: str) -> dict[str, tuple[Type, Any]]:
        tree = parse(f"SELECT {text}")
        answer = {}
        for number, item in enumerate(tree.expressions, 1):
            name = item.alias.lower() if isinstance(item, exp.Alias) else str(number)
            query = exp.Select(expressions=[item.unalias()])
            analysed = self.execution.analyse(query, text)
            kind = type_of(analysed.fields[0])
            answer[name] = (kind, _bindable(self._rows(analysed).column(0)[0].as_py(), kind))
        return answer


class _Reraise(Exception):
    """RAISE without a message within an exception handler."""


def _verb(text: str) -> str:
    return " ".join(text.split()[:2]).upper()


def _bindable(value: Any, kind: Type) -> Any:
    """A value as what DuckDB binds and then casts to the type."""
    if value is None:
        return None
    if kind.element is not None:
        return [_bindable(item, kind.element) for item in value]
    if kind.kind == "STRUCT":
        return {name: _bindable(value[name], type_) for name, type_ in kind.named_fields()}
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if kind.kind == "INTERVAL":
        return f"{value.months} months {value.days} days {value.nanoseconds // 1000} microseconds"
    return value
