# SPDX-License-Identifier: Apache-2.0
"""Answers to very many images, by several processes on one machine or on many."""

__all__: list[str] = []
