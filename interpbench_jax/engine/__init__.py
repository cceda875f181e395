"""What sweeps and methods compute with: one model, three runs, one derivative."""
