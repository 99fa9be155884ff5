#pragma once
#include <concepts>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <istream>
#include <span>
#include <streambuf>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

// xtensor 0.26 moved its headers. This header needs the target stroma::xtensor. Its <regex> makes GCC with sanitizers
// report uninitialised members of std::function that are none.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#if __has_include(<xtensor/io/xnpy.hpp>)
#include <xtensor/containers/xadapt.hpp>
#include <xtensor/io/xnpy.hpp>
#else
#include <xtensor/xadapt.hpp>
#include <xtensor/xnpy.hpp>
#endif
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <stroma/core/array.hpp>
#include <stroma/core/tensor.hpp>
#include <stroma/io/atomic_file.hpp>
#include <stroma/io/memory_map.hpp>
#include <stroma/io/npy_header.hpp>

namespace stroma {

namespace detail {

/// Two pieces of memory as one stream: a preamble of our own and the file's data, neither copied.
class npy_stream : public std::streambuf {
 public:
  npy_stream(std::string preamble, std::span<const std::byte> data) : preamble_(std::move(preamble)), data_(data) {
    show(preamble_.data(), preamble_.size());
  }

 protected:
  int_type underflow() override {
    if (data_.empty()) return traits_type::eof();
    const auto piece = std::exchange(data_, {});
    show(reinterpret_cast<const char*>(piece.data()), piece.size());
    return traits_type::to_int_type(*gptr());
  }

 private:
  void show(const char* first, std::size_t count) {
    char* const begin = const_cast<char*>(first);  // a get area is never written to
    setg(begin, begin, begin + count);
  }
  std::string preamble_;
  std::span<const std::byte> data_;
};

}  // namespace detail

/// Reads a matrix from an .npy file, little-endian floats or integers in C or Fortran order, as floats of type T. The
/// file's header is checked here, against the file's size; xtensor sees a fresh one, for its own parser trusts what it
/// reads. Cost: two copies of the data at the peak.
/// @throws format_error  `npy: FILE: found, expected what`
template <class T>
  requires detail::is_number<T>
[[nodiscard]] array<T, 2> read_npy(const std::filesystem::path& path) {
  const memory_map map(path, "npy");
  const detail::npy_contents file = detail::npy_parser(map.bytes(), path.string()).parse();
  if (file.shape.size() != 2)
    detail::refuse_file("npy", path.string(), "shape " + detail::shape_text(file.shape), "two extents");
  array<T, 2> out(file.shape[0], file.shape[1]);
  if (out.size() == 0) return out;
  detail::npy_stream memory(detail::npy_preamble(file.type, file.fortran_order, file.shape), file.data);
  std::istream stream(&memory);
  const auto take = [&]<class S>(std::type_identity<S>) {
    if constexpr (!is_narrow<S>) {
      const auto loaded = xt::load_npy<S>(stream);
      for (index_t r = 0; r < out.rows(); ++r)
        for (index_t c = 0; c < out.cols(); ++c) out(r, c) = detail::convert_element<T>(S(loaded(r, c)));
    }
  };
  try {
    visit_type(file.type, take);
  } catch (const std::exception& error) {
    detail::refuse_file("npy", path.string(), error.what(), "a file that xtensor reads");
  }
  return out;
}

/// Writes a matrix as an .npy file in C order; it appears whole or not at all. Cost: one or two copies of the data.
/// @throws format_error  the file cannot be written
template <matrix_like M>
  requires std::same_as<space_of<M>, host_space>
void write_npy(const std::filesystem::path& path, const M& matrix) {
  using S = scalar_of<M>;
  static_assert(file_scalar<S> && !is_narrow<S>, "write_npy: numpy has floats of 64 and 32 bits, and integers for us");
  const auto view = as_const_view(matrix);
  array<S, 2> rows(view.rows, view.cols);
  for (index_t r = 0; r < view.rows; ++r)
    for (index_t c = 0; c < view.cols; ++c) rows(r, c) = view(r, c);
  const std::vector<std::size_t> shape{static_cast<std::size_t>(view.rows), static_cast<std::size_t>(view.cols)};
  const std::string dumped =
      xt::dump_npy(xt::adapt(rows.data(), static_cast<std::size_t>(rows.size()), xt::no_ownership(), shape));
  // xtensor writes the shape in the global locale, "1.024" in German: only its data are taken.
  const auto byte = [&](std::size_t i) { return std::size_t{static_cast<unsigned char>(dumped.at(i))}; };
  const std::size_t begin = 10 + byte(8) + (byte(9) << 8);
  const index_t extents[] = {view.rows, view.cols};
  atomic_file out(path, "npy");
  out.write(std::string_view(detail::npy_preamble(tensor_type_of<S>, false, extents)));
  out.write(std::string_view(dumped).substr(begin));
  out.commit();
}

}  // namespace stroma
