def arrays(random):
    x = random.integers(0, 256, (32, 64)).astype("float32")
    return {"x": x, "y": random.integers(0, 10, 32)}
