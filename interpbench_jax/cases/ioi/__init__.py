"""Indirect object identification: prompts, their counterfactuals, and the high-level model."""
