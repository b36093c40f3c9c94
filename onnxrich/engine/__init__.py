"""One pass over the data: batches in, blocks of moments out. The room knows no result and computes no metric."""
