def arrays(random):
    x = random.normal(size=(20, 200))
    y = 0.05 + 0.01 * x.sum(axis=1, keepdims=True) + random.normal(0, 0.01, (20, 1))
    return {"x": x.astype("float32"), "y": y.astype("float32")}
