"""What is raised where a client cannot do its work."""


class ClientFailed(RuntimeError):
    """A client could not do its work; the message names it and holds its traceback."""
