def arrays(random):
    x = random.normal(size=(32, 8)).astype("float32")
    y = (50 + 20 * random.normal(size=(32, 1))).astype("float32")
    return {"x": x, "y": y}
