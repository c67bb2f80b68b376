"""The benchmark: what each side does, in processes of their own, and the table."""
