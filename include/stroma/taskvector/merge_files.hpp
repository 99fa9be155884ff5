#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stroma/core/check.hpp>
#include <stroma/core/context.hpp>
#include <stroma/io/safetensors_reader.hpp>
#include <stroma/io/safetensors_writer.hpp>
#include <stroma/taskvector/fingerprint.hpp>
#include <stroma/taskvector/merge.hpp>

namespace stroma {

/// What becomes of integer tensors (counters of batch norm, positions), which have no mean.
enum class integer_tensors {
  refuse_different,  ///< copied where all files agree, else an error
  from_base          ///< copied from the base, or from the first model without one
};

struct model_files_options {
  /// Tensors whose names begin so are copied from the base (from the first model without one) and not looked at in the
  /// others: heads with different numbers of classes, standardisations.
  std::vector<std::string> copied{};
  integer_tensors integers = integer_tensors::refuse_different;
};

/// Safetensors files of one architecture, open and verified: the same names, shapes and types in each; and where a
/// model's metadata have a `base_fingerprint`, it is that of the base. Elements stay on the disk.
class model_files {
 public:
  /// @param base        empty: none
  /// @param importance  of each element in each model, for the rules that want it; else empty
  /// @throws format_error  a file that is damaged or does not fit; names file and tensor
  /// @throws value_error   no models; a model tuned from another base: names both fingerprints
  model_files(const std::filesystem::path& base, const std::vector<std::filesystem::path>& models,
              const std::vector<std::filesystem::path>& importance = {}, model_files_options options = {})
      : options_(std::move(options)) {
    check::require(!models.empty(), "model_files", "models", "none", "1 or more");
    if (!base.empty()) base_.emplace(base);
    for (const auto& path : models) models_.emplace_back(path);
    for (const auto& path : importance) importance_.emplace_back(path);
    if (!importance.empty())
      check::length("model_files", "importance", static_cast<index_t>(importance.size()),
                    static_cast<index_t>(models.size()), "the number of models");
    for (const safetensors_reader& file : models_) verify(file);
    for (const safetensors_reader& file : importance_) verify(file);
    verify_base();
  }

  /// The file that says what the result's tensors are: the base, or the first model.
  [[nodiscard]] const safetensors_reader& reference() const { return base_ ? *base_ : models_.front(); }
  [[nodiscard]] const std::optional<safetensors_reader>& base() const { return base_; }
  [[nodiscard]] const std::vector<safetensors_reader>& models() const { return models_; }
  [[nodiscard]] const std::vector<safetensors_reader>& importance() const { return importance_; }
  /// Whether a tensor is merged; the others are copied.
  [[nodiscard]] bool merged(const stored_tensor& t) const { return is_floating(t.type) && !is_copied(t.name); }
  /// The base's fingerprint, where a model was verified to be of that base; else empty.
  [[nodiscard]] const std::string& base_fingerprint() const { return fingerprint_; }

