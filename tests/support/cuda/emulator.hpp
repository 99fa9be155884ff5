#pragma once

// CUDA kernels on the host, for tests: compile with STROMA_CUDA_EMULATOR="support/cuda/emulator.hpp" and every .cuh of
// the library runs here, without a device and without NVIDIA's toolkit.
//
// Every CUDA thread is a fiber; a block is run by one thread of the host. What is found: barriers and warp operations
// that not all threads reach, masks that name the wrong lanes, stacks and dynamic shared memory that overflow, invalid
// launches (all as cuda_emulator::error); memory that is read before it is written (it holds NaN); with another
// settings().order_seed, results that depend on the order of threads; with settings().deferred, a host that does not
// wait for its stream and a stream that does not wait for another; waits and allocations in a captured stream; with
// AddressSanitizer, accesses beyond an allocation; with ThreadSanitizer, races within a block, and between blocks with
// settings().workers > 1.
// What is not: missing fences, overruns of static __shared__ arrays, and everything about speed.
#if defined(__CUDACC__)
#error "the emulator stands in for nvcc; leave it out where nvcc compiles"
#endif

#include "atomics.hpp"
#include "counters.hpp"
#include "gemm.hpp"
#include "language.hpp"
#include "launch.hpp"
#include "runtime.hpp"
#include "settings.hpp"
#include "streams.hpp"
