"""Speed on an accelerator: the sweep's blocks by size, and the share of the chip's roofline."""
