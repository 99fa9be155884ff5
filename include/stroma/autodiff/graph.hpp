#pragma once
#include <algorithm>
#include <initializer_list>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <stroma/autodiff/detail/record.hpp>
#include <stroma/autodiff/row_program.hpp>
#include <stroma/backend/checks.hpp>
#include <stroma/backend/primitives.hpp>
#include <stroma/core/check.hpp>
#include <stroma/core/members.hpp>
#include <stroma/core/random.hpp>

namespace stroma {

/// Reverse-mode differentiation at the level of verbs. It knows no verb: each records itself with `emit` and
/// `on_backward`, and a user's own verb does the same.
///
/// All values and gradients live in an arena that reset() empties and keeps: after the first step of a size nothing
/// is allocated. Not thread-safe; the context and all inputs must outlive the step.
template <class T, class Backend>
class graph {
 public:
  using scalar = T;
  using backend = Backend;
  using space = typename Backend::space;
  using context_type = context_of<Backend>;
  using ops = primitives<Backend>;
  using const_view = matrix_view<const T, space>;
  using view = matrix_view<T, space>;
  using offsets_view = vector_view<const index_t, space>;

  explicit graph(context_type& ctx, graph_mode mode = graph_mode::training)
      : context_(&ctx), mode_(mode), arena_(ctx.memory()) {
    reset();
  }
  graph(const graph&) = delete;
  graph& operator=(const graph&) = delete;

  // ---- the model's side -------------------------------------------------------------------------------------------

  /// Data without a gradient: a matrix, or ragged bags, in float, double, half or bfloat16. Not copied.
  template <tensor X>
    requires std::same_as<space_of<X>, space>
  node input(const X& x) {
    const auto v = as_const_view(x);
    if constexpr (traits_of<X>::rank == 3) {
      value_checks<Backend>::offsets(*context_, "graph::input", "offsets", v.offsets, v.instances.rows);
      return add_input(v.instances, v.offsets);
    } else if constexpr (traits_of<X>::rank == 2) {
      return add_input(v, {});
    } else {
      return add_input(matrix_view<const scalar_of<X>, space>(v.data, 1, v.size, v.size, v.stride), {});
    }
  }
  /// Data whose gradient is added into `gradient`, which has the same extents.
  node variable(const_view x, view gradient) {
    check::shape("graph::variable", "gradient", gradient, x.rows, x.cols);
    // Products and derivatives are stored there by whole packets.
    check::require(gradient.col_stride == 1 || gradient.cols < 2, "graph::variable", "gradient", "columns apart",
                   "a unit column stride");
    const node n = add_input(x, {});
    records_.back().gradient = gradient;
    records_.back().needs_gradient = recording();
    return n;
  }
  /// Gradients of the model's parameters are added into `gradient`, an object of the same struct; both must stay
  /// where they are. Lasts over resets. Several models may be bound; parameters of unbound ones are constants, and
  /// binding a parameter again replaces its gradient.
  template <class Model>
  void bind(const Model& model, Model& gradient) {
    for_each_parameter(
        [&](std::string_view name, const auto& p, auto& d) {
          if (p.size() != d.size())
            throw shape_error(error_message("graph::bind", name,
                                            "a gradient of " + std::to_string(d.size()) + " elements",
                                            std::to_string(p.size())));
          std::erase_if(bindings_, [&](const binding& b) { return b.key == p.data(); });
          if (p.size() > 0) bindings_.push_back({p.data(), as_row_matrix(d), {}});
        },
        model, gradient);
    std::sort(bindings_.begin(), bindings_.end(), [](const binding& a, const binding& b) { return a.key < b.key; });
  }
  /// Forgets the gradients of a model's parameters; do it before either object goes away while the graph stays.
  template <class Model>
  void unbind(const Model& model) {
    for_each_parameter(
        [&](std::string_view, const auto& p) {
          std::erase_if(bindings_, [&](const binding& b) { return b.key == p.data(); });
        },
        model);
  }
  /// From here to the reset, every use of this parameter means `replacement`, which has its number of elements: a
  /// model can be run with parameters that are the output of another verb.
  template <int Rank>
  void substitute(const array<T, Rank, space>& parameter, node replacement) {
    const auto wanted = as_row_matrix(parameter);
    const auto found = shape(replacement);
    if (found.rows * found.cols != wanted.rows * wanted.cols)
      throw shape_error(error_message("graph::substitute", "replacement",
                                      std::to_string(found.rows * found.cols) + " elements",
                                      std::to_string(wanted.rows * wanted.cols) + " (the parameter's)"));
    const node n = found.rows == wanted.rows ? replacement : slice(replacement, 0, wanted.rows, wanted.cols);
    substitutions_.push_back({parameter.data(), {}, n});
  }
  /// The seed, step and, with a key, clock of all random draws until they are set again; the graph counts the layers.
  void set_random(std::uint64_t seed, std::uint32_t step) { random_ = {seed, step}; }
  void set_random(const random_key& key) { random_ = key; }
  /// Empties the graph and keeps its memory. Substitutions go, bindings stay.
  void reset() {
    records_.clear();
    substitutions_.clear();
    for (binding& b : bindings_) b.current = {};
    frame_.reset();
    frame_.emplace(arena_);
    host_frame_.reset();
    host_frame_.emplace(host_arena_);
    random_.layer = 0;
    backward_done_ = false;
  }