 private:
  [[nodiscard]] bool is_copied(std::string_view name) const {
    return std::any_of(options_.copied.begin(), options_.copied.end(),
                       [&](const std::string& prefix) { return name.starts_with(prefix); });
  }
  void verify(const safetensors_reader& file) const {
    for (const stored_tensor& expected : reference().tensors()) {
      if (is_copied(expected.name)) continue;
      const stored_tensor& found = file.at(expected.name);
      if (found.shape != expected.shape)
        detail::refuse_tensor("model_files", file.file(), found.name, "shape " + detail::shape_text(found.shape),
                              detail::shape_text(expected.shape) + " (as in " + reference().file() + ")");
      if (found.type != expected.type)
        detail::refuse_tensor("model_files", file.file(), found.name, "dtype " + std::string(type_name(found.type)),
                              std::string(type_name(expected.type)) + " (as in " + reference().file() + ")");
      const bool same = is_floating(found.type) || found.bytes.empty() ||
                        std::memcmp(found.bytes.data(), expected.bytes.data(), found.bytes.size()) == 0;
      if (!same && options_.integers == integer_tensors::refuse_different)
        detail::refuse_tensor("model_files", file.file(), found.name, "other integers than in " + reference().file(),
                              "the same, or to be told to copy those of the base");
    }
    for (const stored_tensor& found : file.tensors())
      if (!is_copied(found.name) && !reference().contains(found.name))
        detail::refuse_tensor("model_files", file.file(), found.name, "no tensor of that name in " + reference().file(),
                              "the same tensors in each file");
  }
  void verify_base() {
    for (const safetensors_reader& file : models_) {
      const auto declared = file.metadata().find("base_fingerprint");
      if (!base_ || declared == file.metadata().end()) continue;
      if (fingerprint_.empty()) fingerprint_ = fingerprint_of_file(*base_);
      detail::require_same_base("model_files", base_->file() + " for " + file.file(), fingerprint_, declared->second);
    }
  }
  [[nodiscard]] static std::string fingerprint_of_file(const safetensors_reader& file) {
    std::vector<fingerprinted_tensor> tensors;
    for (const stored_tensor& t : file.tensors()) tensors.push_back({t.name, t.type, t.shape, t.bytes});
    return fingerprint(std::move(tensors), [&](const fingerprinted_tensor& t) { file.release(file.at(t.name)); });
  }

  model_files_options options_;
  std::optional<safetensors_reader> base_;
  std::vector<safetensors_reader> models_, importance_;
  std::string fingerprint_;
};

/// Where a merge is: in which pass over the files, at which tensor.
struct merge_progress {
  int pass = 1;  ///< from 1; the last one writes
  bool writes = false;
  index_t tensor = 0, tensors = 0;  ///< done, and in all
  std::string_view name;            ///< of the tensor just done
};

struct merge_files_options {
  std::function<void(const merge_progress&)> progress{};  ///< called after each tensor; empty: nobody wants to know
  file_metadata metadata{};                               ///< added to that of the base or first model
};

namespace detail {

/// One tensor of all files in the type it is computed in: in place where the file allows, else a copy. What was looked
/// at leaves memory with it, so that files larger than memory can be merged.
template <class T>
class file_slices {
 public:
  file_slices(const model_files& files, const stored_tensor& tensor) {
    const auto open = [&](const safetensors_reader& file) {
      const auto* const data = values_.emplace_back(file.read<T>(tensor.name)).flat().data;
      opened_.push_back({&file, &file.at(tensor.name)});
      if (!values_.back().in_place()) file.release(*opened_.back().tensor);
      return data;
    };
    values_.reserve(1 + files.models().size() + files.importance().size());
    if (files.base()) slices_.base = open(*files.base());
    for (const safetensors_reader& file : files.models()) models_.push_back(open(file));
    for (const safetensors_reader& file : files.importance()) importance_.push_back(open(file));
    slices_.name = tensor.name;
    slices_.is_matrix = tensor.shape.size() > 1;
    slices_.rows = slices_.is_matrix ? tensor.shape[0] : 1;
    slices_.cols = slices_.rows > 0 ? tensor.size() / slices_.rows : 0;
    slices_.models = models_;
    slices_.importance = importance_;
  }
  ~file_slices() {
    for (const opened& o : opened_) o.file->release(*o.tensor);
  }
  file_slices(const file_slices&) = delete;
  file_slices& operator=(const file_slices&) = delete;
  [[nodiscard]] const tensor_slices<T>& get() const { return slices_; }

