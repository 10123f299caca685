"""Numbers that are a student's own: the same ones every time, and other ones than all others'."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np

from mamlkit.errors import MamlkitError

PLACEHOLDER = "your student number"


def personal(assignment: str, year: int, student: str) -> np.random.Generator:
    """The generator of a student's own data, made offline from three things that all know.

    Args:
        assignment: such as "a1".
        year: of the course; next year's students get other numbers.
        student: the student number, as the teacher's list has it; case and blanks do not matter.

    Returns:
        a NumPy generator: the same on every machine.

    Raises:
        MamlkitError: if the student number is missing.
    """
    name = same_for_all(student)
    if not name or name == "".join(PLACEHOLDER.split()):
        raise MamlkitError(
            f'STUDENT is {student!r}; write your own student number there, such as "s1234567": '
            "your data are made from it."
        )
    return _generator(f"{assignment}/{year}/{name}".encode())


def secret(salt: bytes, student: str, question: str) -> np.random.Generator:
    """The generator of the inputs that a student's function is tried on; nobody knows them who does
    not have the salt.
    """
    name = same_for_all(student)
    return _generator(hmac.digest(salt, f"{name}/{question}".encode(), "sha256"))


def same_for_all(student: str) -> str:
    """A student number however it is written: without blanks, in small letters."""
    return "".join(str(student).split()).lower()


def _generator(words: bytes) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(words).digest())))
