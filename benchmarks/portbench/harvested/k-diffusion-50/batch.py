def arrays(random):
    x = random.normal(size=(32, 6)).astype("float32")
    return {"x": x, "y": random.normal(size=(32, 6)).astype("float32")}
