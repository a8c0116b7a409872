"""A tuner that starts from the analytic tile model and learns only what the model gets wrong.

============  =========================================================================================================
`features`    a configuration's features, which mean the same for other shapes, and what the tile model says of it
`residual`    the residual of the tile model, fitted to the task's trials and to records of other shapes
`tuner`       `PriorTuner`, with the interface of AutoTVM's tuners
============  =========================================================================================================
"""

from .tuner import PriorTuner

__all__ = ["PriorTuner"]
