"""Measurements of recurrent layers, attention and embeddings."""

from typing import Any

import numpy as np

from .support import Array, Values, apart, check, draw, largest, to_numpy


@check("D95")
def repeated_word() -> Values:
    """Measure the first step of Adam for a word that occurs twice, over that of a single one."""
    import keras

    backend = keras.backend.backend()
    model = keras.Sequential([keras.layers.Embedding(3, 1, embeddings_initializer="zeros")])
    model.compile(keras.optimizers.Adam(learning_rate=1.0, epsilon=1e-12), "mse")
    model.train_on_batch(np.array([[0, 1, 1]]), np.ones((1, 3, 1), np.float32))
    vectors = model.get_weights()[0]
    values: Values = {f"keras on {backend}": vectors[1, 0] / vectors[0, 0]}
    if backend == "tensorflow":
        import torch

        values["keras on tensorflow, gradient made dense"] = _dense_gradient_ratio()
        layer = torch.nn.Embedding(3, 1)
        layer.weight.data.zero_()
        output = layer(torch.tensor([[0, 1, 1]]))
        torch.nn.functional.mse_loss(output, torch.ones(1, 3, 1)).backward()
        torch.optim.Adam(layer.parameters(), lr=1.0, eps=1e-12).step()
        values["torch"] = layer.weight[1, 0] / layer.weight[0, 0]
    return values


def _dense_gradient_ratio() -> float:
    """Return the same ratio in a custom loop that makes the gradient an ordinary tensor."""
    import keras
    import tensorflow as tf

    layer = keras.layers.Embedding(3, 1, embeddings_initializer="zeros")
    layer.build((None, 3))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(layer(np.array([[0, 1, 1]])) - 1))
    variables = layer.trainable_variables
    gradients = [tf.convert_to_tensor(each) for each in tape.gradient(loss, variables)]
    keras.optimizers.Adam(learning_rate=1.0, epsilon=1e-12).apply(gradients, variables)
    vectors = layer.get_weights()[0]
    return float(vectors[1, 0] / vectors[0, 0])


@check("D99")
def axes_of_a_sequence() -> Values:
    """Measure how much the second sample's output changes when the first sample does."""
    import keras
    import torch

    batch = draw(2, 4, 3)
    changed = batch.copy()
    changed[0] += 1
    torch_layer = torch.nn.LSTM(3, 5)
    batch_first = torch.nn.LSTM(3, 5, batch_first=True)
    attention = torch.nn.MultiheadAttention(3, 1)
    keras_layer = keras.layers.LSTM(5, return_sequences=True)

    def attend(x: Any) -> Any:
        return attention(x, x, x)[0]

    return {
        "torch LSTM": bool(_influence(lambda x: torch_layer(x)[0], batch, changed) > 0),
        "torch MultiheadAttention": bool(_influence(attend, batch, changed) > 0),
        "keras LSTM": bool(apart(keras_layer(batch)[1], keras_layer(changed)[1]) > 0),
        "torch LSTM, batch_first=True": bool(
            _influence(lambda x: batch_first(x)[0], batch, changed) > 0
        ),
    }


def _influence(layer: Any, batch: Array, changed: Array) -> float:
    """Return how far the second sample's output of a layer of PyTorch moves."""
    import torch

    return apart(layer(torch.from_numpy(batch))[1], layer(torch.from_numpy(changed))[1])


@check("D100")
def attention_mask() -> Values:
    """Measure the weights of attention to two steps with the mask (True, False)."""
    import keras
    import torch

    batch = draw(1, 2, 4)
    mask = np.array([[True, False]])
    tensor = torch.from_numpy(batch)
    torch_layer = torch.nn.MultiheadAttention(4, 1, batch_first=True)
    weights = torch_layer(tensor, tensor, tensor, key_padding_mask=torch.from_numpy(mask))[1]
    inverted = torch_layer(tensor, tensor, tensor, key_padding_mask=torch.from_numpy(~mask))[1]
    keras_layer = keras.layers.MultiHeadAttention(1, 4)
    scores = keras_layer(batch, batch, attention_mask=mask[:, None], return_attention_scores=True)[
        1
    ]
    return {
        "torch": [float(weight) for weight in weights[0, 0]],
        "keras": [float(weight) for weight in scores[0, 0, 0]],
        "torch, mask inverted": [float(weight) for weight in inverted[0, 0]],
    }


