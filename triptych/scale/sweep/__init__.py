"""Sweeps: a grid of trainings as tasks of Ray, on this machine or on a cluster.

`grid` is what is trained, `session` runs it and keeps the folder, `family`, `supervisor`, `driver`
and `client` are the processes around Ray, `cluster` is the only module that imports Ray.
"""
