#pragma once

// No kernel of its own: the primitives are enough.
#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/nn/activations.hpp>
