"""Asking a served model which of two answers is better: an OpenAI-compatible endpoint as a judge."""
