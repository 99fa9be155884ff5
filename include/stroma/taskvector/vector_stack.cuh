#pragma once

// A stack on a device is a copy of one on the host, and needs no kernel of its own.
#include <stroma/backend/cuda/array.cuh>
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/taskvector/vector_stack.hpp>
