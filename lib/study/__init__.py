"""What is said of finished runs: results, comparisons, curves, leaks; their pages and pictures."""
