"""``mamlkit train``: a family, a learner, a folder with the result."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import json
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import torch

from mamlkit import learners, tasks, yardsticks
from mamlkit.checks import as_path
from mamlkit.cli.common import DONE, INTERRUPTED, make_parser, positive, whole
from mamlkit.errors import MamlkitError
from mamlkit.evaluation.curves import Curve, evaluate
from mamlkit.models import ACTIVATIONS, MLP
from mamlkit.tasks.base import Family
from mamlkit.training.checkpoints import atomically, versions
from mamlkit.training.loop import History, Plan, meta_train
from mamlkit.training.ranks import join
from mamlkit.training.saved import save_learner

#: The learners of ``--learner``: each is called with (model, **settings).
LEARNERS: dict[str, Callable[..., Any]] = {
    "maml": learners.MAML,
    "fomaml": learners.FOMAML,
    "anil": learners.ANIL,
    "metasgd": learners.MetaSGD,
    "maml++": learners.MAMLPlusPlus,
    "cavia": learners.CAVIA,
    "coda": learners.CoDA,
    "reptile": learners.Reptile,
    "imaml": learners.ImplicitMAML,
    "ridge": learners.RidgeHead,
    "pooled": yardsticks.Pooled,
}
#: What a learner asks of its network: a context to adapt, or features instead of outputs.
NETWORKS: dict[str, dict[str, Any]] = {"cavia": {"context": 2}, "ridge": {"d_out": 40}}

FILES = ("settings.json", "checkpoint.pt", "history.json", "learner.npz")
#: These do not change what a run computes, so a run may be resumed with others.
MAY_CHANGE = ("device", "compile", "chunk_size", "checkpoint_every")


_one, _rate = whole(1), positive
#: Name, type, value if left out, text, and what else argparse takes. Settings of a run have the
#: defaults of :class:`mamlkit.Plan`.
OPTIONS: list[tuple[str, Any, Any, str, dict[str, Any]]] = [
    ("out", as_path, Path("mamlkit-train"), "where the result goes", {"metavar": "DIR"}),
    (
        "learner",
        str,
        "maml",
        f"what learns: {', '.join(LEARNERS)}",
        {"choices": list(LEARNERS), "metavar": "NAME"},
    ),
    ("shots", _one, Plan.shots, "support points of a task", {}),
    ("queries", _one, None, "query points of a task (default: left to the family)", {}),
    ("hidden", _one, [40, 40], "widths of the hidden layers (default: 40 40)", {"nargs": "*"}),
    ("activation", str, "tanh", "after each hidden layer", {"choices": sorted(ACTIVATIONS)}),
    ("inner-lr", _rate, None, "alpha, the inner step (default: the learner's own)", {}),
    ("inner-steps", _one, None, "inner steps (default: the learner's own)", {}),
    ("meta-batch", _one, Plan.meta_batch, "tasks an iteration, over all processes", {}),
    ("iterations", _one, Plan.iterations, "outer steps, counted from the very start", {}),
    ("outer-lr", _rate, Plan.outer_lr, "beta, the outer learning rate", {}),
    (
        "schedule",
        str,
        Plan.schedule,
        "of outer-lr: fixed, or falling to 0",
        {"choices": ["constant", "cosine"]},
    ),
    ("grad-clip", _rate, None, "largest norm of the meta-gradient (default: none)", {}),
    ("seed", whole(0), Plan.seed, "random seed: fixes the start and all tasks", {}),
    ("validate", _one, None, "validate every N iterations and keep the best (default: never)", {}),
    ("checkpoint-every", _one, Plan.checkpoint_every, "iterations between checkpoints", {}),
    ("chunk-size", _one, None, "tasks at a time, to save memory (default: all)", {}),
    ("device", str, "cpu", "cpu, cuda, ...", {"metavar": "DEVICE"}),
    ("dtype", str, "float32", "of all numbers", {"choices": ["float32", "float64"]}),
]


def add(commands: Any) -> argparse.ArgumentParser:
    """The options, :data:`OPTIONS` and ``--compile``."""
    own = (
        f"fluids, {', '.join(sorted(families()))}; or one of your own, as "
        "path/to/file.py:ClassName or module:ClassName, which runs that file"
    )
    command = make_parser(
        commands.add_parser,
        name="train",
        help="meta-train a learner on a family of tasks; in one process or many",
        description="Meta-train a learner on a family of tasks and print its error on new test "
        "tasks, beside that of predicting zero. A finite family (fluids) is trained, validated and "
        "tested on its own splits. The folder gets learner.npz, history.json, settings.json and "
        "checkpoint.pt; the same command goes on where it was stopped.",
        epilog=f"families:\n{textwrap.indent(textwrap.fill(own, 76), '  ')}\n\nexamples:\n"
        "  mamlkit train sinusoid --shots 10 --iterations 2000 --out sinusoid\n"
        "  mamlkit train fluids --learner metasgd --shots 1 --inner-lr 0.1 --validate 500\n"
        "  mamlkit train springs.py:Springs --shots 4 --hidden 64 64\n"
        "  torchrun --nproc-per-node=2 -m mamlkit train sinusoid --meta-batch 256",
    )
    command.add_argument("family", metavar="FAMILY", help="where tasks come from; see below")
    for name, kind, default, text, more in OPTIONS:
        shown = "" if default is None or "default" in text else " (default: %(default)s)"
        usual = {"metavar": "X" if kind is positive else "N"}
        if "choices" in more:  # named in the text, where a line may break
            usual = {"metavar": "NAME"}
            text += "" if name == "learner" else f": {', '.join(more['choices'])}"
        command.add_argument(
            f"--{name}", type=kind, default=default, help=text + shown, **{**usual, **more}
        )
        if name == "chunk-size":
            command.add_argument(
                "--compile",
                action="store_const",
                const=True,
                default=Plan.compile,
                help="compile the meta-gradient (default: capture it where that pays)",
            )
    return command


def run(args: argparse.Namespace) -> int:
    """Meta-train as the options say; 130 if Ctrl-C ended it."""
    work = train
    if "TORCHELASTIC_ERROR_FILE" in os.environ:  # torchrun then names the error that came first
        from torch.distributed.elastic.multiprocessing.errors import record

        work = cast(Any, record)(train)
    options = {k: v for k, v in vars(args).items() if k not in ("command", "out", "run", "argv")}
    history = work(options, args.out, shlex.join(["mamlkit", *args.argv]))
    return INTERRUPTED if history.interrupted else DONE


def train(options: dict[str, Any], out: Path, command: str) -> History:
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
    training, validation, test = split(family)
    learner = make_learner(options, family).to(device, getattr(torch, options["dtype"]))
    ranks = join(device)
    settings: dict[str, Any] = {
        "command": command,
        "options": options,
        "family": repr(family),
        "learner": repr(learner),
        "versions": versions(),
        "processes": ranks.size,
    }
    first = ranks.rank == 0
    ranks.together(lambda: claim(out, settings) if first else None)
    if first:
        told = "" if ranks.size == 1 else f", {ranks.size} processes"
        print(f"{options['learner']} on {options['family']}, {options['shots']} shots{told}")
    planned = {f.name: options[f.name] for f in fields(Plan) if f.name in options}
    history = meta_train(
        learner,
        training,
        plan=Plan(**planned, validate_every=options["validate"] or 1),
        validation=validation if options["validate"] else None,
        checkpoint=out / "checkpoint.pt",
    )
    if first:
        save_learner(learner, out / "learner.npz", **settings)
        history.save(out / "history.json")
        if history.interrupted:
            print("the same command goes on from there")
        else:
            given: dict[str, Any] = {"shots": options["shots"], "seed": options["seed"] + 2 * 10**6}
            zero = evaluate(yardsticks.Zero(family.d_out), test, **given)
            print(table(evaluate(learner, test, **given), zero, learner.inner_steps))
            print(f"written to {out}: {', '.join(FILES)}")
    return history


def split(family: Family) -> list[Family]:
    """What to train, validate and test on: the parts of a finite family, or one without end."""
    if family.parts or type(family).split is not Family.split:
        return [family.split(part) for part in ("train", "validation", "test")]
    if family.members is not None:
        raise MamlkitError(
            f"{type(family).__name__} has {family.n_members} members but no parts, so it would be "
            "tested on what it was trained on; give it parts named train, validation and test."
        )
    return [family] * 3


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
