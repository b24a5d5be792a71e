# SPDX-License-Identifier: Apache-2.0
"""The visible loop, and what a training holds, keeps and resumes."""

__all__: list[str] = []
