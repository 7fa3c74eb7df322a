"""The search: sampler, pruner, runner, study, export and command line."""
