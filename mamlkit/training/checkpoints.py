"""Checkpoints of a run: written atomically, read without running code."""

from __future__ import annotations

import errno
import os
import platform
import re
import time
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from mamlkit.checks import as_path
from mamlkit.errors import MamlkitError

FORMAT = "mamlkit checkpoint 2"
#: None on Windows: two runs with one path are then not told apart.
fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None


def fill(learner: nn.Module, saved: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """Load what was read from ``path`` into a learner that fits; return the notes."""
    _check_fit(path, learner, saved)
    described, own = saved.get("described", learner.extra_repr()), learner.extra_repr()
    if described != own:
        raise MamlkitError(
            f"{path} holds a learner with other settings: {_changed(described, own)}. Build yours "
            "like it."
        )
    learner.load_state_dict(saved.get("best") or saved["learner"])
    return dict(saved.get("notes", {}))


def _changed(was: Any, now: Any) -> str:
    """Of two settings, or two texts with many, what differs."""
    if isinstance(was, str) and isinstance(now, str):
        before, after = (re.split(r", (?=\w+=)|\n *", text) for text in (was, now))
        gone, come = [p for p in before if p not in after], [p for p in after if p not in before]
        if (gone or come) and len(before) + len(after) > 2:
            return f"was {', '.join(gone) or 'nothing'}; now {', '.join(come) or 'nothing'}"
    return f"was {was!r}, now {now!r}"


def versions() -> dict[str, str]:
    """Python and the packages that a result depends on: a note for what is saved."""
    packages = {name: version(name) for name in ("mamlkit", "torch", "numpy")}
    return {"python": platform.python_version(), **packages}


def write_atomically(path: str | Path, content: dict[str, Any]) -> None:
    """Write with ``torch.save``, so that a crash leaves the old file or the new one, not a part."""
    with atomically(path) as file:
        try:
            torch.save({"format": FORMAT, **content}, file)
        except RuntimeError as error:  # of torch as it closes a file that the system cut short
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


@contextmanager
def atomically(path: str | Path, keep: bool = True) -> Iterator[IO[bytes]]:
    """A file beside ``path`` to write to, which takes its place when all is on the disk."""
    path = as_path(path)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")  # nobody else's
    with _in_words(path):
        try:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if keep:
                part.replace(path)
        finally:
            with suppress(OSError):  # gone, if all went well
                part.unlink()


@contextmanager
def only_run(path: str | Path) -> Iterator[None]:
    """Keep other runs, of this process or another, from a checkpoint, by a locked file beside it
    that says whose it is. The system lets go of the lock when the process ends, however it ends.
    """
    path = as_path(path)
    lock = path.with_name(f"{path.name}.lock")
    with _in_words(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(path, lock)
    try:
        for left in path.parent.iterdir():  # by a run that was killed as it wrote
            if re.fullmatch(re.escape(path.name) + r"\.[0-9a-f]{8}\.part", left.name):
                left.unlink(missing_ok=True)
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        file.close()


def _locked(path: Path, lock: Path) -> IO[str]:
    """The file ``lock``, open, locked and signed."""
    while True:
        file = lock.open("a+")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with file:
                file.seek(0)
                raise MamlkitError(
                    f"{path} is in use by another run ({file.read() or 'it has just begun'}). Wait "
                    "for it to end, or choose another checkpoint path."
                ) from error
        except OSError:  # a file system without locks
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                break
        file.close()  # whoever held it has just removed it
    file.truncate(0)
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    file.write(f"process {os.getpid()} on {platform.node()}, since {began}")
    file.flush()
    return file


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Say plainly what is wrong with a place that cannot be written."""
    try:
        yield
    except OSError as error:
        raise MamlkitError(
            f"{path} cannot be written: {error.strerror}; make room there if the disk is full, or "
            "choose another path. Nothing that was there before has changed."
        ) from error


def read_checkpoint(
    path: str | Path, learner: nn.Module, settings: dict[str, Any]
) -> dict[str, Any]:
    """Read a checkpoint of a run with the same ``settings``, or say plainly why not."""
    if is_saved(path):
        raise MamlkitError(
            f"{path} holds a learner without a training run, so there is nothing to resume; use "
            "load_learner() to read it, or another checkpoint path."
        )
    saved = read_file(path)
    theirs = saved.get("settings")
    if not isinstance(theirs, dict):
        raise MamlkitError(f"{path} is a damaged checkpoint: it lacks its settings.")
    different = [k for k in settings if settings[k] != theirs.get(k)]
    if different:
        k = different[0]
        raise MamlkitError(
            f"{path} belongs to a run with other settings: {', '.join(different)} "
            f"({k} {_changed(theirs.get(k), settings[k])}). Use the same settings to resume, or "
            "another checkpoint path to start anew."
        )
    _check_fit(path, learner, saved)
    return saved


def is_saved(path: str | Path) -> bool:
    """Is this a file of :func:`mamlkit.save`?"""
    try:
        with zipfile.ZipFile(as_path(path)) as file:
            return "description.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False  # whoever reads it says what is wrong


def read_file(path: str | Path) -> dict[str, Any]:
    """What :func:`write_atomically` wrote."""
    try:
        saved = torch.load(as_path(path), map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise MamlkitError(f"there is no file {path}; check the path.") from error
    except Exception as error:  # what a file of another kind makes torch raise is anybody's guess
        raise MamlkitError(
            f"{path} cannot be read as a mamlkit checkpoint: it is damaged, cut short or of "
            "another program, or would run code. Nothing was changed; move it away or choose "
            "another path."
        ) from error
    content: dict[str, Any] = saved if isinstance(saved, dict) else {}
    if content.get("format") != FORMAT or not isinstance(content.get("learner"), dict):
        raise MamlkitError(
            f"{path} is not a mamlkit checkpoint (format {FORMAT!r}); choose another path."
        )
    return content


def _check_fit(path: str | Path, learner: nn.Module, saved: dict[str, Any]) -> None:
    """Refuse weights of another learner, before any of them is loaded."""
    own, theirs = (
        {name: list(w.shape) if isinstance(w, Tensor) else "no tensor" for name, w in state.items()}
        for state in (learner.state_dict(), saved["learner"])
    )
    wrong = [
        f"{name} is {theirs.get(name, 'missing')} there and {own.get(name, 'missing')} in yours"
        for name in {**own, **theirs}
        if own.get(name) != theirs.get(name)
    ]
    if wrong:
        more = f", and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise MamlkitError(
            f"{path} holds another learner: {'; '.join(wrong[:4])}{more}. Build yours like it."
        )


def check_learner(learner: Any) -> dict[str, Tensor]:
    """Check that ``learner`` is a meta-learner; return its trainable meta-parameters by name."""
    if not isinstance(learner, nn.Module) or not hasattr(learner, "query_losses"):
        raise MamlkitError(
            f"learner must be a meta-learner with query_losses(batch), such as mk.MAML(model), but "
            f"{type(learner).__name__} was given."
        )
    parameters: dict[str, Tensor] = {
        name: p for name, p in learner.named_parameters() if p.requires_grad
    }
    if not parameters:
        raise MamlkitError(
            f"no parameter of the {type(learner).__name__} asks for a gradient, so there is "
            "nothing to train; set requires_grad=True on those that should learn."
        )
    return parameters