@check("D101")
def mask_of_zero() -> Values:
    """Measure the mean over time of the words (1, 0, 0, 0), where word 1 is 1 and 0 is padding."""
    import keras
    import torch

    words = np.array([[1, 0, 0, 0]])
    torch_layer = torch.nn.Embedding(2, 1, padding_idx=0)
    torch_layer.weight.data[1] = 1.0
    embedded = torch_layer(torch.from_numpy(words))
    mask = torch.from_numpy(words != 0).float()
    divided = (embedded * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    means: dict[bool, Any] = {}
    for mask_zero in (True, False):
        layer = keras.layers.Embedding(2, 1, mask_zero=mask_zero)
        layer.build(words.shape)
        layer.set_weights([np.float32([[0], [1]])])
        means[mask_zero] = keras.layers.GlobalAveragePooling1D()(layer(words))[0, 0]
    return {
        "torch": embedded.mean(1)[0, 0],
        "keras": means[True],
        "torch, divided by the real steps": divided[0, 0],
        "keras, mask_zero=False": means[False],
    }


@check("D104")
def bidirectional() -> Values:
    """Measure how much the second half of the last output depends on the first step."""
    import keras
    import torch

    batch = draw(1, 4, 3)
    changed = batch.copy()
    changed[:, 0] += 1
    layer = torch.nn.LSTM(3, 2, batch_first=True, bidirectional=True)
    before, (state, _) = layer(torch.from_numpy(batch))
    after, (changed_state, _) = layer(torch.from_numpy(changed))
    keras_layer = keras.layers.Bidirectional(keras.layers.LSTM(2))
    keras_change = apart(keras_layer(batch)[:, 2:], keras_layer(changed)[:, 2:])
    return {
        "torch output[:, -1]": bool(apart(before[:, -1, 2:], after[:, -1, 2:]) > 0),
        "keras": bool(keras_change > 0),
        "torch h[-1]": bool(apart(state[-1], changed_state[-1]) > 0),
    }


@check("D105")
def returned_steps() -> Values:
    """Measure the shape of the output for a batch of 2 with 5 steps, 3→4 features."""
    import keras
    import torch

    batch = draw(2, 5, 3)
    output = torch.nn.LSTM(3, 4, batch_first=True)(torch.from_numpy(batch))[0]
    sequences = keras.layers.LSTM(4, return_sequences=True)
    return {
        "torch": list(output.shape),
        "keras": list(keras.layers.LSTM(4)(batch).shape),
        "torch, last step": list(output[:, -1].shape),
        "keras, return_sequences=True": list(sequences(batch).shape),
    }


@check("D106")
def reset_gate() -> Values:
    """Measure how far a GRU of Keras is from PyTorch's with the same weights and no biases."""
    import keras
    import torch

    batch = draw(1, 5, 3)
    kernel = draw(12, 3, seed=1)
    recurrent_kernel = draw(12, 4, seed=2)
    layer = torch.nn.GRU(3, 4, batch_first=True, bias=False)
    layer.weight_ih_l0.data = torch.from_numpy(kernel)
    layer.weight_hh_l0.data = torch.from_numpy(recurrent_kernel)
    expected = layer(torch.from_numpy(batch))[0][:, -1]
    order = (1, 0, 2)
    weights = [
        np.concatenate([np.split(weight, 3)[gate] for gate in order]).T
        for weight in (kernel, recurrent_kernel)
    ]
    values: Values = {"keras reset_after": keras.layers.GRU(4).reset_after}
    for reset_after in (True, False):
        gru = keras.layers.GRU(4, use_bias=False, reset_after=reset_after)
        gru.build(batch.shape)
        gru.set_weights(weights)
        values[f"keras, from torch, reset_after={reset_after}"] = apart(gru(batch), expected)
    return values


@check("D107")
def recurrent_dropout() -> Values:
    """Measure whether one layer with dropout=0.5 computes something else in training mode."""
    import keras
    import torch

    batch = np.ones((4, 5, 3), np.float32)
    single = torch.nn.LSTM(3, 4, dropout=0.5, batch_first=True)
    double = torch.nn.LSTM(3, 4, num_layers=2, dropout=0.5, batch_first=True)
    layer = keras.layers.LSTM(4, dropout=0.5)
    return {
        "torch, 1 layer": bool(_change_by_training(single, batch) > 0),
        "torch, 2 layers": bool(_change_by_training(double, batch) > 0),
        "keras, 1 layer": bool(apart(layer(batch, training=True), layer(batch)) > 0),
    }


def _change_by_training(layer: Any, batch: Array) -> float:
    """Return how far a layer's output in training mode is from that in evaluation mode."""
    import torch

    tensor = torch.from_numpy(batch)
    return apart(layer.train()(tensor)[0], layer.eval()(tensor)[0])


@check("D108")
def size_of_a_head() -> Values:
    """Measure the parameters of attention with 64 features and 4 heads."""
    import keras
    import torch

    layer = torch.nn.MultiheadAttention(64, 4)
    values: Values = {"torch": sum(parameter.numel() for parameter in layer.parameters())}
    for key_dim in (64, 16):
        attention = keras.layers.MultiHeadAttention(4, key_dim)
        attention.build((None, 5, 64), (None, 5, 64))
        values[f"keras, key_dim={key_dim}"] = attention.count_params()
    return values


@check("D109")
def scale_of_attention() -> Values:
    """Measure the larger weight of attention to two steps whose scores are 4 and 0."""
    import keras
    import torch

    query = np.float32([[[2, 2, 2, 2]]])
    key = np.float32([[[0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0]]])
    value = np.float32([[[1], [0]]])
    attend = torch.nn.functional.scaled_dot_product_attention
    tensors = tuple(torch.from_numpy(array) for array in (query, key, value))
    layer = keras.layers.Attention()
    return {
        "torch": attend(*tensors)[0, 0, 0],
        "keras": largest(layer([query, value, key])),
        "torch, scale=1": attend(*tensors, scale=1.0)[0, 0, 0],
        "keras, query divided by √features": largest(to_numpy(layer([query / 2, value, key]))),
    }


@check("D127")
def all_keys_masked() -> Values:
    """Measure whether attention to two masked steps is NaN, and what it returns otherwise."""
    import keras
    import torch

    batch = draw(1, 2, 4)
    tensor = torch.from_numpy(batch)
    layer = torch.nn.MultiheadAttention(4, 1, batch_first=True).eval()
    masked = torch.ones(1, 2, dtype=torch.bool)
    inputs = (tensor, tensor, tensor)
    slow = layer(*inputs, key_padding_mask=masked)[0]
    fast = layer(*inputs, key_padding_mask=masked, need_weights=False)[0]
    attend = torch.nn.functional.scaled_dot_product_attention
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    attended = attend(*inputs, attn_mask=nothing)
    keras_layer = keras.layers.MultiHeadAttention(1, 4)
    mask = np.zeros((1, 1, 2), bool)
    output = to_numpy(keras_layer(batch, batch, attention_mask=mask))
    scores = keras_layer(batch, batch, attention_mask=mask, return_attention_scores=True)[1]
    # With each step alone, the value is that of the step.
    steps = [to_numpy(keras_layer(batch, batch[:, place : place + 1])) for place in (0, 1)]
    share = (output - steps[1])[0, 0, 0] / (steps[0] - steps[1])[0, 0, 0]
    return {
        "torch": bool(slow.isnan().any()),
        "torch, need_weights=False": bool(fast.isnan().any()),
        "torch scaled_dot_product_attention": [float(each) for each in attended[0, 0, :2]],
        "keras": float(share),
        "keras, return_attention_scores=True": [float(weight) for weight in scores[0, 0, 0]],
    }
