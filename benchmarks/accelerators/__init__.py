# SPDX-License-Identifier: Apache-2.0
"""Programs for TPUs and GPUs, compiled by their own compilers without the device."""

import os

# Before JAX is imported. Arrays of this process are on the CPU, and no driver is looked
# for. Several processes may load libtpu, since none uses a TPU. Without the others,
# libtpu asks the network which machine this is.
for _name, _value in {
    "JAX_PLATFORMS": "cpu",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}.items():
    os.environ.setdefault(_name, _value)
