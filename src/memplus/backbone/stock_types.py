"""The model library's types that other rooms name in their signatures.

Only the backbone imports the model library, for types too. Imported by others under
``TYPE_CHECKING``, so nothing is loaded for a name.
"""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutputWithPast

__all__ = ["CausalLMOutputWithPast", "PreTrainedModel", "PreTrainedTokenizerBase"]
