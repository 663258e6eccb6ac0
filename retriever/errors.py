"""Every error the retriever raises.

RetrieverError
├── ModelNotFound       no model folder there
├── ModelCorrupt        a model folder that is not what it should be
├── BackendRefused      this machine or model cannot be encoded with in that way; torch can
├── IndexMismatch       an index that does not fit its files, or the vectors asked of it
├── EmptyTrainingSet    nothing to learn from
├── TrainingDiverged    the loss or the weights are no longer numbers
├── InvalidQrels        judgements or rankings that cannot be scored
└── Cancelled           somebody asked to stop
    ├── EncodingCancelled
    ├── PoolingCancelled
    └── TrainingCancelled
"""


class RetrieverError(Exception):
    """Root of the package's errors; `user_message` is fit for the screen, str(error) for the log."""

    def __init__(self, message: str, *, user_message: str | None = None) -> None:
        super().__init__(message)
        self.user_message = user_message or message


class ModelNotFound(RetrieverError):
    """There is no model folder at the place named."""


class ModelCorrupt(RetrieverError):
    """A model folder is damaged or is not the model it should be."""


class BackendRefused(RetrieverError):
    """A way of encoding does not work for this model or machine, or gives other vectors; torch does it instead."""


class IndexMismatch(RetrieverError):
    """An index does not fit its own files or the vectors given to it; build it again."""


class EmptyTrainingSet(RetrieverError):
    """No list has what the loss needs; the message counts the reasons."""


class TrainingDiverged(RetrieverError):
    """The loss or a weight became NaN or infinite; nothing was saved."""


class InvalidQrels(RetrieverError):
    """Judgements or rankings cannot be scored as they are."""


class Cancelled(RetrieverError):
    """The caller's should_cancel answered yes; nothing half-written remains."""


class EncodingCancelled(Cancelled):
    """Encoding stopped on request."""


class PoolingCancelled(Cancelled):
    """Pooling stopped on request."""


class TrainingCancelled(Cancelled):
    """Training stopped on request; the output folder is as it was."""
