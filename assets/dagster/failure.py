"""How a step ends that did its work and has bad news: Dagster shows one sentence, and not where in its own code that sentence was raised."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterUserCodeProcessError  # what Dagster shows as it stands, without a stack; it has no public name
from dagster_shared.error import SerializableErrorInfo


class _AsItStands(DagsterUserCodeProcessError):
    def __init__(self, sentence: str) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            sentence, user_code_process_error_infos=[SerializableErrorInfo(f"{sentence}\n", stack=[], cls_name=None)]
        )


class Failed(dg.Failure, _AsItStands):
    """A failure in one sentence. It is not tried again: a second try finds the same. metadata: as of dg.Failure."""

    def __init__(self, sentence: str, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__(sentence, metadata, allow_retries=False)
