#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stroma/io/detail/pickle_memory.hpp>
#include <stroma/io/detail/zip_parser.hpp>
#include <stroma/io/tensor_type.hpp>

namespace stroma::detail {

enum class torch_role : unsigned char { ordered_dict, tensor, parameter, size, storage, dtype };

/// A global that a checkpoint of tensors may name.
struct torch_global {
  std::string_view module, name;
  torch_role role;
  tensor_type type = tensor_type::u8;  ///< of a storage's elements
};

/// All of them. A bool lies in its file as a byte, 0 or 1.
inline constexpr torch_global torch_globals[] = {
    {"collections", "OrderedDict", torch_role::ordered_dict},
    {"torch._utils", "_rebuild_tensor_v2", torch_role::tensor},
    {"torch._utils", "_rebuild_parameter", torch_role::parameter},
    {"torch", "Size", torch_role::size},
    {"torch", "DoubleStorage", torch_role::storage, tensor_type::f64},
    {"torch", "FloatStorage", torch_role::storage, tensor_type::f32},
    {"torch", "HalfStorage", torch_role::storage, tensor_type::f16},
    {"torch", "BFloat16Storage", torch_role::storage, tensor_type::bf16},
    {"torch", "LongStorage", torch_role::storage, tensor_type::i64},
    {"torch", "IntStorage", torch_role::storage, tensor_type::i32},
    {"torch", "ShortStorage", torch_role::storage, tensor_type::i16},
    {"torch", "CharStorage", torch_role::storage, tensor_type::i8},
    {"torch", "ByteStorage", torch_role::storage, tensor_type::u8},
    {"torch", "BoolStorage", torch_role::storage, tensor_type::u8},
    {"torch", "float64", torch_role::dtype},
    {"torch", "float32", torch_role::dtype},
    {"torch", "float16", torch_role::dtype},
    {"torch", "bfloat16", torch_role::dtype},
    {"torch", "int64", torch_role::dtype},
    {"torch", "int32", torch_role::dtype},
    {"torch", "int16", torch_role::dtype},
    {"torch", "int8", torch_role::dtype},
    {"torch", "uint8", torch_role::dtype},
    {"torch", "bool", torch_role::dtype},
};

/// What globals and storages mean in a checkpoint of PyTorch: storages are entries of the archive, and the functions
/// that rebuild tensors are done here, with every extent, stride and offset checked against the storage.
class torch_objects {
 public:
  /// @param archive  its bytes must outlive the objects   @param root  its folder, with the slash
  torch_objects(const zip_contents& archive, std::string_view root) {
    const std::string folder = std::string(root) + "data/";
    for (const zip_entry& entry : archive.entries)
      if (entry.name.starts_with(folder)) entries_.entries.push_back({entry.name.substr(folder.size()), entry.data});
  }

  /// The tensors that the pickle has made, as their values number them; they have no names yet.
  [[nodiscard]] const std::vector<stored_tensor>& tensors() const noexcept { return tensors_; }

  [[nodiscard]] static std::optional<std::int64_t> find_global(std::string_view module, std::string_view name) {
    for (const torch_global& g : torch_globals)
      if (g.module == module && g.name == name) return &g - torch_globals;
    return std::nullopt;
  }

  pickle_value call(pickle_memory& memory, const pickle_value& function, const pickle_value& arguments) {
    const torch_global& g = torch_globals[function.number];
    const std::size_t count = memory.count(arguments);
    const auto expect = [&](std::size_t fewest, std::size_t most) {
      if (count < fewest || count > most)
        memory.refuse(std::string(g.name) + " of " + std::to_string(count) + " arguments", std::to_string(most));
      return memory.elements(arguments);
    };
    switch (g.role) {
      case torch_role::ordered_dict:
        expect(0, 0);
        return memory.make(pickle_kind::dict);
      case torch_role::size:
        return check(memory, "Size", expect(1, 1)[0], pickle_kind::tuple);
      case torch_role::parameter:
        return check(memory, "_rebuild_parameter", expect(3, 3)[0], pickle_kind::tensor);
      case torch_role::tensor:
        return rebuild(memory, expect(6, 7));
      default:
        memory.refuse("a call of " + std::string(g.module) + "." + std::string(g.name), "no call of it");
    }
  }

  pickle_value storage(pickle_memory& memory, const pickle_value& id) {
    if (memory.count(id) != 5) memory.refuse("a storage of " + std::to_string(memory.count(id)) + " parts", "5");
    const auto part = memory.elements(id);
    if (memory.text(check(memory, "a storage's tag", part[0], pickle_kind::text)) != "storage")
      memory.refuse("a persistent id of another kind", "a storage");
    const torch_global& global = torch_globals[check(memory, "a storage's type", part[1], pickle_kind::global).number];
    if (global.role != torch_role::storage)
      memory.refuse("a storage of type " + std::string(global.name), "one such as FloatStorage");
    const std::string_view key = memory.text(check(memory, "a storage's key", part[2], pickle_kind::text));
    constexpr std::size_t longest_key = 64;  // they are numbers; to search for long ones would take quadratic time
    const zip_entry* const entry = key.size() <= longest_key ? entries_.find(key) : nullptr;
    if (entry == nullptr) memory.refuse("storage " + in_quotes(key), "an entry data/<storage> of the archive");
    check(memory, "a storage's place", part[3], pickle_kind::text);
    const index_t count = check(memory, "a storage's length", part[4], pickle_kind::integer).number;
    const auto bytes = static_cast<index_t>(entry->data.size()), size = element_size(global.type);
    if (bytes % size != 0 || bytes / size != count)
      memory.refuse("storage " + in_quotes(key) + " of " + std::to_string(count) + " elements of " +
                        std::string(type_name(global.type)),
                    "the " + std::to_string(bytes) + " bytes of its entry");
    storages_.push_back({global.type, entry->data, count});
    return {pickle_kind::storage, 0, static_cast<std::int64_t>(storages_.size() - 1)};
  }

