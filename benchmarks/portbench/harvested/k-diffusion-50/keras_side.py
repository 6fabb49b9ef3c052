import keras
from keras import ops
from keras.layers import Dense

WARMUP = 0.9
STEPS_PER_EPOCH = 5


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A warm-up that advances once in an epoch."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        epoch = ops.floor(ops.cast(step, "float32") / STEPS_PER_EPOCH)
        return self.rate * (1 - ops.power(WARMUP, epoch + 1))


def build():
    model = keras.Sequential([keras.Input((6,)), Dense(16, activation="silu"), Dense(6)])
    schedule = WarmUp(0.125)
    return {
        "model": model,
        "loss": "mse",
        "optimizer": keras.optimizers.SGD(schedule),
        "schedule": schedule,
        "steps_per_epoch": STEPS_PER_EPOCH,
    }
