#ifdef STROMA_TEST_XTENSOR
#include <cstdint>
#include <locale>
#include <string>

#include <doctest/doctest.h>

#include <stroma/io/npy.hpp>

#include "scratch.hpp"

using stroma::array;
using stroma::format_error;
using stroma::index_t;
using stroma::matrix_view;
using stroma::read_npy;
using stroma::write_npy;

namespace {

struct grouped : std::numpunct<char> {
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

template <class T>
array<T, 2> counted(index_t rows, index_t cols) {
  array<T, 2> out(rows, cols);
  for (index_t i = 0; i < out.size(); ++i) out.data()[i] = static_cast<T>(i % 100);
  return out;
}

}  // namespace

TEST_CASE_TEMPLATE("npy: written and read", T, float, double, std::int64_t, std::int32_t, std::int16_t, std::int8_t,
                   std::uint8_t) {
  const scratch_folder folder;
  const auto matrix = counted<T>(1200, 3);
  const auto path = folder / "a.npy";
  write_npy(path, matrix);
  CHECK(folder.count() == 1);
  const auto back = read_npy<double>(path);
  REQUIRE(back.rows() == 1200);
  CHECK(back(1101, 2) == static_cast<double>(matrix(1101, 2)));
  write_npy(path, matrix_view<const T>(matrix.data(), 3, 1200, 1, 3));
  const auto turned = read_npy<float>(path);
  REQUIRE(turned.cols() == 1200);
  CHECK(turned(2, 1101) == back(1101, 2));
  write_npy(path, array<T, 2>(0, 5));
  CHECK(read_npy<float>(path).cols() == 5);
}

TEST_CASE("npy: Fortran order") {
  const scratch_folder folder;
  const auto columns = counted<float>(3, 2);  // as the file's bytes: column 0 is 0 1 2 when read as 3 x 2
  const index_t shape[] = {3, 2};
  const auto path = folder.file("f.npy", stroma::detail::npy_preamble(stroma::tensor_type::f32, true, shape) +
                                             std::string(reinterpret_cast<const char*>(columns.data()), 24));
  const auto m = read_npy<double>(path);
  CHECK(m(1, 0) == 1);
  CHECK(m(0, 1) == 3);
  CHECK(m(2, 1) == 5);
}

TEST_CASE("npy: a header too long for xtensor's own parser") {
  const scratch_folder folder;
  std::string header = "{'shape': (1, 2), 'descr': '<f4', 'fortran_order': False}";
  header.append(200 - header.size(), ' ');
  const float values[] = {1, 2};
  const auto path = folder.file("l.npy", std::string("\x93NUMPY\x01\x00\xc8\x00", 10) + header +
                                             std::string(reinterpret_cast<const char*>(values), 8));
  CHECK(read_npy<float>(path)(0, 1) == 2);
}

TEST_CASE("npy: the locale does not reach the file") {
  const scratch_folder folder;
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new grouped));
  write_npy(folder / "a.npy", counted<float>(1200, 1));
  const auto back = read_npy<float>(folder / "a.npy");
  std::locale::global(before);
  CHECK(back.rows() == 1200);
  CHECK(back(1150, 0) == 50);
}

TEST_CASE("npy: files that are not matrices, and places that cannot be written") {
  const scratch_folder folder;
  const index_t shape[] = {2};
  const auto path = folder.file("v.npy", stroma::detail::npy_preamble(stroma::tensor_type::u8, false, shape) + "xy");
  CHECK(message_of<format_error>([&] { static_cast<void>(read_npy<float>(path)); }) ==
        "npy: " + path.string() + ": shape [2], expected two extents");
  CHECK(contains(message_of<format_error>([&] { static_cast<void>(read_npy<float>(folder / "none")); }),
                 "does not exist"));
  CHECK_THROWS_AS(write_npy(folder / "no/a.npy", counted<float>(1, 1)), format_error);
}
#endif
