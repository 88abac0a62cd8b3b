"""One process at a time trains in a run's folder: a lock on the file `lock` there.

The system holds the lock, so it is gone with the process, however that ended: a stale one is an
ordinary file that the next process takes over. The odd thing: what stands in the file (process,
host, since when) is for people, and decides only on file systems that know no locks.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from hipgpt_cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
_LOCKED_BYTE = 1 << 20
"""Far behind the text, which Windows lets nobody read where it is locked."""

_ours: set[Path] = set()
"""Files that this process has locked; the system would let it lock them twice."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a run; folders that are empty afterwards are taken away.

    Args:
        path: the lock's file, in the run's folder; made where it is missing.

    Raises:
        UserError: another process holds it; the sentence says which.
    """
    path = path.absolute()
    file = _acquire(path)
    _ours.add(path)
    try:
        yield
    finally:
        _ours.discard(path)
        with suppress(OSError):
            path.unlink()  # while it is locked, so that it is nobody else's
        os.close(file)
        with suppress(OSError):
            path.parent.rmdir()
            path.parent.parent.rmdir()


def _acquire(path: Path) -> int:
    """An open descriptor that holds the lock."""
    if path in _ours:
        _refuse(path, "this process")
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            has_lock = _lock(file)
            if not has_lock and (holder := _living_holder(path)):
                _refuse(path, holder)
            if not has_lock or _is_still(path, file):
                _describe(file)
                return file
        except BlockingIOError:
            os.close(file)
            _refuse(path, _in_words(_read(path)))
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # whoever held it has deleted the file: lock the new one


def _lock(file: int) -> bool:
    """Lock a file; False where the file system has no locks.

    Raises:
        BlockingIOError: another process has it.
    """
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            # Not flock, which a worker process that outlives this one would go on holding.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise BlockingIOError(error.errno, error.strerror) from error
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _is_still(path: Path, file: int) -> bool:
    """Whether the open file is the one that has this name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _describe(file: int) -> None:
    """Write into the file who holds it."""
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    text = json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since})
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, (text + "\n").encode())


def _read(path: Path) -> dict[str, Any]:
    """What a lock's file says; nothing where it says nothing sensible."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _in_words(holder: dict[str, Any]) -> str:
    if not isinstance(holder.get("process"), int):
        return "another process"
    return f"process {holder['process']} on {holder.get('host')} since {holder.get('since')}"


def _living_holder(path: Path) -> str:
    """Where there are no locks: who holds it by the file's text; "" for nobody, or a dead one."""
    holder = _read(path)
    process = holder.get("process")
    if not isinstance(process, int) or process == os.getpid():
        return ""
    if holder.get("host") == socket.gethostname() and not _is_alive(process):
        return ""
    return f"{_in_words(holder)} (where that is over, delete {path})"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _refuse(path: Path, holder: str) -> NoReturn:
    raise UserError(
        f"run {path.parent.name} is being trained by {holder}; two at once would spoil it, so wait "
        "for that one, stop it with Ctrl-C, or branch off with --ckpt"
    )
