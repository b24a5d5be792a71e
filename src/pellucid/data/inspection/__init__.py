# SPDX-License-Identifier: Apache-2.0
"""What a dataset contains and what is wrong with it, as tables, sentences and a contact sheet."""

from pellucid.data.inspection.inspection import Inspection, inspect
from pellucid.data.inspection.sheet import contact_sheet

__all__ = ["Inspection", "contact_sheet", "inspect"]
