# SPDX-License-Identifier: Apache-2.0
"""The command line, composed from the signatures of what it calls.

`cli` has the entry point and turns errors into exit codes; `commands` has a function for each command, whose signature is its
command line. `binding` finds the function and the options that a command line asks for: `options` reads them off functions,
tasks, models and the recipe, and `flags` checks and parses the words. `printing` shows results, `listing` what there is.
"""

__all__: list[str] = []
