import keras
import tensorflow as tf
from keras import layers
from keras.regularizers import L2

# tf.nn.l2_loss of all variables, which is half of the sum of squares, times 5e-4
DECAY = L2(2.5e-4)


def conv(x, filters, kernel_size, stride=1, use_bias=False):
    return layers.Conv2D(
        filters, kernel_size, strides=stride, padding="same", use_bias=use_bias,
        kernel_regularizer=DECAY, bias_regularizer=DECAY,
    )(x)  # fmt: skip


def norm(x):
    # the defaults of tf.contrib.layers.batch_norm
    return layers.BatchNormalization(
        momentum=0.999, epsilon=0.001, scale=False, beta_regularizer=DECAY
    )(x)


def bottleneck(x, planes, stride):
    out = layers.ReLU()(norm(conv(x, planes, 1)))
    out = layers.ReLU()(norm(conv(out, planes, 3, stride)))
    out = norm(conv(out, 4 * planes, 1))
    shortcut = norm(conv(x, 4 * planes, 1, stride))
    return layers.ReLU()(layers.add([out, shortcut]))


def preprocess(images):
    return tf.image.per_image_standardization(images).numpy()


def build():
    inputs = keras.Input((16, 16, 3))
    x = layers.ReLU()(norm(conv(inputs, 8, 3, use_bias=True)))
    x = bottleneck(bottleneck(x, 4, 1), 8, 2)
    x = layers.AveragePooling2D(8, strides=1)(x)
    x = layers.Reshape((10,))(conv(x, 10, 1, use_bias=True))
    return {
        "model": keras.Model(inputs, x),
        "preprocess": preprocess,
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "optimizer": keras.optimizers.SGD(0.1, momentum=0.9),
    }
