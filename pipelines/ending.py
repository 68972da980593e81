"""The one place that says how a command ends: with 0, 1, 2 or 3, and in which words when something kept it from its answer.

0 is only reached by a command that returns it. Everything else that nobody thought of is 3: a value that is no exit code, an exception, a signal,
an answer that did not arrive. `run` returns 0 for the verdict `pass` of its own run id alone (pipelines/guarded_run.py).

A signal breaks into the main thread, which then has some seconds to end in order. A second thread sees to it that the process ends, whatever
libraries make of the exception. Nothing heavy is imported here: a signal may come while that happens.

The work is done in a process of its own. A library may end it behind our back with any code (OpenBLAS exits with 1 when memory runs out, which would
read as *fail*), a crash may, and so may the kernel. The process that waits for it imports nothing, lives on, and says 3.
"""

import io
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from assets import progress
from assets.problems import ConfigurationProblem, frames_of, presentable
from assets.process import settle

PATIENCE = 5.0  # seconds between a signal and the end, for what is tidied up

_decided: int | None = None  # the verdict is known and recorded; what happens now is printing
_serving: float | None = None  # a server that is told to end has done its work; how long it takes to stop
_told = threading.Lock()
_report: int | None = None  # where the process that works says how it ended


class _Stream(io.FileIO):
    """Standard output or error that never fails while something is printed. What it could not print counts at the end of the process."""

    failure: OSError | None = None

    def write(self, content: bytes | memoryview) -> int:  # type: ignore[override]
        while self.failure is None:
            try:
                written = super().write(content)
            except OSError as error:
                self.failure = error
            else:
                if written is not None:
                    return written
                select.select([], [self], [])
        return memoryview(content).nbytes


_output: _Stream | None = None
_had_output = True  # a caller that closed standard output gets no answer; one that stopped reading (`| head`) has what it wanted


def run_command(command: Callable[[], object]) -> NoReturn:
    """Runs a command and ends the process. command: returns its exit code, or raises a Problem; it imports what it needs when it is called."""
    settle()
    _supervise()
    _open_streams()
    try:
        try:
            progress.listen()
            threading.Thread(target=_watch, name="signals", daemon=True).start()
            code = _checked(command())
            progress.end_if_told()
        except BaseException as error:
            code = _explain(error)
        _leave(code)
    except BaseException as error:  # a signal while the ending was being told; the handler raises once, so this is the last one
        _leave(_explain(error))


def _supervise() -> None:
    """Splits the process in two: the one that works, in which this returns, and the one that waits for it and passes signals on.

    Signals stay held back in the one that waits, and it takes them one by one: a handler is not called for one that arrives just before a wait begins.
    """
    global _report  # noqa: PLW0603
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it was ignored, nobody would be told how the worker ended
    signal.pthread_sigmask(signal.SIG_BLOCK, {*progress.SIGNALS, signal.SIGCHLD})
    reader, writer = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(reader)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        _end_with_parent()
        _report = writer
        return
    os.close(writer)
    status = _wait_for(worker)
    os.set_blocking(reader, False)  # what the worker left behind may still hold the other end
    try:
        reported = os.read(reader, 1)
    except BlockingIOError:
        reported = b""
    if not reported:
        how = f"killed by {signal.Signals(os.WTERMSIG(status)).name}" if os.WIFSIGNALED(status) else f"ended by a library (exit code {os.WEXITSTATUS(status)})"
        with suppress(OSError):  # nobody may read standard error any more; the exit code says it, too
            tell(
                f"Bindwatch was {how} before it had an answer. The usual reason is that memory ran out: give the machine, or what this process may use of it, "
                "more. What was pulled is kept; the next run goes on from there."
            )
    os._exit(reported[0] if reported else 3)


def _wait_for(worker: int) -> int:
    """Passes signals on to the worker until it ends. Returns how it ended, as waitpid does."""
    heard = {number for number in progress.SIGNALS if signal.getsignal(number) is not signal.SIG_IGN}
    while True:
        number = signal.sigwait({*heard, signal.SIGCHLD})
        if number in heard:
            os.kill(worker, number)  # it may have ended, but its number is not given away before waitpid says so
        else:
            ended, status = os.waitpid(worker, os.WNOHANG)  # a worker that was stopped tells its parent, too
            if ended:
                return status


