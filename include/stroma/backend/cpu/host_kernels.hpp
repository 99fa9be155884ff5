#pragma once

// A .cu file sees the device's side of the library alone: Eigen changes its types and drops its packets under nvcc, and
// whoever compiles one would get slow host code without being told. Define STROMA_HOST_KERNELS_IN_CUDA (and Eigen's own
// EIGEN_NO_CUDA) for a .cu file that must have both.
#if !defined(__CUDACC__) || defined(STROMA_HOST_KERNELS_IN_CUDA)
#define STROMA_HOST_KERNELS 1
#else
#define STROMA_HOST_KERNELS 0
#endif
