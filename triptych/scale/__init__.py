"""Past one process: sweeps over many trainings, and several workers that train one network."""
