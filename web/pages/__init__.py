"""The pages of an operator: each a shell around a partial, drawn from one view."""
