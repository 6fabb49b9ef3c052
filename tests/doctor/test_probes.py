"""The gradients that both optimizers are given."""

import numpy as np

from triptych.doctor.observation import Component, Description
from triptych.doctor.probes import (
    FEWEST_UPDATES,
    MADE_UPDATES,
    REAL_UPDATES,
    probe_gradients,
    real_updates,
    schedule_updates,
)


def test_probes_depend_on_the_gradients_alone() -> None:
    gradients = {"fc/kernel": np.arange(6.0).reshape(2, 3), "fc/bias": np.ones(3)}
    steps = probe_gradients(gradients)
    assert len(steps) == REAL_UPDATES + MADE_UPDATES
    again = probe_gradients(gradients)
    for one, other in zip(steps, again, strict=True):
        for name in gradients:
            assert np.array_equal(one[name], other[name])
    ratio = steps[0]["fc/bias"]
    assert np.all((ratio >= 0.5) & (ratio <= 1.5))
    assert ratio.std() > 0
    assert steps[0]["fc/kernel"][0, 0] == 0.0


def test_made_gradients_have_zeros_jumps_and_other_signs() -> None:
    made = probe_gradients({"w": np.ones(10)})[REAL_UPDATES:]
    together = np.stack([step["w"] for step in made])
    assert np.any(together == 0)
    assert np.any(together < 0)
    assert np.abs(together).max() > 50
    assert np.abs(together[together != 0]).min() < 1e-6


def test_large_models_get_fewer_updates() -> None:
    small = {"w": np.zeros(10)}
    large = {"w": np.broadcast_to(np.zeros(()), (5_000_000,))}
    assert real_updates(small) == REAL_UPDATES
    assert real_updates(large) == FEWEST_UPDATES


def described(schedule: Component | None, steps: int | None = None) -> Description:
    return Description("torch", "", "", "float32", (), schedule=schedule, steps_per_epoch=steps)


def test_a_schedule_is_followed_beyond_its_end() -> None:
    cosine = Component("CosineAnnealingLR", {"T_max": 30}, "epoch")
    assert schedule_updates(described(cosine, 20)) >= 1.3 * 30 * 20
    keras = Component("CosineDecay", {"decay_steps": 400}, "batch")
    assert schedule_updates(described(keras)) >= 520
    drops = Component("MultiStepLR", {"milestones": {"50": 1, "80": 1}, "gamma": 0.1}, "batch")
    assert schedule_updates(described(drops)) > 80
    endless = Component("CosineDecay", {"decay_steps": 10**7}, "batch")
    assert schedule_updates(described(endless)) == 2000
