"""Where first weights differ."""

from .entry import Difference

FAMILY = "initialization"

ENTRIES = (
    Difference(
        id="D01",
        title="First kernel of a dense layer",
        family=FAMILY,
        stage="weights",
        kind="default",
        torch="Linear draws from a uniform distribution with the bound 1/√fan_in.",
        keras="Dense draws from Glorot's uniform distribution, bound √(6/(fan_in + fan_out)).",
        jax="Flax draws from LeCun's normal distribution, truncated at 2 standard deviations.",
        effect="For 784→10 Keras's weights are 2.4 times as large; after one epoch of MNIST the "
        "accuracy differs by about half a percentage point, after five by nothing.",
        fix_torch="nn.init.xavier_uniform_(layer.weight)",
        fix_keras="layers.Dense(units, kernel_initializer=initializers.VarianceScaling(1 / 3, "
        '"fan_in", "uniform"))',
        source="torch: nn/modules/linear.py; keras: src/layers/core/dense.py",
        words=("Linear", "Dense", "Glorot", "Xavier", "Kaiming", "He", "initialisation", "weights"),
        recorded={
            "torch bound": 0.0357086,
            "keras bound": 0.0869136,
            "torch std": 0.0205311,
            "keras std": 0.0503856,
        },
        tolerance=0.02,
    ),
    Difference(
        id="D02",
        title="First bias of a dense layer",
        family=FAMILY,
        stage="weights",
        kind="default",
        torch="Linear draws the bias from a uniform distribution with the bound 1/√fan_in.",
        keras="Dense starts with a bias of zeros.",
        jax="Flax starts with zeros.",
        effect="The first outputs differ by up to 1/√fan_in.",
        fix_torch="nn.init.zeros_(layer.bias)",
        fix_keras="layers.Dense(units, "
        "bias_initializer=initializers.RandomUniform(-(fan_in**-0.5), fan_in**-0.5))",
        source="torch: nn/modules/linear.py; keras: src/layers/core/dense.py",
        words=("Linear", "Dense", "initialisation", "zeros"),
        recorded={
            "torch bound": 0.0999892,
            "keras bound": 0.0,
        },
        tolerance=0.02,
    ),
    Difference(
        id="D03",
        title="First kernel of a convolution",
        family=FAMILY,
        stage="weights",
        kind="default",
        torch="Conv2d draws from a uniform distribution with the bound 1/√fan_in.",
        keras="Conv2D draws from Glorot's uniform distribution.",
        jax="Flax draws from LeCun's normal distribution.",
        effect="For 1→32 channels and 3×3 PyTorch's weights are 2.3 times as large.",
        fix_torch="nn.init.xavier_uniform_(layer.weight)",
        fix_keras="layers.Conv2D(filters, 3, kernel_initializer=initializers.VarianceScaling(1 / "
        '3, "fan_in", "uniform"))',
        source="torch: nn/modules/conv.py; keras: src/layers/convolutional/base_conv.py",
        words=("Conv2d", "Glorot", "Xavier", "Kaiming", "initialisation"),
        recorded={
            "torch bound": 0.332509,
            "keras bound": 0.140665,
        },
        tolerance=0.03,
    ),
    Difference(
        id="D04",
        title="First vectors of an embedding",
        family=FAMILY,
        stage="weights",
        kind="default",
        torch="Embedding draws from the normal distribution N(0, 1).",
        keras="Embedding draws from a uniform distribution in ±0.05.",
        jax="Flax draws with the standard deviation 1/√features.",
        effect="PyTorch's vectors are 35 times as large.",
        fix_torch="nn.init.uniform_(layer.weight, -0.05, 0.05)",
        fix_keras="layers.Embedding(words, size, "
        "embeddings_initializer=initializers.RandomNormal(stddev=1.0))",
        source="torch: nn/modules/sparse.py; keras: src/layers/core/embedding.py",
        words=("Embedding", "initialisation"),
        recorded={
            "torch std": 0.998814,
            "keras std": 0.0289448,
        },
        tolerance=0.05,
    ),
    Difference(
        id="D05",
        title="Keras truncates the normal initializers",
        family=FAMILY,
        stage="weights",
        kind="formula",
        torch="kaiming_normal_ and xavier_normal_ draw from the whole normal distribution.",
        keras="HeNormal, GlorotNormal and LecunNormal cut at 2 standard deviations and widen by "
        "1/0.8796.",
        effect="The standard deviation is the same; the largest of 100,000 draws is 2.3 against "
        "4.5 standard deviations.",
        fix_torch="nn.init.trunc_normal_(w, std=s / 0.8796, a=-2 * s / 0.8796, b=2 * s / 0.8796)",
        fix_keras="initializers.RandomNormal(stddev=(2 / fan_in) ** 0.5)",
        source="torch: nn/init.py; keras: src/initializers/random_initializers.py",
        words=("HeNormal", "GlorotNormal", "kaiming_normal_", "xavier_normal_", "initialisation"),
        recorded={
            "torch largest": 4.5627,
            "keras largest": 2.27352,
            "torch std": 1.00124,
            "keras std": 0.999473,
        },
        tolerance=0.1,
    ),
    Difference(
        id="D06",
        title="Where a truncated normal distribution is cut",
        family=FAMILY,
        stage="weights",
        kind="formula",
        torch="trunc_normal_ cuts at the absolute values a=-2 and b=2, whatever std is.",
        keras="TruncatedNormal cuts at 2 standard deviations.",
        effect="With a standard deviation of 0.05 PyTorch cuts nothing; the real standard "
        "deviation is 0.050 against 0.044.",
        fix_torch="nn.init.trunc_normal_(w, std=0.05, a=-0.1, b=0.1)",
        fix_keras="initializers.RandomNormal(stddev=0.05)",
        source="torch: nn/init.py; keras: src/initializers/random_initializers.py",
        words=("TruncatedNormal", "trunc_normal_", "initialisation"),
        recorded={
            "torch std": 0.0500619,
            "keras std": 0.0439581,
            "torch largest": 0.228135,
            "keras largest": 0.0999922,
        },
        tolerance=0.1,
    ),
    Difference(
        id="D07",
        title="First weights of multi-head attention",
        family=FAMILY,
        stage="weights",
        kind="default",
        torch="MultiheadAttention holds q, k and v in one matrix of 3E×E and applies Xavier's rule "
        "to this shape; the output projection has the rule of Linear.",
        keras="MultiHeadAttention applies Glorot's rule to each projection.",
        effect="For E=64 the bounds are 0.153 against 0.217, at the output 0.125 against 0.217.",
        fix_torch="[nn.init.xavier_uniform_(w) for w in (*layer.in_proj_weight.chunk(3), "
        "layer.out_proj.weight)]",
        fix_keras="layers.MultiHeadAttention(heads, size, "
        "kernel_initializer=initializers.RandomUniform(-bound, bound))",
        source="torch: nn/modules/activation.py; keras: "
        "src/layers/attention/multi_head_attention.py",
        words=("MultiheadAttention", "transformer", "Xavier", "initialisation"),
        recorded={
            "torch input": 0.153076,
            "keras input": 0.216497,
            "torch output": 0.12498,
            "keras output": 0.21645,
        },
        tolerance=0.02,
    ),
    Difference(
        id="D08",
        title="First weights of LSTM and GRU",
        family=FAMILY,
        stage="weights",
        kind="default",
        torch="All weights and biases are uniform in ±1/√hidden.",
        keras="Input kernels follow Glorot, recurrent kernels are orthogonal, biases are 0 except "
        "the forget gate's of 1 in LSTM.",
        effect="The forget gate starts at about 0.5 against 0.73, so memory lasts longer in Keras.",
        fix_torch="[nn.init.orthogonal_(w) for w in layer.weight_hh_l0.chunk(4)]",
        fix_keras="layers.LSTM(hidden, kernel_initializer=u, recurrent_initializer=u, "
        "bias_initializer=u, unit_forget_bias=False)",
        source="torch: nn/modules/rnn.py; keras: src/layers/rnn/lstm.py",
        words=("recurrent", "orthogonal", "forget", "unit_forget_bias", "initialisation"),
        recorded={
            "torch input kernel": 0.249919,
            "keras input kernel": 0.287693,
            "torch diagonal of U·Uᵀ": 1.39548,
            "keras diagonal of U·Uᵀ": 1.0,
            "torch forget bias": 0.231235,
            "keras forget bias": 1.0,
        },
        tolerance=0.1,
    ),
    Difference(
        id="D09",
        title="The same seed gives other numbers",
        family=FAMILY,
        stage="weights",
        kind="semantics",
        torch="manual_seed(0) gives 0.4963 as the first uniform number.",
        keras="The seed 0 gives 0.2110 on TensorFlow, 0.9477 on JAX; only on PyTorch it gives "
        "PyTorch's number.",
        effect="Equal seeds give equal weights on no two frameworks: draw once in NumPy and load "
        "on both sides.",
        fix_torch="layer.weight.data = torch.from_numpy(weights)",
        fix_keras="layer.set_weights([weights.T, bias])",
        source="torch: _C/_torch; keras: src/random/seed_generator.py",
        words=("seed", "random", "manual_seed", "set_random_seed", "reproducible"),
        recorded={
            "keras on tensorflow": 0.211015,
            "torch": 0.496257,
            "numpy RandomState": 0.548814,
            "numpy default_rng": 0.636962,
            "keras on jax": 0.947667,
            "keras on torch": 0.496257,
        },
    ),
)
