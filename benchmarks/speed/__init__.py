"""How fast exhaustive edge patching is: ours, a plain `vmap`, and what others use."""
