"""What a sampler is, in words and numbers, as reports give it and as the checkpoint of its knockoff phase keeps it."""
import hashlib
import json
from typing import Any, Dict, Iterable, Mapping

import numpy as np
from mindspore import Parameter, Tensor

__all__ = ["DESCRIPTION", "NOT_KNOWN", "described", "description_in", "encoded", "in_words", "stored"]

DESCRIPTION = "mixing.sampler"
NOT_KNOWN = "not known: the checkpoint does not say"

# A checkpoint that is read must have the shapes of the phase, whatever sampler either has: all texts are of one length.
_SIZE = 512
_SETTINGS = ("method", "grid", "positions", "seed")
_FITTED = {"sampler.mean", "sampler.deviation", "sampler.shift", "sampler.root"}


def described(sampler: Any, fit: Iterable[Parameter] = ()) -> Dict[str, Any]:
    """
    What is to be said of a sampler.

    Args:
        sampler (Union[Sampler, FeatureSampler]): The sampler.
        fit (Iterable[Parameter]): What it has fitted, or the weights of its generator.

    Returns:
        dict, fit for JSON: `name`; `method`, `grid`, `positions` and `seed` where it has them; `fit`, a digest.
    """
    settings = {key: getattr(sampler, key, None) for key in _SETTINGS}
    found = {"name": str(sampler.name), **{key: value for key, value in settings.items()
                                           if isinstance(value, (str, int))}}
    digest, empty = hashlib.sha256(), True
    for parameter in fit:
        digest.update(f"{parameter.name} {parameter.shape}".encode())
        digest.update(np.ascontiguousarray(parameter.asnumpy()).tobytes())
        empty = False
    return found if empty else {**found, "fit": digest.hexdigest()[:16]}


def stored(description: Mapping[str, Any]) -> Parameter:
    """A description as a parameter, so that a checkpoint of the phase tells what its scales were trained with."""
    return Parameter(Tensor(encoded(description)), name=DESCRIPTION, requires_grad=False)


def encoded(description: Mapping[str, Any]) -> np.ndarray:
    """A description as bytes of JSON, uint8. Of one that is too long, the beginning of its name."""
    text = json.dumps(dict(description), ensure_ascii=False).encode()
    if len(text) > _SIZE:
        text = json.dumps({"name": description["name"][:_SIZE // 8]}, ensure_ascii=False).encode()
    return np.frombuffer(text.ljust(_SIZE), np.uint8).copy()


def in_words(description: Mapping[str, Any]) -> str:
    """A description as a line of a report."""
    return ", ".join([f"sampler: {description['name']}",
                      *(f"{key} {value}" for key, value in description.items() if key != "name")])


def description_in(values: Mapping[str, np.ndarray]) -> Dict[str, Any]:
    """What a checkpoint tells of the sampler. Those of older versions have no description, but what was fitted."""
    if DESCRIPTION in values:
        return json.loads(values[DESCRIPTION].astype(np.uint8).tobytes().decode())
    if any(name.endswith(".knockoff_mean") for name in values):
        return {"name": "feature"}
    # The generator and samplers of a user's own may have parameters under this prefix as well, but not these alone.
    if {name for name in values if name.startswith("sampler.")} == _FITTED:
        return {"name": "gaussian"}
    return {"name": NOT_KNOWN}
