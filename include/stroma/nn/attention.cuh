#pragma once

// No kernel of its own: its parts are enough.
#include <stroma/nn/attention.hpp>
#include <stroma/nn/linear.cuh>
