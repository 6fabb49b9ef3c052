"""A compiler that makes mistakes is told from what the layers of the same model compute."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from triptych.doctor.diagnosis import diagnose  # noqa: E402
from triptych.doctor.findings import Diagnosis  # noqa: E402
from triptych.doctor.model_file import Parts  # noqa: E402
from triptych.doctor.side import local_side  # noqa: E402

pytestmark = pytest.mark.framework

RNG = np.random.default_rng(0)
BATCH = {
    "x": RNG.normal(size=(8, 3)).astype(np.float32),
    "y": RNG.normal(size=(8, 2)).astype(np.float32),
}


def without_gradient(graph: Any, _: Any) -> Any:
    """Compile so that one kernel gets no gradient, and the outputs are right."""

    def computed(*arguments: Any) -> Any:
        return graph.forward(
            *[each.detach() if tuple(each.shape) == (4, 3) else each for each in arguments]
        )

    return computed


def too_large(graph: Any, _: Any) -> Any:
    """Compile so that the outputs are too large."""
    return lambda *arguments: tuple(1.001 * each for each in graph.forward(*arguments))


def right(graph: Any, _: Any) -> Any:
    """Compile so that everything is right."""
    return graph.forward


def built(compiler: Callable[..., Any] | None) -> Callable[[], dict[str, Any]]:
    def build() -> dict[str, Any]:
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        compiled = model if compiler is None else torch.compile(model, backend=compiler)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return {"model": compiled, "loss": nn.MSELoss(), "optimizer": optimizer}

    return build


def diagnosed(a: Callable[..., Any] | None, b: Callable[..., Any] | None) -> Diagnosis:
    sides = [
        local_side(name, Parts.of_object(name, built(compiler)))
        for name, compiler in (("A", a), ("B", b))
    ]
    return diagnose(sides[0], sides[1], BATCH)


@pytest.mark.parametrize("compiled", ["a", "b"])
def test_a_missing_gradient_of_compiled_code_is_found_on_either_side(compiled: str) -> None:
    compilers = {"a": None, "b": None, compiled: without_gradient}
    answer = diagnosed(compilers["a"], compilers["b"])
    (finding,) = answer.findings
    assert (answer.verdict, finding.stage, finding.proved) == ("differ", "gradient", True)
    assert finding.cause == "D123"
    assert finding.layer == {"a": "0", "b": "0"}
    assert finding.values[compiled] == "0, by compiled code"
    assert finding.effect["gradient"] == 1.0 > finding.effect["bound"]
    other = "b" if compiled == "a" else "a"
    assert finding.fix == {compiled: "model = model._orig_mod", other: None}


def test_an_output_of_compiled_code_is_a_difference_of_the_forward_pass() -> None:
    (finding,) = diagnosed(None, too_large).findings
    assert (finding.stage, finding.cause) == ("forward", "D123")
    assert finding.effect["output"] == pytest.approx(1e-3, rel=0.01)


def test_a_right_compiler_is_acquitted_and_the_same_mistake_twice_is_no_difference() -> None:
    answer = diagnosed(None, right)
    assert answer.verdict in ("equal", "rounding")
    assert [row.stage for row in answer.stages].count("compilation") == 1
    both = diagnosed(without_gradient, without_gradient)
    assert both.findings == ()
    assert "D123" in [each.cause for each in both.acquitted]
    plain = diagnosed(None, None)
    assert "compilation" not in [row.stage for row in plain.stages]
