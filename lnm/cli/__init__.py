"""The command `lnm`, one module a group of commands.

torch, diffusers and transformers are imported by the commands that compute, inside them: they take seconds to load, and
`--help`, completion and what runs before every stage of the pipeline must answer at once.
"""

from lnm.cli.app import main as main
