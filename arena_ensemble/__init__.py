"""Calibrated P(A wins), P(B wins), P(tie) for two chatbot answers."""
