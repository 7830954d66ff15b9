"""What lasts from one statement to the next: variables, temporary tables and functions, a transaction."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from ..database import Transaction
from ..failures import InvalidQuery
from ..tables import Resource, Tables
from ..types import Type, quote

TEMPORARY = "localcloud_temp"
"""The DuckDB schema of temporary tables; emptied when the file is opened."""

_numbers = itertools.count(1)


class Session:
    """The state of a script or of a BigQuery session; close it."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._prefix = f"s{next(_numbers)}_"
        self.lock = threading.RLock()
        """Held by the query that runs in the session: one at a time."""
        self.variables: dict[str, tuple[Type, Any]] = {}
        self.system: dict[str, tuple[Type, Any]] = {}
        self.temporary: dict[str, tuple[str, Resource]] = {}
        self.functions: dict[str, Mapping[str, Any]] = {}
        self.transaction: Transaction | None = None

    def begin(self) -> None:
        """BEGIN TRANSACTION."""
        if self.transaction is not None:
            raise InvalidQuery("A transaction is already in progress")
        self.transaction = Transaction(self._tables.database)
        self.transaction.begin()

    def end(self, *, commit: bool) -> None:
        """COMMIT or ROLLBACK TRANSACTION."""
        if self.transaction is None:
            raise InvalidQuery("There is no active transaction to " + ("commit" if commit else "roll back"))
        transaction, self.transaction = self.transaction, None
        try:
            if commit:
                transaction.commit()
        finally:
            transaction.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Transaction]:
        """The open transaction, or one of its own for a single statement."""
        if self.transaction is not None:
            yield self.transaction
            return
        with self._tables.database.transaction() as transaction:
            yield transaction

    def temporary_name(self, name: str) -> str:
        """The physical name of a temporary table, quoted."""
        return f"{TEMPORARY}.{quote(self._prefix + name.lower())}"

    def scratch(self) -> str:
        """The physical name of a table that holds rows for one statement."""
        return f"{TEMPORARY}.{quote(f'{self._prefix}scratch{next(_numbers)}')}"

    def drop_temporary(self, name: str, transaction: Transaction) -> bool:
        """Drops a temporary table; whether there was one."""
        found = self.temporary.pop(name.lower(), None)
        if found is None:
            return False
        transaction.begin()
        transaction.connection.execute(f"DROP TABLE IF EXISTS {found[0]}")
        return True

    def close(self) -> None:
        """Rolls back what is open and drops what is temporary."""
        if self.transaction is not None:
            self.end(commit=False)
        if self.temporary:
            with self._tables.database.transaction() as transaction:
                for name in list(self.temporary):
                    self.drop_temporary(name, transaction)
        self.functions.clear()
        self.variables.clear()