  [[nodiscard]] context_type& context() const { return *context_; }
  [[nodiscard]] bool recording() const { return mode_ == graph_mode::training; }
  /// Bytes of the arena, in use or kept.
  [[nodiscard]] std::size_t capacity() const { return arena_.capacity(); }

  /// The value, computed now if it was left to its consumer.
  const_view value(node n) {
    record& r = at(n);
    if (r.value.data == nullptr && (r.by_rows != nullptr || r.storage != storage_type::native)) materialise(n);
    return at(n).value;
  }
  /// The only element of a loss, on the host.
  T scalar_value(node n) {
    const auto v = value(n);
    check::shape("graph::scalar_value", "node", v, 1, 1);
    return ops::read(*context_, v.data);
  }
  /// What backward() left; without data where no gradient arrived. A verb may use up the gradient of its own output
  /// (linear with an activation does); those of inputs, variables and parameters are final.
  const_view gradient(node n) const { return at(n).gradient; }

  /// Fills the gradients of everything the loss depends on. The loss is one number.
  void backward(node loss, T seed = T(1)) {
    check::shape("graph::backward", "loss", shape(loss), 1, 1);
    const view start(take<T>(1), 1, 1);
    ops::fill(*context_, start, seed);
    backward(loss, const_view(start));
  }
  /// The same from a given derivative of some later loss in `output`.
  void backward(node output, const_view derivative) {
    const auto s = shape(output);
    check::shape("graph::backward", "derivative", derivative, s.rows, s.cols);
    begin_backward();
    if (!at(output).needs_gradient) return;
    // A slice, a variable and a parameter have memory for their gradient already.
    const auto target = gradient_target_of(output);
    if (target.fresh) ops::copy(*context_, derivative, target.gradient);
    else ops::axpy(*context_, T(1), derivative, target.gradient);
    run_backward(output);
  }

  // ---- the verbs' side --------------------------------------------------------------------------------------------

  struct extents {
    index_t rows, cols;
  };
  [[nodiscard]] extents shape(node n) const { return {at(n).rows, at(n).cols}; }
  /// Row boundaries of ragged bags; empty for one bag.
  [[nodiscard]] offsets_view offsets(node n) const { return at(n).offsets; }
  [[nodiscard]] bool needs_gradient(node n) const { return n.id >= 0 && at(n).needs_gradient; }

  /// The node of a parameter: its substitute, else bound to its gradient, else a constant.
  template <int Rank>
  node parameter(const array<T, Rank, space>& p) {
    for (auto s = substitutions_.rbegin(); s != substitutions_.rend(); ++s)
      if (s->key == p.data()) return s->current;
    const auto found = std::lower_bound(bindings_.begin(), bindings_.end(), p.data(),
                                        [](const binding& b, const T* key) { return b.key < key; });
    const bool bound = recording() && found != bindings_.end() && found->key == p.data();
    if (bound && found->current.id >= 0) return found->current;
    const node n = add_input(as_row_matrix(p), {});
    if (bound) {
      records_.back().gradient = found->gradient;
      records_.back().needs_gradient = true;
      found->current = n;
    }
    return n;
  }

