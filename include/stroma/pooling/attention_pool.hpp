#pragma once
#include <cmath>
#include <limits>

#include <stroma/nn/attention.hpp>
#include <stroma/nn/dropout.hpp>
#include <stroma/pooling/detail/attention_kernel.hpp>

namespace stroma {

/// Pools the instances of every bag into one vector, weighted by learned attention, gated or plain:
///   e(n, h)  = c_h . ( tanh(V x_n + a) * sigmoid(U x_n + b) ) + d_h      (plain: without the sigmoid)
///   p(n, h)  = exp(e(n, h)) / sum over the bag of exp(e(m, h))
///   slide(b) = [ sum over n in bag b of p(n, h) x_n ]  for head h = 0, 1 ..
/// @param bags        [N, D] instances and the offsets of B bags; float, double, half or bfloat16
/// @param parameters  V, U [A, D], a, b [A], c [heads, A], d [heads]
/// @param out         slide [B, heads D] and attention [N, heads]; hidden and gate [N, A] are kept for the backward
///                    pass when given, and never exist as a whole otherwise
/// Cost: 4 N D A flops (plain: 2 N D A); one pass over tiles of `tile_rows` instances, scratch for one tile a thread.
/// A bag's result does not depend on the other bags or on the number of threads.
/// @throws shape_error  extents; a bag without instances      @throws value_error  a bag whose instances are all
/// masked; scores that are not finite, so features that are not (unless options.check_values is false)
/// Reference: Ilse, Tomczak, Welling, "Attention-based deep multiple instance learning", ICML 2018.
template <execution_context Context, bag_like Bags, class T>
  requires same_space<Context, Bags>
void attention_pool(Context& ctx, const Bags& bags, const attention_view<const T, space_of<Bags>>& parameters,
                    const attention_output<T, space_of<Bags>>& out,
                    const attention_options_in<space_of<Bags>>& options = {}) {
  const auto x = as_const_view(bags);
  using checks = value_checks<typename Context::backend>;
  checks::offsets(ctx, "attention_pool", "offsets", x.offsets, x.instances.rows);
  detail::check_attention("attention_pool", x.instances.cols, parameters);
  detail::check_attention_output("attention_pool", x, parameters, out);
  checks::bags(ctx, "attention_pool", x.offsets, x.instances.rows, options.mask);
  detail::attention_kernel<typename Context::backend>::forward(ctx, detail::stored_rows{x.instances}, x.offsets,
                                                               parameters, out, options);
}

/// Adds the gradients of attention_pool. `forward` is what attention_pool gave, with hidden and gate, which are
/// overwritten. `d_attention` may be empty.
/// Cost: 8 N D A flops and 4 N D A more where the instances need a gradient (plain: half).
/// @throws shape_error
template <execution_context Context, bag_like Bags, class T>
  requires same_space<Context, Bags>
void attention_pool_backward(Context& ctx, const Bags& bags, const attention_view<const T, space_of<Bags>>& parameters,
                             const attention_output<T, space_of<Bags>>& forward,
                             const attention_derivative<T, space_of<Bags>>& derivative,
                             const attention_gradients<T, space_of<Bags>>& gradients,
                             const attention_options_in<space_of<Bags>>& options = {}) {
  const auto x = as_const_view(bags);
  value_checks<typename Context::backend>::offsets(ctx, "attention_pool_backward", "offsets", x.offsets,
                                                   x.instances.rows);
  detail::check_attention("attention_pool_backward", x.instances.cols, parameters);
  detail::check_attention_output("attention_pool_backward", x, parameters, forward);
  check::shape("attention_pool_backward", "forward.hidden", forward.hidden, x.instances.rows,
               parameters.hidden_weight.rows);
  check::shape("attention_pool_backward", "derivative.slide", derivative.slide, forward.slide.rows, forward.slide.cols);
  if (gradients.instances.data != nullptr)
    check::shape("attention_pool_backward", "gradients.instances", gradients.instances, x.instances.rows,
                 x.instances.cols);
  detail::attention_kernel<typename Context::backend>::backward(ctx, x.instances, x.offsets, parameters, forward,
                                                                derivative, gradients, options, false);
}

/// What attention_pool gives on a graph.
struct pooled {
  node slide;      ///< [bags, heads x features]
  node attention;  ///< [instances, heads]
};

namespace detail {

/// The parameters of an attention layer as nodes of a graph.
struct attention_nodes {
  node hidden_weight, hidden_bias, gate_weight, gate_bias, score_weight, score_bias;

