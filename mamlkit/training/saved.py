"""Whole learners in one file, and back without the code that built them.

A file is numpy's ``.npz`` without pickles: a description in JSON, and tensors. The description
names classes and functions of this package and of ``torch.nn``, and holds their attributes; reading
it makes such objects anew and runs nothing else. What is your own (a model, a loss) is named in it,
and handed over when it is read.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mamlkit.checks import Made, as_path
from mamlkit.errors import MamlkitError
from mamlkit.models import ACTIVATIONS
from mamlkit.training.checkpoints import atomically, check_learner, fill, is_saved, read_file

FORMAT = "mamlkit 1"
#: Where classes and functions of a description may come from. Not from the command line, which runs
#: files.
ROOMS = {"evaluation", "fitting", "learners", "losses", "models", "ode", "physics", "tasks"}
ROOMS |= {"yardsticks"}
_PLAIN = vars(nn.Module())  # what every module has


def save(thing: Any, path: str | Path, /, **notes: Any) -> None:
    """Write a learner, a yardstick, an adapted prediction or a fit, whole: :func:`load` gives it
    back.
    Taught in notebook 13.

    Args:
        thing: what to save. What it holds of your own code (a model, a loss) is saved by name, and
            a model with its weights.
        path: the file, written in one atomic step.
        notes: numbers and text beside it, such as seed and settings.

    Raises:
        MamlkitError: if the file cannot be written, or a part of ``thing`` cannot be saved.
    """
    as_path(path)  # first: the two may have come in the other order
    writer = _Writer()
    content: dict[str, Any] = {"format": FORMAT, "thing": writer.pack(thing, "thing")}
    content["notes"] = plain(notes)
    if isinstance(thing, nn.Module):
        state = thing.state_dict(keep_vars=True)
        content["state"] = {name: writer.tensor(t) for name, t in state.items()}
        content |= {"described": thing.extra_repr(), "description": repr(thing)}
    with atomically(path) as file:
        np.savez(file, description=np.array(json.dumps(content)), **writer.arrays)


def save_learner(learner: nn.Module, path: str | Path, /, **notes: Any) -> None:
    """:func:`save`, for a meta-learner, which :func:`load_learner` reads too.
    Taught in notebook 05.

    Raises:
        MamlkitError: if it is none, the file cannot be written, or a note is not plain.
    """
    as_path(path)
    check_learner(learner)
    save(learner, path, **notes)


def load_learner(learner: nn.Module, path: str | Path) -> dict[str, Any]:
    """Load the weights in a file of :func:`save_learner`, or in a checkpoint, into a learner that
    is built the same way.
    Taught in notebook 05.

    Args:
        learner: a learner with the same model and settings as the one that was saved.
        path: the file. Of a checkpoint with validation, the best meta-parameters are taken.

    Returns:
        the notes given to :func:`save_learner`.

    Raises:
        MamlkitError: for a file that cannot be read or does not fit; the learner is unchanged.
    """
    if not is_saved(path):
        return fill(learner, read_file(path), path)
    content, tensors = read(path)
    if "state" not in content:
        raise MamlkitError(f"{path} holds no learner with weights; use mk.load() to read it.")
    weights = {name: tensors[key] for name, key in content["state"].items()}
    return fill(learner, {**content, "learner": weights}, path)


def load(path: str | Path, /, **yours: Any) -> Any:
    """What :func:`save` wrote, as it was.
    Taught in notebook 13.

    Args:
        path: the file; or a folder with a file ``saved.npz`` in it.
        yours: what the saved thing holds of your own code, by the name under which it holds it:
            ``mk.load("learner.npz", model=Net())``. The weights of a model are then loaded.

    Raises:
        MamlkitError: for a file that cannot be read; or that needs something of yours, with what.
    """
    content, tensors = read(path)
    lacking = {name: (kind, told) for name, kind, told in _yours(content) if name not in yours}
    if lacking:
        what = "\n".join(f"{name}: {kind}, {told}" for name, (kind, told) in lacking.items())
        call = "".join(f", {name}=..." for name in lacking)
        raise MamlkitError(
            f"{path} holds what is of your own, by name:\n{what}\nHand it over: "
            f"mk.load({str(path)!r}{call})."
        )
    try:
        return _Reader(tensors, yours, str(path)).unpack(content["thing"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, MamlkitError):
            raise
        raise MamlkitError(
            f"{path} is damaged, or of another version of mamlkit: {type(error).__name__}: {error}."
        ) from error


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description in a file, and its tensors."""
    path = as_path(path)
    path = path / "saved.npz" if path.is_dir() else path
    try:
        with np.load(path, allow_pickle=False) as arrays:
            content = json.loads(str(arrays["description"]))
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            tensors = {n: torch.from_numpy(arrays[n]) for n in arrays.files if n != "description"}
    except FileNotFoundError as error:
        raise MamlkitError(f"there is no file {path}; check the path.") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise MamlkitError(
            f"{path} cannot be read as what mk.save() writes: it is damaged, cut short, or of "
            "another program or version."
        ) from error
    return content, tensors


