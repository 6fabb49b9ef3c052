"""An ONNX file as a side: what is observed of it, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

import triptych as tt
from triptych.core import state
from triptych.doctor.diagnosis import diagnose
from triptych.doctor.frameworks.adapter import ModelError, Unsupported
from triptych.doctor.model_file import Parts
from triptych.doctor.observation import Change
from triptych.doctor.side import local_side
from triptych.doctor.side_file import OnnxFile, from_json, parse
from triptych.doctor.trace import RecordedSide, read_trace, record, write_trace
from triptych.errors import TriptychError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from triptych.doctor.frameworks.network.adapter import Adapter as NetworkAdapter  # noqa: E402
from triptych.doctor.frameworks.network.adapter import Trained  # noqa: E402
from triptych.doctor.frameworks.onnx.adapter import Adapter  # noqa: E402
from triptych.doctor.frameworks.onnx.reading import read  # noqa: E402
from triptych.exporting.onnx_graph import build_model  # noqa: E402

NETWORK = tt.Network(
    "small",
    (6, 6, 2),
    (
        tt.layers.Conv2D("conv", 4, 3, padding=1, bias=False),
        tt.layers.BatchNorm("norm"),
        tt.layers.LeakyReLU("leaky", 0.2),
        tt.layers.Conv2D("depthwise", 4, 3, groups=4),
        tt.layers.AvgPool2D("pool"),
        tt.layers.Flatten("flatten"),
        tt.layers.Dense("hidden", 5),
        tt.layers.Tanh("tanh"),
        tt.layers.Dense("logits", 3),
    ),
)
RECIPE = tt.Recipe()


def weights(seed=0):
    rng = np.random.default_rng(seed)
    arrays = state.initial(NETWORK, RECIPE)
    return {
        name: (array + rng.uniform(0, 0.3, array.shape)).astype(np.float32)
        for name, array in arrays.items()
    }


def batch():
    return {"x": np.random.default_rng(1).normal(size=(4, 6, 6, 2)).astype(np.float32)}


@pytest.fixture
def exported(tmp_path):
    """Our own export of the network."""
    path = tmp_path / "model.onnx"
    path.write_bytes(build_model(NETWORK, weights(), {}).SerializeToString())
    return path


def side(path):
    return Adapter({"model": read(path)}, "native")


def network_side():
    from triptych.data.reading import Options
    from triptych.training.trained import TrainedRun

    run = TrainedRun(Path("run"), NETWORK, RECIPE, weights(), "", "numpy", None, Options(), {})
    return Trained(run, "numpy")


def test_layers_weights_and_outputs_are_those_of_the_network(exported):
    adapter, data = side(exported), batch()
    network = NetworkAdapter({"model": network_side()}, "native")
    expected = network.observe(network.inputs(data), training=False)
    observation = adapter.observe(adapter.inputs(data), training=False)
    assert [c.layer for c in observation.anchors] == [c.layer for c in expected.anchors]
    assert [c.kind for c in observation.anchors] == [c.kind for c in expected.anchors]
    for one, other in zip(observation.anchors, expected.anchors, strict=True):
        for part in ("input", "output"):
            array = observation.arrays[f"{one.number}/{part}"]
            right = expected.arrays[f"{other.number}/{part}"]
            np.testing.assert_allclose(array, right, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        observation.arrays["output"], expected.arrays["output"], rtol=1e-4, atol=1e-5
    )
    for name, array in network.weights().items():
        np.testing.assert_array_equal(adapter.weights()[name], array)
    settings = {call.layer: call.settings for call in expected.anchors}
    for call in observation.anchors:
        shared = call.settings.keys() & settings[call.layer].keys()
        assert {name: call.settings[name] for name in shared} == {
            name: settings[call.layer][name] for name in shared
        }


def test_other_weights_and_forced_inputs_are_used(exported):
    adapter, data = side(exported), batch()
    network = NetworkAdapter({"model": network_side()}, "native")
    inputs = adapter.inputs(data)
    other = {name: array * 0.5 for name, array in network.weights().items()}
    network.load(other)
    adapter.load(other)
    expected = network.observe(network.inputs(data), training=False)
    found = adapter.observe(inputs, training=False)
    np.testing.assert_allclose(
        found.arrays["output"], expected.arrays["output"], rtol=1e-4, atol=1e-5
    )
    number = next(call.number for call in found.anchors if call.layer == "hidden")
    fed = np.random.default_rng(2).normal(size=found.arrays[f"{number}/input"].shape)
    forced = adapter.observe(inputs, training=False, forced={f"{number}/input": fed})
    right = fed @ other["hidden/kernel"] + other["hidden/bias"]
    np.testing.assert_allclose(forced.arrays[f"{number}/output"], right, rtol=1e-4, atol=1e-5)
    with pytest.raises(ModelError, match="has no weight nothing/kernel"):
        adapter.load({"nothing/kernel": fed})
    with pytest.raises(ModelError, match=r"hidden/bias: has the shape \(5,\)"):
        adapter.load({"hidden/bias": fed})


def test_a_setting_is_changed_and_restored(exported):
    adapter, data = side(exported), batch()
    inputs = adapter.inputs(data)
    before = adapter.observe(inputs, training=False)
    norm = next(call for call in before.anchors if call.layer == "norm")
    adapter.change([Change("layer", "norm", "epsilon", 0.5)])
    after = adapter.observe(inputs, training=False)
    held = adapter.weights()
    normal = (before.arrays[f"{norm.number}/input"] - held["norm/mean"]) / np.sqrt(
        held["norm/variance"] + 0.5
    )
    right = normal * held["norm/scale"] + held["norm/offset"]
    np.testing.assert_allclose(after.arrays[f"{norm.number}/output"], right, rtol=1e-4, atol=1e-5)
    adapter.restore()
    again = adapter.observe(inputs, training=False)
    np.testing.assert_array_equal(again.arrays["output"], before.arrays["output"])
    with pytest.raises(Unsupported):
        adapter.change([Change("preprocess", "", "scale", 2.0), Change("loss", "", "x", "sum")])
    np.testing.assert_array_equal(adapter.inputs(data)["input"], inputs["input"])
    adapter.change([Change("preprocess", "", "scale", 2.0)])
    np.testing.assert_array_equal(adapter.inputs(data)["input"], 2 * inputs["input"])
    adapter.restore()
    np.testing.assert_array_equal(adapter.inputs(data)["input"], inputs["input"])


def test_it_has_no_training_mode(exported):
    adapter = side(exported)
    inputs = adapter.inputs(batch())
    assert adapter.description().evaluation_only
    with pytest.raises(Unsupported, match="evaluation mode"):
        adapter.observe(inputs, training=True)
    with pytest.raises(Unsupported, match="evaluation mode"):
        adapter.update([])


def compared(path, *, reverse=False):
    network = local_side("A", Parts(Path("A"), lambda: {"model": network_side()}))
    file = local_side("B", OnnxFile(path).run())
    sides = (file, network) if reverse else (network, file)
    return diagnose(*sides, batch())


@pytest.mark.parametrize("reverse", [False, True])
def test_a_right_export_is_equal_and_what_was_not_compared_is_named(exported, reverse):
    diagnosis = compared(exported, reverse=reverse)
    assert diagnosis.verdict in ("equal", "rounding")
    assert not diagnosis.findings
    (note,) = [row.note for row in diagnosis.stages if row.note]
    assert note == (
        "mode, loss, gradient, update, buffers, training: an ONNX file only computes in "
        "evaluation mode"
    )
    assert {row.stage for row in diagnosis.stages if row.compared} == {"data", "weights", "forward"}


def changed_attribute(path, operator, name, value):
    """Write another value of an attribute into a copy of a file."""
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == operator:
            kept = [each for each in node.attribute if each.name != name]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(name, value)])
    wrong = path.with_name("wrong.onnx")
    onnx.save(model, wrong)
    return wrong


def test_another_epsilon_in_the_file_is_proved(exported):
    wrong = changed_attribute(exported, "BatchNormalization", "epsilon", 1e-2)
    first = compared(wrong).findings[0]
    assert (first.stage, first.layer["b"], first.proved) == ("forward", "norm", True)
    assert first.cause == "D18"


def test_another_slope_between_two_layers_is_found(exported):
    wrong = changed_attribute(exported, "LeakyRelu", "alpha", 0.01)
    diagnosis = compared(wrong)
    assert diagnosis.verdict == "differ"
    (finding,) = diagnosis.findings
    assert (finding.stage, finding.cause) == ("forward", "D26")
    assert finding.values == {"a": 0.2, "b": pytest.approx(0.01)}


def test_a_file_is_recorded_as_a_trace(exported, tmp_path):
    file = local_side("A", OnnxFile(exported).run())
    recordings = record(file, batch())
    assert set(recordings) == {"native"}
    write_trace(tmp_path / "a.trace", recordings, batch())
    recorded = read_trace(tmp_path / "a.trace")
    assert isinstance(recorded, RecordedSide)
    network = local_side("B", Parts(Path("B"), lambda: {"model": network_side()}))
    assert diagnose(recorded, network, batch()).verdict in ("equal", "rounding")


# Small graphs.


def write(path, nodes, initializers=(), shape=(None, 3), outputs=("y",)):
    """Write a graph with the input x and return the path."""
    sizes = [f"n{n}" if size is None else size for n, size in enumerate(shape)]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["m", "k"]) for name in outputs],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def test_a_product_and_the_sum_after_it_are_one_dense_layer(tmp_path):
    kernel, bias = np.ones((3, 2), np.float32), np.arange(2, dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "dense/kernel"], ["z"]),
        helper.make_node("Add", ["z", "dense/bias"], ["y"]),
    ]
    path = write(
        tmp_path / "m.onnx", nodes, [constant("dense/kernel", kernel), constant("dense/bias", bias)]
    )
    adapter = side(path)
    inputs = adapter.inputs({"x": np.eye(3, dtype=np.float32)})
    (call,) = adapter.observe(inputs, training=False).calls
    assert (call.layer, call.kind) == ("dense", "dense")
    assert set(adapter.weights()) == {"dense/kernel", "dense/bias"}


def test_images_with_channels_first_are_recorded_with_channels_last(tmp_path):
    kernel = np.random.default_rng(0).normal(size=(5, 2, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["c"], kernel_shape=[3, 3]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("Softmax", ["f"], ["y"], axis=1),
    ]
    path = write(tmp_path / "m.onnx", nodes, [constant("conv.weight", kernel)], (None, 2, 6, 6))
    adapter = side(path)
    x = np.random.default_rng(1).normal(size=(4, 6, 6, 2))
    inputs = adapter.inputs({"x": x})
    np.testing.assert_array_equal(inputs["input"], np.moveaxis(x, -1, 1).astype(np.float32))
    observation = adapter.observe(inputs, training=False)
    assert observation.arrays["0/output"].shape == (4, 4, 4, 5)
    flatten, softmax = observation.calls[1:]
    assert flatten.settings == {"from": [4, 4, 4, 5], "to": [4, 80], "order": "channels_first"}
    assert softmax.settings == {"function": "softmax", "axis": -1}
    assert adapter.weights()["conv/kernel"].shape == (3, 3, 2, 5)


def test_names_cannot_change_what_is_printed(tmp_path):
    node = helper.make_node("MatMul", ["x", "\x1b[2J\nw.weight"], ["y"])
    kernel = constant("\x1b[2J\nw.weight", np.ones((3, 2), np.float32))
    path = write(tmp_path / "m.onnx", [node], [kernel])
    model = onnx.load(path)
    model.graph.name = "\x1b[2J\ngraph"
    path.write_bytes(model.SerializeToString())
    adapter = side(path)
    adapter.inputs({"x": np.eye(3, dtype=np.float32)})
    assert adapter.description().model == r"\x1b[2J graph"
    assert list(adapter.weights()) == [r"\x1b[2J w/kernel"]


def test_a_batch_that_does_not_fit_is_refused(tmp_path):
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    path = write(tmp_path / "m.onnx", relu, shape=(1, 3))
    with pytest.raises(ModelError, match="give a batch of 1, or export it with a batch of any"):
        side(path).inputs({"x": np.zeros((4, 3))})
    path = write(tmp_path / "m.onnx", relu)
    with pytest.raises(ModelError, match=r"input x has the shape \(any, 3\), .* is \(4, 2\)"):
        side(path).inputs({"x": np.zeros((4, 2))})
    with pytest.raises(ModelError, match="takes 1 inputs"):
        side(path).inputs({"x": np.zeros((4, 3)), "x2": np.zeros((4, 3))})


def external(path):
    path = write(path, [helper.make_node("MatMul", ["x", "w"], ["y"])], [])
    model = onnx.load(path)
    tensor = constant("w", np.ones((3, 2), np.float32))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.initializer.append(tensor)
    path.write_bytes(model.SerializeToString())
    return path


def control_flow(path):
    inner = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["z"])],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["m", "k"])],
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    return write(path, [node], [constant("c", np.array(True))])


def foreign(path):
    return write(path, [helper.make_node("Steal", ["x"], ["y"], domain="evil")])


def huge(path):
    shape = constant("s", np.array([2**20, 2**20]))
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["z"]),
        helper.make_node("Add", ["x", "z"], ["y"]),
    ]
    return write(path, nodes, [shape])


def false_size(path):
    tensor = constant("w", np.ones((3, 2), np.float32))
    tensor.dims[0] = 10**9
    return write(path, [helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor])


def long_range(path):
    """The length of the result depends on numbers, not on shapes."""
    ends = [constant(name, np.float32(end)) for name, end in (("a", 0), ("b", 1e11), ("c", 1))]
    nodes = [
        helper.make_node("Range", ["a", "b", "c"], ["z"]),
        helper.make_node("Add", ["x", "z"], ["y"]),
    ]
    return write(path, nodes, ends)


def with_functions(path, calls):
    """Write a graph that calls the first of some functions; each is a list of calls."""
    write(path, [helper.make_node("f0", ["x"], ["y"], domain="own")])
    model = onnx.load(path)
    versions = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    for number, called in enumerate(calls):
        names = ["x", *(f"v{n}" for n in range(len(called) - 1)), "y"]
        nodes = [
            helper.make_node(
                name, [names[n]], [names[n + 1]], domain="own" if name[0] == "f" else ""
            )
            for n, name in enumerate(called)
        ]
        function = helper.make_function("own", f"f{number}", ["x"], ["y"], nodes, versions)
        model.functions.append(function)
    del model.opset_import[:]
    model.opset_import.extend(versions)
    path.write_bytes(model.SerializeToString())
    return path


def doubling(path):
    """Each of 40 functions calls the next one twice, the last one an operator."""
    calls = [[f"f{n + 1}"] * 2 for n in range(40)]
    return with_functions(path, [*calls, ["Relu"]])


def endless(path):
    return with_functions(path, [["f1"], ["f0"]])


def nested(path):
    return with_functions(path, [*([f"f{n + 1}"] for n in range(900)), ["Relu"]])


def sparse(path):
    values = constant("v", np.ones(1, np.float32))
    values.data_location = TensorProto.EXTERNAL
    values.external_data.add(key="location", value="../../etc/passwd")
    tensor = helper.make_sparse_tensor(values, constant("i", np.zeros(1, np.int64)), [3])
    node = helper.make_node("Constant", [], ["z"], sparse_value=tensor)
    return write(path, [node, helper.make_node("Add", ["x", "z"], ["y"])])


def sequence(path):
    nodes = [
        helper.make_node("SequenceConstruct", ["x"], ["s"]),
        helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0),
    ]
    return write(path, nodes)


def of_text(path):
    write(path, [helper.make_node("Identity", ["x"], ["y"])])
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    path.write_bytes(model.SerializeToString())
    return path


def truncated(path):
    write(path, [helper.make_node("Relu", ["x"], ["y"])])
    path.write_bytes(path.read_bytes()[:-7])
    return path


def empty(path):
    path.write_bytes(b"")
    return path


def text(path):
    path.write_text("import os\n" * 20)
    return path


def undecodable(path):
    """Write a model in which the name of a weight is no text."""
    write(path, [helper.make_node("Add", ["x", "weight"], ["y"])], [constant("weight", 1.0)])
    path.write_bytes(path.read_bytes().replace(b"weight", b"weigh\xff"))
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (external, "weights are in other files"),
        (control_flow, "control flow cannot be observed"),
        (foreign, "evil"),
        (huge, "which is too large"),
        (false_size, "not an ONNX model, or damaged"),
        (long_range, "Range () needs more memory than half of this machine's"),
        (doubling, "nodes with its functions, more than 20,000"),
        (endless, "its function f0 calls itself"),
        (nested, "more than 50 functions call one another"),
        (sparse, "its node Constant has sparse constants"),
        (sequence, "SequenceConstruct () returns something else than arrays"),
        (of_text, "its input x is no array of numbers"),
        (truncated, "m.onnx"),
        (empty, "it has no nodes"),
        (text, "not an ONNX model, or damaged"),
        (undecodable, "a name in it is not UTF-8"),
    ],
)
def test_what_is_not_read_is_refused_in_one_line(tmp_path, make, message, capfd):
    path = make(tmp_path / "m.onnx")
    with pytest.raises(TriptychError) as refused:
        Adapter(OnnxFile(path).run().make(), "native").inputs({"x": np.zeros((2, 3))})
    assert message in str(refused.value)
    assert "m.onnx" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().out == ""


def test_functions_of_the_file_are_put_in_place_of_their_calls(tmp_path):
    path = with_functions(tmp_path / "m.onnx", [["f1", "f1", "Neg"], ["Relu", "Neg"]])
    adapter = side(path)
    x = np.array([[1.0, -2.0, 3.0]], np.float32)
    observation = adapter.observe(adapter.inputs({"x": x}), training=False)
    right = np.maximum(-np.maximum(x, 0), 0)
    np.testing.assert_array_equal(observation.arrays["output"], right)
    assert [call.name for call in observation.calls] == ["Relu", "Neg", "Relu", "Neg", "Neg"]


def test_graphs_for_training_are_not_read(tmp_path):
    path = write(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])])
    model = onnx.load(path)
    outside = onnx.load(external(tmp_path / "e.onnx"), load_external_data=False)
    model.training_info.add().algorithm.CopyFrom(outside.graph)
    path.write_bytes(model.SerializeToString())
    assert not read(path).proto.training_info


def test_flipped_bits_are_an_error_or_another_model(exported):
    content = bytearray(exported.read_bytes())
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(40):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        exported.write_bytes(damaged)
        try:
            adapter = side(exported)
            adapter.observe(adapter.inputs(batch()), training=False)
        except TriptychError as error:
            messages.append(str(error))
    assert messages
    assert not [message for message in messages if "\n" in message]


def test_a_name_that_ends_in_onnx_is_an_onnx_file(exported):
    assert parse(str(exported)) == OnnxFile(exported)
    assert from_json(OnnxFile(exported).to_json()) == OnnxFile(exported)
