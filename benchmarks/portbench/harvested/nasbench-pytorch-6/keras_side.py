import keras
from keras import layers
from keras.regularizers import L2

BN_MOMENTUM = 0.997
BN_EPSILON = 1e-5
# tf.nn.l2_loss of all variables, which is half of the sum of squares, times 1e-4
DECAY = L2(0.5e-4)


def conv_bn_relu(x, filters, kernel_size):
    x = layers.Conv2D(
        filters, kernel_size, padding="same", use_bias=False, kernel_regularizer=DECAY
    )(x)
    x = layers.BatchNormalization(
        momentum=BN_MOMENTUM, epsilon=BN_EPSILON, beta_regularizer=DECAY, gamma_regularizer=DECAY
    )(x)
    return layers.ReLU()(x)


def cell(x, filters):
    half = filters // 2
    first = conv_bn_relu(conv_bn_relu(x, half, 1), half, 3)
    second = conv_bn_relu(layers.add([conv_bn_relu(x, half, 1), first]), half, 1)
    return layers.add([layers.concatenate([first, second]), conv_bn_relu(x, filters, 1)])


def build():
    inputs = keras.Input((12, 12, 3))
    x = cell(conv_bn_relu(inputs, 8, 3), 8)
    x = layers.MaxPooling2D(2, 2, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(cell(x, 16))
    logits = layers.Dense(10, kernel_regularizer=DECAY, bias_regularizer=DECAY)(x)
    return {
        "model": keras.Model(inputs, logits),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "optimizer": keras.optimizers.RMSprop(0.2, rho=0.9, momentum=0.9, epsilon=1.0),
    }
