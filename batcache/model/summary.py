"""What a model's file holds, in words and numbers: a checkpoint, or a trunk."""

from pathlib import Path

from batcache.errors import RunError, count
from batcache.model.checkpoint import Checkpoint
from batcache.model.pretrained import SIMULATED, Pretrained, load_pretrained
from batcache.model.start import digest_start, extract_trunk, load_source
from batcache.model.torch_file import has_digest
from batcache.storage.listing import is_file

SEALED = "its SHA-256, which it carries"


def read_model(path: Path) -> Pretrained | Checkpoint:
    """Read a checkpoint's or a trunk's file.

    Raises:
        RunError: missing, damaged, or of another kind.
    """
    if not is_file(path):
        raise RunError(path, "no such file", "Pass a cache, a run, a checkpoint or a trunk's file")
    try:
        return load_source(path)
    except RunError as error:
        raise RunError(path, error.finding.replace("as a trunk", "as a model"), "Pass a file of batcache's") from None


def summarise_model(path: Path, found: Pretrained | Checkpoint | None = None) -> dict[str, str]:
    """Return the facts of a checkpoint or a trunk's file in the order in which one would ask for them.

    ``found`` is what ``read_model`` gave, where it was read already. Raises as that.
    """
    found = read_model(path) if found is None else found
    facts = _of_trunk(found) if isinstance(found, Pretrained) else _of_checkpoint(found)
    return {**facts, "checked by": SEALED if has_digest(path) else "its CRC-32 alone: an earlier version wrote it"}


def _of_checkpoint(checkpoint: Checkpoint) -> dict[str, str]:
    features, model = checkpoint.features, checkpoint.model
    if checkpoint.trunk is None:
        trunk, network = "its own, from chance", f"recurrent network of {model.rnn_hidden_size} x {model.rnn_layers}"
    else:
        given = f"as it was given but for its statistics (adapt {model.adapt:g})" if model.adapt else "as it was given"
        kind = "learnt with the heads" if model.train == "all" else given
        trunk = f"{kind}, {_describe_digest(extract_trunk(checkpoint))}"
        network = f"{model.heads} of {model.head_size}, recurrent network of {model.rnn_hidden_size}"
    kernel = {"kernel": f"on {checkpoint.centres:,} moments, averaged with heads"} if checkpoint.centres else {}
    strangeness = checkpoint.weights.get("heads.kernel.strangeness")
    doubts = strangeness is not None and bool(strangeness.any())
    return {
        "kind": "checkpoint",
        "trained on": _describe_clips(checkpoint),
        "species": f"{len(checkpoint.species)}, {sum(checkpoint.is_taught)} of them taught",
        **_describe_species(checkpoint),
        "epoch": f"{checkpoint.epoch}",
        checkpoint.metric: f"{checkpoint.score:.4f}",
        "features": features.in_words,
        "instances": f"of {checkpoint.frames_per_instance / features.frames_per_second:g} s",
        "front end": f"version {checkpoint.front_end_version}, fingerprint {checkpoint.fingerprint}",
        "trunk": trunk,
        "layers": _describe_layers(extract_trunk(checkpoint)),
        "heads": f"{network}, pooling {model.pooling_type}",
        **kernel,
        "bats of other species": "doubted where they are unlike all that it learnt" if doubts else "not told apart",
    }


def _describe_clips(checkpoint: Checkpoint) -> str:
    """How many clips taught it."""
    if (clips := checkpoint.trained_on) is None:
        return "not said by the earlier version that wrote it"
    groups = "groups (site-nights, or recordings where none is given)"
    return f"{count(clips.clips, 'clip')} of {clips.groups:,} {groups}"


def _describe_species(checkpoint: Checkpoint) -> dict[str, str]:
    """Of each species, indented, the clips that hold it, of all where that is known; and whether it was taught."""
    clips = checkpoint.trained_on
    told = {}
    for i, (name, is_taught) in enumerate(zip(checkpoint.species, checkpoint.is_taught, strict=True)):
        taught = "taught" if is_taught else "not taught"
        if clips is not None:
            present, known = clips.present[i], clips.present[i] + clips.absent[i]
            beside = f", and {clips.simulated[i]:,} simulated" if clips.simulated and clips.simulated[i] else ""
            taught = f"in {present:,} of {known:,} clips" + (beside if is_taught else ", not taught")
        told[f"  {name}"] = taught
    return told


def _of_trunk(trunk: Pretrained) -> dict[str, str]:
    return {
        "kind": "trunk",
        "made": trunk.made or "not said",
        "features": trunk.config.features.in_words,
        "layers": _describe_layers(trunk),
        "trunk": _describe_digest(trunk),
    }


def _describe_layers(trunk: Pretrained) -> str:
    filters = ", ".join(str(layer.filters) for layer in trunk.config.conv_layers)
    return f"convolutions of {filters} filters, {trunk.config.feature_dim} features an instance"


def _describe_digest(trunk: Pretrained) -> str:
    """The digest of its layers, bands and weights, by which trunks are told apart."""
    digest = digest_start(trunk)
    return f"digest {digest}" + (", the one that ships" if digest == digest_start(load_pretrained(SIMULATED)) else "")
