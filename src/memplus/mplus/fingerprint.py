"""What the weights of a model are: a cheap look at every read, and a digest of every bit.

Memories hold rows that some weights made, and other weights cannot read them. Identity is content:

- ``WeightsIdentity.tag`` is asked at every read and write. It takes in which tensors the model has,
  where they lie, how often PyTorch counted a change of each, their shapes and dtypes, a few numbers
  of each, and which adapters are active, merged or disabled.
- ``WeightsIdentity.examine`` reads every bit: when the first memory is made, and wherever a memory
  is saved or opened. A single number changed through ``weight.data``, which PyTorch does not count
  and the tag may overlook, is found there at the latest. It takes about 0.5 seconds for each
  gigabyte of weights on one core.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memplus.backbone.access import Backbone
from memplus.backbone.adapters import AdapterState
from memplus.config import MemoryConfig
from memplus.errors import UnsupportedModelError
from memplus.memory.retriever import MemoryWeights
from memplus.mplus.own_tokenizer import own_tokenizer

__all__ = ["WeightsIdentity", "digest", "stored_digest", "tokenizer_digest", "words_digest"]

_PERIOD = 65521
_SAMPLED = 8
_REMEMBERED = 64


@dataclass(frozen=True)
class _Look:
    """What can be named when it differs."""

    dtypes: frozenset[torch.dtype]
    devices: frozenset[torch.device]
    shapes: int
    adapters: AdapterState


@dataclass(frozen=True)
class _Sample:
    """A few numbers of every weight, as views that need not be looked for again."""

    places: tuple[Any, ...]
    """What it was taken of: objects, addresses, dtypes and shapes."""
    arrays: list[Any]
    """Views of weights in main memory (NumPy arrays [<= 8])."""
    views: dict[tuple[torch.dtype, torch.device], list[Tensor]]
    """Views of the others, [<= 8] each."""

    def content(self) -> bytes:
        """The numbers as they are now."""
        parts = [array.tobytes() for array in self.arrays]
        with torch.no_grad():
            parts += [_bytes_of(torch.cat(views).cpu()) for views in self.views.values()]
        return b"".join(parts)


class WeightsIdentity:
    """Tells the weights that a model has now from those that it had, or that another has.

    Args:
        backbone: the stock model and its adapters.
        weights: what memory adds to it.
        config: sizes and rules of its memories.
    """

    def __init__(self, backbone: Backbone, weights: MemoryWeights, config: MemoryConfig) -> None:
        self._backbone = backbone
        self._weights = weights
        self._config = config
        self._sample: _Sample | None = None
        self._examined: _Examined | None = None
        self._epoch = 0
        self._looks: dict[int, _Look] = {}
        self._lock = threading.RLock()

    @property
    def tag(self) -> int:
        """Equal as long as the weights look the same; means nothing in another process."""
        modules, weights = _weights_of(self._backbone.model, self._weights)
        places, versions = _places(weights)
        sample = self._sample
        if sample is None or sample.places != places:
            sample = self._sample = _sampled(weights, places)
        adapters = self._backbone.adapters.state(modules)
        tag = hash((self._epoch, places, versions, sample.content(), adapters))
        if tag not in self._looks:
            self._look(tag, weights, adapters)
        return tag

    def _look(self, tag: int, weights: Sequence[Tensor], adapters: AdapterState) -> None:
        look = _Look(
            frozenset(weight.dtype for weight in weights),
            frozenset(weight.device for weight in weights),
            hash(tuple(tuple(weight.shape) for weight in weights)),
            adapters,
        )
        with self._lock:
            while len(self._looks) >= _REMEMBERED:
                del self._looks[next(iter(self._looks))]
            self._looks[tag] = look

    def changed_since(self, tag: int) -> str:
        """What differs between the weights of an earlier ``tag`` and those of now, in words."""
        then, now = self._looks.get(tag), self._looks[self.tag]
        if then is None:
            return "weights"
        names = [
            *(["dtype"] if then.dtypes != now.dtypes else []),
            *(["device"] if then.devices != now.devices else []),
            *(["shapes of weights"] if then.shapes != now.shapes else []),
            *then.adapters.differs(now.adapters),
        ]
        return ", ".join(names) or "weights"

    def examine(self) -> None:
        """Read every bit of every weight, whatever is known of them.

        Raises:
            UnsupportedModelError: a weight has no content that can be read (it lies on ``meta``).
        """
        with self._lock:
            tag = self.tag
            stock = _lines(self._backbone.model)
            ours = _lines(self._weights)
            # It decides what is read: memories are the same with every rule and without one.
            ours.pop("superseding", None)
            known = self._examined
            if (
                known is not None
                and known.tag == tag
                and (known.stock, known.ours) != (stock, ours)
            ):
                self._epoch += 1  # changed, and nothing but the content shows it
                tag = self.tag
            self._examined = _Examined(tag, stock, ours)

    def fingerprint(self, like: MemoryConfig | None = None) -> str:
        """Digest of every weight that shapes rows, the dtype and the memory's sizes.

        As of the last ``examine`` of weights that look like these.

        Args:
            like: retrieving as many rows as this config; None: as its own.
        """
        known = self._known()
        return _digest(self._sizes(like), known.stock | known.ours, self._unusual())

    def adapted_fingerprint(self) -> str:
        """Digest of the stock weights, their dtype and the adapters, without a memory."""
        adapters = self._config.adapters
        sizes = None if adapters is None else asdict(adapters)
        return _digest(sizes, self._known().stock, self._unusual())

    def base_fingerprint(self) -> str:
        """Digest of the stock weights and their dtype, without adapters and without a memory."""
        found = hashlib.sha256()
        for name, line in sorted(self._known().stock.items(), key=_unwrapped):
            if "lora_" not in name:  # a layer that an adapter wraps is called otherwise
                found.update(line.replace(".base_layer.", ".", 1).encode())
        return found.hexdigest()[:32]

    def parts(self, like: MemoryConfig | None = None) -> dict[str, str]:
        """Digests by part: stock weights, adapters, and what memory adds.

        Args:
            like: as for ``fingerprint``.
        """
        known, sizes = self._known(), self._sizes(like)
        lora = {name: line for name, line in known.stock.items() if "lora_" in name}
        rest = {name: line for name, line in known.stock.items() if name not in lora}
        return {
            "weights": _digest(sizes, rest),
            "adapters": _digest(sizes, lora, self._unusual()),
            "memory weights": _digest(sizes, known.ours),
        }

    def _sizes(self, like: MemoryConfig | None) -> dict[str, Any]:
        """What a digest takes in of the memory's sizes."""
        return self._config.retrieving_as(like or self._config).identifying()

    def _unusual(self) -> tuple[str, ...]:
        return self._backbone.adapters.state().unusual

    def _known(self) -> _Examined:
        with self._lock:
            if self._examined is None or self._examined.tag != self.tag:
                self.examine()
            assert self._examined is not None
            return self._examined


