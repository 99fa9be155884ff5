#pragma once
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <stroma/core/members.hpp>
#include <stroma/io/safetensors_reader.hpp>
#include <stroma/io/safetensors_writer.hpp>

namespace stroma {

/// What can be checkpointed: an object whose `members` are tensors, as a model's are, and whose `numbers`, if it has
/// any, are named the same way: 64-bit integers, double, bool, std::vector<double>, or parts with numbers.
/// training_state and early_stopping are; a struct of both is in six lines.
template <class State>
concept checkpointable = requires(State& s) { State::members(s); };

struct checkpoint_options {
  std::string architecture = "";  ///< whatever distinguishes models whose tensors are alike; compared when loading
};

/// Where a run goes on.
enum class resumed { nothing, latest, previous };

namespace detail {

inline constexpr std::string_view checkpoint_format = "stroma checkpoint", checkpoint_version = "1";

template <class X>
concept single_number =
    std::same_as<X, std::int64_t> || std::same_as<X, std::uint64_t> || std::same_as<X, bool> || std::same_as<X, double>;
template <class X>
concept number = single_number<X> || std::same_as<X, std::vector<double>>;
template <class X>
concept with_numbers = requires(X& x) { X::numbers(x); };

template <class F, class X>
void walk_numbers(dotted_name& path, F& f, X& x) {
  using type = std::remove_const_t<X>;
  if constexpr (number<type>) {
    f(path.view(), x);
  } else {
    static_assert(with_numbers<type>,
                  "checkpoint: numbers are int64_t, uint64_t, bool, double, std::vector<double> or parts with numbers");
    std::apply(
        [&](const auto&... part) {
          (
              [&] {
                const dotted_name::level level(path, part.name);
                walk_numbers(path, f, part.value);
              }(),
              ...);
        },
        type::numbers(x));
  }
}
/// f(dotted name, number) for all numbers of a state.
template <class F, class State>
void for_each_number(F&& f, State& state) {
  if constexpr (with_numbers<std::remove_const_t<State>>) {
    dotted_name path;
    walk_numbers(path, f, state);
  }
}

/// In the file a number is a tensor of one F64 or I64, the bits of unsigned ones as they are.
template <class X>
using number_in_file =
    std::conditional_t<std::same_as<X, double> || std::same_as<X, std::vector<double>>, double, std::int64_t>;

template <class State>
[[nodiscard]] std::vector<tensor_source> checkpoint_tensors(const State& state, std::deque<std::int64_t>& integers) {
  std::vector<tensor_source> tensors;
  for_each_parameter(
      [&](std::string_view name, const auto& p) { tensors.push_back(named_tensor(std::string(name), p)); }, state);
  for_each_number(
      [&]<class X>(std::string_view name, const X& x) {
        vector_view<const number_in_file<X>> elements;
        if constexpr (std::same_as<X, std::vector<double>>) elements = {x.data(), static_cast<index_t>(x.size())};
        else if constexpr (std::same_as<X, double>) elements = {&x, 1};
        else elements = {&integers.emplace_back(static_cast<std::int64_t>(x)), 1};
        tensors.push_back(named_tensor(std::string(name), elements));
      },
      state);
  return tensors;
}

/// Everything that loading needs to be true.
template <class State>
void check_checkpoint(const safetensors_reader& file, const State& state, const checkpoint_options& options) {
  const auto text = [&](const char* key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string() : found->second;
  };
  if (text("format") != checkpoint_format)
    refuse_file("checkpoint", file.file(), "format " + in_quotes(text("format")), in_quotes(checkpoint_format));
  if (text("version") != checkpoint_version)
    refuse_file("checkpoint", file.file(), "version " + in_quotes(text("version")), in_quotes(checkpoint_version));
  std::set<std::string, std::less<>> known;
  const auto check_type = [&](std::string_view name, tensor_type expected) {
    known.emplace(name);
    const tensor_type found = file.at(name).type;
    if (found != expected)
      refuse_tensor(file.file(), name, "dtype " + std::string(type_name(found)), type_name(expected));
  };
  for_each_parameter(
      [&](std::string_view name, const auto& p) {
        file.check_fits(name, p);
        check_type(name, tensor_type_of<scalar_of<decltype(p)>>);
      },
      state);
  for_each_number(
      [&]<class X>(std::string_view name, const X&) {
        check_type(name, tensor_type_of<number_in_file<X>>);
        const auto& shape = file.at(name).shape;
        if (shape.size() != 1 || (single_number<X> && shape[0] != 1))
          refuse_tensor(file.file(), name, "shape " + shape_text(shape), single_number<X> ? "[1]" : "one extent");
      },
      state);
  for (const stored_tensor& t : file.tensors())
    if (!known.contains(t.name))
      refuse_tensor(file.file(), t.name, "nothing of that name in the state", "the state's tensors and numbers alone");
  if (text("architecture") != options.architecture)
    refuse_file("checkpoint", file.file(), "architecture " + in_quotes(text("architecture")),
                in_quotes(options.architecture));
}

template <class State>
void copy_checkpoint(const safetensors_reader& file, State& state) {
  for_each_parameter([&](std::string_view name, auto& p) { file.copy_to(name, p); }, state);
  for_each_number(
      [&]<class X>(std::string_view name, X& x) {
        const auto stored = file.read<number_in_file<X>>(name);
        const auto elements = stored.flat();
        if constexpr (std::same_as<X, std::vector<double>>) x.assign(elements.data, elements.data + elements.size);
        else x = static_cast<X>(elements[0]);
      },
      state);
}

/// Whether a file can be opened as what it claims to be, complete.
[[nodiscard]] inline bool is_whole(const std::filesystem::path& path) {
  try {
    const safetensors_reader file(path);
    return true;
  } catch (const format_error&) {
    return false;
  }
}

}  // namespace detail

/// Where `save_checkpoint` keeps the checkpoint before the last: the same name and `.previous`.
[[nodiscard]] inline std::filesystem::path previous_checkpoint(std::filesystem::path path) {
  return path += ".previous";
}

/// Writes a state to a safetensors file: tensors under their dotted names (`model.pred_head.weight`,
/// `optimizer.first.pred_head.weight`), numbers as tensors of one element (`step`), and the architecture as metadata.
/// The file is replaced in one instant, after the new one is on the disk; the one before stays beside it under
/// `.previous`. A kill or a power cut at any moment leaves a whole checkpoint under `path`.
/// @throws format_error  the disk is full or fails; the file is then as it was
template <checkpointable State>
void save_checkpoint(const std::filesystem::path& path, const State& state, const checkpoint_options& options = {}) {
  std::deque<std::int64_t> integers;
  const auto tensors = detail::checkpoint_tensors(state, integers);
  if (detail::is_whole(path)) {  // never a damaged file in place of a good one
    const auto previous = previous_checkpoint(path);
    std::error_code failed, ignored;
    std::filesystem::remove(previous, ignored);
    std::filesystem::create_hard_link(path, previous, failed);
    if (failed) std::filesystem::copy_file(path, previous, std::filesystem::copy_options::overwrite_existing, ignored);
  }
  write_safetensors(path, tensors,
                    {{"format", std::string(detail::checkpoint_format)},
                     {"version", std::string(detail::checkpoint_version)},
                     {"architecture", options.architecture}});
}

/// Fills a state, made as it was for the run that saved it, bit by bit. Everything is checked first: when it throws,
/// the state is as it was.
/// @throws format_error  no such file, damaged, no checkpoint, of another architecture: a tensor that is missing, of
///                       another shape or type, or without place in the state is named
template <checkpointable State>
void load_checkpoint(const std::filesystem::path& path, State& state, const checkpoint_options& options = {}) {
  const safetensors_reader file(path);
  detail::check_checkpoint(file, std::as_const(state), options);
  detail::copy_checkpoint(file, state);
}

/// Goes on where a run stopped, whichever way: from the checkpoint, from the one before if it is damaged or gone, and
/// from nothing if there is neither.
/// @throws format_error  a checkpoint of another architecture; both damaged
template <checkpointable State>
[[nodiscard]] resumed resume_checkpoint(const std::filesystem::path& path, State& state,
                                        const checkpoint_options& options = {}) {
  const auto previous = previous_checkpoint(path);
  const bool latest_there = std::filesystem::exists(path), previous_there = std::filesystem::exists(previous);
  if (!latest_there && !previous_there) return resumed::nothing;
  const bool fall_back = previous_there && !detail::is_whole(path) && (!latest_there || detail::is_whole(previous));
  load_checkpoint(fall_back ? previous : path, state, options);
  return fall_back ? resumed::previous : resumed::latest;
}

}  // namespace stroma
