"""What runs beside the student's code, in the child process, under the limits of the sandbox.

It runs cells and asks functions for numbers, as the parent tells it line by line. It judges
nothing: whatever the student's code does to this process, all that can leave it is plain numbers,
and those are compared elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import shutil
import struct
import sys
import types
from typing import Any

LONGEST = 1_000_000  # characters of one answer
SHOWN = 300  # characters of an error
PROCESSORS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # how the kernel calls them
# System calls by which a process could reach another one, or leave something behind when it ends:
# their numbers in the order of PROCESSORS; from 424 on they are the same on all.
REFUSED: dict[str, tuple[int, ...]] = {
    "fork": (57,),
    "vfork": (58,),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "unshare": (272, 97),
    "setns": (308, 268),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "chmod": (90,),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "io_uring_setup": (425, 425),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
}
# Those of which it depends on an argument.
CLONE, KILL, TGKILL, PRLIMIT, FCNTL = (56, 220), (62, 129), (234, 131), (302, 261), (72, 25)
CLONE3, NEWER = 435, 450  # from that on calls are newer than these lists
CLONE_THREAD, F_SETSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 0x10000, 10, 38, 22


def main() -> None:
    """Load what is large once, then serve in a copy of this process; when the copy ends, or is
    ended, a fresh one takes its place, for the same student or for the next.

    What a copy could leave to the next one is what it wrote into the box, and how it set the two
    pipes: both are put right here, while no student's code runs.
    """
    requests, answers = os.dup(0), os.dup(1)
    with open(os.devnull, "r+b") as nothing:  # what the student prints or asks for goes nowhere
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)
    told = json.loads(receive(requests))
    set_limits(told["limits"])
    import matplotlib.pyplot  # noqa: F401
    import scipy.optimize  # noqa: F401
    import torch

    import mamlkit  # noqa: F401

    torch.func.grad(torch.sum)(torch.ones(1))  # its first call loads much more
    while line := receive(requests):
        go: Any = None
        with contextlib.suppress(ValueError):
            go = json.loads(line)
        if not isinstance(go, dict) or "go" not in go:
            continue  # what the copy before was asked and did not read
        if told["box"]:
            empty(told["box"])
        copy = os.fork()
        if copy == 0:
            confine()
            reply(answers, {"to": go["number"]})
            serve(requests, answers)
            os._exit(0)
        os.waitpid(copy, 0)
        for pipe in (requests, answers):
            fcntl.fcntl(pipe, fcntl.F_SETFL, 0)  # it waits, and sends no signals
        reply(answers, {"ended": True})


def empty(folder: str) -> None:
    """Remove all that is in it. If that fails, this process ends, and the parent starts another."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


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


def confine() -> None:
    """From here on this process may start threads, and no process; it can reach no other one, and
    what it could leave behind for the next is refused: PermissionError.

    A filter of system calls does it, see seccomp(2); the limit RLIMIT_NPROC would not bind root.
    That there is no /proc in the sandbox belongs to it: through it one opens the memory of others,
    and the pipes in the other direction. On a processor that is not in the table nothing happens:
    the parent counts processes, and gives the sandbox to nobody else.
    """
    if platform.machine() not in PROCESSORS:
        return
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, unknown = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
    number, architecture, arguments = 0, 4, 16  # where these stand in struct seccomp_data
    which, me = list(PROCESSORS).index(platform.machine()), os.getpid()
    program = [(load, 0, 0, architecture), (equal, 1, 0, PROCESSORS[platform.machine()])]
    program += [(give, 0, 0, refuse), (load, 0, 0, number)]
    program += [(at_least, 0, 1, NEWER), (give, 0, 0, unknown)]
    program += [(equal, 0, 1, CLONE3), (give, 0, 0, unknown)]  # then the C library takes clone
    for calls in REFUSED.values():
        if len(calls) == len(PROCESSORS) or which == 0:
            program += [(equal, 0, 1, calls[which]), (give, 0, 0, refuse)]
    for calls, argument, test, value, met, otherwise in (
        (CLONE, 0, any_bit, CLONE_THREAD, allow, refuse),
        (KILL, 0, equal, me, allow, refuse),
        (TGKILL, 0, equal, me, allow, refuse),
        (PRLIMIT, 0, equal, 0, allow, refuse),
        (FCNTL, 1, equal, F_SETSIG, refuse, allow),
    ):
        program += [(equal, 0, 4, calls[which]), (load, 0, 0, arguments + 8 * argument)]
        program += [(test, 0, 1, value), (give, 0, 0, met), (give, 0, 0, otherwise)]
    program += [(give, 0, 0, allow)]
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
