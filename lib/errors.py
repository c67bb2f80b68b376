"""The exceptions that a script ends with: one that a user is meant to see, and its echo."""


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong, where, and what to do."""


class OtherFailed(Exception):
    """Another of the processes that train together met an error, and says so itself."""
