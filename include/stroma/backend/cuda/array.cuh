#pragma once
#include <array>
#include <concepts>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <stroma/backend/cuda/primitives.cuh>
#include <stroma/core/array.hpp>
#include <stroma/core/members.hpp>

namespace stroma {

/// An array in the memory of a device: parameters, gradients, moments. Copies are values, new elements are zero.
/// Making, copying and filling one waits for the device; steps of training do none of these.
template <class T, int Rank>
class array<T, Rank, device_space> {
  static_assert(Rank == 1 || Rank == 2, "stroma::array: rank 1 or 2");
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  using value_type = T;
  using space = device_space;
  static constexpr int rank = Rank;

  array() = default;
  explicit array(index_t size)  // by delegation, so that what was allocated is freed if the rest throws
    requires(Rank == 1)
      : array() {
    allocate({size});
    clear();
  }
  array(index_t rows, index_t cols)
    requires(Rank == 2)
      : array() {
    allocate({rows, cols});
    clear();
  }
  array(const array& other) : array() { *this = other; }
  array(array&& other) noexcept { swap(other); }
  array& operator=(const array& other) {
    if (this == &other) return *this;
    if (size() != other.size()) {
      array fresh;
      fresh.allocate(other.extents_);
      swap(fresh);
    }
    extents_ = other.extents_;
    if (size() > 0) {
      wait();  // for whichever stream wrote the other
      detail::cuda_check(cudaMemcpy(data_, other.data_, bytes(), cudaMemcpyDeviceToDevice), "array", "cudaMemcpy");
      wait();
    }
    return *this;
  }
  array& operator=(array&& other) noexcept {
    swap(other);
    return *this;
  }
  ~array() {
    if (data_ != nullptr) static_cast<void>(cudaFree(data_));
  }

  void swap(array& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(extents_, other.extents_);
  }

  [[nodiscard]] T* data() noexcept { return data_; }
  [[nodiscard]] const T* data() const noexcept { return data_; }
  [[nodiscard]] index_t size() const noexcept {
    if constexpr (Rank == 1) return extents_[0];
    else return extents_[0] * extents_[1];
  }
  [[nodiscard]] const std::array<index_t, Rank>& extents() const noexcept { return extents_; }
  [[nodiscard]] index_t rows() const noexcept { return extents_[0]; }
  [[nodiscard]] index_t cols() const noexcept
    requires(Rank == 2)
  {
    return extents_[1];
  }
  void fill(T value) {
    const std::vector<T> values(static_cast<std::size_t>(size()), value);
    if (size() == 0) return;
    wait();
    detail::cuda_check(cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice), "array::fill", "cudaMemcpy");
  }

 private:
  [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(size()) * sizeof(T); }
  void allocate(std::array<index_t, Rank> extents) {
    const index_t count = detail::element_count(extents, sizeof(T));
    void* p = nullptr;
    if (count > 0)
      detail::cuda_check(cudaMalloc(&p, static_cast<std::size_t>(count) * sizeof(T)), "array",
                         "cudaMalloc of " + std::to_string(count) + " elements");
    data_ = static_cast<T*>(p);
    extents_ = extents;
  }
  void clear() {
    if (size() == 0) return;
    detail::cuda_check(cudaMemset(data_, 0, bytes()), "array", "cudaMemset");
    wait();
  }
  /// Copies and fills go through the default stream, with which others need not be in order.
  static void wait() { detail::cuda_check(cudaDeviceSynchronize(), "array", "cudaDeviceSynchronize"); }

  T* data_ = nullptr;
  std::array<index_t, Rank> extents_{};
};

/// to = from, between the host and the context's device, in the order of its stream. Both lie without gaps. From
/// pageable memory of the host the call returns when `from` may change; into it, when the values are there.
/// @throws shape_error, backend_error
template <tensor From, tensor To>
  requires(!std::same_as<space_of<From>, space_of<To>> && std::same_as<scalar_of<From>, scalar_of<To>> &&
           traits_of<From>::rank == traits_of<To>::rank && traits_of<From>::rank < 3)
void transfer(cuda_context& ctx, const From& from, To&& to) {
  const auto a = as_const_view(from);
  const auto b = as_view(to);
  index_t count = 0;
  if constexpr (traits_of<From>::rank == 1) {
    check::length("transfer", "to", b.size, a.size, "the length of from");
    check::require(a.stride == 1 && b.stride == 1, "transfer", "from, to", "elements apart", "neighbours");
    count = a.size;
  } else {
    check::shape("transfer", "to", b, a.rows, a.cols);
    check::require(a.contiguous() && b.contiguous(), "transfer", "from, to", "rows apart", "no gaps");
    count = a.rows * a.cols;
  }
  if (count == 0) return;
  constexpr bool down = std::same_as<space_of<To>, host_space>;
  detail::cuda_check(cudaMemcpyAsync(b.data, a.data, static_cast<std::size_t>(count) * sizeof(scalar_of<From>),
                                     down ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice, ctx.stream()),
                     "transfer", "cudaMemcpyAsync");
  if constexpr (down) ctx.synchronize();
}

/// The parameters of a model copied into the same model of the other side: abmil<float> and abmil<float, .., cuda>.
/// @throws shape_error  models of different extents, named
template <class From, class To>
void transfer_parameters(cuda_context& ctx, const From& from, To& to) {
  std::vector<std::pair<std::string, index_t>> names;
  std::size_t next = 0;
  // Two structs cannot be walked in step: the second walk looks for the n-th parameter of the first.
  for_each_parameter([&](std::string_view name, const auto& p) { names.emplace_back(name, p.size()); }, from);
  for_each_parameter(
      [&](std::string_view name, auto& target) {
        if (next == names.size() || names[next].first != name || names[next].second != target.size())
          throw shape_error(error_message("transfer_parameters", name, std::to_string(target.size()) + " elements",
                                          next == names.size()
                                              ? std::string("no such parameter")
                                              : names[next].first + " of " + std::to_string(names[next].second)));
        std::size_t at = 0;
        for_each_parameter(
            [&](std::string_view, const auto& source) {
              if constexpr (std::remove_cvref_t<decltype(source)>::rank == std::remove_cvref_t<decltype(target)>::rank)
                if (at == next) transfer(ctx, source, target);
              ++at;
            },
            from);
        ++next;
      },
      to);
  if (next != names.size())
    throw shape_error(error_message("transfer_parameters", names[next].first, "no such parameter in to",
                                    std::to_string(names[next].second) + " elements"));
}

}  // namespace stroma
