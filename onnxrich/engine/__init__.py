"""One pass over the data: batches in, blocks of moments out."""
