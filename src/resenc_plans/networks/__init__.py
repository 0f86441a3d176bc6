"""Architecture to torch module: the two U-Nets, other networks, checkpoints, tracing, drawing.

`layout`, `stages` and `drawing` need no torch; import from the modules, which load it themselves.
"""
