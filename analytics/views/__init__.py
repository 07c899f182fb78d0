"""The tenant's pages. Views parse and render; figures come from `run_metric`, rows from
`explore`.
"""
