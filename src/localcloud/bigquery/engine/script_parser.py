"""A script cut into its statements: blocks, branches and loops as a tree, plain statements as pieces of text.

https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language has the grammar.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from ..failures import InvalidQuery
from .dialect import position


class _Script(BigQuery):
    class Tokenizer(BigQuery.Tokenizer):
        # Without these SQLGlot would take `WHILE … ` up to the semicolon for one token.
        COMMANDS: ClassVar[set[TokenType]] = set()


@dataclass(slots=True)
class Node:
    """A statement of a script.

    Args:
        kind: LEAF, DECLARE, SET, BLOCK, IF, LOOP, WHILE, REPEAT, FOR, CASE, BREAK, CONTINUE, RETURN, RAISE,
            EXECUTE, ASSERT, BEGIN_TRANSACTION, COMMIT, ROLLBACK, CALL.
        start: Where it begins in the script.
        end: Where it ends, the semicolon left out.
        texts: Spans of the expressions it has.
        names: Variables it names.
        bodies: Statements inside: of an IF one list for each branch.
        handler: Statements after EXCEPTION WHEN ERROR THEN; None without one.
    """

    kind: str
    start: int
    end: int = 0
    texts: list[tuple[int, int]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    bodies: list[list[Node]] = field(default_factory=list)
    handler: list[Node] | None = None


_SIMPLE = {
    "BREAK": "BREAK",
    "LEAVE": "BREAK",
    "CONTINUE": "CONTINUE",
    "ITERATE": "CONTINUE",
    "RETURN": "RETURN",
}


def parse_script(sql: str) -> list[Node]:
    """The statements of a text.

    Raises:
        InvalidQuery: `Syntax error: … at [line:column]`.
    """
    try:
        tokens = list(_Script().tokenize(sql))
    except TokenError as error:
        raise InvalidQuery(f"Syntax error: {str(error).splitlines()[0]}") from error
    parser = _Parser(sql, tokens)
    nodes = parser.block(())
    if not nodes:
        raise InvalidQuery("Syntax error: Unexpected end of statement at [1:1]")
    return nodes


class _Parser:
    def __init__(self, sql: str, tokens: list[Token]) -> None:
        self._sql = sql
        self._tokens = tokens
        self._at = 0

    def _word(self, ahead: int = 0) -> str:
        index = self._at + ahead
        if index >= len(self._tokens):
            return ""
        token = self._tokens[index]
        quoted = token.token_type in (TokenType.STRING, TokenType.IDENTIFIER)
        return "" if quoted else token.text.upper()

    def _done(self) -> bool:
        return self._at >= len(self._tokens)

    def _offset(self) -> int:
        return len(self._sql) if self._done() else self._tokens[self._at].start

    def _error(self, wanted: str) -> InvalidQuery:
        found = "end of script" if self._done() else f'"{self._tokens[self._at].text}"'
        where = position(self._sql, self._offset())
        return InvalidQuery(f"Syntax error: Expected {wanted} but got {found}{where}")

    def _expect(self, *words: str) -> None:
        for word in words:
            if self._word() != word:
                raise self._error(f"keyword {word}" if word.isalpha() else f'"{word}"')
            self._at += 1

    def _semicolon(self) -> None:
        if not self._done():
            self._expect(";")

    def block(self, ends: tuple[str, ...]) -> list[Node]:
        """Statements up to one of the words (which is left)."""
        nodes: list[Node] = []
        while not self._done():
            if self._word() == ";":
                self._at += 1
                continue
            if ends and self._word() in ends:
                return nodes
            nodes.append(self._statement())
        if ends:
            raise self._error(" or ".join(f"keyword {e}" for e in ends))
        return nodes

    def _statement(self) -> Node:
        start, word = self._offset(), self._word()
        if word == "BEGIN TRANSACTION" or (word == "BEGIN" and self._word(1) in ("TRANSACTION", ";", "")):
            return self._simple("BEGIN_TRANSACTION")
        if word in ("COMMIT", "ROLLBACK") or word.startswith(("COMMIT ", "ROLLBACK ")):
            return self._simple(word.split()[0])
        handler = {
            "DECLARE": self._declare, "SET": self._set, "BEGIN": self._begin, "IF": self._if, "LOOP": self._loop,
            "WHILE": self._while, "REPEAT": self._repeat, "FOR": self._for, "CASE": self._case,
        }.get(word)  # fmt: skip
        if handler is not None:
            node = handler()
            node.start, node.end = start, self._tokens[self._at - 1].end + 1
            self._semicolon()
            return node
        if word in _SIMPLE:
            return self._simple(_SIMPLE[word])
        kinds = {"RAISE": "RAISE", "ASSERT": "ASSERT", "CALL": "CALL", "EXECUTE": "EXECUTE"}
        if word == "CREATE" and "PROCEDURE" in (self._word(1), self._word(3)):
            raise InvalidQuery(
                f"CREATE PROCEDURE is not carried over to the local BigQuery{position(self._sql, start)}",
                reason="notImplemented",
            )
        return self._simple(kinds.get(word, "LEAF"))

    def _simple(self, kind: str) -> Node:
        start = self._offset()
        first, last = self._span(())
        self._semicolon()
        return Node(kind, start, last, [(first, last)])

    def _span(self, ends: tuple[str, ...]) -> tuple[int, int]:
        """A piece of text up to a semicolon or one of the words, parentheses and CASE skipped."""
        first, depth, cases = self._offset(), 0, 0
        last = first
        while not self._done():
            word = self._word()
            if depth == 0 and cases == 0 and (word == ";" or word in ends):
                break
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(word, 0)
            if word == "CASE":
                cases += 1
            elif word == "END" and cases:
                cases -= 1
            last = self._tokens[self._at].end + 1
            self._at += 1
        if ends and (self._done() or self._word() == ";"):
            raise self._error(" or ".join(f"keyword {e}" for e in ends))
        return first, last

    def _name(self) -> str:
        if self._done():
            raise self._error("identifier")
        self._at += 1
        return self._tokens[self._at - 1].text

    def _declare(self) -> Node:
        self._at += 1
        node = Node("DECLARE", 0, names=[self._name()])
        while self._word() == ",":
            self._at += 1
            node.names.append(self._name())
        type_ = (self._offset(), self._offset())
        if self._word() != "DEFAULT":
            type_ = self._until("DEFAULT")
        node.texts.append(type_)
        if self._word() == "DEFAULT":
            self._at += 1
            node.texts.append(self._span(()))
        return node

    def _until(self, word: str) -> tuple[int, int]:
        first, last, depth = self._offset(), self._offset(), 0
        while not self._done() and not (depth == 0 and self._word() in (word, ";")):
            text = self._word()
            depth += text.count("<") + text.count("(") - text.count(">") - text.count(")")
            last = self._tokens[self._at].end + 1
            self._at += 1
        return first, last

    def _set(self) -> Node:
        self._at += 1
        node = Node("SET", 0)
        if self._word() == "(":
            self._at += 1
            while self._word() != ")":
                node.names.append(self._name())
                if self._word() == ",":
                    self._at += 1
            self._at += 1
            node.handler = []
        else:
            name = self._name()
            while self._word() != "=" and not self._done():
                name += self._name()
            node.names.append(name)
        self._expect("=")
        node.texts.append(self._span(()))
        return node

    def _begin(self) -> Node:
        self._at += 1
        node = Node("BLOCK", 0, bodies=[self.block(("END", "EXCEPTION"))])
        if self._word() == "EXCEPTION":
            self._expect("EXCEPTION", "WHEN", "ERROR", "THEN")
            node.handler = self.block(("END",))
        self._expect("END")
        return node

    def _if(self) -> Node:
        node = Node("IF", 0)
        word = "IF"
        while word in ("IF", "ELSEIF"):
            self._at += 1
            node.texts.append(self._span(("THEN",)))
            self._at += 1
            node.bodies.append(self.block(("ELSEIF", "ELSE", "END")))
            word = self._word()
        if word == "ELSE":
            self._at += 1
            node.bodies.append(self.block(("END",)))
        self._end("IF")
        return node

    def _end(self, word: str) -> None:
        if self._word() == f"END {word}":
            self._at += 1
        else:
            self._expect("END", word)

    def _loop(self) -> Node:
        self._at += 1
        node = Node("LOOP", 0, bodies=[self.block(("END",))])
        self._end("LOOP")
        return node

    def _while(self) -> Node:
        self._at += 1
        node = Node("WHILE", 0, texts=[self._span(("DO",))])
        self._at += 1
        node.bodies.append(self.block(("END",)))
        self._end("WHILE")
        return node

    def _repeat(self) -> Node:
        self._at += 1
        node = Node("REPEAT", 0, bodies=[self.block(("UNTIL",))])
        self._at += 1
        node.texts.append(self._span(("END",)))
        self._end("REPEAT")
        return node

    def _for(self) -> Node:
        self._at += 1
        node = Node("FOR", 0, names=[self._name()])
        self._expect("IN")
        node.texts.append(self._span(("DO",)))
        self._at += 1
        node.bodies.append(self.block(("END",)))
        self._end("FOR")
        return node

    def _case(self) -> Node:
        self._at += 1
        node = Node("CASE", 0)
        if self._word() != "WHEN":
            node.names.append("subject")
            node.texts.append(self._span(("WHEN",)))
        while self._word() == "WHEN":
            self._at += 1
            node.texts.append(self._span(("THEN",)))
            self._at += 1
            node.bodies.append(self.block(("WHEN", "ELSE", "END")))
        if self._word() == "ELSE":
            self._at += 1
            node.bodies.append(self.block(("END",)))
        self._end("CASE")
        return node
