"""Where the same numbers are stored in another order."""

from .entry import Difference

FAMILY = "layout"

ENTRIES = (
    Difference(
        id="D10",
        title="Layout of a dense kernel",
        family=FAMILY,
        stage="weights",
        kind="layout",
        torch="Linear stores (out, in) and computes x·Wᵀ.",
        keras="Dense stores (in, out) and computes x·W.",
        effect="A square kernel that is loaded without a transpose has a fitting shape and gives "
        "other outputs.",
        fix_torch="layer.weight.data = torch.from_numpy(kernel.T)",
        fix_keras="layer.set_weights([weight.T, bias])",
        source="torch: nn/modules/linear.py; keras: src/layers/core/dense.py",
        words=("Linear", "Dense", "transpose", "weights"),
        recorded={
            "torch shape": [5, 3],
            "keras shape": [3, 5],
            "keras, loaded as it is": 1.9142,
            "keras, transposed": 0.0,
        },
    ),
    Difference(
        id="D11",
        title="Layout of a convolution kernel",
        family=FAMILY,
        stage="weights",
        kind="layout",
        torch="Conv2d stores (out, in, height, width).",
        keras="Conv2D stores (height, width, in, out).",
        effect="Loaded with the axes (2, 3, 1, 0), outputs agree up to rounding; a reshape of the "
        "same size mixes all weights.",
        fix_torch="layer.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1))",
        fix_keras="layer.set_weights([weight.transpose(2, 3, 1, 0), bias])",
        source="torch: nn/modules/conv.py; keras: src/layers/convolutional/base_conv.py",
        words=("Conv2d", "OIHW", "HWIO", "transpose", "weights"),
        recorded={
            "torch shape": [3, 2, 3, 3],
            "keras shape": [3, 3, 2, 3],
            "keras, reshaped": 14.4413,
            "keras, axes exchanged": 0.0,
        },
    ),
    Difference(
        id="D12",
        title="Layout of a depthwise kernel",
        family=FAMILY,
        stage="weights",
        kind="layout",
        torch="Conv2d with groups=in stores (in·multiplier, 1, height, width).",
        keras="DepthwiseConv2D stores (height, width, in, multiplier).",
        effect="The transpose (2, 3, 0, 1) and a reshape give equal outputs; the axes of an "
        "ordinary convolution do not fit.",
        fix_torch="layer.weight.data = torch.from_numpy(kernel.transpose(2, 3, 0, 1).reshape(-1, "
        "1, h, w))",
        fix_keras="layer.set_weights([weight.reshape(channels, -1, h, w).transpose(2, 3, 0, 1), "
        "bias])",
        source="keras: src/layers/convolutional/base_depthwise_conv.py",
        words=("DepthwiseConv2D", "groups", "MobileNet", "transpose"),
        recorded={
            "torch shape": [6, 1, 3, 3],
            "keras shape": [3, 3, 3, 2],
            "keras, multiplier first": 12.4107,
            "keras, channel first": 0.0,
        },
    ),
    Difference(
        id="D13",
        title="Layout and cropping of a transposed convolution",
        family=FAMILY,
        stage="weights",
        kind="layout",
        torch="ConvTranspose2d stores (in, out, height, width) and crops `padding` at both ends.",
        keras="Conv2DTranspose stores (height, width, out, in); 'same' with kernel 3 and stride 2 "
        "crops the end alone.",
        effect="With padding=1, output_padding=1 the shape is the same and the values are not; "
        "kernel 4 with stride 2 and padding=1 agrees exactly.",
        fix_torch="y = nn.functional.conv_transpose2d(x, weight, bias, stride=2)[:, :, : 2 * h, "
        ": 2 * w]",
        fix_keras="y = layers.Conv2DTranspose(filters, 3, strides=2)(x)[:, 1:, 1:]",
        source="keras: src/backend/common/backend_utils.py; torch: nn/modules/conv.py",
        words=(
            "ConvTranspose2d",
            "Conv2DTranspose",
            "deconvolution",
            "output_padding",
            "upsampling",
        ),
        recorded={
            "torch shape": [2, 3, 3, 3],
            "keras shape": [3, 3, 3, 2],
            "keras, kernel 3, from padding=1": 6.3596,
            "keras, kernel 3, from the end cropped": 0.0,
            "keras, kernel 4, from padding=1": 0.0,
            "keras, 'valid' and its start cropped, from padding=1": 0.0,
        },
    ),
    Difference(
        id="D14",
        title="Layout of LSTM weights",
        family=FAMILY,
        stage="weights",
        kind="layout",
        torch="LSTM stores (4·hidden, in), gates in the order i, f, g, o.",
        keras="LSTM stores (in, 4·hidden), gates in the order i, f, c, o.",
        effect="The order of the gates agrees: transposes and the sum of the two biases give equal "
        "outputs.",
        fix_torch="layer.weight_ih_l0.data = torch.from_numpy(kernel.T)",
        fix_keras="layer.set_weights([weight_ih.T, weight_hh.T, bias_ih + bias_hh])",
        source="torch: nn/modules/rnn.py; keras: src/layers/rnn/lstm.py",
        words=("recurrent", "gates", "transpose"),
        recorded={
            "torch shape": [16, 3],
            "keras shape": [3, 16],
            "keras, transposed": 0.0,
            "keras, with two gates swapped": 0.161739,
        },
    ),
    Difference(
        id="D15",
        title="Order of the gates of a GRU",
        family=FAMILY,
        stage="weights",
        kind="layout",
        torch="GRU stores its gates in the order r, z, n.",
        keras="GRU stores its gates in the order z, r, h.",
        effect="A plain transpose has fitting shapes and gives other outputs; with the first two "
        "blocks swapped they agree up to rounding.",
        fix_torch="weight_ih = torch.cat([torch.chunk(torch.from_numpy(kernel.T), 3)[i] for i in "
        "(1, 0, 2)])",
        fix_keras="kernel = np.concatenate([np.split(weight_ih, 3)[i] for i in (1, 0, 2)]).T",
        source="torch: nn/modules/rnn.py; keras: src/layers/rnn/gru.py; keras#8720",
        words=("recurrent", "gates", "reset", "update"),
        recorded={
            "keras, transposed": 0.477228,
            "keras, with the first two gates swapped": 0.0,
        },
    ),
    Difference(
        id="D16",
        title="PyTorch's recurrent layers have two bias vectors",
        family=FAMILY,
        stage="update",
        kind="formula",
        torch="LSTM adds bias_ih and bias_hh, and both receive the same gradient.",
        keras="LSTM has one bias vector.",
        effect="With SGD the sum of the biases moves twice as far in each step.",
        fix_torch="layer.bias_hh_l0.requires_grad_(False)",
        fix_keras=None,
        source="torch: nn/modules/rnn.py; keras: src/layers/rnn/lstm.py; keras#15915",
        words=("LSTM", "GRU", "recurrent", "bias_ih", "bias_hh", "parameters"),
        recorded={
            "torch parameters": 1664,
            "keras parameters": 1600,
            "torch step of the bias": 0.0963565,
            "keras step of the bias": 0.0481782,
        },
    ),
    Difference(
        id="D17",
        title="Order of the features after Flatten",
        family=FAMILY,
        stage="weights",
        kind="layout",
        torch="Flatten of (channels, height, width): all pixels of the first channel come first.",
        keras="Flatten of (height, width, channels): all channels of the first pixel come first, "
        "with channels_first too.",
        effect="The first dense kernel after it has the right shape and its rows in another order: "
        "outputs of loaded weights are unrelated.",
        fix_torch="x = torch.flatten(x.permute(0, 2, 3, 1), 1)",
        fix_keras="x = layers.Flatten()(layers.Permute((3, 1, 2))(x))",
        source="keras: src/layers/reshaping/flatten.py; nn-transfer#11",
        words=("Reshape", "view", "NCHW", "NHWC", "channels_first", "permutation"),
        recorded={
            "torch": [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0],
            "keras": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
            "keras channels_first": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
            "keras, after Permute": [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0],
        },
    ),
)
