# SPDX-License-Identifier: Apache-2.0
"""Writers of annotations, one form a file.

Each has `FORM`, the form's own name; `place(part, file)`, where an image lies below the folder; and `write(sheet, folder)`, which
writes everything but the images and returns a sentence for each kind of thing that the form cannot hold.
"""

__all__: list[str] = []
