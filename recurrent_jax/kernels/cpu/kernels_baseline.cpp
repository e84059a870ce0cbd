// SPDX-License-Identifier: Apache-2.0
// The kernels for what every machine of this kind has: NEON on aarch64, SSE2 on x86-64.

#define ISA baseline
#include "kernels.h"
