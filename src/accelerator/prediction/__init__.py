"""The generic prediction container: one image that serves any model the training container saved.

Run by `python -m accelerator.prediction`; what it takes from a team is `accelerator.contract`.
"""
