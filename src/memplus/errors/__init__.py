"""Everything memplus raises on purpose, in one tree.

This room knows names, messages and exit codes; it imports nothing of the package, so every
other room may raise from it. A message says what happened in the user's terms, a hint says what
to do next, and ``exit_code`` is what the command line ends with.

Exit codes: 0 ok, 1 failure, 2 usage, 3 model and memory do not match, 4 corrupt.

::

    MemplusError                     1
    |-- UsageError                   2   the request itself is wrong
    |   |-- ConfigError                  one field of a configuration
    |   |   `-- ConfigFileError          the same, with the file that it stands in
    |   |-- NotFoundError                a path leads to no file or folder
    |   |   `-- NotCachedError               no such model in the cache
    |   |-- EmptyTextError               nothing to read
    |   |-- BenchmarkFileError           a file of a benchmark, otherwise than published
    |   |-- MissingDataError             a file of a benchmark
    |   |-- LibraryMissingError          an extra of memplus that is not installed
    |   |-- NotTextError                 binary, or in an unknown encoding
    |   |   `-- DocumentFormatError          a PDF, an image, an archive
    |   |-- BrokenTextError              half a character in a text or a name
    |   |-- SourceChangedError           a document is not what was written before
    |   |-- ChatTemplateError            a model's chat template failed
    |   |-- QuestionSetError             a file of questions of no known form
    |   |-- PositionsError               the prompt does not fit the positions left
    |   |   `-- MemorySizeError          no prompt at all would fit beside such a memory
    |   |-- BudgetError                  the memory would outgrow its budget
    |   |-- StaleCacheError              a text cache that another read made
    |   |-- TailError                    write_chunk on a memory that has a tail
    |   |-- UnknownSourceError           nothing was written under that name
    |   |-- UnknownMemoryError           the store holds no memory of that name
    |   |-- MemoryExistsError            the store holds one already
    |   |-- KeyExistsError               the tenant has a key of that name
    |   |-- ReadOnlyMemoryError          opened for reading
    |   |   `-- ClosedMemoryError            neither read nor changed any more
    |   |-- HistoryError                 a state that is not kept
    |   |-- NotARunError                 no folder of a training run
    |   `-- RunMismatchError             a folder holds the results of another run
    |-- ModelError                   1   the weights or their directory
    |   |-- UnknownModelError        2   no such name, directory or hub id
    |   |   `-- UnknownBaseError         2   no such model to be fetched
    |   |-- MissingWeightsDirectory  2   a directory without weights
    |   |-- NotADecoderError         2   not a decoder-only language model
    |   |-- UnsupportedModelError    2   a decoder that memplus cannot carry
    |   |-- WeightsError             4   missing, unexpected or misshapen weights
    |   |-- BaseUnavailableError         no source gave a base model's file
    |   |-- BaseDigestError          4   another file than the base model's
    |   |-- BaseFileError            4   damaged, or nothing of the base model in it
    |   |-- BasePartsError           2   some parts of that file are missing
    |   |-- UntrainedBaseError       2   a base model without a trained memory
    |   |-- BundleError              1   adapters over a base, and their base
    |   |   |-- BundleBaseMissingError   2   the base is not where the bundle says
    |   |   |-- BundleBaseError          4   another base than the bundle's
    |   |   |-- BundleAdaptersError      4   other adapters than its config describes
    |   |   |-- NestedBundleError        2   a bundle in the place of a base
    |   |   |-- NoBaseError              2   a model whose base has no name
    |   |   `-- BaseChangedError         2   a model that differs from its base
    |   |-- TokenizerMissingError        text given to a model without tokenizer
    |   |-- SelfTestError                a check of doctor, a write or an answer
    |   `-- SystemWeightsError       2   a system without weights of its own
    |-- MemoryMismatchError          3   memory and model do not belong together
    |-- SessionMismatchError         3   a session of another system, options or model
    |-- MemoryFileError              4   a saved memory cannot be used
    |   |-- NotAMemoryError              something else than a saved memory
    |   |-- NotAStoreError               something else than a store of memories
    |   |-- NotAnExportError             something else than an exported memory
    |   |-- CorruptMemoryError           truncated, or a checksum differs
    |   `-- MemoryVersionError           written by another version of the format
    |-- BenchmarkFailedError         some answers are missing
    |-- DamagedRunError              4   a file of results cannot be resumed
    |-- NotFiniteResultError         1   a number of a result is infinite or none
    |-- StorageError                 1   the disk refused: full, read-only, no permission
    |   `-- StreamError                  standard input or output is closed, or refuses
    |-- MemoryBusyError              1   another process is writing to the memory
    |   `-- LeaseLostError               it took the memory over from this one
    |-- MemoryChangedError           1   the file has changed since it was loaded
    |-- OverloadedError              1   more than the server does at a time
    |-- ShuttingDownError            1   the server takes no new work
    |-- PassFailedError              1   the model failed at one request
    `-- TrainingError                1   training cannot start or go on
        |-- NotFiniteError               a loss or a gradient is no number
        |-- TrainingStartError           not as it was asked for
        `-- TrainingBudgetError      2   it needs more memory than there is
"""