 private:
  struct stored_elements {
    tensor_type type;
    std::span<const std::byte> bytes;
    index_t count;
  };
  static constexpr std::size_t most_extents = 32;

  static const pickle_value& check(const pickle_memory& memory, std::string_view what, const pickle_value& v,
                                   pickle_kind expected) {
    if (v.kind != expected)
      memory.refuse(std::string(what) + ": " + std::string(kind_name(v.kind)), kind_name(expected));
    return v;
  }

  static std::vector<index_t> integers(const pickle_memory& memory, std::string_view what, const pickle_value& v) {
    check(memory, what, v, pickle_kind::tuple);
    if (memory.count(v) > most_extents)
      memory.refuse(std::string(what) + " of " + std::to_string(memory.count(v)) + " extents", "at most 32");
    std::vector<index_t> out;
    memory.for_each(v, [&](const pickle_value& element) {
      out.push_back(check(memory, what, element, pickle_kind::integer).number);
      if (out.back() < 0) memory.refuse(std::string(what) + " " + shape_text(out), "integers of 0 or more");
    });
    return out;
  }

  /// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks, metadata = None)
  pickle_value rebuild(pickle_memory& memory, const std::vector<pickle_value>& argument) {
    const auto& storage = storages_[static_cast<std::size_t>(
        check(memory, "a tensor's storage", argument[0], pickle_kind::storage).number)];
    const index_t offset = check(memory, "a tensor's offset", argument[1], pickle_kind::integer).number;
    auto shape = integers(memory, "a tensor's shape", argument[2]);
    auto strides = integers(memory, "a tensor's strides", argument[3]);
    check(memory, "requires_grad", argument[4], pickle_kind::boolean);
    if (argument[5].kind != pickle_kind::none) check(memory, "backward_hooks", argument[5], pickle_kind::dict);
    // The seventh says that the elements are to be conjugated or negated: no tensor of the types here needs it.
    if (argument.size() == 7 && argument[6].kind != pickle_kind::none &&
        memory.count(check(memory, "a tensor's metadata", argument[6], pickle_kind::dict)) != 0)
      memory.refuse("a tensor with metadata", "none");
    // A pickle that makes a tensor has 30 bytes for it, and no more memory is due to one that makes it of 5.
    if (tensors_.size() >= memory.program().size() / 16)
      memory.refuse(std::to_string(tensors_.size()) + " tensors", "fewer in a pickle of this length");
    if (shape.size() != strides.size())
      memory.refuse("shape " + shape_text(shape) + " with strides " + shape_text(strides), "as many");
    tensors_.push_back(lay_out(memory, storage, offset, std::move(shape), std::move(strides)));
    return {pickle_kind::tensor, 0, static_cast<std::int64_t>(tensors_.size() - 1)};
  }

  static stored_tensor lay_out(const pickle_memory& memory, const stored_elements& storage, index_t offset,
                               std::vector<index_t> shape, std::vector<index_t> strides) {
    const auto refuse = [&](std::string_view expected) {
      memory.refuse("a tensor at element " + std::to_string(offset) + ", shape " + shape_text(shape) + ", strides " +
                        shape_text(strides),
                    std::string(expected) + " (the storage has " + std::to_string(storage.count) + " elements)");
    };
    const auto count = element_count(shape);
    if (!count || *count > storage.count) refuse("no more elements than the storage's");
    if (offset < 0 || offset > storage.count) refuse("a begin in the storage");
    if (*count == 0) return {"", storage.type, std::move(shape), {}};
    index_t last = offset, row_major = 1;
    bool in_rows = true;
    for (std::size_t d = shape.size(); d-- > 0;) {
      if (shape[d] == 1) {
        strides[d] = 0;  // any is right, and this one cannot overflow
        continue;
      }
      if (last >= storage.count || strides[d] > (storage.count - 1 - last) / (shape[d] - 1))
        refuse("all elements in the storage");
      last += strides[d] * (shape[d] - 1);
      in_rows = in_rows && strides[d] == row_major;
      row_major *= shape[d];
    }
    if (last >= storage.count) refuse("all elements in the storage");
    if (in_rows) strides.clear();
    const index_t size = element_size(storage.type);
    return {"", storage.type, std::move(shape),
            storage.bytes.subspan(static_cast<std::size_t>(offset * size),
                                  static_cast<std::size_t>((last - offset + 1) * size)),
            std::move(strides)};
  }

  zip_contents entries_;  // the storages, by their keys
  std::vector<stored_elements> storages_;
  std::vector<stored_tensor> tensors_;
};

}  // namespace stroma::detail
