"""Errors that a user can mend.

    InputError           the root: the command line prints it and exits 2, the app shows it
    ├── SourceError      a folder or table of images that cannot be read as one
    ├── ImageError       one image that was refused (never stops a job)
    ├── EncoderError     a model that cannot be loaded, or whose spec is not the space's
    ├── CorpusError      a corpus that is missing, locked, broken or of another format
    ├── ClusterError     a cluster of machines that cannot be used as asked
    └── QueryError       a question that cannot be asked of this corpus

Anything else that is raised is a bug of ours and keeps its traceback. Messages have the form
``<where>: <what, with the value>; <what is allowed>. <what to do>``.
"""


class InputError(Exception):
    """Something the user gave that cannot be used as it is."""


class SourceError(InputError):
    """A folder or table of images that cannot be read as one."""


class ImageError(InputError):
    """One image that was refused; the message is the reason that `rejected.csv` gives."""


class EncoderError(InputError):
    """A model that cannot be loaded, or whose spec is not the spec of the space."""


class CorpusError(InputError):
    """A corpus that is missing, locked by another job, broken, or of another format."""


class ClusterError(InputError):
    """A cluster of machines that cannot be used as asked."""


class QueryError(InputError):
    """A question that cannot be asked of this corpus."""
