def arrays(random):
    return {"x": random.uniform(size=(16, 12, 12, 3)).astype("float32")}


def weights(random):
    """Weights of the trained Keras model, in the order of its ``get_weights``."""
    shapes = {"0": (3, 3, 3, 3), "1": (3,), "2": (300, 10), "3": (10,)}
    return {name: random.normal(0, 0.2, shape).astype("float32") for name, shape in shapes.items()}
