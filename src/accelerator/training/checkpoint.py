"""Training that survives being stopped: state kept in AIP_CHECKPOINT_DIR, SIGTERM turned into a last save.

What the state is, the trainer decides; that a restarted job gets it back is seen to here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from accelerator.errors import CodeError
from accelerator.storage import Folder

EXIT_CODE = 128 + signal.SIGTERM
GRACE_SECONDS = 25.0
"""How long after SIGTERM a trainer may go on to its next `save`: Vertex AI kills after 30 seconds."""
INTERVAL_SECONDS = 60.0
"""`save` writes at most this often, unless the job is being stopped."""

_STATE = "checkpoint.joblib"
_KEY = "checkpoint.json"


class Stopped(BaseException):
    """Raised out of `train` once its state is saved. Not an Exception, so that trainers do not catch it."""


class Checkpoint:
    """What `train` gets if one of its parameters is named `checkpoint`.

    Args:
        folder: AIP_CHECKPOINT_DIR; None where the job has none, and then nothing is kept.
        key: What the state belongs to: a state saved with other hyperparameters or data is not given back.
    """

    def __init__(self, folder: Folder | None, key: Mapping[str, Any]) -> None:
        self._folder = folder
        text = json.dumps(key, sort_keys=True, default=str)
        self._key = hashlib.sha256(text.encode()).hexdigest().encode()
        self._written = time.monotonic()
        self._stopping = threading.Event()
        self._saved = threading.Event()
        self.state: Any = self._read()
        """What an earlier, interrupted run of this job saved last; None if there was none."""

    def save(self, state: Any) -> None:
        """Keep the state of training. Call it as often as is natural, such as after each epoch.

        It is written at most once a minute, and at once when the job is being stopped; then this call does
        not return, and the job is started again from the state.

        Args:
            state: Anything that can be pickled.
        """
        stopping = self._stopping.is_set()
        if not stopping and time.monotonic() - self._written < INTERVAL_SECONDS:
            return
        self._write(state)
        self._written = time.monotonic()
        if stopping:
            raise Stopped

    def clear(self) -> None:
        """Forget the state: training is complete."""
        if self._folder is not None:
            self._folder.remove(_KEY)
            self._folder.remove(_STATE)

    @contextmanager
    def guard(self, *, takes_checkpoint: bool) -> Iterator[None]:
        """While `train` runs: SIGTERM asks it for a last save, and ends the process with 143.

        A trainer that takes no checkpoint, or does not save within GRACE_SECONDS, is ended as it is.
        The signal is seen by a thread, for the main one may be deep in a library's `fit`.
        """
        reading, writing = socket.socketpair()
        writing.setblocking(False)
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        fd_before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

        def watch() -> None:
            while received := reading.recv(1):
                if received[0] == signal.SIGTERM:
                    self._stop(takes_checkpoint)

        watcher = threading.Thread(target=watch, name="sigterm", daemon=True)
        watcher.start()
        try:
            yield
        except Stopped:
            self._saved.set()
            raise
        finally:
            signal.set_wakeup_fd(fd_before)
            signal.signal(signal.SIGTERM, before)
            writing.close()
            watcher.join(1)
            reading.close()

    def _stop(self, takes_checkpoint: bool) -> None:
        if takes_checkpoint and self._folder is not None:
            self._stopping.set()
            if self._saved.wait(GRACE_SECONDS):
                return
            reason = f"train saved no checkpoint within {GRACE_SECONDS:.0f} s"
        elif takes_checkpoint:
            reason = "there is no AIP_CHECKPOINT_DIR to save to"
        else:
            reason = "train takes no checkpoint"
        print(stopped_message(f"nothing was saved now: {reason}"), file=sys.stderr, flush=True)
        os._exit(EXIT_CODE)

    def _write(self, state: Any) -> None:
        if self._folder is None:
            return
        import joblib

        content = io.BytesIO()
        try:
            joblib.dump(state, content)
        except Exception as error:
            raise CodeError(
                f"The state given to checkpoint.save cannot be pickled: {error}",
                next_step="Save plain data, arrays and models; leave out files, locks and lambdas.",
            ) from error
        # The key last: without it, or with one of another state, a state that is half there is not read.
        self._folder.remove(_KEY)
        self._folder.write(_STATE, content.getvalue())
        self._folder.write(_KEY, self._key)

    def _read(self) -> Any:
        if self._folder is None or self._folder.read(_KEY) != self._key:
            return None
        import joblib

        content = self._folder.read(_STATE)
        return joblib.load(io.BytesIO(content)) if content is not None else None


def stopped_message(what: str) -> str:
    """What the log says last of a job that was stopped."""
    return f"Stopped by SIGTERM; {what}."
