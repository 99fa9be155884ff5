#pragma once

// What the sanitizers must be told about fibers. Without one of them all of this is empty.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CUDA_EMULATOR_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define CUDA_EMULATOR_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(CUDA_EMULATOR_ASAN)
#define CUDA_EMULATOR_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(CUDA_EMULATOR_TSAN)
#define CUDA_EMULATOR_TSAN 1
#endif

#include <cstddef>

#if defined(CUDA_EMULATOR_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(CUDA_EMULATOR_TSAN)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace cuda_emulator::detail {

#if defined(CUDA_EMULATOR_ASAN)
inline constexpr bool has_asan = true;
inline void forbid(const void* p, std::size_t bytes) { __asan_poison_memory_region(p, bytes); }
inline void allow(const void* p, std::size_t bytes) { __asan_unpoison_memory_region(p, bytes); }
#else
inline constexpr bool has_asan = false;
inline void forbid(const void*, std::size_t) {}
inline void allow(const void*, std::size_t) {}
#endif

#if defined(CUDA_EMULATOR_TSAN)
inline constexpr bool has_tsan = true;
/// The emulator's own state passes from fiber to fiber without any barrier of the kernel, so ThreadSanitizer is not to
/// see it; and telling it of an order would hide the kernel's races.
class unseen {
 public:
  unseen() {
    AnnotateIgnoreReadsBegin("", 0);
    AnnotateIgnoreWritesBegin("", 0);
  }
  unseen(const unseen&) = delete;
  unseen& operator=(const unseen&) = delete;
  ~unseen() {
    AnnotateIgnoreWritesEnd("", 0);
    AnnotateIgnoreReadsEnd("", 0);
  }
};
/// What came before release(key) in one thread happens before what follows acquire(key) in another.
inline void release(char* key) { __tsan_release(key); }
inline void acquire(char* key) { __tsan_acquire(key); }
#else
inline constexpr bool has_tsan = false;
class unseen {
 public:
  unseen() {}  // not defaulted: a variable that is only there for its scope would be called unused
  unseen(const unseen&) = delete;
  unseen& operator=(const unseen&) = delete;
  ~unseen() {}
};
inline void release(char*) {}
inline void acquire(char*) {}
#endif

}  // namespace cuda_emulator::detail
