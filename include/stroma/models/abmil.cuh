#pragma once

// The model on a device: the verbs' kernels are enough.
#include <stroma/backend/cuda/array.cuh>
#include <stroma/models/abmil.hpp>
#include <stroma/nn/linear.cuh>
#include <stroma/pooling/attention_pool.cuh>
