# SPDX-License-Identifier: Apache-2.0
"""The engine of `Deferred`.

Read the modules in this order:

- `rule`: the loop over blocks, and its derivative.
- `tangent`: the derivative of one block. `at_once` computes the part that covers all
  steps together. A loop over the residuals of `kept` computes the rest.
- `plan`: decides how a block is run, from what `facts` finds in the jaxprs of the cell.
- `gates`: splits arrays into gates and joins them, as the plan says.
- `along`: tangents of trees that contain integers.
"""
