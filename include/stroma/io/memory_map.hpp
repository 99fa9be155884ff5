#pragma once
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <stroma/io/file_error.hpp>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#else
#include <fstream>
#endif

namespace stroma {

/// A whole file as read-only bytes, mapped where the system can and read into memory elsewhere. Pages are fetched when
/// touched, so opening costs nothing in the size of the file; an empty file has no bytes. Moving keeps the address.
/// The bytes are another process's to change: a file that is shortened while it is mapped ends the program when a lost
/// page is touched (SIGBUS), so replace files by renaming, as `atomic_file` does.
class memory_map {
 public:
  memory_map() = default;
  /// @param function  the name that stands first in messages
  /// @throws format_error  the path does not exist, is a directory or a device, or cannot be read
  explicit memory_map(const std::filesystem::path& path, std::string_view function = "memory_map") {
    open(path, function);
  }
  memory_map(memory_map&& other) noexcept { swap(other); }
  memory_map& operator=(memory_map&& other) noexcept {
    memory_map old(std::move(other));
    swap(old);
    return *this;
  }
  ~memory_map() { close(); }

  void swap(memory_map& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  [[nodiscard]] std::string_view text() const noexcept {
    return size_ == 0 ? std::string_view{} : std::string_view(reinterpret_cast<const char*>(data_), size_);
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// The pages with these bytes leave the process's memory, until somebody looks at them again: for files that are read
  /// once, from one end to the other. Bytes that are not the map's are left alone.
  void release(std::span<const std::byte> bytes) const noexcept {
#if defined(__linux__)
    const std::less_equal<const std::byte*> up_to;
    if (bytes.empty() || !up_to(data_, bytes.data()) || !up_to(bytes.data() + bytes.size(), data_ + size_)) return;
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t begin = static_cast<std::size_t>(bytes.data() - data_) / page * page;
    const auto end = static_cast<std::size_t>(bytes.data() - data_) + bytes.size();
    // The map begins at a page, and nothing was ever written to it: whole pages on both sides are read again if needed.
    ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
#else
    static_cast<void>(bytes);
#endif
  }

 private:
#if defined(__unix__) || defined(__APPLE__)
  struct descriptor {
    int number;
    explicit descriptor(int n) : number(n) {}
    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;
    ~descriptor() {
      if (number >= 0) ::close(number);
    }
  };

  void open(const std::filesystem::path& path, std::string_view function) {
    // Without O_NONBLOCK a named pipe would wait for its writer before it can be refused.
    const descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.number < 0) refuse_open(path, function, errno);
    struct ::stat info {};
    if (::fstat(file.number, &info) != 0) refuse_open(path, function, errno);
    if (S_ISDIR(info.st_mode)) detail::refuse_file(function, path.string(), "a directory", "a file");
    if (!S_ISREG(info.st_mode)) detail::refuse_file(function, path.string(), "a device or pipe", "a file");
    if (info.st_size <= 0) return;
    const auto bytes = static_cast<std::uintmax_t>(info.st_size);
    if (bytes > static_cast<std::uintmax_t>(PTRDIFF_MAX)) refuse_open(path, function, EFBIG);
    void* first = ::mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ, MAP_PRIVATE, file.number, 0);
    if (first == MAP_FAILED) refuse_open(path, function, errno);
    data_ = static_cast<const std::byte*>(first);
    size_ = static_cast<std::size_t>(bytes);
  }
  void close() noexcept {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  }
#else
  void open(const std::filesystem::path& path, std::string_view function) {
    if (std::filesystem::is_directory(path)) detail::refuse_file(function, path.string(), "a directory", "a file");
    if (!std::filesystem::exists(path)) refuse_open(path, function, ENOENT);
    std::ifstream file(path, std::ios::binary);
    if (!file) refuse_open(path, function, EACCES);
    const auto size = static_cast<std::size_t>(std::filesystem::file_size(path));
    if (size == 0) return;
    auto memory = std::make_unique<std::byte[]>(size);
    if (!file.read(reinterpret_cast<char*>(memory.get()), static_cast<std::streamsize>(size)))
      refuse_open(path, function, EIO);
    data_ = memory.release();
    size_ = size;
  }
  void close() noexcept { delete[] data_; }
#endif

  [[noreturn]] static void refuse_open(const std::filesystem::path& path, std::string_view function, int error) {
    const std::string why =
        error == ENOENT ? "does not exist" : "cannot be read (" + std::generic_category().message(error) + ")";
    detail::refuse_file(function, path.string(), why, "a readable file");
  }

  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace stroma
