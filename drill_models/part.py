"""What every value of a YAML file is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Accuracy = Annotated[float, Field(ge=0, le=1, description="Fraction from 0 to 1.")]
Text = Annotated[str, Field(max_length=20_000)]


class Part(BaseModel):
    """A frozen value that refuses keys it does not know."""

    # A loss may be infinite: JSON says Infinity then, which is read again, instead of null.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), ser_json_inf_nan="constants")
