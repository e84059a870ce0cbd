# SPDX-License-Identifier: Apache-2.0
"""The engine of `Deferred`.

In the order to read it: `rule` is the loop over blocks and its derivative, `tangent`
the derivative of a block, which is `at_once` for all steps and then a loop over what is
`kept` of each. `plan` chooses how, from what `facts` reads off the cell; `gates` cuts
arrays as the plan says, and `along` leaves integers out of tangents.
"""
