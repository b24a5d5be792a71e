# SPDX-License-Identifier: Apache-2.0
"""Runs and worksheets in a browser and over HTTP: `application` composes the rest, `server` binds and serves it."""

__all__: list[str] = []
