def arrays(random):
    return {"x": random.normal(size=(8, 10, 6)).astype("float32")}


def weights(random):
    """Weights of the trained PyTorch model, under its names."""
    hidden = 12
    shapes = {}
    for layer, inputs in enumerate((6, hidden)):
        shapes[f"weight_ih_l{layer}"] = (3 * hidden, inputs)
        shapes[f"weight_hh_l{layer}"] = (3 * hidden, hidden)
        shapes[f"bias_ih_l{layer}"] = (3 * hidden,)
        shapes[f"bias_hh_l{layer}"] = (3 * hidden,)
    return {
        name: random.uniform(-0.3, 0.3, shape).astype("float32") for name, shape in shapes.items()
    }
