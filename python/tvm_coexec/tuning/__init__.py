"""Tuning: the tasks of a co-executed model, and records that serve shares.

============  =========================================================================================================
`tasks`       tuning tasks of both devices, by how much they matter to a plan; `parts` is what a plan or a planner's
              cuts run, `tuners` what each of TVM's tuners makes of it
`records`     AutoTVM's records: of a target, of an operator, the best; `log` reads and checks their file
`operators`   along which axis two workloads of one operator differ
`adapt`       a share's configurations, from records of its operator; `knobs` changes them, `rank` orders them
`serving`     the order in which a build looks for a configuration
`sources`     which kernel of a plan got what, for the report
============  =========================================================================================================
"""
