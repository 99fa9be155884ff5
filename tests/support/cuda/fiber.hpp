#pragma once
#include <cstddef>
#include <cstdint>
#include <new>

#include <sys/mman.h>
#include <unistd.h>

#include "sanitizer.hpp"

// Elsewhere, or to try it here, the C library's ucontext: it saves the signal mask too and is twenty times slower.
#if !(defined(__x86_64__) && defined(__ELF__)) && !defined(CUDA_EMULATOR_UCONTEXT)
#define CUDA_EMULATOR_UCONTEXT 1
#endif
#if defined(CUDA_EMULATOR_UCONTEXT)
#include <ucontext.h>
#else
// Keeps what a callee must keep on the stack it leaves, and takes it from the stack it goes to. Weak, since every
// translation unit that includes this brings one.
extern "C" {
void cuda_emulator_switch(void** leave, void* go_to);
void cuda_emulator_start();  // where a new stack begins: calls r12(rbx)
}
asm(R"(
.text
.weak cuda_emulator_start
.type cuda_emulator_start, @function
cuda_emulator_start:
  movq %rbx, %rdi
  callq *%r12
  ud2
.size cuda_emulator_start, . - cuda_emulator_start
.weak cuda_emulator_switch
.type cuda_emulator_switch, @function
cuda_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmpq *%rcx  # a ret would be predicted to go back where it was called
.size cuda_emulator_switch, . - cuda_emulator_switch
)");
#endif

namespace cuda_emulator::detail {

/// Memory for a fiber's stack. Downwards: the stack, a reserve that nobody should need, a page that faults. Who needs
/// the reserve has overflowed; it leaves room to unwind the fiber in order.
class fiber_stack {
 public:
  explicit fiber_stack(std::size_t bytes) : page_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))) {
    bytes_ = (bytes + page_ - 1) / page_ * page_;
    void* const p = mmap(nullptr, mapped(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    start_ = static_cast<char*>(p);
    mprotect(start_, page_, PROT_NONE);
    for (std::size_t i = 0; i < canaries; ++i) canary()[i] = canary_value;
  }
  fiber_stack(const fiber_stack&) = delete;
  fiber_stack& operator=(const fiber_stack&) = delete;
  ~fiber_stack() {
    allow(start_ + page_, mapped() - page_);  // the next mapping at this place is somebody else's
    munmap(start_, mapped());
  }

  [[nodiscard]] char* bottom() const { return start_ + page_; }
  [[nodiscard]] std::size_t size() const { return mapped() - page_; }
  /// Without the reserve.
  [[nodiscard]] std::size_t usable() const { return bytes_; }
  /// Whether the reserve has been used since it was last asked.
  [[nodiscard]] bool overflowed() {
    bool touched = false;
    for (std::size_t i = 0; i < canaries; ++i) {
      touched = touched || canary()[i] != canary_value;
      canary()[i] = canary_value;
    }
    return touched;
  }

 private:
  static constexpr std::size_t reserve = has_asan || has_tsan ? 64 * 1024 : 16 * 1024;
  static constexpr std::size_t canaries = 8;  // a cache line at the upper end of the reserve
  static constexpr std::uint64_t canary_value = 0x5afe57acc0ffee11;

  [[nodiscard]] std::size_t mapped() const { return page_ + reserve + bytes_; }
  [[nodiscard]] volatile std::uint64_t* canary() const {
    return reinterpret_cast<volatile std::uint64_t*>(start_ + page_ + reserve) - canaries;
  }

  std::size_t page_, bytes_ = 0;
  char* start_ = nullptr;
};

/// A stack of its own on which run(argument) is executed, again and again: resume() goes there, suspend(), called
/// there, comes back; when run has returned, the next resume() calls it anew. A fiber stays on one thread.
class fiber {
 public:
  fiber(void (*run)(void*), void* argument, std::size_t stack_bytes, std::size_t number)
      : stack_(stack_bytes), run_(run), argument_(argument) {
    // Stacks lie at equal distances, and their busy ends would all compete for the same few cache lines.
    prepare(stack_.bottom() + stack_.size() - number % 16 * 128);
#if defined(CUDA_EMULATOR_TSAN)
    tsan_ = __tsan_create_fiber(0);
#endif
  }
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;
  ~fiber() {
    ending_ = true;
    if (started_) resume();  // leaves for good: AddressSanitizer gives back what it keeps for a stack
#if defined(CUDA_EMULATOR_TSAN)
    __tsan_destroy_fiber(tsan_);
#endif
  }

  [[nodiscard]] fiber_stack& stack() { return stack_; }
  void resume();
  void suspend() { leave(false); }

 private:
  void leave(bool for_good);
  static void live(fiber& self);

#if defined(CUDA_EMULATOR_UCONTEXT)
  using context = ucontext_t;
  static void go(context& leave, context& to) { swapcontext(&leave, &to); }
  static void enter(unsigned high, unsigned low) { live(*reinterpret_cast<fiber*>(std::uintptr_t{high} << 32 | low)); }
  void prepare(char* top) {
    getcontext(&own_);
    own_.uc_stack.ss_sp = stack_.bottom();
    own_.uc_stack.ss_size = static_cast<std::size_t>(top - stack_.bottom());
    own_.uc_link = nullptr;
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&own_, reinterpret_cast<void (*)()>(&fiber::enter), 2, static_cast<unsigned>(self >> 32),
                static_cast<unsigned>(self));
  }
#else
  using context = void*;
  __attribute__((no_sanitize("thread"), always_inline)) static void go(context& leave, context& to) {
    cuda_emulator_switch(&leave, to);
  }
  void prepare(char* top) {
    void** p = reinterpret_cast<void**>(reinterpret_cast<std::uintptr_t>(top) & ~std::uintptr_t{15});
    void (*const first)(fiber&) = &fiber::live;
    *--p = reinterpret_cast<void*>(&cuda_emulator_start);
    *--p = nullptr;                         // rbp: no caller's frame
    *--p = this;                            // rbx
    *--p = reinterpret_cast<void*>(first);  // r12
    for (int i = 13; i <= 15; ++i) *--p = nullptr;
    own_ = p;
  }
#endif

  fiber_stack stack_;
  void (*run_)(void*);
  void* argument_;
  context own_{}, caller_{};
  bool started_ = false, ending_ = false;
  void* fake_stack_ = nullptr;  // AddressSanitizer's, while suspended
  const void* caller_bottom_ = nullptr;
  std::size_t caller_size_ = 0;
  void* tsan_ = nullptr;
  void* caller_tsan_ = nullptr;
};

