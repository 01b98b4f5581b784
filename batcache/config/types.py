"""The kinds of values that settings take, each with its range."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from batcache.storage.place import Place, check_endpoint, parse_place


def _refuse_yes_and_no(value: Any) -> Any:
    """YAML reads yes and no as booleans, which are 1 and 0 in Python."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "expected a number")
    return value


Real = Annotated[float, BeforeValidator(_refuse_yes_and_no)]
Whole = Annotated[int, BeforeValidator(_refuse_yes_and_no)]
Share = Annotated[Real, Field(ge=0, lt=1)]
Positive = Annotated[Real, Field(gt=0)]
NotNegative = Annotated[Real, Field(ge=0)]
Count = Annotated[Whole, Field(ge=1)]
Natural = Annotated[Whole, Field(ge=0)]
Size = Count | tuple[Count, Count]
KeepOnGpu = Annotated[Literal["auto", "off"], BeforeValidator(lambda value: "off" if value is False else value)]
"""YAML reads ``off`` as False."""
CachePlace = Annotated[Place, BeforeValidator(parse_place)]
Endpoint = Annotated[str, AfterValidator(check_endpoint)]


class Section:
    """What all sections have in common: unknown keys and infinite numbers are refused."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)
