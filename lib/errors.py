"""The one exception that a user is meant to see."""


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong, where, and what to do."""
