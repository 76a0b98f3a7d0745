"""Patches of PEFT and transformers that save time on CPUs and small models; same numbers to rounding."""
