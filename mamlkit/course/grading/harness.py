"""What runs beside the student's code, in the child process, under the limits of the sandbox.

It runs cells and asks functions for numbers, as the parent tells it line by line. It judges
nothing: whatever the student's code does to this process, all that can leave it is plain numbers,
and those are compared elsewhere.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import struct
import sys
import types
from typing import Any

LONGEST = 1_000_000  # characters of one answer
SHOWN = 300  # characters of an error
# By processor: its number for the kernel, the calls clone and clone3, others that start processes.
CALLS = {"x86_64": (0xC000003E, 56, 435, (57, 58)), "aarch64": (0xC00000B7, 220, 435, ())}
CLONE_THREAD, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 0x10000, 38, 22


def main() -> None:
    """Load what is large once, then serve in a copy of this process; when the copy ends, or is
    ended, a fresh one takes its place.
    """
    requests, answers = os.dup(0), os.dup(1)
    with open(os.devnull, "r+b") as nothing:  # what the student prints or asks for goes nowhere
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)
    set_limits(json.loads(receive(requests))["limits"])
    import matplotlib.pyplot  # noqa: F401
    import scipy.optimize  # noqa: F401
    import torch

    import mamlkit  # noqa: F401

    torch.func.grad(torch.sum)(torch.ones(1))  # its first call loads much more
    while go := receive(requests):
        copy = os.fork()
        if copy == 0:
            forbid_processes()
            reply(answers, {"to": json.loads(go)["number"]})
            serve(requests, answers)
            os._exit(0)
        os.waitpid(copy, 0)
        reply(answers, {"ended": True})


def receive(requests: int) -> bytes:
    """One line. It is read byte by byte: what is read ahead would be lost with a copy."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(requests, 1)
        if not part:
            return b""
        line += part
    return line


def reply(answers: int, message: dict[str, Any]) -> None:
    """One line."""
    with open(answers, "wb", closefd=False) as file:
        file.write(json.dumps(message).encode() + b"\n")


def serve(requests: int, answers: int) -> None:
    """Answer requests until the parent closes the pipe."""
    notebook = sys.modules["__main__"] = types.ModuleType("__main__")  # its names are the student's
    names = notebook.__dict__
    names["display"] = lambda *things, **more: None
    while line := receive(requests):
        request = json.loads(line)
        answer = run(request, names) if "source" in request else ask(request, names)
        if len(json.dumps(answer)) > LONGEST:
            answer = {"error": f"the answer is longer than {LONGEST} characters"}
        reply(answers, {**answer, "to": request["number"]})


def set_limits(limits: dict[str, int]) -> None:
    """Of this process and of those that it starts."""
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))


def forbid_processes() -> None:
    """From here on this process may start threads, and no process: fork and its kin fail with
    PermissionError. A filter of system calls does it, see seccomp(2); the limit RLIMIT_NPROC would
    not bind root. On a processor that is not in the table nothing happens, and the parent counts.
    """
    if platform.machine() not in CALLS:
        return
    machine, clone, clone3, others = CALLS[platform.machine()]
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, unknown = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
    number, architecture, flags = 0, 4, 16  # where these stand in struct seccomp_data
    program = [(load, 0, 0, architecture), (equal, 1, 0, machine), (give, 0, 0, refuse)]
    program += [(load, 0, 0, number), (at_least, 0, 1, 0x40000000), (give, 0, 0, refuse)]
    for call in others:
        program += [(equal, 0, 1, call), (give, 0, 0, refuse)]
    program += [(equal, 0, 1, clone3), (give, 0, 0, unknown)]  # then the C library takes clone
    program += [(equal, 1, 0, clone), (give, 0, 0, allow), (load, 0, 0, flags)]
    program += [(any_bit, 0, 1, CLONE_THREAD), (give, 0, 0, allow), (give, 0, 0, refuse)]
    filters = b"".join(struct.pack("=HBBI", *line) for line in program)
    memory = ctypes.create_string_buffer(filters)
    header = struct.pack("@HP", len(program), ctypes.addressof(memory))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(PR_SET_SECCOMP, 2, header, 0, 0):
        raise OSError(ctypes.get_errno(), "the system refuses a filter of system calls")


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
            value = value(*[given(v) for v in request["inputs"]])
        return {"value": plain(value)}
    except BaseException as error:
        return {"error": describe(error)}


def given(value: Any) -> Any:
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
