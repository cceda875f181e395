"""Indirect object identification: prompts, their counterfactuals, and the model of the task."""
