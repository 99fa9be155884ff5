#pragma once
#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <stroma/io/detail/named_tensors.hpp>
#include <stroma/io/detail/pickle_machine.hpp>
#include <stroma/io/detail/pickle_memory.hpp>
#include <stroma/io/detail/torch_objects.hpp>
#include <stroma/io/detail/zip_parser.hpp>
#include <stroma/io/file_error.hpp>
#include <stroma/io/json_header.hpp>

namespace stroma::detail {

/// Gives the tensors that a pickle left in nested dicts, lists and tuples their dotted names. Values may be shared, and
/// a small pickle can share so often that it unfolds to more than any memory; the nesting, and all that is unfolded,
/// have limits.
class torch_unfolding {
 public:
  torch_unfolding(const pickle_memory& memory, const torch_objects& objects, std::string file)
      : memory_(memory), objects_(objects), file_(std::move(file)), left_(memory.program().size() * 64 + 1024) {}

  named_tensors unfold(const pickle_value& root) {
    visit(root, 0);
    return std::move(out_);
  }

 private:
  static constexpr int deepest = 64;
  static constexpr std::size_t tensor_cost = 256;  // what a stored_tensor takes, roughly, in bytes

  void visit(const pickle_value& v, int depth) {
    if (depth > deepest) refuse("deeper than 64 levels", "fewer");
    spend(1);
    if (v.kind == pickle_kind::tensor) return add(v);
    if (v.kind == pickle_kind::dict) {
      pickle_value key;
      memory_.for_each(v, [&](const pickle_value& element) {
        if (key.kind == pickle_kind::absent) {
          key = element;
          return;
        }
        if (key.kind == pickle_kind::integer) enter(std::to_string(key.number), element, depth);
        else enter(memory_.text(key), element, depth);
        key.kind = pickle_kind::absent;
      });
    } else if (v.kind == pickle_kind::list || v.kind == pickle_kind::tuple) {
      std::size_t index = 0;
      memory_.for_each(v, [&](const pickle_value& element) { enter(std::to_string(index++), element, depth); });
    }
  }

  void enter(std::string_view part, const pickle_value& v, int depth) {
    if (v.kind < pickle_kind::list || v.kind > pickle_kind::tensor) return spend(1);
    const std::size_t length = name_.size();
    spend(part.size());
    if (depth > 0) name_ += '.';
    name_ += part;
    visit(v, depth + 1);
    name_.resize(length);
  }

  void add(const pickle_value& v) {
    const stored_tensor& tensor = objects_.tensors()[static_cast<std::size_t>(v.number)];
    if (!is_utf8(name_)) refuse("a name that is not UTF-8", "UTF-8");
    spend(tensor_cost + name_.size() + 2 * sizeof(index_t) * tensor.shape.size());
    out_.tensors.push_back(tensor);
    out_.tensors.back().name = name_;
  }

  void spend(std::size_t cost) {
    if (cost > left_) refuse("shared values that unfold to too many", "those of a checkpoint");
    left_ -= cost;
  }

  [[noreturn]] void refuse(std::string_view found, std::string_view expected) const {
    refuse_file("torch_checkpoint", file_ + ": value " + in_quotes(name_), found, expected);
  }

  const pickle_memory& memory_;
  const torch_objects& objects_;
  std::string file_, name_;
  std::size_t left_;
  named_tensors out_;
};

/// Reads the bytes of one checkpoint; see `torch_checkpoint`.
class torch_parser {
 public:
  torch_parser(std::span<const std::byte> bytes, std::string file)
      : file_(std::move(file)), archive_((check_format(bytes), zip_parser(bytes, function, file_).parse())) {}

  named_tensors parse() {
    const zip_entry& pickle = find_pickle();
    const std::string_view root = pickle.name.substr(0, pickle.name.size() - pickle_name.size());
    check_entries(root);
    if (pickle.data.size() > longest_pickle)
      refuse("data.pkl of " + std::to_string(pickle.data.size()) + " bytes", "at most 16777216");
    pickle_memory memory(text(pickle), function, file_ + ": data.pkl");
    torch_objects objects(archive_, root);
    const pickle_value value = pickle_machine(memory, objects).run();
    named_tensors tensors = torch_unfolding(memory, objects, file_).unfold(value);
    tensors.sort_names(function, file_);
    return tensors;
  }

 private:
  static constexpr std::string_view function = "torch_checkpoint", pickle_name = "data.pkl";
  static constexpr std::size_t longest_pickle = std::size_t{1} << 24;

  void check_format(std::span<const std::byte> bytes) const {
    const std::string_view begin(reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 4));
    if (begin.starts_with('\x80'))
      refuse("a pickle without archive, from before PyTorch 1.6 or saved without its zip format",
             "a zip archive: convert it with torch.save(torch.load(path, map_location='cpu'), path)");
    if (begin != "PK\x03\x04") refuse("another beginning", "a zip archive, as torch.save writes it");
  }

  const zip_entry& find_pickle() const {
    const zip_entry* found = nullptr;
    for (const zip_entry& entry : archive_.entries) {
      const std::size_t slash = entry.name.find('/');
      if (slash == std::string_view::npos || entry.name.substr(slash + 1) != pickle_name) continue;
      if (found != nullptr) refuse("two entries data.pkl", "one");
      found = &entry;
    }
    if (found == nullptr) refuse("no entry <archive>/data.pkl", "one");
    return *found;
  }

  void check_entries(std::string_view root) const {
    const zip_entry* const order = archive_.find(std::string(root) + "byteorder");
    if (order != nullptr && text(*order) != "little") refuse("byteorder " + in_quotes(text(*order)), "'little'");
    const zip_entry* const version = archive_.find(std::string(root) + "version");
    if (version == nullptr) refuse("no entry <archive>/version", "one");
    const std::string_view number = text(*version).substr(0, text(*version).find('\n'));
    const bool known = (number.size() == 1 && number[0] >= '1' && number[0] <= '9') || number == "10";
    if (!known) refuse("version " + in_quotes(number), "1 to 10");
  }

  static std::string_view text(const zip_entry& entry) {
    return {reinterpret_cast<const char*>(entry.data.data()), entry.data.size()};
  }
  [[noreturn]] void refuse(std::string_view found, std::string_view expected) const {
    refuse_file(function, file_, found, expected);
  }

  std::string file_;
  zip_contents archive_;
};

}  // namespace stroma::detail
