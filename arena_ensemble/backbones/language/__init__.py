"""Language-model members: from battles to token ids, trained weights and log-probabilities."""
