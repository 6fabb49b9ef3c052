def arrays(random):
    x = random.uniform(size=(32, 12, 12, 1)).astype("float32")
    return {"x": x, "y": random.integers(0, 10, 32)}
