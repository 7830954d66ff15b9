from __future__ import annotations
from .dialect import parse
from sqlglot import exp
from ..failures import Refused
def run(sql, execution, to):
    tree = parse(sql)
    if isinstance(tree, exp.Query):
        a = execution.analyse(tree, sql)
        r = execution.select(a, to); r.sql = sql
        return r, a
    raise Refused('later')