  template <class T, class Backend>
  attention_view<const T, typename Backend::space> views(graph<T, Backend>& g) const {
    attention_view<const T, typename Backend::space> v{g.value(hidden_weight), g.value(hidden_bias).row(0), {}, {},
                                                       g.value(score_weight),  g.value(score_bias).row(0)};
    if (gate_weight.id >= 0) {
      v.gate_weight = g.value(gate_weight);
      v.gate_bias = g.value(gate_bias).row(0);
    }
    return v;
  }
  /// Where their gradients go; empty for those that need none.
  template <class T, class Backend>
  attention_view<T, typename Backend::space> gradients(graph<T, Backend>& g) const {
    const auto matrix = [&](node n) {
      return g.needs_gradient(n) ? g.gradient_of(n) : matrix_view<T, typename Backend::space>{};
    };
    const auto vector = [&](node n) {
      return g.needs_gradient(n) ? g.gradient_of(n).row(0) : vector_view<T, typename Backend::space>{};
    };
    return {matrix(hidden_weight), vector(hidden_bias),  matrix(gate_weight),
            vector(gate_bias),     matrix(score_weight), vector(score_bias)};
  }
};

template <class T, class Backend, class Attention>
attention_nodes nodes_of(graph<T, Backend>& g, const Attention& layer) {
  attention_nodes n{g.parameter(layer.hidden.weight), g.parameter(layer.hidden.bias), {}, {},
                    g.parameter(layer.score.weight),  g.parameter(layer.score.bias)};
  if constexpr (Attention::gated) {
    n.gate_weight = g.parameter(layer.gate.weight);
    n.gate_bias = g.parameter(layer.gate.bias);
  }
  return n;
}

}  // namespace detail

/// attention_pool on a graph. `instances` carries the offsets of its bags, or is one bag. In training with dropout the
/// layer's rate applies to tanh(..) and sigmoid(..), by two independent keys of the graph.
template <class T, class Backend, class Attention>
pooled attention_pool(graph<T, Backend>& g, node instances, const Attention& layer,
                      attention_options_in<typename Backend::space> options = {}) {
  using kernel = detail::attention_kernel<Backend>;
  const auto n = detail::nodes_of(g, layer);
  const auto parameters = n.views(g);
  const auto [rows, cols] = g.shape(instances);
  detail::check_attention("attention_pool", cols, parameters);
  const auto offsets = detail::offsets_of(g, instances);
  value_checks<Backend>::bags(g.context(), "attention_pool", offsets, rows, options.mask);
  options.mask = g.keep(options.mask);
  if (g.recording() && layer.dropout > 0) {
    check::in_range("attention_pool", "dropout", layer.dropout, 0.0, 1.0);
    options.dropout = layer.dropout;
    options.hidden_key = g.next_random_key();
    options.gate_key = g.next_random_key();
  }

  const index_t heads = parameters.score_weight.rows, width = parameters.hidden_weight.rows;
  const auto parents = {instances,   n.hidden_weight, n.hidden_bias, n.gate_weight,
                        n.gate_bias, n.score_weight,  n.score_bias};
  const auto [attention, p] = g.emit_rows_of(instances, heads, parents);
  const auto [slide, s] = g.emit(offsets.size - 1, heads * cols, parents);
  attention_output<T, typename Backend::space> out{s, p, {}, {}};
  if (!g.recording()) {
    kernel::forward(g.context(), detail::graph_rows<T, Backend>{&g, instances, rows, cols}, offsets, parameters, out,
                    options);
    return {slide, attention};
  }
  if (g.needs_gradient(slide)) {
    out.hidden = {g.template take<T>(rows * width), rows, width};
    if (parameters.gate_weight.data != nullptr) out.gate = {g.template take<T>(rows * width), rows, width};
  }
  g.visit(instances,
          [&](auto x) { kernel::forward(g.context(), detail::stored_rows{x}, offsets, parameters, out, options); });
  // Recorded on the later node, so both derivatives are known when it runs.
  g.on_backward(slide, [=, slide = slide, attention = attention](graph<T, Backend>& r) {
    attention_derivative<T, typename Backend::space> d{r.gradient(slide), r.gradient(attention)};
    attention_gradients<T, typename Backend::space> gradients{{}, n.gradients(r)};
    bool fresh = false;
    if (r.needs_gradient(instances)) {
      const auto target = r.gradient_target_of(instances);
      gradients.instances = target.gradient;
      fresh = target.fresh;
    }
    r.visit(instances,
            [&](auto x) { kernel::backward(r.context(), x, offsets, n.views(r), out, d, gradients, options, fresh); });
  });
  return {slide, attention};
}

}  // namespace stroma
