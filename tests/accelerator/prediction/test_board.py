"""The board: whose clients had better connect anew, and what a worker that ended leaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accelerator.prediction import board as module
from accelerator.prediction.board import Board, new_board, vacate


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Board]]:
    """The views of three workers, which may look again at once."""
    monkeypatch.setattr(module, "LET_GO_SECONDS", 0.0)
    with new_board(3) as file:
        yield [Board(file.fileno(), 3, row) for row in range(3)]


def test_a_lone_worker_keeps_its_clients(boards: list[Board]) -> None:
    boards[0].connections(50)
    assert not boards[0].let_go()


def test_clients_are_shared_and_then_kept(boards: list[Board], monkeypatch: pytest.MonkeyPatch) -> None:
    boards[0].connections(9)
    boards[1].connections(0)
    assert boards[0].let_go()
    assert not boards[1].let_go()
    boards[0].connections(5)
    boards[1].connections(4)
    assert not boards[0].let_go()
    monkeypatch.setattr(module, "LET_GO_SECONDS", 60.0)
    boards[2].connections(0)  # it has loaded the model only now
    assert [boards[0].let_go() for _ in range(4)] == [True, True, False, False]


def test_what_a_worker_has_counted_outlives_it() -> None:
    with new_board(2) as file:
        boards = [Board(file.fileno(), 2, row) for row in range(2)]
        boards[1].request(200, 0.01)
        boards[1].waiting(3)
        boards[1].connections(0)
        boards[0].connections(40)
        vacate(file.fileno(), 2, 1)
    assert not boards[0].let_go()
    text = boards[0].text()
    assert 'prediction_requests_total{code="200"} 1\n' in text
    assert "prediction_queue_depth 0\n" in text
