"""Species that call above what the features hold."""

from collections.abc import Iterable

from batcache.errors import list_some

HORSESHOE_HZ = 112_000
"""Up to here the smaller horseshoe bats call, Rhinolophus hipposideros and its like, from 100 kHz on."""

WIDER = (
    "`batcache build --config wide.yaml --cache wide.zarr` with the same --csv, where wide.yaml is a file of the line "
    "`data: {fmax: 120000}`"
)
"""The command that makes a cache of higher calls."""


def warn_of_cut_calls(species: Iterable[str], fmax_hz: float) -> str | None:
    """A note where there are species whose calls lie above ``fmax_hz``, else None. Known by their names alone.

    ``species`` are those that some clip may hold: a column of a checklist that is 0 throughout is none of them.

    The greater horseshoe bat calls at 77 to 83 kHz and is not among them.

    >>> warn_of_cut_calls(["Rhinolophus hipposideros", "Myotis myotis"], 100_000)  # doctest: +ELLIPSIS
    'the features end at 100 kHz, and horseshoe bats (Rhinolophus hipposideros) call up to 112 kHz. ...'
    >>> warn_of_cut_calls(["Rhinolophus hipposideros"], 120_000)
    """
    if fmax_hz >= HORSESHOE_HZ:
        return None
    cut = [
        name
        for name in species
        if any(word in name.lower() for word in ("rhinolophus", "horseshoe"))
        and not any(word in name.lower() for word in ("ferrumequinum", "greater"))
    ]
    if not cut:
        return None
    return (
        f"the features end at {fmax_hz / 1000:g} kHz, and horseshoe bats ({list_some(cut)}) call up to "
        f"{HORSESHOE_HZ / 1000:g} kHz. A cache that holds them: {WIDER}"
    )
