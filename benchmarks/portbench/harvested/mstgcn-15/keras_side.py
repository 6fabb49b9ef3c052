import keras
from keras import layers


def build():
    inputs = keras.Input((120,))
    x = layers.Reshape((120, 1))(inputs)
    x = layers.Conv1D(8, 10, strides=3, kernel_regularizer=keras.regularizers.l2(0.001))(x)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.MaxPool1D(4, 4)(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Conv1D(12, 5, padding="same")(x)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.MaxPool1D(3, 3)(x)
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    x = layers.Dense(5)(layers.Dense(16)(x))
    return {
        "model": keras.Model(inputs, layers.Activation("softmax")(x)),
        "loss": "sparse_categorical_crossentropy",
        "optimizer": keras.optimizers.Adam(0.0002),
    }
