"""A bag of instances to one logit a species."""
