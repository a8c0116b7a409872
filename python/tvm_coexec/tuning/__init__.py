"""Tuning: the tasks of a co-executed model, and records that serve shares.

============  =========================================================================================================
`tasks`       tuning tasks of both devices, by how much they matter to a plan; `parts` is what a plan or a planner's
              cuts run, `tuners` what each of TVM's tuners makes of it
`records`     AutoTVM's records: of a target, of an operator, the best; `log` reads and checks their file
`operators`   along which axis two workloads of one operator differ
`adapt`       a share's configurations, from records of its operator; `knobs` changes them, `rank` orders them by the
              template's tile cost (`other_tiles`: of those that only tuners try)
`space`       configurations of a template: which of them the device has room for, and a search among them
`prior`       a tuner that starts from these costs
`teach`       records as samples of a profile (`cost_workloads`); `served` marks the kernels that records serve
`serving`     the order in which a build looks for a configuration
`sources`     which kernel of a plan got what, for the report
============  =========================================================================================================
"""
