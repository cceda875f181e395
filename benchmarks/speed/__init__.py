"""Speed of exhaustive edge patching: our sweep, a plain `vmap` and the libraries others use."""
