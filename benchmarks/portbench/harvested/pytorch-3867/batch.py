def arrays(random):
    x = random.uniform(size=(16, 16, 16, 3)).astype("float32")
    return {"x": x, "y": random.integers(0, 4, 16)}
