"""A folder from which an offline Kaggle notebook predicts: wheels, models, ensemble, notebook."""
