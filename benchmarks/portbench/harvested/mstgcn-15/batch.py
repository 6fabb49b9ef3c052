def arrays(random):
    x = random.normal(size=(32, 120)).astype("float32")
    return {"x": x, "y": random.integers(0, 5, 32)}
