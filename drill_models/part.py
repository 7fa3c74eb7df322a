"""What every value of a YAML file is made of."""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

Accuracy = Annotated[float, Field(ge=0, le=1, description="Fraction from 0 to 1.")]
Text = Annotated[str, Field(max_length=20_000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]
"""Without control characters but tabs and line breaks: files come from strangers, and are shown in terminals."""
Line = Annotated[str, Field(max_length=20_000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""Without line breaks, too."""


class Part(BaseModel):
    """A frozen value that refuses keys it does not know."""

    # A loss may be infinite: JSON says Infinity then, which is read again, instead of null.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), ser_json_inf_nan="constants")


class GrownPart(Part):
    """A part that got more fields later: these are written only where they differ from their defaults.

    So files, stored settings and comparisons from before stay as they were.
    """

    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        for name, value in self:
            if name in self.later and value == fields[name].default:
                data.pop(name, None)
        return data
