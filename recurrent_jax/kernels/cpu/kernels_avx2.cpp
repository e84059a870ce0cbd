// SPDX-License-Identifier: Apache-2.0
// The kernels for AVX2 and FMA.

#if defined(__AVX2__) && defined(__FMA__)
#define ISA avx2
#include "kernels.h"
#endif
