#pragma once
#include <cassert>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <stroma/io/file_error.hpp>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <unistd.h>
#endif

namespace stroma {

/// Writes a file that appears whole or not at all: bytes go to a temporary file in the target's folder, and `commit`
/// flushes them to the disk and renames. Until then, and after any failure, an earlier file of that name is untouched;
/// without `commit` the temporary file (`.stroma.N.tmp`) is removed. A symbolic link at the target is replaced, an
/// existing file's permissions are kept. One buffer of the C library, whatever the file's size.
class atomic_file {
 public:
  /// @param function  the name that stands first in messages
  /// @throws format_error  the folder does not exist or cannot be written, or the target is a directory
  explicit atomic_file(std::filesystem::path target, std::string_view function = "atomic_file")
      : target_(std::move(target)), function_(function) {
    std::error_code ignored;
    if (std::filesystem::is_directory(target_, ignored))
      detail::refuse_file(function_, target_.string(), "a directory", "a file or a free name");
    create_temporary();
  }
  atomic_file(const atomic_file&) = delete;
  atomic_file& operator=(const atomic_file&) = delete;
  ~atomic_file() { discard(); }

  /// @throws format_error  the disk is full or fails
  void write(std::span<const std::byte> bytes) {
    assert(file_ != nullptr);
    if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) refuse("written", errno);
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

  /// Puts the file in its place. Nothing can be written afterwards.
  /// @throws format_error  the disk is full or fails; the target is then as it was
  void commit() {
    assert(file_ != nullptr);
    if (std::fflush(file_) != 0 || !to_disk()) refuse("written", errno);
    if (std::fclose(std::exchange(file_, nullptr)) != 0) refuse("written", errno);
    keep_permissions();
    std::error_code error;
    std::filesystem::rename(temporary_, target_, error);
    if (error) refuse("put in its place", error.value());
    temporary_.clear();
    folder_to_disk();
  }

 private:
  void create_temporary() {
    const std::filesystem::path folder = target_.parent_path();
    for (int attempt = 0; attempt < 10000; ++attempt) {
      std::filesystem::path name = folder / (".stroma." + std::to_string(attempt) + ".tmp");
      errno = 0;
      file_ = std::fopen(name.string().c_str(), "wbx");  // x: never another writer's file, nor through a link
      if (file_ != nullptr) {
        temporary_ = std::move(name);
        return;
      }
      if (errno != EEXIST) break;
    }
    refuse("created", errno);
  }

  void discard() noexcept {
    if (file_ != nullptr) std::fclose(std::exchange(file_, nullptr));
    std::error_code ignored;
    if (!temporary_.empty()) std::filesystem::remove(temporary_, ignored);
    temporary_.clear();
  }

  void keep_permissions() noexcept {
    std::error_code missing, ignored;
    const auto status = std::filesystem::symlink_status(target_, missing);
    if (!missing && std::filesystem::is_regular_file(status))
      std::filesystem::permissions(temporary_, status.permissions(), ignored);
  }

#if defined(__unix__) || defined(__APPLE__)
  bool to_disk() noexcept { return ::fsync(::fileno(file_)) == 0; }
  // The file is whole either way; this only makes the new name survive a power cut, and not every file system can.
  void folder_to_disk() noexcept {
    const std::filesystem::path folder = target_.parent_path();
    const int number = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC);
    if (number < 0) return;
    ::fsync(number);
    ::close(number);
  }
#else
  bool to_disk() noexcept { return true; }
  void folder_to_disk() noexcept {}
#endif

  [[noreturn]] void refuse(std::string_view what, int error) {
    discard();  // a constructor that throws has no destructor
    detail::refuse_file(function_, target_.string(),
                        "cannot be " + std::string(what) + " (" + std::generic_category().message(error) + ")",
                        "a place that can be written");
  }

  std::filesystem::path target_, temporary_;
  std::string function_;
  std::FILE* file_ = nullptr;
};

}  // namespace stroma
