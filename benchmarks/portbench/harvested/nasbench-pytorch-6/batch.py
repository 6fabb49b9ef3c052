def arrays(random):
    x = random.normal(size=(16, 12, 12, 3)).astype("float32")
    return {"x": x, "y": random.integers(0, 10, 16)}