// no_sanitize: between the word to ThreadSanitizer and the switch, nothing may be recorded.
__attribute__((no_sanitize("thread"), noinline)) inline void fiber::resume() {
  started_ = true;
#if defined(CUDA_EMULATOR_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, stack_.bottom(), stack_.size());
  go(caller_, own_);
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#else
#if defined(CUDA_EMULATOR_TSAN)
  caller_tsan_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_, __tsan_switch_to_fiber_no_sync);
#endif
  go(caller_, own_);
#endif
}

__attribute__((no_sanitize("thread"), noinline)) inline void fiber::leave(bool for_good) {
#if defined(CUDA_EMULATOR_ASAN)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, caller_bottom_, caller_size_);
  go(own_, caller_);
  __sanitizer_finish_switch_fiber(fake_stack_, &caller_bottom_, &caller_size_);
#else
  static_cast<void>(for_good);
#if defined(CUDA_EMULATOR_TSAN)
  __tsan_switch_to_fiber(caller_tsan_, __tsan_switch_to_fiber_no_sync);
#endif
  go(own_, caller_);
#endif
}

__attribute__((no_sanitize("thread"))) inline void fiber::live(fiber& self) {
#if defined(CUDA_EMULATOR_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &self.caller_bottom_, &self.caller_size_);
#endif
  while (!self.ending_) {
    self.run_(self.argument_);
    self.leave(false);
  }
  self.leave(true);
}

}  // namespace cuda_emulator::detail
