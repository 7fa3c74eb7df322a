"""Errors that carry a sentence for a person.

    DrillError
    ├── StepError      a step, skeleton or schema file is wrong
    ├── DataError      a data set is missing, unreadable or corrupt
    ├── BudgetError    no network of the space fits the limits
    └── StudyError     a study or its storage cannot be used as asked

The command line prints the sentence and exits with code 2; a traceback is never a user's answer.
"""


class DrillError(Exception):
    """A mistake or a missing thing that the user can mend; `str(error)` is one sentence."""


class StepError(DrillError):
    """A YAML file, or a part of it, is not what the schema allows."""


class DataError(DrillError):
    """A data set cannot be found, read or downloaded."""


class BudgetError(DrillError):
    """No network of the space fits the given limits."""


class StudyError(DrillError):
    """A study or its storage cannot be used as asked."""


class Interrupted(Exception):
    """What was going on was asked to stop: training in the middle of an epoch, or a wait."""
