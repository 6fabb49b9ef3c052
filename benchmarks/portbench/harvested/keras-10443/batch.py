def arrays(random):
    x = random.normal(2, 3, (8, 6)).astype("float32")
    return {"x": x, "y": random.integers(0, 3, 8)}
