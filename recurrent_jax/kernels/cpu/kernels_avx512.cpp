// SPDX-License-Identifier: Apache-2.0
// The kernels for AVX-512.

#if defined(__AVX512F__)
#define ISA avx512
#include "kernels.h"
#endif
