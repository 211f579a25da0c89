"""What each template is given: one frozen dataclass a template, and words made for people."""
