# SPDX-License-Identifier: Apache-2.0
"""cluster: which images belong together, without labels?"""

from pellucid.tasks.cluster.cluster import Cluster

__all__ = ["Cluster"]
