# SPDX-License-Identifier: Apache-2.0
"""Image files to arrays, and a quick scan of many files: sizes, channels, content hashes, and what cannot be read."""

from pellucid.data.decoding.deep import Source
from pellucid.data.decoding.files import Files
from pellucid.data.decoding.index import cache_folder
from pellucid.data.decoding.parallel import in_parallel, limit, watched, workers
from pellucid.data.decoding.pictures import (
    LARGEST,
    SUFFIXES,
    decode,
    fault_sentence,
    from_pillow,
    is_image,
    named_as_image,
    opened,
)
from pellucid.data.decoding.scanning import Scan, remember_faults, scan

__all__ = [
    "LARGEST",
    "SUFFIXES",
    "Files",
    "Scan",
    "Source",
    "cache_folder",
    "decode",
    "fault_sentence",
    "from_pillow",
    "in_parallel",
    "is_image",
    "limit",
    "named_as_image",
    "opened",
    "remember_faults",
    "scan",
    "watched",
    "workers",
]
