"""The inner loop as ONNX, run by onnxruntime, and as C, compiled, run and compared with torch."""

from __future__ import annotations

import builtins
import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mamlkit as mk
from mamlkit.learners.quantise import Quantised
from mamlkit.models import Powers, Pruned, largest_weights
from tests.helpers import seeded

COMPILER = shutil.which("gcc") or shutil.which("cc")


def net(d_in: int = 1, d_out: int = 1, **more: Any) -> mk.models.MLP:
    return mk.models.MLP(d_in, d_out, (6, 5), seed=2, **more)


def pruned() -> Pruned:
    return Pruned(net(), largest_weights(net(), 0.4))


#: Learners with the number of inputs and outputs.
LEARNERS: dict[str, tuple[Callable[[], Any], int, int]] = {
    "three powers": (lambda: mk.MetaSGD(Powers(), 0.3), 1, 1),
    "two inputs, two outputs": (lambda: mk.MetaSGD(net(2, 2), 0.1, 2), 2, 2),
    "ANIL": (lambda: mk.ANIL(net(2, activation="gelu"), 0.1, 2), 2, 1),
    "CAVIA": (lambda: mk.CAVIA(net(context=2), 0.5, 2), 1, 1),
    "modulated": (lambda: mk.CAVIA(net(context=2, feed="modulate"), 0.5), 1, 1),
    "affine": (lambda: mk.CAVIA(net(context=2, feed="affine"), 0.5), 1, 1),
    "CoDA": (lambda: mk.CoDA(net(activation="softplus", x_range=(0.0, 2.0)), 0.3), 1, 1),
    "MAML++": (lambda: mk.MAMLPlusPlus(net(activation="silu"), 0.1, 3), 1, 1),
    "matrix": (lambda: mk.MAML(net(activation="sin"), 0.1, adapt="head", learn_lr="matrix"), 1, 1),
    "pruned": (
        lambda: mk.MAML(pruned(), 0.1, 2, rule=mk.learners.momentum(0.5), penalty=0.1),
        1,
        1,
    ),
    "Reptile": (lambda: mk.Reptile(net(activation="relu"), 0.1, 2), 1, 1),
}


def points(d_in: int, d_out: int, n: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = seeded(seed)
    x = 0.6 + 0.3 * torch.rand(n, d_in, generator=generator)
    return x, torch.randn(n, d_out, generator=generator)


@pytest.mark.parametrize(
    ("name", "dtype"), [("two inputs, two outputs", torch.float64), ("CAVIA", torch.float32)]
)
def test_onnxruntime_adapts_and_predicts_as_torch(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    import onnxruntime as runtime

    make, d_in, d_out = LEARNERS[name]
    learner = make().to(dtype)
    x, y = (t.to(dtype) for t in points(d_in, d_out))
    x_new = points(d_in, d_out, 7, seed=1)[0].to(dtype)
    first, second = learner.export(tmp_path / "learner.onnx", shots=3)
    assert (first.name, second.name) == ("learner.onnx", "learner-predict.onnx")
    step, model = (runtime.InferenceSession(str(path)) for path in (first, second))
    weights = step.run(None, {"x": x.numpy(), "y": y.numpy()})
    names = [each.name for each in step.get_outputs()]
    assert names == [f"adapted.{n}" for n in learner.adapted]
    found = model.run(None, {**dict(zip(names, weights, strict=True)), "x": x_new.numpy()})[0]
    adapted = learner.adapt(x, y)
    assert not torch.allclose(adapted(x_new), learner.model(x_new), atol=1e-4)  # it has moved
    torch.testing.assert_close(torch.from_numpy(found), adapted(x_new), rtol=0, atol=1e-6)


def compiled(learner: Any, folder: Path, shots: int) -> Any:
    """The C of a learner as functions of tensors."""
    (source,) = learner.export(folder / "learner.c", shots=shots)
    library = folder / "learner.so"
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run(
        [str(COMPILER), *strict, "-o", str(library), str(source), "-lm"], check=True, timeout=60
    )
    return ctypes.CDLL(str(library))


def pointer(t: Tensor) -> Any:
    return ctypes.cast(t.data_ptr(), ctypes.POINTER(ctypes.c_float))


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")
@pytest.mark.parametrize("name", LEARNERS)
def test_c_adapts_and_predicts_as_torch_with_whole_numbers(name: str, tmp_path: Path) -> None:
    make, d_in, d_out = LEARNERS[name]
    learner = make()
    library, small = compiled(learner, tmp_path, 3), Quantised(learner)
    for seed in (0, 1):  # what one task leaves behind is not the start of the next
        x, y = points(d_in, d_out, seed=seed)
        library.adapt(pointer(x), pointer(y))
        adapted, found = small.adapt(x, y), torch.zeros(4, d_out)
        x_new = points(d_in, d_out, 4, seed=9)[0].contiguous()
        for row, result in zip(x_new, found, strict=True):
            library.predict(pointer(row), pointer(result))
        torch.testing.assert_close(found, adapted(x_new), rtol=1e-5, atol=1e-5)
    unmoved = Quantised(learner).learner.model(x_new)
    assert (found - unmoved).abs().max() > 10 * 1e-5


def test_c_holds_whole_numbers_and_no_others(tmp_path: Path) -> None:
    learner = mk.MetaSGD(Powers(), 0.3)
    with torch.no_grad():
        learner.model.weight.copy_(torch.tensor([[1.0, -0.5, 0.25]]))
    (path,) = learner.export(tmp_path / "boiling.c", shots=1)
    text = path.read_text()
    assert "static const int8_t q0[3] = {\n  127, -64, 32};" in text
    assert text.startswith("/* boiling.c, written by mamlkit")


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(mk.MamlkitError, match="which RidgeHead does not take"):
        mk.RidgeHead(net(1, 4)).export(tmp_path / "head.onnx", shots=1)
    with pytest.raises(mk.MamlkitError, match=r"writes .onnx or .c, .* not 'learner.txt'"):
        mk.MAML(net()).export(tmp_path / "learner.txt", shots=1)
    with pytest.raises(mk.MamlkitError, match="attribute d_in"):
        mk.MAML(torch.nn.Conv1d(1, 1, 1)).export(tmp_path / "learner.c", shots=1)

    def halved(predict: Any, data: Any) -> Tensor:
        loss = mk.losses.mse(predict, data)
        return loss / 2 if float(loss) > 1 else loss

    with pytest.raises(mk.MamlkitError, match="cannot be recorded as a fixed list"):
        mk.MAML(net(), loss=halved).export(tmp_path / "learner.c", shots=1)

    def softmax(predict: Any, data: Any) -> Tensor:
        return (predict(data.x).cumsum(0) - data.y).square().mean()

    with pytest.raises(mk.MamlkitError, match=r"has no C for aten.cumsum"):
        mk.MAML(net(), loss=softmax).export(tmp_path / "learner.c", shots=2)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("onnx"):
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(mk.MamlkitError, match=r"onnx is missing.*mamlkit\[export\]"):
        mk.MAML(net()).export(tmp_path / "learner.onnx", shots=1)
