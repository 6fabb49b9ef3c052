"""Peers: the same job as users of a framework write it, with as much of an engine as a timing needs.

The peer of an engine and a backend is the class ``Engine`` in ``ENGINE_BACKEND.py``. What follows a hyphen in
the backend is a variant of that class.
"""
