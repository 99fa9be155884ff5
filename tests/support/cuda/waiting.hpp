#pragma once
#include <exception>
#include <string>

#include "scheduler.hpp"

// How threads wait for each other: the block's barrier and the operations of a warp; and what to say when they wait for
// ever.
namespace cuda_emulator::detail {

/// @returns what __syncthreads_or, _and or _count return
inline int block_runner::barrier(barrier_kind kind, bool vote, place where) {
  const unseen hidden;
  cuda_thread& t = *running;
  if (abandoning_) {  // a kernel that catches everything, or a destructor, on the way out
    if (std::uncaught_exceptions() > 0) return 0;
    throw abandoned{};
  }
  t.where = where;
  if (waiting_ == 0) {
    kind_ = kind;
    first_waiting_ = &t;
  } else if (kind != kind_ || where.line != first_waiting_->where.line) {
    throw mistake("divergent barrier", t,
                  "is at the barrier of " + text(where) + ", but thread " + text(first_waiting_->index) +
                      " waits in that of " + text(first_waiting_->where));
  }
  t.state = thread_state::at_barrier;
  ++waiting_;
  votes_ += vote ? 1u : 0u;
  char* const key = &barrier_key_[generation_ % 2];
  release(key);
  wait(t);
  acquire(key);
  if (kind == barrier_kind::any) return last_votes_ > 0 ? 1 : 0;
  if (kind == barrier_kind::all) return last_votes_ == size_ ? 1 : 0;
  return static_cast<int>(last_votes_);
}

/// A warp's operation among the lanes of `mask`; lanes that the block does not have do not count.
/// @returns the source lane's value, or the lanes that voted 1
inline std::uint64_t block_runner::call(call_kind kind, unsigned mask, std::uint64_t value, unsigned source,
                                        place where) {
  const unseen hidden;
  cuda_thread& t = *running;
  if (abandoning_) {
    if (std::uncaught_exceptions() > 0) return 0;
    throw abandoned{};
  }
  const unsigned lane = t.rank % warp_lanes, first = t.rank - lane, bit = 1u << lane;
  warp& w = warps_[t.rank / warp_lanes];
  t.where = where;
  if ((mask & bit) == 0) throw mistake("lane outside mask", t, "calls with a mask that leaves it out, " + text(where));
  const unsigned members = mask & w.present;
  char* const key = kind == call_kind::sync ? key_of_call(w, first, mask) : nullptr;
  t.call = {.kind = kind, .mask = mask, .value = value, .source = source, .result = 0, .key = key};
  t.state = thread_state::in_warp_call;
  w.calling |= bit;
  if (key != nullptr) release(key);
  if (complete(w, first, members, t.call)) {
    finish_call(w, first, members);
    w.ready &= ~bit;  // this one runs on
  } else {
    wait(t);
  }
  if (key != nullptr) acquire(key);
  return t.call.result;
}

inline bool block_runner::complete(const warp& w, unsigned first, unsigned members, const warp_call& mine) const {
  if ((w.calling & members) != members) return false;
  for (unsigned rest = members; rest != 0; rest &= rest - 1) {
    const warp_call& other = threads_[first + static_cast<unsigned>(std::countr_zero(rest))].call;
    if (other.kind != mine.kind || other.mask != mine.mask) return false;
  }
  return true;
}

inline void block_runner::finish_call(warp& w, unsigned first, unsigned members) {
  std::uint64_t poisoned = 0, votes = 0;
  fill_poison(&poisoned, sizeof poisoned);
  for (unsigned rest = members; rest != 0; rest &= rest - 1) {
    const auto lane = static_cast<unsigned>(std::countr_zero(rest));
    votes |= (threads_[first + lane].call.value & 1) << lane;
  }
  for (unsigned rest = members; rest != 0; rest &= rest - 1) {
    cuda_thread& t = threads_[first + static_cast<unsigned>(std::countr_zero(rest))];
    const unsigned from = t.call.source;
    if (t.call.kind == call_kind::vote) t.call.result = votes;
    // What a lane reads that takes no part is undefined in CUDA.
    else t.call.result = (members >> from & 1) != 0 ? threads_[first + from].call.value : poisoned;
    t.state = thread_state::ready;
  }
  w.calling &= ~members;
  w.ready |= members;
}

/// Of the lanes that wait for the same already, or a new one.
inline char* block_runner::key_of_call(const warp& w, unsigned first, unsigned mask) {
  for (unsigned rest = w.calling & mask; rest != 0; rest &= rest - 1) {
    const warp_call& other = threads_[first + static_cast<unsigned>(std::countr_zero(rest))].call;
    if (other.kind == call_kind::sync && other.mask == mask) return other.key;
  }
  return &call_key_[calls_++ % sizeof call_key_];
}

inline const cuda_thread* block_runner::find(thread_state state) const {
  for (unsigned i = 0; i < size_; ++i)
    if (threads_[i].state == state) return &threads_[i];
  return nullptr;
}

inline error block_runner::mistake(const char* kind, const cuda_thread& t, const std::string& what) const {
  return error(std::string("cuda_emulator: ") + kind + ": block " + text(blockIdx) + ", thread " + text(t.index) +
               ": " + what);
}

/// Why no thread can go on.
inline error block_runner::stuck() const {
  if (const cuda_thread* const t = find(thread_state::in_warp_call)) return stuck_call(*t);
  const cuda_thread& waits = *find(thread_state::at_barrier);
  return mistake(
      "divergent barrier", waits,
      "waits in " + text(waits.where) + ", but thread " + text(find(thread_state::exited)->index) + " has exited");
}
inline error block_runner::stuck_call(const cuda_thread& t) const {
  const unsigned first = t.rank / warp_lanes * warp_lanes;
  const warp& w = warps_[t.rank / warp_lanes];
  for (unsigned rest = t.call.mask & w.present; rest != 0; rest &= rest - 1) {
    const cuda_thread& other = threads_[first + static_cast<unsigned>(std::countr_zero(rest))];
    const std::string who = "waits in " + text(t.where) + ", but of its mask thread " + text(other.index);
    if (other.state == thread_state::exited) return mistake("exited lane in mask", t, who + " has exited");
    if (other.state == thread_state::at_barrier)
      return mistake("divergent barrier", t, who + " waits in the barrier of " + text(other.where));
  }
  for (unsigned rest = t.call.mask & w.present; rest != 0; rest &= rest - 1) {
    const cuda_thread& other = threads_[first + static_cast<unsigned>(std::countr_zero(rest))];
    if (other.call.kind != t.call.kind || other.call.mask != t.call.mask)
      return mistake("deadlock", t,
                     "waits in " + text(t.where) + ", but of its mask thread " + text(other.index) +
                         " waits with another mask or operation in " + text(other.where));
  }
  return mistake("deadlock", t, "waits in " + text(t.where));
}

}  // namespace cuda_emulator::detail