  /// A new value of the given extents, uninitialised, that depends on `parents`.
  std::pair<node, view> emit(index_t rows, index_t cols, std::initializer_list<node> parents) {
    const view out(take<T>(rows * cols), rows, cols);
    record r{.value = out, .rows = rows, .cols = cols};
    for (const node p : parents) r.needs_gradient = r.needs_gradient || (recording() && needs_gradient(p));
    records_.push_back(r);
    return {last(), out};
  }
  /// The same with the row boundaries of `like`.
  std::pair<node, view> emit_rows_of(node like, index_t cols, std::initializer_list<node> parents) {
    const auto result = emit(at(like).rows, cols, parents);
    records_.back().offsets = at(like).offsets;
    return result;
  }
  /// What to do when the derivative of `out` is known: f(graph), adding into gradient_of(parent) for each parent
  /// that needs_gradient. F is copied into the arena, so it may hold views, nodes and numbers, nothing that frees.
  template <class F>
  void on_backward(node out, const F& f) {
    static_assert(std::is_trivially_destructible_v<F>, "graph::on_backward: F must hold views, nodes and numbers only");
    record& r = at(out);
    if (!r.needs_gradient) return;
    r.closure = new (host_frame_->template take<F>(1)) F(f);
    r.backward = [](const void* closure, graph& g) { (*static_cast<const F*>(closure))(g); };
  }
  /// A value whose rows depend on the same rows of `parent` alone. In inference it is not stored but evaluated by its
  /// consumer, a tile of rows at a time: f(graph, first, tile of out, scratch), see row_tile.
  template <class F>
  node emit_by_rows(node parent, index_t cols, const F& f) {
    static_assert(std::is_trivially_destructible_v<F>);
    record r{.rows = at(parent).rows, .cols = cols, .offsets = at(parent).offsets};
    r.scratch_cols = tile_scratch<T>::padded(cols) + at(parent).scratch_cols;
    r.closure = new (host_frame_->template take<F>(1)) F(f);
    r.by_rows = [](const void* closure, const graph& g, index_t first, view out, tile_scratch<T>& scratch) {
      (*static_cast<const F*>(closure))(g, first, out, scratch);
    };
    records_.push_back(r);
    return last();
  }
  /// Columns of scratch that a tile of `n` needs; 0 when its rows can be read in place.
  [[nodiscard]] index_t scratch_cols(node n) const { return at(n).scratch_cols; }
  /// f(view of rows first .. first + count - 1 of n): in place, in their own storage type where they are an input.
  /// Thread-safe as long as nothing is emitted.
  template <class F>
  void visit_rows(node n, index_t first, index_t count, tile_scratch<T>& scratch, F&& f) const {
    const record& r = at(n);
    if (r.by_rows != nullptr && r.value.data == nullptr) {
      const view tile(scratch.take(count * r.cols), count, r.cols);
      r.by_rows(r.closure, *this, first, tile, scratch);
      f(const_view(tile));
    } else {
      visit_storage(r, [&](auto whole) { f(whole.middle_rows(first, count)); });
    }
  }
  /// f(view of the whole value in its own storage type): T, half or bfloat16.
  template <class F>
  void visit(node n, F&& f) {
    if (at(n).storage == storage_type::native) f(value(n));
    else visit_storage(at(n), f);
  }

  /// Part of a node's memory as a matrix of its own; shares value and gradient, costs nothing.
  node slice(node parent, index_t first, index_t rows, index_t cols) {
    const auto v = value(parent);
    if (!v.contiguous() || (needs_gradient(parent) && !gradient_of(parent).contiguous()) || first < 0 ||
        first + rows * cols > v.rows * v.cols)
      throw shape_error(error_message(
          "graph::slice", "first", std::to_string(first) + " + " + std::to_string(rows) + " x " + std::to_string(cols),
          "a part of " + std::to_string(v.rows * v.cols) + " contiguous elements"));
    record r{.value = const_view(v.data + first, rows, cols), .rows = rows, .cols = cols};
    if (needs_gradient(parent)) {
      r.needs_gradient = true;
      const view whole = gradient_of(parent);
      r.gradient = view(whole.data + first, rows, cols);
    }
    records_.push_back(r);
    return last();
  }

  /// Where a verb's backward adds: zero at the first touch. Only for nodes that need a gradient.
  view gradient_of(node n) {
    record& r = at(n);
    if (r.gradient.data == nullptr) ops::fill(*context_, add_gradient(n), T(0));
    return at(n).gradient;
  }
  /// The same for verbs that can overwrite: `fresh` says that nothing has been added yet and memory is uninitialised.
  struct gradient_target {
    view gradient;
    bool fresh;
  };
  gradient_target gradient_target_of(node n) {
    if (at(n).gradient.data != nullptr) return {at(n).gradient, false};
    return {add_gradient(n), true};
  }

