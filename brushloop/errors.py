"""Every error brushloop raises on purpose, drawn as a tree.

    BrushloopError                exit 1
    ├── InputError                exit 2   what was asked for cannot be done as asked
    │   ├── PromptError                    empty, too long, not text
    │   ├── OutsideWorldError              the embedded models do not know a word; names the nearest
    │   ├── SizeError                      the painter cannot paint that size
    │   ├── UnknownCreationError           no creation, step or picture of that name
    │   └── ConflictError                  not possible in the state that the creation is in now
    ├── ModelError                exit 3   a model cannot be loaded or does not answer
    │   ├── WeightsError                   missing, truncated or foreign weights folder
    │   ├── BackendError                   an unknown backend name, or its package is not installed
    │   ├── ContextError                   a question longer than the model can read
    │   ├── ServerError                    a model server refuses, or is none
    │   │   └── AwayError                  it does not answer now: the loop waits for it a while
    │   └── ReplyError                     a reply that does not fit its schema, even after one repair
    ├── StoreError                exit 4   the record cannot be read or written
    │   ├── MissingObjectError             an object that a step names is not there
    │   ├── CorruptObjectError             an object's bytes do not have its hash
    │   ├── VersionError                   written by another version of brushloop
    │   └── UnwritableError                the disk is full, read-only or forbidden
    └── Interrupted               exit 130 Ctrl-C or SIGTERM; what was made is kept and can be resumed

Each message says what was wrong, where, and what to do, on one line. `code` is stable: scripts may
rely on it, and on the exit codes.
"""

from __future__ import annotations


class BrushloopError(Exception):
    """Base of all errors raised on purpose."""

    code = "error"
    exit_code = 1


class InputError(BrushloopError):
    """What was asked for cannot be done as asked."""

    code = "input"
    exit_code = 2


class PromptError(InputError):
    """The prompt is empty, too long, or not text."""

    code = "prompt"


class OutsideWorldError(InputError):
    """The embedded models do not know a word of the prompt."""

    code = "outside_world"


class SizeError(InputError):
    """The painter cannot paint that size."""

    code = "size"


class UnknownCreationError(InputError):
    """There is no creation, step or picture of that name."""

    code = "unknown_creation"


class ConflictError(InputError):
    """What was asked for does not fit the state that a creation is in now."""

    code = "conflict"


class ModelError(BrushloopError):
    """A model cannot be loaded or does not answer."""

    code = "model"
    exit_code = 3


class WeightsError(ModelError):
    """A weights folder is missing, truncated, or of another kind."""

    code = "weights"


class BackendError(ModelError):
    """A backend name is unknown, or the package it needs is not installed."""

    code = "backend"


class ContextError(ModelError):
    """A question is longer than what the model can read."""

    code = "context"


class ServerError(ModelError):
    """A model server refuses what it is asked, or what answers is no model server."""

    code = "server"


class AwayError(ServerError):
    """A model server does not answer now: it is down, overloaded, or broke off. Asking again later may help."""

    code = "away"


class ReplyError(ModelError):
    """A model's reply does not fit its schema, even after one repair."""

    code = "reply"


class StoreError(BrushloopError):
    """The record cannot be read or written."""

    code = "store"
    exit_code = 4


class MissingObjectError(StoreError):
    """An object that a step names is not in the store."""

    code = "missing_object"


class CorruptObjectError(StoreError):
    """An object's bytes do not have the hash they are stored under."""

    code = "corrupt_object"


class VersionError(StoreError):
    """The record was written by another version of brushloop."""

    code = "version"


class UnwritableError(StoreError):
    """The disk is full, read-only, or forbidden."""

    code = "unwritable"


class Interrupted(BrushloopError):
    """Ctrl-C or SIGTERM. What was made is kept and can be resumed."""

    code = "interrupted"
    exit_code = 130
