"""Tools that know nothing of clusters: clock, ids, queue, tasks, files, failpoints, logs.

A module belongs here only if it could be a library of its own.
"""
