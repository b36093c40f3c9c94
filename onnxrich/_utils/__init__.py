"""Small helpers that know nothing of models, data or metrics: files, text, threads, packages, checks of arguments."""