def plain(value: Any) -> Any:
    """Notes as JSON holds them: NumPy's numbers, enums, tuples and paths become plain."""
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, np.generic | np.ndarray | Tensor):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        return [plain(each) for each in value]
    if isinstance(value, Path | torch.dtype | torch.device):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise MamlkitError(
        f"notes must be numbers, text, lists or dicts, but {value!r} is {type(value).__name__}."
    )


class _Writer:
    """Turns objects into JSON, and gathers their tensors."""

    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self.names: dict[int, str] = {}
        self.kept: list[Any] = []  # so that no identity is used twice

    def tensor(self, tensor: Tensor) -> str:
        """The name of a tensor among those of the file; the same one twice is written once."""
        if id(tensor) not in self.names:
            self.names[id(tensor)] = f"tensor{len(self.names)}"
            self.kept.append(tensor)
            self.arrays[self.names[id(tensor)]] = tensor.detach().cpu().numpy()
        return self.names[id(tensor)]

    def pack(self, value: Any, name: str) -> Any:
        """``value`` as JSON; ``name`` is the attribute that holds it."""
        made = getattr(value, "made", None)
        if isinstance(made, Made):
            given = self.pack(list(made.given), name)
            settings = {key: self.pack(each, key) for key, each in made.settings.items()}
            return {"made": self.pack(made.maker, name), "given": given, "settings": settings}
        if isinstance(value, np.generic | Enum):
            return plain(value)
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, list):
            return [self.pack(each, name) for each in value]
        if isinstance(value, Tensor):
            kind = "parameter" if isinstance(value, nn.Parameter) else "tensor"
            return {kind: self.tensor(value), "learns": value.requires_grad}
        if isinstance(value, np.ndarray):
            return {"array": self.tensor(torch.from_numpy(value))}
        if isinstance(value, Mapping):
            return {"dict": [[self.pack(k, name), self.pack(v, str(k))] for k, v in value.items()]}
        if type(value) is tuple:
            return {"tuple": [self.pack(each, name) for each in value]}
        if isinstance(value, partial):
            parts = [value.func, list(value.args), dict(value.keywords)]
            return {"partial": [self.pack(part, name) for part in parts]}
        if hasattr(value, "__func__") and hasattr(value, "__self__"):
            return {"method": value.__name__, "of": self.pack(value.__self__, name)}
        if (place := _place_of(value)) is not None:
            return {"name": place}
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        return self._object(value, name)

    def _object(self, value: Any, name: str) -> Any:
        kind = type(value)
        if isinstance(value, nn.Module) and not _ours(kind):
            state = {key: self.tensor(t) for key, t in value.state_dict(keep_vars=True).items()}
            return {"yours": name, "kind": kind.__qualname__, "told": repr(value), "state": state}
        if callable(value) and not _ours(kind):
            told = getattr(value, "__qualname__", kind.__qualname__)
            return {"yours": name, "kind": "function", "told": told}
        if not _ours(kind):
            raise MamlkitError(
                f"{name} is an object of {kind.__module__}.{kind.__qualname__}, which cannot be "
                "saved; mamlkit saves its own objects, modules of torch, numbers and tensors."
            )
        found: dict[str, Any] = {"object": f"{kind.__module__}:{kind.__qualname__}"}
        if isinstance(value, tuple):  # a NamedTuple
            return {**found, "fields": [self.pack(each, name) for each in value]}
        own = vars(value)
        if isinstance(value, nn.Module):
            for part in ("_parameters", "_buffers", "_modules"):
                found[part] = {key: self.pack(each, key) for key, each in own[part].items()}
            found["volatile"] = sorted(own["_non_persistent_buffers_set"])
            found["training"] = value.training
            own = {key: each for key, each in own.items() if key not in _PLAIN}
        return {**found, "own": {key: self.pack(each, key) for key, each in own.items()}}


def _yours(value: Any) -> Iterator[tuple[str, str, str]]:
    """What a description names as the user's own: name, kind and what it looked like."""
    if isinstance(value, dict) and "yours" in value:
        yield value["yours"], value["kind"], value["told"]
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _yours(each)


