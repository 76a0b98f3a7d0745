"""An HTTP server for one ensemble: probabilities in batches, explanations, a page, health and metrics."""