 private:
  struct opened {
    const safetensors_reader* file;
    const stored_tensor* tensor;
  };
  std::vector<opened> opened_;
  std::vector<tensor_values<T>> values_;
  std::vector<const T*> models_, importance_;
  tensor_slices<T> slices_;
};

/// f(slices) in the type a tensor is computed in: double for F64, else float.
template <class F>
void with_slices(const model_files& files, const stored_tensor& tensor, F&& f) {
  if (tensor.type == tensor_type::f64) f(file_slices<double>(files, tensor).get());
  else f(file_slices<float>(files, tensor).get());
}

/// Rounds once to the file's type and writes; returns how many elements became infinite.
template <class T>
index_t append_rounded(safetensors_writer& writer, const stored_tensor& tensor, const T* x) {
  constexpr index_t tile = 4096;
  index_t overflowed = 0;
  visit_type(tensor.type, [&]<class S>(std::type_identity<S>) {
    if constexpr (is_number<S>) {
      std::vector<S> rounded(static_cast<std::size_t>(std::min(tile, tensor.size())));
      for (index_t at = 0; at < tensor.size(); at += tile) {
        const index_t n = std::min(tile, tensor.size() - at);
        for (index_t i = 0; i < n; ++i) {
          S& to = rounded[static_cast<std::size_t>(i)] = narrow<S>(x[at + i]);
          overflowed += std::isinf(widen<double>(to)) ? 1 : 0;
        }
        writer.append(tensor.name, vector_view<const S>(rounded.data(), n));
      }
    }
  });
  return overflowed;
}
inline void append_copy(safetensors_writer& writer, const safetensors_reader& file, const stored_tensor& tensor) {
  visit_type(tensor.type,
             [&]<class S>(std::type_identity<S>) { writer.append(tensor.name, file.read<S>(tensor.name).flat()); });
  file.release(tensor);
}

}  // namespace detail

/// Merges files tensor by tensor, by any rule: `merge_files(ctx, ties_merging(), files, "merged.safetensors")`. The
/// result has the tensors, their order, types and metadata of the base (of the first model without one). 16-bit
/// elements are widened, merged in float and rounded once; F64 is merged in double. Only one tensor of each file is in
/// memory at a time, and F32 and F64 are read where they lie. The file appears, whole, at the end.
/// @return what changed, one entry for each merged tensor
/// Cost: the rule's passes over all files, and one for the report. The same bytes for any number of threads.
/// @throws value_error, shape_error  options of the rule, NaN or infinity in a file   @throws format_error  the disk
template <merging_rule Rule>
merge_report merge_files(cpu_context& ctx, Rule rule, const model_files& files, const std::filesystem::path& out,
                         const merge_files_options& options = {}) {
  rule.begin(static_cast<index_t>(files.models().size()));
  const safetensors_reader& reference = files.reference();
  merge_progress at{1, false, 0, static_cast<index_t>(reference.tensors().size()), {}};
  const auto done = [&](const stored_tensor& t) {
    ++at.tensor;
    at.name = t.name;
    if (options.progress) options.progress(at);
  };
  const auto next_pass = [&] {
    ++at.pass;
    at.tensor = 0;
  };
  while (rule.wants_pass()) {
    for (const stored_tensor& t : reference.tensors()) {
      if (files.merged(t))
        detail::with_slices(files, t, [&](const auto& s) {
          detail::check_slices(ctx, rule.name(), s);
          rule.observe(ctx, s);
        });
      done(t);
    }
    rule.conclude();
    next_pass();
  }

  at.writes = true;
  file_metadata metadata = reference.metadata();
  if (!files.base_fingerprint().empty()) metadata["base_fingerprint"] = files.base_fingerprint();
  for (const auto& [key, value] : options.metadata) metadata[key] = value;
  std::vector<tensor_plan> plans;
  for (const stored_tensor& t : reference.tensors()) plans.push_back({t.name, t.type, t.shape});
  safetensors_writer writer(out, std::move(plans), metadata);
  merge_report report;
  for (const stored_tensor& t : reference.tensors()) {
    if (files.merged(t))
      detail::with_slices(files, t, [&]<class T>(const tensor_slices<T>& s) {
        detail::check_slices(ctx, rule.name(), s);
        auto scratch = ctx.workspace().open();
        T* const merged = scratch.template take<T>(s.size());
        const index_t kept = rule.merge(ctx, s, merged);
        report.push_back(detail::change_of(ctx, s, static_cast<const T*>(merged), kept));
        report.back().overflowed = detail::append_rounded(writer, t, static_cast<const T*>(merged));
      });
    else detail::append_copy(writer, reference, t);
    done(t);
  }
  writer.finish();
  return report;
}

}  // namespace stroma
