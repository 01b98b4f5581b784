"""The graph of an ONNX file: the samples of recordings of one rate and of equal length to their scores.

The samples go on at their own level beyond both ends. A scan along the instances carries the samples that the next
windows need and the smoother's level, and makes an embedding of each instance; then the bag is scored. So the memory of
a recording is that of its samples, of two copies of them, and of one instance.
"""

from dataclasses import dataclass

import numpy as np
from onnx import FunctionProto, GraphProto

from batcache.config.features import FeatureConfig
from batcache.features.bands import dead_bands
from batcache.features.pcen import START_S
from batcache.inference.onnx.nodes import BOOL, DOUBLE, FLOAT, FLOAT16, Nodes, make_graph, typed, whole

_END = whole(2**62)


@dataclass(frozen=True)
class Parts:
    """The functions of a file; see ``export``."""

    magnitudes: FunctionProto
    start: FunctionProto
    compress: FunctionProto
    embed: FunctionProto
    score: FunctionProto


class RecordingGraph:
    """The graph for recordings of a true rate; ``frames`` are those of an instance."""

    def __init__(
        self, features: FeatureConfig, true_rate: int, frames: int, taught: tuple[bool, ...], parts: Parts
    ) -> None:
        windows = features.stft_window(true_rate)
        self.size, self.hop, self.frames, self.parts = windows.size, windows.hop, frames, parts
        self.start_frames = max(1, round(START_S * features.frames_per_second))
        self.untaught = np.where(taught, 0, np.nan).astype(np.float32)
        self.alive = np.arange(features.n_mels) < features.n_mels - dead_bands(features, true_rate)

    def build(self) -> GraphProto:
        """Samples in -1..1 ``[B, n]`` to scores and logits ``[B, C]`` and evidence ``[B, N, C]``.

        Scores and evidence of species that were not taught are NaN. A model that hears whether there is a bat at all
        says so in ``bat``, in 0..1. Shape: ``[B]``
        """
        species = len(self.untaught)
        outputs = [
            typed("scores", FLOAT, ["batch", species]),
            typed("logits", FLOAT, ["batch", species]),
            typed("evidence", FLOAT, ["batch", "instances", species]),
            *([typed("bat", FLOAT, ["batch"])] if "bat" in self.parts.score.output else []),
        ]
        return make_graph("batcache", [typed("samples", FLOAT, ["batch", "length"])], outputs, self._score)

    def _score(self, nodes: Nodes, samples: str) -> list[str]:
        steps = nodes.add("Mul", samples, 2.0**15)
        frames = nodes.add("Div", nodes.add("Shape", steps, start=1, end=2), whole(self.hop))
        begun = nodes.add("Div", nodes.add("Add", frames, whole(self.frames - 1)), whole(self.frames))
        instances = nodes.add("Max", begun, whole(1))  # a recording that is shorter is one instance all the same
        held = self._embed_instances(nodes, self._continue(nodes, steps), frames, instances)
        logits, evidence, *bat = nodes.call(self.parts.score, *held)
        scores = nodes.add("Add", nodes.add("Sigmoid", logits), self.untaught)
        return [scores, logits, nodes.add("Add", evidence, self.untaught), *(nodes.add("Sigmoid", one) for one in bat)]

    def _continue(self, nodes: Nodes, steps: str) -> str:
        """The samples between half a window of their level on each side, see ``features.ends``, and zeros behind."""
        before, after = self.size // 2, self.size - self.size // 2
        batch = nodes.add("Shape", steps, start=0, end=1)

        def expand(value: str | float, count: int) -> str:
            return nodes.add("Expand", value, nodes.add("Concat", batch, whole(count), axis=0))

        def level(part: str) -> str:
            mean = nodes.add("ReduceMean", nodes.add("Cast", part, to=DOUBLE), whole(1))
            return nodes.add("Cast", nodes.add("Round", mean), to=FLOAT)

        begin = expand(level(nodes.slice(steps, whole(0), whole(before), 1)), before)
        end = expand(level(nodes.slice(steps, whole(-after), _END, 1)), after)
        return nodes.add("Concat", begin, steps, end, expand(0.0, self.frames * self.hop), axis=1)

    def _embed_instances(self, nodes: Nodes, samples: str, frames: str, instances: str) -> list[str]:
        """What ``embed`` makes of each instance.

        Shape: ``[B, samples]`` with what lies beyond the ends -> ``[B, instances, …]`` each.
        """
        held, step = self.size - self.hop, self.frames * self.hop
        heard = nodes.add("Mul", nodes.add("Min", frames, whole(self.start_frames)), whole(self.hop))
        beginning = nodes.slice(samples, whole(0), nodes.add("Add", heard, whole(held)), 1)
        level = nodes.call(self.parts.start, *nodes.call(self.parts.magnitudes, beginning))[0]
        end = nodes.add("Add", nodes.add("Mul", instances, whole(step)), whole(held))
        rows = nodes.add("Reshape", nodes.slice(samples, whole(held), end, 1), whole(0, -1, step))
        count = nodes.add("Squeeze", nodes.add("Mul", instances, whole(self.frames)))
        places = nodes.add("Range", np.int64(0), count, np.int64(1))
        real = nodes.add("Reshape", nodes.add("Less", places, frames), whole(-1, self.frames))
        first = nodes.slice(samples, whole(0), whole(held), 1)
        body = make_graph(
            "instance",
            [
                typed("instance/held", FLOAT, [None, held]),
                typed("instance/level", FLOAT, [None, len(self.alive)]),
                typed("instance/row", FLOAT, [None, step]),
                typed("instance/real", BOOL, [self.frames]),
            ],
            [
                typed("instance/held_next", FLOAT, [None, held]),
                typed("instance/level_next", FLOAT, [None, len(self.alive)]),
                *(typed(f"instance/{name}", FLOAT, [None, None]) for name in self.parts.embed.output),
            ],
            self._embed_instance,
        )
        made = len(self.parts.embed.output)
        along = {"num_scan_inputs": 2, "scan_input_axes": [1, 0], "scan_output_axes": [1] * made}
        return nodes.add_many("Scan", 2 + made, first, level, rows, real, body=body, **along)[2:]

    def _embed_instance(self, nodes: Nodes, held: str, level: str, row: str, real: str) -> list[str]:
        span = nodes.add("Concat", held, row, axis=1)
        magnitudes = nodes.call(self.parts.magnitudes, span)[0]
        features, last = nodes.call(self.parts.compress, magnitudes, level)
        is_heard = nodes.add("And", nodes.add("Unsqueeze", real, whole(1)), self.alive)
        kept = nodes.add("Cast", nodes.add("Where", is_heard, features, 0.0), to=FLOAT16)  # as features are kept
        holds = nodes.call(self.parts.embed, nodes.add("Cast", kept, to=FLOAT))
        return [nodes.slice(span, whole(self.frames * self.hop), _END, 1), last, *holds]
