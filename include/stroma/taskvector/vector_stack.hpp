#pragma once
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <stroma/autodiff/graph.hpp>
#include <stroma/core/members.hpp>

namespace stroma {

/// What a mixture of task vectors is added to.
enum class merge_base { origin, target };

/// The task vectors of several models tuned from one origin, side by side: row j is sources[j] - origin, the last row
/// target - origin, over the parameters that are to be merged. One contiguous row a model, so that a merge is one pass
/// over the rows it uses, and its derivative one dot product a row.
///
/// `Storage` may be half or bfloat16: task vectors are small differences, and a merge reads them and little else. A
/// half keeps a difference of 0.01 to 4e-6, and any to 3e-8.
/// Cost: (sources + 1) parameters in Storage, once more in T.
template <class T, class Backend = backend::cpu, class Storage = T>
class vector_stack {
  using space = typename Backend::space;

 public:
  vector_stack() = default;
  /// @param origin   what all models were tuned from; that it is, fingerprints tell (taskvector/fingerprint.hpp)
  /// @param merges   merges(name): whether the parameter of that name takes part
  /// @throws shape_error  models of different extents   @throws value_error  no parameter takes part
  template <class Model, std::predicate<std::string_view> Merges>
  vector_stack(const Model& origin, std::span<const Model> sources, const Model& target, const Merges& merges,
               merge_base base = merge_base::origin)
    requires std::same_as<Backend, backend::cpu>
      : sources_(static_cast<index_t>(sources.size())) {
    index_t number = 0;
    for_each_parameter(
        [&](std::string_view name, const auto& p) {
          if (merges(name)) parts_.push_back({number, size_, p.size()});
          if (merges(name)) size_ += (p.size() + alignment - 1) / alignment * alignment;
          ++number;
        },
        origin);
    check::require(!parts_.empty(), "vector_stack", "merges", "no parameter", "one that is merged");
    rows_ = array<Storage, 2, space>(sources_ + 1, size_);
    base_ = array<T, 1, space>(size_);
    for_each_part("vector_stack", origin, [&](const part& at, const auto& p) {
      for (index_t i = 0; i < at.size; ++i) base_[at.first + i] = p.data()[i];
    });
    for (index_t j = 0; j <= sources_; ++j)
      for_each_part("vector_stack", j < sources_ ? sources[static_cast<std::size_t>(j)] : target,
                    [&](const part& at, const auto& p) {
                      for (index_t i = 0; i < at.size; ++i)
                        rows_(j, at.first + i) = narrow<Storage>(p.data()[i] - base_[at.first + i]);
                    });
    if (base == merge_base::origin) return;
    for_each_part("vector_stack", target, [&](const part& at, const auto& p) {
      for (index_t i = 0; i < at.size; ++i) base_[at.first + i] = p.data()[i];
    });
  }

  /// A copy on a device of a stack on the host.
  template <execution_context Context>
    requires std::same_as<typename Context::backend, Backend>
  vector_stack(Context& ctx, const vector_stack<T, backend::cpu, Storage>& on_host)
    requires(!std::same_as<Backend, backend::cpu>)
      : sources_(on_host.sources_), size_(on_host.size_), rows_(sources_ + 1, size_), base_(size_) {
    for (const auto& p : on_host.parts_) parts_.push_back({p.number, p.first, p.size});
    transfer(ctx, on_host.rows_, rows_);
    transfer(ctx, on_host.base_, base_);
  }

  [[nodiscard]] index_t sources() const noexcept { return sources_; }
  /// Elements of a row: those of the merged parameters, each filled up with zeros to 64 bytes.
  [[nodiscard]] index_t size() const noexcept { return size_; }
  [[nodiscard]] matrix_view<const Storage, space> rows() const { return as_const_view(rows_); }
  [[nodiscard]] vector_view<const T, space> base() const { return as_const_view(base_); }

  /// From here to the graph's reset, the merged parameters of `model`, which has the struct and the extents of the
  /// models behind the rows, are parts of `merged` [1, size].
  template <class Model>
  void substitute(graph<T, Backend>& g, const Model& model, node merged) const {
    for_each_part("vector_stack::substitute", model,
                  [&](const part& at, const auto& p) { g.substitute(p, g.slice(merged, at.first, 1, at.size)); });
  }
  /// The same for good: writes `merged` [size] into the parameters of `model`.
  template <class Model>
  void assign(vector_view<const T> merged, Model& model) const
    requires std::same_as<Backend, backend::cpu>
  {
    check::length("vector_stack::assign", "merged", merged.size, size_, "the size of the stack");
    for_each_part("vector_stack::assign", model, [&](const part& at, auto& p) {
      for (index_t i = 0; i < at.size; ++i) p.data()[i] = merged[at.first + i];
    });
  }
  /// The same on a device.
  template <execution_context Context, class Model>
    requires std::same_as<typename Context::backend, Backend>
  void assign(Context& ctx, vector_view<const T, space> merged, Model& model) const {
    check::length("vector_stack::assign", "merged", merged.size, size_, "the size of the stack");
    for_each_part("vector_stack::assign", model, [&](const part& at, auto& p) {
      primitives<Backend>::copy(
          ctx, matrix_view<const T, space>(merged.slice(at.first, at.size).data, at.size, 1, merged.stride, 1),
          matrix_view<T, space>(p.data(), at.size, 1));
    });
  }

 private:
  static constexpr index_t alignment = 64 / static_cast<index_t>(sizeof(T));
  struct part {
    index_t number, first, size;  ///< place in the walk over all parameters; place in a row
  };

  /// f(part, parameter) for the merged parameters of a model.
  template <class Model, class F>
  void for_each_part(std::string_view function, Model& model, const F& f) const {
    index_t number = 0;
    auto next = parts_.begin();
    for_each_parameter(
        [&](std::string_view name, auto& p) {
          if (next == parts_.end() || next->number != number++) return;
          check::length(function, name, p.size(), next->size, "the elements in the stack");
          f(*next++, p);
        },
        model);
  }

  template <class, class, class>
  friend class vector_stack;

  std::vector<part> parts_;
  index_t sources_ = 0, size_ = 0;
  array<Storage, 2, space> rows_;
  array<T, 1, space> base_;
};

}  // namespace stroma
