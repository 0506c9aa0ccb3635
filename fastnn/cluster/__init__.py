"""Work on many processes and machines by Dask; nothing outside this folder imports dask or distributed.

The messages between client, scheduler and workers are pickled by Dask: connect only to a scheduler that you trust.
"""

from fastnn.cluster.client import Cluster, InProcess, Lost
from fastnn.cluster.worker import Task, WorkFailedError

__all__ = ["Cluster", "InProcess", "Lost", "Task", "WorkFailedError"]
