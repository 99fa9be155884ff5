#pragma once

/// Everything that computes, for a host compiler with Eigen alone. Files (bags, tables, safetensors, checkpoints) are
/// in <stroma/io.hpp>: they need <filesystem> and cost as much compiler time as half of the rest. What needs more than
/// Eigen is included by itself: <stroma/adapt/xtensor.hpp> and <stroma/io/npy.hpp> with the target stroma::xtensor.

#include <stroma/adapt/eigen.hpp>
#include <stroma/adapt/std.hpp>
#include <stroma/autodiff/graph.hpp>
#include <stroma/core/array.hpp>
#include <stroma/core/context.hpp>
#include <stroma/core/error.hpp>
#include <stroma/core/half.hpp>
#include <stroma/core/members.hpp>
#include <stroma/core/number_view.hpp>
#include <stroma/core/random.hpp>
#include <stroma/metrics/accuracy.hpp>
#include <stroma/metrics/roc_auc.hpp>
#include <stroma/models/abmil.hpp>
#include <stroma/nn/activations.hpp>
#include <stroma/nn/add.hpp>
#include <stroma/nn/attention.hpp>
#include <stroma/nn/binary_cross_entropy.hpp>
#include <stroma/nn/concatenate.hpp>
#include <stroma/nn/cross_entropy.hpp>
#include <stroma/nn/dropout.hpp>
#include <stroma/nn/feed_forward.hpp>
#include <stroma/nn/initialise.hpp>
#include <stroma/nn/layer_norm.hpp>
#include <stroma/nn/linear.hpp>
#include <stroma/nn/mean_squared_error.hpp>
#include <stroma/nn/scaled_cosine.hpp>
#include <stroma/nn/softmax.hpp>
#include <stroma/optim/adam.hpp>
#include <stroma/optim/clip.hpp>
#include <stroma/optim/schedule.hpp>
#include <stroma/optim/sgd.hpp>
#include <stroma/pooling/attention_pool.hpp>
#include <stroma/pooling/log_sum_exp_pool.hpp>
#include <stroma/pooling/max_pool.hpp>
#include <stroma/pooling/mean_pool.hpp>
#include <stroma/survival/concordance.hpp>
#include <stroma/survival/cox_partial_likelihood.hpp>
#include <stroma/survival/discrete_hazard.hpp>
#include <stroma/survival/discrete_incidence.hpp>
#include <stroma/survival/discretise.hpp>
#include <stroma/survival/ranking.hpp>
#include <stroma/survival/risk_order.hpp>
#include <stroma/train/early_stopping.hpp>
#include <stroma/train/folds.hpp>
#include <stroma/train/full_cohort_cox.hpp>
#include <stroma/train/loop.hpp>
#include <stroma/train/progress.hpp>
#include <stroma/version.hpp>
