"""From battles to a submission: train members, build the ensemble, predict; callable with plain values."""