@dataclass(frozen=True)
class _Examined:
    """What ``examine`` found."""

    tag: int
    stock: dict[str, str]
    """A line for each entry of the stock model's state, by its name."""
    ours: dict[str, str]
    """The same of what memory adds."""


def _weights_of(*roots: nn.Module) -> tuple[list[nn.Module], list[Tensor]]:
    """All modules, their parameters and the buffers that are saved, such as a pruning's mask.

    The walk is this plain since every read takes it.
    """
    modules: list[nn.Module] = []
    waiting: list[Any] = list(roots)
    found: list[Tensor | None] = []
    while waiting:
        module = waiting.pop()
        if module is None:
            continue
        modules.append(module)
        found.extend(module._parameters.values())
        if module._buffers:
            passing = module._non_persistent_buffers_set
            found.extend(one for name, one in module._buffers.items() if name not in passing)
        waiting.extend(module._modules.values())
    return modules, [weight for weight in found if weight is not None]


def _places(weights: Sequence[Tensor]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Which objects lie where, with their dtypes and shapes; and the counted changes of each."""
    places: list[Any] = []
    versions: list[int] = []
    for weight in weights:
        if weight.is_meta:  # offloaded: a loader puts another object there at each use
            places.append((weight.dtype, weight.shape))
            continue
        held = getattr(weight, "_local_tensor", weight)  # of a weight that lies on several devices
        places.append((id(weight), held.data_ptr(), weight.dtype, weight.shape))
        versions.append(0 if weight.is_inference() else weight._version)
    return tuple(places), tuple(versions)


def _sampled(weights: Sequence[Tensor], places: tuple[Any, ...]) -> _Sample:
    arrays: list[Any] = []
    views: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for weight in weights:
        held = getattr(weight, "_local_tensor", weight).detach()
        if held.is_meta or not held.numel() or not held.is_contiguous():
            continue
        count = min(_SAMPLED, held.numel())
        view = held.view(-1)[:: held.numel() // count][:count]
        if view.device.type == "cpu":
            arrays.append(_as_integers(view).numpy())
        else:
            views.setdefault((view.dtype, view.device), []).append(view)
    return _Sample(places, arrays, views)


def _as_integers(view: Tensor) -> Tensor:
    """The same bits in a dtype that every library knows."""
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    dtype = integers.get(view.element_size())
    return view if dtype is None else view.view(dtype)


def _bytes_of(tensor: Tensor) -> bytes:
    found: bytes = _as_integers(tensor).numpy().tobytes()
    return found


# The digest -------------------------------------------------------------------------------------


def digest(config: MemoryConfig, tensors: Mapping[str, Tensor]) -> str:
    """Sums over every weight's bits and their order: sees any changed number, at memory speed."""
    lines = {name: _line(name, tensor) for name, tensor in tensors.items()}
    return _digest(config.identifying(), lines)


def stored_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of weights as they are stored: names, dtypes, shapes and every bit, in hex.

    Made for files, to be compared on other machines and with what others compute: it depends
    neither on how a checkpoint is divided into files nor on the dtype that it is loaded in.
    The same numbers stored in another dtype have another digest.
    """
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        dtype = str(tensor.dtype).removeprefix("torch.")
        found.update(f"{name} {dtype} {list(tensor.shape)}\n".encode())
        bits = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
        found.update(bits.numpy().data)
    return found.hexdigest()


def words_digest(tokenizer: Any) -> str | None:
    """SHA-256 of a tokenizer's words and their ids, in hex; None: there is no tokenizer.

    Its rules are left out: libraries of different versions spell the same rules differently.
    """
    if tokenizer is None:
        return None
    content = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """Of a tokenizer's words and rules, without truncation and padding; None: there is none."""
    words = {} if tokenizer is None else tokenizer.get_vocab()
    own = None if tokenizer is None else own_tokenizer(tokenizer)
    fast = getattr(own, "backend_tokenizer", None)
    rules = "" if fast is None else fast.to_str()
    content = json.dumps([sorted(words.items()), rules], ensure_ascii=False).encode()
    return hashlib.sha256(content).hexdigest()[:32]


def _digest(sizes: object, lines: Mapping[str, str], more: Sequence[str] = ()) -> str:
    found = hashlib.sha256(json.dumps(sizes, sort_keys=True).encode())
    for _, line in sorted(lines.items()):
        found.update(line.encode())
    for line in more:
        found.update(line.encode())
    return found.hexdigest()[:32]


def _unwrapped(entry: tuple[str, str]) -> str:
    return entry[0].replace(".base_layer.", ".", 1)


def _lines(module: nn.Module) -> dict[str, str]:
    """A line for each entry of a module's state; tied weights are read once."""
    read: dict[Any, str] = {}
    lines: dict[str, str] = {}
    for name, entry in module.state_dict().items():
        try:
            lines[name] = _line(name, entry, read)
        except (AttributeError, NotImplementedError) as error:
            reason = f"its weight {name} cannot be read ({error})"
            raise UnsupportedModelError(type(module).__name__, reason=reason) from error
    return lines


def _line(name: str, entry: object, read: dict[Any, str] | None = None) -> str:
    if isinstance(entry, Tensor):
        return f"{name} {entry.dtype} {list(entry.shape)} {_sums(entry.detach(), read)}"
    if isinstance(entry, tuple | list):
        return f"{name} " + ", ".join(_line(str(i), one) for i, one in enumerate(entry))
    return f"{name} {entry!r}"  # settings that a quantised module keeps beside its numbers


def _sums(tensor: Tensor, read: dict[Any, str] | None) -> str:
    if tensor.is_meta:
        raise NotImplementedError("it lies on no device: it is offloaded or not loaded")
    if tensor.is_quantized:
        if tensor.qscheme() == torch.per_tensor_affine:
            scales = f"{tensor.q_scale()} {tensor.q_zero_point()}"
        else:
            by_channel = (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points())
            scales = " ".join(_sums(one, None) for one in by_channel)
        return f"{_sums(tensor.int_repr(), None)} {scales}"
    key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
    known = None if read is None else read.get(key)
    if known is None:
        known = str(_sums_of_bits(tensor))
        if read is not None:
            read[key] = known
    return known


def _sums_of_bits(tensor: Tensor) -> tuple[int, int]:
    """The sum of all words, and of all words times their place (1 to 65521, over and over)."""
    flat = tensor.contiguous().view(-1).view(torch.uint8)
    words = flat.view(torch.int32) if flat.numel() % 4 == 0 else flat
    whole = words.numel() // _PERIOD * _PERIOD
    by_place = torch.zeros(_PERIOD, dtype=torch.int64, device=words.device)
    if whole:
        by_place += _column_sums(words[:whole].view(-1, _PERIOD))
    rest = words[whole:]
    by_place[: rest.numel()] += rest
    places = torch.arange(1, _PERIOD + 1, device=words.device)
    return int(by_place.sum()), int((by_place * places).sum())


def _column_sums(rows: Tensor) -> Tensor:
    """[n, P] integers -> [P] int64."""
    if rows.device.type != "cpu":
        return rows.sum(dim=0, dtype=torch.int64)
    # NumPy adds row to row as they lie, five times as fast.
    return torch.from_numpy(rows.numpy().sum(axis=0, dtype="int64"))
