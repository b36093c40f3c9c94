"""Small helpers that know nothing of models, data or metrics: files, threads, child processes, checks of arguments."""