class _Reader:
    """Makes objects of JSON."""

    def __init__(self, tensors: dict[str, Tensor], yours: dict[str, Any], path: str) -> None:
        self.tensors, self.yours, self.path = tensors, yours, path
        self.parameters: dict[str, nn.Parameter] = {}

    def unpack(self, value: Any) -> Any:
        """The object that ``value`` describes."""
        if isinstance(value, list):
            return [self.unpack(each) for each in value]
        if not isinstance(value, dict):
            return value
        for kind in ("made", "tensor", "parameter", "array", "dict", "tuple", "partial"):
            if kind in value:
                return getattr(self, f"_{kind}")(value)
        if "method" in value:
            if value["method"].startswith("_"):
                raise MamlkitError(f"{self.path} asks for {value['method']}, which it may not.")
            return getattr(self.unpack(value["of"]), value["method"])
        if "name" in value:
            return _found(value["name"])
        if "dtype" in value:
            return getattr(torch, value["dtype"])
        return self._yours(value) if "yours" in value else self._object(value)

    def _made(self, value: Any) -> Any:
        maker = self.unpack(value["made"])
        if not getattr(maker, "remade", False) and getattr(maker, "__name__", "") != "adapt":
            raise MamlkitError(f"{self.path} asks to run {maker!r}, which it may not.")
        settings = {key: self.unpack(each) for key, each in value["settings"].items()}
        return maker(*self.unpack(value["given"]), **settings)

    def _tensor(self, value: Any) -> Tensor:
        return self.tensors[value["tensor"]]

    def _parameter(self, value: Any) -> nn.Parameter:
        name = value["parameter"]
        if name not in self.parameters:  # what was one parameter is one again
            self.parameters[name] = nn.Parameter(self.tensors[name], value["learns"])
        return self.parameters[name]

    def _array(self, value: Any) -> Any:
        return self.tensors[value["array"]].numpy()

    def _dict(self, value: Any) -> Any:
        return {self.unpack(key): self.unpack(each) for key, each in value["dict"]}

    def _tuple(self, value: Any) -> Any:
        return tuple(self.unpack(value["tuple"]))

    def _partial(self, value: Any) -> Any:
        function, given, settings = self.unpack(value["partial"])
        return partial(function, *given, **settings)

    def _yours(self, value: Any) -> Any:
        name, kind = value["yours"], value["kind"]
        mine = self.yours[name]
        if "state" in value:
            if not isinstance(mine, nn.Module):
                raise MamlkitError(f"{name} must be a torch.nn.Module such as {kind}.")
            state = {key: self.tensors[each] for key, each in value["state"].items()}
            try:
                mine.load_state_dict(state)
            except RuntimeError as error:
                raise MamlkitError(
                    f"the {name} that was given is not like the one that was saved: {error}"
                ) from error
        return mine

    def _object(self, value: Any) -> Any:
        kind: Any = _found(value["object"])
        if not isinstance(kind, type):
            raise MamlkitError(f"{self.path} takes {value['object']} for a class.")
        if "fields" in value:
            return kind(*self.unpack(value["fields"]))
        thing: Any = object.__new__(kind)
        if isinstance(thing, nn.Module):
            nn.Module.__init__(thing)
            for part in ("_parameters", "_buffers", "_modules"):
                table = getattr(thing, part)
                table |= {key: self.unpack(each) for key, each in value[part].items()}
            thing._non_persistent_buffers_set = set(value["volatile"])
            thing.training = value["training"]
        for key, each in value["own"].items():
            object.__setattr__(thing, key, self.unpack(each))
        return thing


def _ours(kind: type) -> bool:
    """Is this a class that a description may name?"""
    return _place_of(kind) is not None


def _place_of(value: Any) -> str | None:
    """The name under which :func:`_found` finds a function or a class again, if there is one."""
    for name, function in ACTIVATIONS.items():
        if value is function:
            return f"activation:{name}"
    if not callable(value) or not hasattr(value, "__qualname__"):
        return None
    place = f"{value.__module__}:{value.__qualname__}"
    try:
        return place if _found(place) is value else None
    except (MamlkitError, AttributeError, ImportError):
        return None


def _found(place: str) -> Any:
    """The function or class of that name; only those of the package's rooms and of torch.nn."""
    module, _, name = place.partition(":")
    if module == "activation":
        return ACTIVATIONS[name]
    parts = module.split(".")
    allowed = parts[0] == "mamlkit" and len(parts) > 1 and parts[1] in ROOMS
    if not (allowed or module.startswith(("torch.nn.modules.", "torch.nn.functional"))):
        raise MamlkitError(f"{place} is not of mamlkit, so it cannot be part of a saved learner.")
    thing: Any = import_module(module)
    for part in name.split("."):
        thing = getattr(thing, part)
    if getattr(thing, "__module__", module) != module:  # what a module has imported is not its own
        raise MamlkitError(f"{place} is not where it says.")
    return thing
