def arrays(random):
    x = random.normal(size=(32, 7, 9)).astype("float32")
    return {"x": x, "y": random.normal(size=(32, 9)).astype("float32")}
