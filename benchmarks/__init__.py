"""What measures: speed, memory, start, kernels. Each module's `run()` gives its figures and adds rows to results.csv."""
