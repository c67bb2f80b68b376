"""Learning without labels: units, masks, models, and what each kind of corpus gives."""
