def arrays(random):
    x = random.uniform(size=(16, 24, 4)).astype("float32")
    return {"x": x, "y": random.uniform(size=(16, 4)).astype("float32")}
