#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>

#include <stroma/taskvector/fingerprint.hpp>

#include "taskvector/models.hpp"

using stroma::fingerprint_of;

namespace {

std::string sha256_of(std::string_view text, std::size_t piece) {
  stroma::detail::sha256 hash;
  for (std::size_t i = 0; i < text.size(); i += piece) hash.add(text.substr(i, piece));
  std::string hex;
  for (const auto byte : hash.digest()) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

template <class T>
struct reordered_model {  // small_model's tensors in another order
  stroma::array<T, 1> none{0}, one{1}, bias{13};
  stroma::array<T, 2> row{1, 33}, weight{13, 7};
  static auto members(auto& s) {
    using stroma::member;
    return std::tuple{member{"none", s.none}, member{"one", s.one}, member{"bias", s.bias}, member{"row", s.row},
                      member{"weight", s.weight}};
  }
};

}  // namespace

TEST_CASE("fingerprint: SHA-256 of the standard's examples, in pieces of any size") {
  const std::string abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  const std::string two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  CHECK(sha256_of("", 1) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  for (const std::size_t piece : std::vector<std::size_t>{1, 3, 55, 64, 1000}) {
    CHECK(sha256_of("abc", piece) == abc);
    CHECK(sha256_of(two_blocks, piece) == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(sha256_of(std::string(1000000, 'a'), 999 + piece) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }
}

TEST_CASE("fingerprint: names, types, extents and elements count, their order does not") {
  const auto model = random_model<small_model<float>>(1);
  const std::string expected = fingerprint_of(model);
  CHECK(expected.size() == 64);
  CHECK(fingerprint_of(small_model<float>(model)) == expected);
  reordered_model<float> other;
  other.weight = model.weight;
  other.row = model.row;
  other.bias = model.bias;
  other.one = model.one;
  CHECK(fingerprint_of(other) == expected);

  auto changed = model;
  changed.weight(12, 6) = std::nextafter(changed.weight(12, 6), 9.0F);
  CHECK(fingerprint_of(changed) != expected);
  auto reshaped = model;
  reshaped.row = stroma::array<float, 2>(33, 1);
  std::copy_n(model.row.data(), 33, reshaped.row.data());
  CHECK(fingerprint_of(reshaped) != expected);
  CHECK(fingerprint_of(small_model<float>{}) != fingerprint_of(small_model<double>{}));
}

TEST_CASE("fingerprint: of named bytes, as another program would make it") {
  // printf '\1\0\0\0\0\0\0\0w\3\0\0\0\0\0\0\0F32\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\200?' | sha256sum
  const float one = 1;
  CHECK(stroma::fingerprint({{"w", stroma::tensor_type::f32, {1}, std::as_bytes(std::span(&one, 1))}}) ==
        "49edad58a2cfec4b3dd50ec78b2b9c42f88096551ccbf0c719a2cb166cc513ab");
}

TEST_CASE("fingerprint: another base is refused, both are named") {
  const auto base = random_model<small_model<float>>(1), other = random_model<small_model<float>>(2);
  stroma::require_base(base, fingerprint_of(base));
  CHECK(message_of<stroma::value_error>([&] { stroma::require_base(other, fingerprint_of(base)); }) ==
        "require_base: base: the base of fingerprint " + fingerprint_of(other) + ", expected " + fingerprint_of(base));
}
