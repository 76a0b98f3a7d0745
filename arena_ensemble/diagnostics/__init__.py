"""What is wrong with a member, or what it is worth, told from its predictions and the votes.

Import from the modules: the training loop needs :mod:`.collapse` on machines without polars.
"""
