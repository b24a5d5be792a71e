# SPDX-License-Identifier: Apache-2.0
"""Readers, one format per file: folders of images, metadata tables, NumPy arrays, idx, MATLAB, parquet and the hub.

Each reader takes a path or a hub id and returns a `Dataset` by way of `data.splitting.finish`, which adds missing splits, the
fingerprint and the problems. Readers share `finding` (image files below a folder) and `arrays` (arrays to pixels, labels and
masks); `data.opening` chooses the reader, and no reader knows of it.
"""

__all__: list[str] = []
