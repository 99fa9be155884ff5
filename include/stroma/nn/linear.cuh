#pragma once

// linear on a device needs no kernel of its own: the primitives are enough.
#include <stroma/backend/cuda/array.cuh>
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/nn/linear.hpp>
