# SPDX-License-Identifier: Apache-2.0
"""The worksheet: named equations solved, differentiated, updated and verified."""

__all__: list[str] = []
