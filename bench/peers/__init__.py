"""The peers. Each module has `load()`, which imports what the peer needs and builds nothing (its memory then is the idle base), and
`prepare(problem)`, which returns an object with `step()`, one timed step, and `result()`, what the first step must have
computed (name: array), the same for all peers.
"""
