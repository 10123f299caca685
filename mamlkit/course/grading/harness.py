"""What runs beside the student's code, in the child process, under the limits of the sandbox.

It runs cells and asks functions for numbers, as the parent tells it line by line. It judges nothing:
whatever the student's code does to this process, all that can leave it is plain numbers, and those
are compared elsewhere.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

LONGEST = 1_000_000  # characters of one answer
SHOWN = 300  # characters of an error


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    with open(os.devnull, "r+b") as nothing:  # what the student prints or asks for goes nowhere
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)
    sys.stdout = sys.stderr = open(os.devnull, "w")
    set_limits(json.loads(requests.readline()))
    names: dict[str, Any] = {"__name__": "__main__", "display": lambda *things, **more: None}
    sys.modules["__main__"].__dict__.update(names)
    names = sys.modules["__main__"].__dict__
    for line in requests:
        request = json.loads(line)
        answer = run(request, names) if "source" in request else ask(request, names)
        text = json.dumps(answer)
        if len(text) > LONGEST:
            text = json.dumps({"error": f"the answer is longer than {LONGEST} characters"})
        answers.write(text + "\n")
        answers.flush()


def set_limits(limits: dict[str, int]) -> None:
    """Of this process and of those that it starts."""
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))


def run(request: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """Run a cell; what it raised, if it did."""
    try:
        exec(compile(request["source"], request["name"], "exec"), names)
    except BaseException as error:
        return {"error": describe(error)}
    return {}


def ask(request: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """The value of a name, called with the inputs if there are any."""
    if request["ask"] not in names:
        return {"missing": True}
    try:
        value = names[request["ask"]]
        if "inputs" in request:
            value = value(*[given(v, names) for v in request["inputs"]])
        return {"value": plain(value)}
    except BaseException as error:
        return {"error": describe(error)}


def given(value: Any, names: dict[str, Any]) -> Any:
    """An input as the student's function gets it: arrays are tensors of float64, and a function is
    stated by an expression.
    """
    if isinstance(value, list):
        import torch

        return torch.tensor(value, dtype=torch.float64)
    if isinstance(value, dict):
        import torch

        return eval(value["expression"], {"torch": torch})
    return value


def plain(value: Any, depth: int = 0) -> Any:
    """Numbers, words, and lists of them."""
    if depth > 6:
        raise TypeError("lists in lists in lists")
    if hasattr(value, "detach"):
        value = value.detach()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is Ellipsis or value is None:
        return None
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(v, depth + 1) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v, depth + 1) for k, v in value.items()}
    raise TypeError(f"{type(value).__name__} where numbers are needed")


def describe(error: BaseException) -> str:
    """One line."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:SHOWN]


if __name__ == "__main__":
    main()
