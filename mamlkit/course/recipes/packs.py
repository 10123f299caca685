"""Two files a recipe: weights with seeds stacked (``.npz``), and the notes on them (``.json``)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mamlkit.errors import MamlkitError
from mamlkit.training.checkpoints import atomically, fill


def write(
    path: Path,
    learners: Mapping[str, Sequence[tuple[nn.Module, dict[str, Any]]]],
    tables: dict[str, Any],
    half: bool = False,
) -> None:
    """Write ``path.npz`` and ``path.json``.

    Args:
        path: without ending.
        learners: by name, the learners of several seeds with the notes on each, "seed" among them.
        tables: plain numbers and text, put beside the notes as they are.
        half: write numbers of 16 bits.
    """
    arrays: dict[str, Any] = {}
    entries: dict[str, Any] = {}
    for name, runs in learners.items():
        first, notes = runs[0][0], [note for _, note in runs]
        states = [learner.state_dict() for learner, _ in runs]
        for key in states[0]:
            stacked = torch.stack([state[key] for state in states]).cpu()
            arrays[f"{name}/{key}"] = (stacked.half() if half else stacked).numpy()
        entries[name] = {
            "seeds": [note["seed"] for note in notes],
            "described": first.extra_repr(),
            "description": repr(first).splitlines(),
            "notes": _merged(notes),
        }
    with atomically(path.with_suffix(".npz")) as file:
        np.savez_compressed(file, **arrays)
    write_json(path.with_suffix(".json"), {"learners": entries, **tables})


def read(path: Path, name: str, seed: int, learner: nn.Module) -> dict[str, Any]:
    """Load the weights of one name and seed into a learner built the same way.

    Returns the notes on it.

    Raises:
        MamlkitError: for a name or seed that is not there, or a learner that does not fit.
    """
    entry = read_json(path)["learners"].get(name, {"seeds": []})
    if seed not in entry["seeds"]:
        raise MamlkitError(f"{path.name} holds no {name!r} with seed {seed!r}: {entry['seeds']}.")
    i = entry["seeds"].index(seed)
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        weights = {
            key.removeprefix(f"{name}/"): torch.from_numpy(arrays[key])[i]
            for key in arrays.files
            if key.startswith(f"{name}/")
        }
    saved = {
        "learner": weights,
        "described": entry["described"],
        "description": "\n".join(entry["description"]),
        "notes": _of_seed(entry["notes"], i),
    }
    return fill(learner, saved, f"{path.name}/{name}")


def write_json(path: Path, content: Any) -> None:
    """Write JSON that can be read and compared: one thing a line, numbers of a list on one."""
    text = json.dumps(content, indent=1)
    text = re.sub(r'\[\n([^][{}"]*)\]', lambda found: f"[{' '.join(found[1].split())}]", text)
    with atomically(path) as file:
        file.write(f"{text}\n".encode())


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote."""
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def _merged(notes: Sequence[Any]) -> Any:
    """Notes of several seeds as one: what they share once, else ``{"each": [..]}``."""
    first = notes[0]
    if all(json.dumps(note) == json.dumps(first) for note in notes):
        return first
    if all(isinstance(note, dict) and list(note) == list(first) for note in notes):
        return {key: _merged([note[key] for note in notes]) for key in first}
    return {"each": list(notes)}


def _of_seed(notes: Any, i: int) -> Any:
    """The notes of the seed in place ``i``."""
    if not isinstance(notes, dict):
        return notes
    if list(notes) == ["each"]:
        return notes["each"][i]
    return {key: _of_seed(note, i) for key, note in notes.items()}
