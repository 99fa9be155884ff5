#pragma once

// The model on a device: the verbs' kernels are enough.
#include <stroma/models/abmil.cuh>
#include <stroma/models/roupkt.hpp>
#include <stroma/nn/add.cuh>
#include <stroma/nn/softmax.cuh>
#include <stroma/nn/top_k.cuh>
#include <stroma/taskvector/mixing_penalty.cuh>