from __future__ import annotations

from memplus.errors.base import (
    ConfigError,
    MemplusError,
    NotCachedError,
    NotFoundError,
    StorageError,
    StreamError,
    UsageError,
)
from memplus.errors.bundles import (
    BaseChangedError,
    BundleAdaptersError,
    BundleBaseError,
    BundleBaseMissingError,
    BundleError,
    NestedBundleError,
    NoBaseError,
)
from memplus.errors.data import (
    BenchmarkFileError,
    BrokenTextError,
    ChatTemplateError,
    DocumentFormatError,
    EmptyTextError,
    LibraryMissingError,
    MissingDataError,
    NotTextError,
    QuestionSetError,
    SourceChangedError,
)
from memplus.errors.memory import (
    BudgetError,
    CorruptMemoryError,
    MemoryChangedError,
    MemoryFileError,
    MemoryMismatchError,
    MemoryVersionError,
    NotAMemoryError,
    NotAnExportError,
    NotAStoreError,
    SessionMismatchError,
    StaleCacheError,
    TailError,
    UnknownSourceError,
)
from memplus.errors.model import (
    BaseDigestError,
    BaseFileError,
    BasePartsError,
    BaseUnavailableError,
    MemorySizeError,
    MissingWeightsDirectory,
    ModelError,
    NotADecoderError,
    PositionsError,
    SelfTestError,
    SystemWeightsError,
    TokenizerMissingError,
    UnknownBaseError,
    UnknownModelError,
    UnsupportedModelError,
    UntrainedBaseError,
    WeightsError,
)
from memplus.errors.runs import (
    BenchmarkFailedError,
    ConfigFileError,
    DamagedRunError,
    NotARunError,
    NotFiniteError,
    NotFiniteResultError,
    RunMismatchError,
    TrainingBudgetError,
    TrainingError,
    TrainingStartError,
)
from memplus.errors.server import (
    KeyExistsError,
    OverloadedError,
    PassFailedError,
    ShuttingDownError,
)
from memplus.errors.store import (
    ClosedMemoryError,
    HistoryError,
    LeaseLostError,
    MemoryBusyError,
    MemoryExistsError,
    ReadOnlyMemoryError,
    UnknownMemoryError,
)

__all__ = [
    "BaseChangedError",
    "BaseDigestError",
    "BaseFileError",
    "BasePartsError",
    "BaseUnavailableError",
    "BenchmarkFailedError",
    "BenchmarkFileError",
    "BrokenTextError",
    "BudgetError",
    "BundleAdaptersError",
    "BundleBaseError",
    "BundleBaseMissingError",
    "BundleError",
    "ChatTemplateError",
    "ClosedMemoryError",
    "ConfigError",
    "ConfigFileError",
    "CorruptMemoryError",
    "DamagedRunError",
    "DocumentFormatError",
    "EmptyTextError",
    "HistoryError",
    "KeyExistsError",
    "LeaseLostError",
    "LibraryMissingError",
    "MemoryBusyError",
    "MemoryChangedError",
    "MemoryExistsError",
    "MemoryFileError",
    "MemoryMismatchError",
    "MemorySizeError",
    "MemoryVersionError",
    "MemplusError",
    "MissingDataError",
    "MissingWeightsDirectory",
    "ModelError",
    "NestedBundleError",
    "NoBaseError",
    "NotADecoderError",
    "NotAMemoryError",
    "NotARunError",
    "NotAStoreError",
    "NotAnExportError",
    "NotCachedError",
    "NotFiniteError",
    "NotFiniteResultError",
    "NotFoundError",
    "NotTextError",
    "OverloadedError",
    "PassFailedError",
    "PositionsError",
    "QuestionSetError",
    "ReadOnlyMemoryError",
    "RunMismatchError",
    "SelfTestError",
    "SessionMismatchError",
    "ShuttingDownError",
    "SourceChangedError",
    "StaleCacheError",
    "StorageError",
    "StreamError",
    "SystemWeightsError",
    "TailError",
    "TokenizerMissingError",
    "TrainingBudgetError",
    "TrainingError",
    "TrainingStartError",
    "UnknownBaseError",
    "UnknownMemoryError",
    "UnknownModelError",
    "UnknownSourceError",
    "UnsupportedModelError",
    "UntrainedBaseError",
    "UsageError",
    "WeightsError",
]
