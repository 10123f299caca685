"""The job of ``mamlkit train``: a family, a learner, a folder with the result."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mamlkit import learners, tasks, yardsticks
from mamlkit.checkpoints import atomically, save_learner
from mamlkit.distributed import join
from mamlkit.errors import MamlkitError
from mamlkit.evaluation import Curve, evaluate
from mamlkit.models import MLP
from mamlkit.tasks.base import Family
from mamlkit.training import History, meta_train

#: The learners of ``--learner``: each is called with (model, **settings).
LEARNERS: dict[str, Callable[..., Any]] = {
    name: getattr(learners, preset)
    for name, preset in {
        "maml": "MAML",
        "fomaml": "FOMAML",
        "anil": "ANIL",
        "metasgd": "MetaSGD",
        "maml++": "MAMLPlusPlus",
        "cavia": "CAVIA",
        "coda": "CoDA",
        "reptile": "Reptile",
        "imaml": "ImplicitMAML",
        "ridge": "RidgeHead",
    }.items()
}
LEARNERS["pooled"] = yardsticks.Pooled
#: What a learner asks of its network: a context to adapt, or features instead of outputs.
NETWORKS: dict[str, dict[str, Any]] = {"cavia": {"context": 2}, "ridge": {"d_out": 40}}

FILES = ("settings.json", "checkpoint.pt", "history.json", "learner.pt")
#: These do not change what a run computes, so a run may be resumed with others.
MAY_CHANGE = ("device", "compile", "chunk_size", "checkpoint_every")


def run(options: dict[str, Any], out: Path, command: str) -> History:
    """Train, save into ``out``, and print the error on new test tasks.

    Args:
        options: the options of ``mamlkit train`` by name; None leaves a choice to the learner.
        out: the folder; a run that was begun there is resumed.
        command: what was typed, for the record.

    Raises:
        MamlkitError: for options that do not fit, or a folder that holds another run.
    """
    device = find_device(options["device"])
    family = find_family(options["family"])
    training, validation, test = (
        [family.split(part) for part in ("train", "validation", "test")]
        if family.parts
        else [family] * 3
    )
    learner = make_learner(options, family).to(device, getattr(torch, options["dtype"]))
    ranks = join(device)
    settings: dict[str, Any] = {
        "command": command,
        "options": options,
        "family": repr(family),
        "learner": repr(learner),
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("mamlkit", "torch", "numpy")},
        },
        "processes": ranks.size,
    }
    first = ranks.rank == 0
    ranks.together(lambda: claim(out, settings) if first else None)
    if first:
        told = "" if ranks.size == 1 else f", {ranks.size} processes"
        print(f"{options['learner']} on {options['family']}, {options['shots']} shots{told}")
    seed = options["seed"]
    names = ("shots", "queries", "meta_batch", "iterations", "outer_lr", "seed", "schedule")
    history = meta_train(
        learner,
        training,
        **{name: options[name] for name in names},
        grad_clip=options["grad_clip"],
        compile=options["compile"],
        chunk_size=options["chunk_size"],
        validation=validation if options["validate"] else None,
        validate_every=options["validate"] or 1,
        checkpoint=out / "checkpoint.pt",
        checkpoint_every=options["checkpoint_every"],
    )
    if first:
        save_learner(learner, out / "learner.pt", **settings)
        history.save(out / "history.json")
        if history.interrupted:
            done = len(history.outer_loss)
            print(f"interrupted after {done} iterations; the same command goes on from there")
        else:
            given: dict[str, Any] = {"shots": options["shots"], "seed": seed + 2 * 10**6}
            zero = evaluate(yardsticks.Zero(family.d_out), test, **given)
            print(table(evaluate(learner, test, **given), zero, learner.inner_steps))
            print(f"written to {out}: {', '.join(FILES)}")
    return history


def make_learner(options: dict[str, Any], family: Family) -> Any:
    """The learner of ``--learner`` over a network that fits the family."""
    sizes: dict[str, Any] = {"d_in": family.d_in, "d_out": family.d_out}
    sizes |= {name: options[name] for name in ("hidden", "activation", "seed")}
    sizes |= {"x_range": family.x_range, **NETWORKS.get(options["learner"], {})}
    model = MLP(**sizes)
    make = LEARNERS[options["learner"]]
    given = {k: options[k] for k in ("inner_lr", "inner_steps") if options[k] is not None}
    for name in given.keys() - inspect.signature(make).parameters.keys():
        raise MamlkitError(
            f"--learner {options['learner']} has no {name}; leave out --{name.replace('_', '-')}."
        )
    if options["learner"] == "maml++":  # a fifth of the run to anneal in, whatever its length
        given |= dict.fromkeys(("anneal", "second_order_from"), options["iterations"] // 5)
    return make(model, **given)


def table(curve: Curve, zero: Curve, steps: int) -> str:
    """The errors on test tasks, one row for zero and one a step; or before and after, for learners
    that adapt in one go.
    """
    columns = curve.losses.shape[1]
    names = ["before", "adapted"][-columns:]
    if steps and columns == steps + 1:
        names = [f"after {k} step{'s' * (k != 1)}" for k in range(columns)]
    rows = [("predicting zero", zero, 0)]
    rows += [(name, curve, k) for k, name in enumerate(names)]
    lines = [
        f"squared error on {len(curve.losses)} new test tasks:",
        f"{'':18}{'mean':>10} {'95 % half width':>16} {'median':>10}",
    ]
    for name, each, k in rows:
        mean, ci95, median = (float(t[k]) for t in (each.mean, each.ci95, each.median))
        lines.append(f"  {name:<16}{mean:>10.4g} {ci95:>16.2g} {median:>10.4g}")
    return "\n".join(lines)


def claim(out: Path, settings: dict[str, Any]) -> None:
    """Write the settings into ``out``; refuse a folder that holds another run, or other work."""
    path = out / "settings.json"
    if path.exists():
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8"))["options"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MamlkitError(
                f"{path} cannot be read as settings of mamlkit train; give another --out."
            ) from error
        now = settings["options"]
        history = out / "history.json"
        done = len(History.load(history).outer_loss) if history.exists() else 0
        if done > now["iterations"]:
            raise MamlkitError(
                f"{out} holds a run of {done} iterations, more than the {now['iterations']} asked "
                "for; give another --out, or more --iterations."
            )
        may_change = (*MAY_CHANGE, *(("iterations",) if now["schedule"] == "constant" else ()))
        for name in now:
            if name not in may_change and before.get(name) != now[name]:
                option = "FAMILY" if name == "family" else f"--{name.replace('_', '-')}"
                raise MamlkitError(
                    f"{out} holds a run with other settings: {option} was {before.get(name)}, now "
                    f"{now[name]}. Give another --out, or the same settings to go on with it."
                )
    elif taken := [name for name in FILES if (out / name).exists()]:
        raise MamlkitError(
            f"{out} holds {', '.join(taken)}, but no settings.json of mamlkit train beside it; "
            "give another --out, so that nothing is overwritten."
        )
    with atomically(path) as file:
        file.write(json.dumps(settings, indent=2).encode())


def families() -> dict[str, type[Family]]:
    """The families of :mod:`mamlkit.tasks` that can be built without arguments, by name."""
    found = {}
    for name in tasks.__all__:
        kind = getattr(tasks, name)
        if inspect.isclass(kind) and issubclass(kind, Family) and kind is not Family:
            parameters = inspect.signature(kind).parameters.values()
            if all(p.default is not p.empty or p.kind in (4, 2) for p in parameters):
                found[re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()] = kind
    return found


def find_family(name: str) -> Family:
    """A family by its name, or by ``file.py:Name`` or ``module:Name``, which runs that code."""
    known = families()
    where, colon, attribute = name.rpartition(":")
    if not colon:
        plain = "vapour-pressure" if name == "fluids" else name.replace("_", "-").lower()
        if plain not in known:
            raise MamlkitError(
                f"there is no family {name!r}; choose from fluids, {', '.join(sorted(known))}, or "
                "give one of your own as path/to/file.py:ClassName."
            )
        return known[plain]()
    try:
        found = getattr(_load(where), attribute)
        family = found() if inspect.isclass(found) else found
    except Exception as error:  # the reader's code may raise anything
        raise MamlkitError(
            f"no family can be made from {name}: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(family, Family):
        raise MamlkitError(
            f"{name} is {type(family).__name__}; a family is a subclass of mk.tasks.Family that "
            "can be built without arguments, or an instance of one."
        )
    return family


def _load(where: str) -> Any:
    """Run a file, or import a module, as ``python`` would."""
    if not where.endswith(".py"):
        sys.path.insert(0, os.getcwd())
        return importlib.import_module(where)
    path = Path(where).resolve()
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f"mamlkit_family_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def find_device(name: str) -> torch.device:
    """The device of this process: under torchrun "cuda" is the GPU of its local rank."""
    try:
        device = torch.device(name)
        if device == torch.device("cuda"):
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MamlkitError(
            f"--device {name} cannot be used here: {str(error).splitlines()[0]}"
        ) from error
    return device