def _end_with_parent() -> None:
    """Whoever kills the command the hard way means the one that works."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _exit(code: int) -> NoReturn:
    """Ends the process that works, and reports its exit code."""
    if _report is not None:
        os.write(_report, bytes([code]))
    os._exit(code)


def decide(code: int) -> None:
    """The verdict is known, and stands whatever happens to its printing: from now on a signal only ends the process. Raises Interrupted when one came
    before.
    """
    global _decided  # noqa: PLW0603
    progress.end_if_told()
    _decided = code


def serve(seconds: float = PATIENCE) -> None:
    """This command serves from now on: a signal is how it ends well. seconds: how long it may take to stop."""
    global _serving  # noqa: PLW0603
    _serving = seconds
    # servers know how to stop for a SIGTERM, and take an exception out of the blue for a fault
    signal.signal(signal.SIGHUP, lambda _number, _frame: signal.raise_signal(signal.SIGTERM))


def tell(text: str) -> None:
    print(text, file=sys.stderr)


def _open_streams() -> None:
    """Makes printing safe. A closed descriptor would be the next file that is opened, such as the warehouse; what is printed would go there."""
    global _output, _had_output  # noqa: PLW0603
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _had_output = _had_output and number != 1
            reader, writer = os.pipe()  # nobody reads it, so an answer that is written there did not arrive
            os.dup2(reader if number == 0 else writer, number)
            for one in {reader, writer} - {number}:
                os.close(one)
    _output = _Stream(1, "wb", closefd=False)
    for stream, name in ((_output, "stdout"), (_Stream(2, "wb", closefd=False), "stderr")):
        former = getattr(sys, name)
        encoding = former.encoding if former is not None else "utf-8"
        setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(stream), encoding, "backslashreplace", line_buffering=name == "stderr" or stream.isatty()))


# ── what happened, as an exit code ───────────────────────────────────────────────────────────────────────────────────────────────


def _checked(value: object) -> int:
    """The exit code that a command returned."""
    if type(value) is int and 0 <= value <= 3:
        return value
    progress.end_if_told()  # the command-line library makes a value of its own of an interrupt
    tell(f"The command ended without saying how it went ({value!r}), so it counts as not completed. This is a bug in Bindwatch.")
    return 3


def _explain(error: BaseException) -> int:
    """Says what happened, once, and returns the exit code."""
    if _decided is not None:
        return _decided
    if progress.told_to_end() is not None or isinstance(error, KeyboardInterrupt):
        return _end_of_signal()
    from assets.machine import in_words

    problem = in_words(error, Path(os.environ.get("BINDWATCH_HOME") or "data").absolute())
    if problem is not None:
        tell(f"Nothing was done:\n\n{problem}" if isinstance(problem, ConfigurationProblem) else str(problem))
        return problem.exit_code
    if type(error).__name__ == "Abort":
        tell("Nothing was done: the question was not answered with yes.")
        return 3
    if hasattr(error, "show") and hasattr(error, "exit_code"):  # a usage error of the command-line library
        error.show()
        return 2
    if isinstance(error, SystemExit):
        tell(f"A library ended the command with the exit code {error.code!r} before it had an answer.")
        return 3
    tell("\n".join(["It came through (innermost last):", *frames_of(error)]))
    tell(f"Unexpected {presentable(error)}\nThis is a bug in Bindwatch. What was asked for is not proven.")
    return 3


def _end_of_signal() -> int:
    if _serving is not None:
        return 0
    if _told.acquire(blocking=False):
        tell(progress.interruption())
    return 3


def _watch() -> None:
    """Ends the process some seconds after a signal, if it does not end by itself; at once when the signal comes again."""
    while progress.told_to_end() is None:
        progress.wait_for_signal()
    end = time.monotonic() + (_serving or PATIENCE)
    is_urgent = _decided is not None
    while not is_urgent and (left := end - time.monotonic()) > 0:
        is_urgent = progress.wait_for_signal(left)
    # in a thread of its own, because whoever reads standard error may have stopped to
    teller = threading.Thread(target=_end_of_signal, daemon=True)
    if _decided is None:
        teller.start()
        teller.join(1)
    _exit(_decided if _decided is not None else 0 if _serving is not None else 3)


def _leave(code: int) -> NoReturn:
    """Ends the process at once. DuckDB and Great Expectations together print a page of leaked references in an orderly interpreter exit."""
    sys.stdout.flush()
    failure = _output.failure if _output is not None else None
    has_read_enough = isinstance(failure, BrokenPipeError) and _had_output
    if failure is not None and not has_read_enough and _decided is None and _serving is None and code != 2:
        tell(f"The answer did not arrive: standard output cannot be written ({failure.strerror}). Call it again, with an output that can be.")
        code = 3
    if code == 0 and _decided is None and progress.told_to_end() is not None:
        code = _end_of_signal()
    sys.stderr.flush()
    _exit(code)