  /// A view read-only; spares verbs the long type.
  [[nodiscard]] static const_view value_of(view v) { return v; }
  /// Memory that lives until the reset, for what backward needs.
  template <class U>
  [[nodiscard]] U* take(index_t count) {
    return frame_->template take<U>(count);
  }
  /// A copy of the caller's data that lives until the reset.
  template <class U>
  vector_view<const U, space> keep(vector_view<const U, space> v) {
    const vector_view<U, space> copy(take<U>(v.size), v.size);
    ops::copy(*context_, matrix_view<const U, space>(v.data, v.size, 1, v.stride, 1),
              matrix_view<U, space>(copy.data, v.size, 1));
    return copy;
  }
  /// A key that no other draw of this step has.
  random_key next_random_key() {
    ++random_.layer;
    return random_;
  }

 private:
  using record = detail::graph_record<T, Backend>;
  using storage_type = detail::storage_type;
  struct binding {
    const T* key;
    view gradient;
    node current;
  };

  record& at(node n) { return records_[static_cast<std::size_t>(n.id)]; }
  const record& at(node n) const { return records_[static_cast<std::size_t>(n.id)]; }
  node last() const { return {static_cast<index_t>(records_.size()) - 1}; }

  template <class A>
  static auto as_row_matrix(A& a) {
    auto v = as_view(a);
    if constexpr (std::remove_const_t<A>::rank == 2) return v;
    else return matrix_view<std::remove_pointer_t<decltype(v.data)>, space>(v.data, 1, v.size);
  }
  template <class S>
  node add_input(matrix_view<const S, space> x, offsets_view offsets) {
    record r{.rows = x.rows, .cols = x.cols, .offsets = offsets};
    if constexpr (std::is_same_v<S, T>) {
      r.value = x;
    } else {
      static_assert(is_narrow<S>, "graph::input: the graph's scalar, half or bfloat16");
      r.storage = std::is_same_v<S, half> ? storage_type::half : storage_type::bfloat16;
      r.narrow = {reinterpret_cast<const std::uint16_t*>(x.data), x.rows, x.cols, x.row_stride, x.col_stride};
    }
    records_.push_back(r);
    return last();
  }
  template <class F>
  static void visit_storage(const record& r, F&& f) {
    const auto as = [&]<class S>(S) {
      f(matrix_view<const S, space>(reinterpret_cast<const S*>(r.narrow.data), r.rows, r.cols, r.narrow.row_stride,
                                    r.narrow.col_stride));
    };
    switch (r.storage) {
      case storage_type::native:
        return f(r.value);
      case storage_type::half:
        return as(half{});
      case storage_type::bfloat16:
        return as(bfloat16{});
    }
  }
  void materialise(node n) {
    const view out(take<T>(at(n).rows * at(n).cols), at(n).rows, at(n).cols);
    if (at(n).storage != storage_type::native) {
      visit_storage(at(n), [&](auto v) { ops::copy(*context_, v, out); });
    } else if constexpr (ops::evaluates_by_rows) {
      const record r = at(n);
      for_each_tile<T>(*context_, r.rows, r.scratch_cols, [&](index_t first, index_t count, tile_scratch<T>& scratch) {
        r.by_rows(r.closure, *this, first, out.middle_rows(first, count), scratch);
      });
    }
    at(n).value = out;
    if (at(n).storage == storage_type::native) at(n).scratch_cols = 0;
  }
  view add_gradient(node n) {
    record& r = at(n);
    return r.gradient = view(take<T>(r.rows * r.cols), r.rows, r.cols);
  }
  void begin_backward() {
    if (!recording())
      throw value_error(error_message("graph::backward", "mode", "inference", "a graph made for training"));
    // What the first pass left in the nodes would be passed on once more.
    if (backward_done_)
      throw value_error(error_message("graph::backward", "call", "a second backward pass", "one a reset"));
    backward_done_ = true;
  }
  void run_backward(node from) {
    for (index_t i = from.id; i >= 0; --i) {
      const record& r = at({i});
      if (r.backward != nullptr && r.gradient.data != nullptr) r.backward(r.closure, *this);
    }
  }

  context_type* context_;
  graph_mode mode_;
  bool backward_done_ = false;
  std::vector<record> records_;
  std::vector<binding> bindings_, substitutions_;
  random_key random_{};
  basic_workspace<typename context_type::resource> arena_;
  workspace host_arena_;
  std::optional<typename basic_workspace<typename context_type::resource>::frame> frame_;
  std::optional<workspace::frame> host_frame_;
};

}  // namespace stroma
