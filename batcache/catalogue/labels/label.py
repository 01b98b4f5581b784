"""What a label of another program says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Label:
    """A row, box or tag that says what is in a recording.

    Attributes:
        file: the recording as the row names it: a path or the file's name alone, with any slashes.
        names: what is in it, as written. Empty: it was looked at, and nothing is said.
        place: the row, as errors name it.
        else_file: the recording where there is none called ``file``: the piece that a program cut out of it.
        start_s, end_s: where in the recording, None for all of it.
        divided_by: what the program divided the times by that the file plays, to be true seconds; 0 where they are true
            whatever it did.
        recorded_at: ISO 8601, local, where the row says when the recording was made.
        by_program: whether a program said so, and no person.
    """

    file: str
    names: tuple[str, ...]
    place: str
    start_s: float | None = None
    end_s: float | None = None
    divided_by: float = 1.0
    recorded_at: str | None = None
    by_program: bool = False
    else_file: str = ""
