"""Peers: the same job as users of a framework write it.

A peer has as much of an engine as a timing needs. The peer of an engine and a backend is the class
``Engine`` in ``ENGINE_BACKEND.py``; a hyphen in the backend separates a variant of that class.
"""
